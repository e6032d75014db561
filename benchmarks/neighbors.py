"""Times the nearest-neighbor index beside a direct call of FAISS, in one process.

    python benchmarks/neighbors.py [--vectors=100000] [--queries=2000] [--repeats=7]

The two alternate, so that what else the machine does falls on both. Vectors are
clustered normal ones; sixteen in a row are of one image, as in a capture.
"""

import argparse
import platform
import statistics
import time

import faiss
import jax
import numpy as np

from hue_jax.observe.neighbors import create_index, recall


def main():
  """Prints a table in Markdown."""
  arguments = _arguments()
  vectors, queries = _data(arguments)
  print(
    f"{arguments.vectors} × {arguments.channels} float32, {arguments.queries} queries, "
    f"k = {arguments.k}; {jax.devices()[0].device_kind}, {platform.machine()}, "
    f"{faiss.omp_get_max_threads()} FAISS threads; faiss {faiss.__version__}, "
    f"jax {jax.__version__}\n"
  )
  print("| index | metric | built, s | median, s | min – max, s | ratio | recall |")
  print("| --- | --- | --- | --- | --- | --- | --- |")
  for metric in ("cosine", "euclidean"):
    _compare(metric, vectors, queries, arguments)


def _compare(metric, vectors, queries, arguments):
  groups = np.arange(len(vectors)) // 16
  own = np.random.default_rng(1).integers(groups.max(), size=len(queries))
  direct, seconds = _built(lambda: _direct(vectors, metric))
  indices = {"direct FAISS, flat": (lambda: direct(queries, arguments.k), seconds)}
  exact = None
  for engine, structure in (
    ("auto", "flat"),
    ("jax", "flat"),
    ("faiss", "ivf"),
    ("faiss", "hnsw"),
  ):
    index, seconds = _built(
      lambda e=engine, s=structure: create_index(
        vectors, groups=groups, metric=metric, engine=e, structure=s
      )
    )
    exact = exact or index.search(queries, arguments.k)
    search = lambda index=index: index.search(queries, arguments.k)  # noqa: E731
    indices[f"{engine}, {structure}"] = (search, seconds)
    if engine == "auto":
      besides = lambda index=index: index.search(queries, arguments.k, own)  # noqa: E731
      indices["auto, flat, own image excluded"] = (besides, seconds)
  times = {name: [] for name in indices}
  results = {name: search() for name, (search, _) in indices.items()}
  for _ in range(arguments.repeats):
    for name, (search, _) in indices.items():
      times[name].append(_seconds(search))
  base = statistics.median(times["direct FAISS, flat"])
  for name, (_, built) in indices.items():
    median = statistics.median(times[name])
    told = (
      "" if "direct" in name or "excluded" in name else recall(results[name], exact)
    )
    print(
      f"| {name} | {metric} | {built:.2f} | {median:.3f} | {min(times[name]):.3f} – "
      f"{max(times[name]):.3f} | {median / base:.3f} | {told} |"
    )


def _direct(vectors, metric):
  """What a user of FAISS writes."""
  if metric == "cosine":
    vectors = vectors.copy()
    faiss.normalize_L2(vectors)
    index = faiss.IndexFlatIP(vectors.shape[1])
  else:
    index = faiss.IndexFlatL2(vectors.shape[1])
  index.add(vectors)

  def search(queries, k):
    if metric == "cosine":
      queries = queries.copy()
      faiss.normalize_L2(queries)
    return index.search(queries, k)

  return search


def _data(arguments):
  rng = np.random.default_rng(0)
  centers = rng.normal(size=(500, arguments.channels))
  count = arguments.vectors + arguments.queries
  vectors = centers[rng.integers(500, size=count)]
  vectors = (vectors + rng.normal(size=vectors.shape)).astype(np.float32)
  return vectors[: arguments.vectors], vectors[arguments.vectors :]


def _built(build):
  start = time.perf_counter()
  built = build()
  return built, time.perf_counter() - start


def _seconds(call):
  start = time.perf_counter()
  call()
  return time.perf_counter() - start


def _arguments():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  for name, default in (
    ("vectors", 100_000),
    ("channels", 256),
    ("queries", 2000),
    ("k", 10),
    ("repeats", 7),
  ):
    parser.add_argument(f"--{name}", type=int, default=default)
  return parser.parse_args()


if __name__ == "__main__":
  main()
