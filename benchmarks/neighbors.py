"""Times the nearest-neighbor index beside a direct call of FAISS, in one process.

    python benchmarks/neighbors.py [--vectors=100000] [--queries=2000] [--repeats=7]
      [--metrics cosine euclidean] [--indices auto-flat jax-flat faiss-ivf faiss-hnsw]

All alternate, so that what else the machine does falls on each. The ratio is of medians
and to the direct call. Vectors are clustered normal ones; sixteen in a row are of one
image, as in a capture.
"""

import argparse
import os
import platform
import statistics
import time

import faiss
import jax
import numpy as np

from hue_jax.observe.neighbors import METRICS, Neighbors, create_index, recall

_DIRECT = "direct FAISS, flat"
_INDICES = ("auto-flat", "jax-flat", "faiss-ivf", "faiss-hnsw")


def main():
  """Prints a table in Markdown."""
  arguments = _arguments()
  vectors, queries = _data(arguments)
  print(
    f"{arguments.vectors} × {arguments.channels} float32, {arguments.queries} queries, "
    f"k = {arguments.k}, {arguments.repeats} repeats; {_processor()}, "
    f"{os.cpu_count()} cores, {faiss.omp_get_max_threads()} FAISS threads; "
    f"JAX on {jax.device_count()} × {jax.devices()[0].device_kind}; "
    f"faiss {faiss.__version__}, jax {jax.__version__}\n"
  )
  print("| index | metric | built, s | median, s | min – max, s | ratio | recall |")
  print("| --- | --- | --- | --- | --- | --- | --- |")
  for metric in arguments.metrics:
    _compare(metric, vectors, queries, arguments)


def _compare(metric, vectors, queries, arguments):
  groups = np.arange(len(vectors)) // 16
  own = np.random.default_rng(1).integers(groups.max(), size=len(queries))
  direct, seconds = _built(lambda: _direct(vectors, metric))
  indices = {_DIRECT: (lambda: direct(queries, arguments.k), seconds)}
  for name in arguments.indices:
    engine, structure = name.split("-")
    index, seconds = _built(
      lambda e=engine, s=structure: create_index(
        vectors, groups=groups, metric=metric, engine=e, structure=s
      )
    )
    search = lambda index=index: index.search(queries, arguments.k)  # noqa: E731
    indices[name] = (search, seconds)
    if structure == "flat":
      besides = lambda index=index: index.search(queries, arguments.k, own)  # noqa: E731
      indices[f"{name}, own image excluded"] = (besides, seconds)
  times = {name: [] for name in indices}
  results = {name: search() for name, (search, _) in indices.items()}
  for _ in range(arguments.repeats):
    for name, (search, _) in indices.items():
      times[name].append(_seconds(search))
  base = statistics.median(times[_DIRECT])
  for name, (_, built) in indices.items():
    median = statistics.median(times[name])
    told = (
      "" if "excluded" in name else f"{recall(results[name], results[_DIRECT]):.4f}"
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
    distances, ids = index.search(queries, k)
    return Neighbors(ids, distances)

  return search


def _data(arguments):
  rng = np.random.default_rng(0)
  centers = rng.normal(size=(500, arguments.channels))
  count = arguments.vectors + arguments.queries
  vectors = centers[rng.integers(500, size=count)]
  vectors = (vectors + rng.normal(size=vectors.shape)).astype(np.float32)
  return vectors[: arguments.vectors], vectors[arguments.vectors :]


def _processor():
  """The name of the processor, where the system tells it."""
  try:
    with open("/proc/cpuinfo") as lines:
      return next(line for line in lines if "model name" in line).split(": ")[1].strip()
  except (OSError, StopIteration):
    return platform.processor() or platform.machine()


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
  for name, choices in (("metrics", METRICS), ("indices", _INDICES)):
    parser.add_argument(f"--{name}", nargs="+", choices=choices, default=choices)
  return parser.parse_args()


if __name__ == "__main__":
  main()
