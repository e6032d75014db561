"""Times the nearest-neighbor index beside what a user writes instead, in one process.

    python benchmarks/neighbors.py [--vectors 100000 …] [--channels 256 …]
      [--queries 2000] [--k 10] [--metrics cosine euclidean] [--repeats 7] [--json FILE]
      [--indices auto-flat jax-flat faiss-ivf faiss-hnsw] [--no-plain]

Beside the indices: a direct call of FAISS's flat index, where FAISS is installed; the
plain form in JAX, a product of matrices and `top_k`; and that product alone, on what
JAX computes. Vectors are clustered normal ones; sixteen in a row are of one image, as
in a capture. "Built" is the seconds until an index is ready. It needs JAX, NumPy and
jaxtyping, and takes FAISS where it is installed.
"""

import functools
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common
from hue_jax.observe.neighbors import METRICS, Neighbors, create_index, recall

DIRECT, PLAIN, PRODUCT = "direct FAISS, flat", "matmul + top_k", "matmul alone"
INDICES = ("auto-flat", "jax-flat", "faiss-ivf", "faiss-hnsw")
_QUERIES_AT_ONCE = 256


def main() -> None:
  """Prints a table in Markdown."""
  arguments = _arguments()
  found = []
  for count in arguments.vectors:
    for channels in arguments.channels:
      vectors, queries = data(count, channels, arguments.queries)
      for metric in arguments.metrics:
        found += measure(
          vectors,
          queries,
          metric,
          k=arguments.k,
          indices=arguments.indices,
          plain=arguments.plain,
          repeats=arguments.repeats,
        )
  common.report(
    "neighbors",
    found,
    json_file=arguments.json,
    packages=("jax", "jaxlib", "faiss-cpu", "numpy"),
  )


def data(count: int, channels: int, queries: int) -> tuple[np.ndarray, np.ndarray]:
  """Returns vectors and queries, float32."""
  rng = np.random.default_rng(0)
  centers = rng.normal(size=(500, channels)).astype(np.float32)
  vectors = centers[rng.integers(500, size=count + queries)]
  vectors += rng.standard_normal(vectors.shape, np.float32)
  return vectors[:count], vectors[count:]


def measure(
  vectors: np.ndarray,
  queries: np.ndarray,
  metric: str,
  *,
  k: int = 10,
  indices: Sequence[str] = INDICES,
  plain: bool = True,
  repeats: int = 7,
  enough: Callable[[], bool] = lambda: False,
) -> list[dict[str, Any]]:
  """Times the search of all queries.

  Args:
    vectors: The vectors.
    queries: The queries.
    metric: The metric.
    k: The number of neighbors.
    indices: Some of `INDICES`, as ENGINE-STRUCTURE.
    plain: Whether to time the plain form and its product too.
    repeats: The rounds.
    enough: A function that tells whether time is up; the rounds then end.

  Returns:
    The rows.
  """
  groups = np.arange(len(vectors)) // 16
  own = np.random.default_rng(1).integers(groups.max() + 1, size=len(queries))
  sides, built = {}, {}
  if _has_faiss():
    direct, built[DIRECT] = _timed(lambda: _direct(vectors, metric))
    sides[DIRECT] = lambda: direct(queries, k)
  if plain:
    for name, make in ((PLAIN, _plain), (PRODUCT, _product)):
      call, built[name] = _timed(lambda make=make: make(vectors, metric))
      sides[name] = lambda call=call: call(queries, k)
  for name in indices:
    engine, structure = name.split("-")
    if "faiss" in name and not _has_faiss():
      continue
    index, built[name] = _timed(
      lambda e=engine, s=structure: create_index(
        vectors, groups=groups, metric=metric, engine=e, structure=s
      )
    )
    sides[name] = lambda index=index: index.search(queries, k)
    if structure == "flat":
      sides[f"{name}, own image excluded"] = lambda index=index: index.search(
        queries, k, own
      )
  reference = next(name for name in (DIRECT, PLAIN, *indices) if name in sides)
  right = sides[reference]()
  alike = {
    name: float(recall(call(), right))
    for name, call in sides.items()
    if name != PRODUCT and "excluded" not in name
  }
  return common.rows(
    f"{len(queries)} queries in {len(vectors)} × {vectors.shape[1]}, {metric}, k = {k}",
    common.alternate(sides, repeats, enough=enough),
    against=(DIRECT, PLAIN, PRODUCT),
    per_second=len(queries),
    **{"built, s": built, "recall": alike},
  )


def _has_faiss():
  try:
    import faiss  # noqa: F401
  except ImportError:
    return False
  return True


def _direct(vectors, metric):
  """What a user of FAISS writes."""
  import faiss

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


def _plain(vectors, metric):
  """What a user of JAX writes: float32 products, and the best of each row."""
  placed, squares = _placed(vectors, metric)

  @functools.partial(jax.jit, static_argnames="k")
  def nearest(queries, placed, squares, k):
    likeness = jnp.matmul(queries, placed.T, precision="highest") - squares
    return jax.lax.top_k(likeness, k)

  def search(queries, k):
    parts = [nearest(part, placed, squares, k) for part in _parts(queries, metric)]
    ids = np.concatenate([np.asarray(place) for _, place in parts])[: len(queries)]
    likeness = np.concatenate([np.asarray(best) for best, _ in parts])[: len(queries)]
    return Neighbors(ids, -likeness)

  return search


def _product(vectors, metric):
  """The product alone, which is left on the device."""
  placed, _ = _placed(vectors, metric)
  product = jax.jit(lambda q, v: jnp.matmul(q, v.T, precision="highest"))

  def search(queries, k):
    del k
    for part in _parts(queries, metric):
      result = product(part, placed)
    jax.block_until_ready(result)

  return search


def _placed(vectors, metric):
  """Returns vectors on the device, and what is subtracted from their products."""
  if metric == "cosine":
    vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return jax.device_put(vectors), jnp.float32(0)
  return jax.device_put(vectors), jnp.asarray((vectors**2).sum(axis=1) / 2)


def _parts(queries, metric):
  """Yields queries, as many at once as leave room for their products."""
  if metric == "cosine":
    queries = queries / np.linalg.norm(queries, axis=1, keepdims=True)
  for start in range(0, len(queries), _QUERIES_AT_ONCE):
    part = queries[start : start + _QUERIES_AT_ONCE]
    missing = _QUERIES_AT_ONCE - len(part)
    yield np.pad(part, ((0, missing), (0, 0)))


def _timed(build):
  start = time.perf_counter()
  built = build()
  return built, time.perf_counter() - start


def _arguments():
  parser = common.parser(__doc__)
  several = {"nargs": "+"}
  parser.add_argument("--vectors", **several, type=int, default=[100_000])
  parser.add_argument("--channels", **several, type=int, default=[256])
  parser.add_argument("--queries", type=int, default=2000)
  parser.add_argument("--k", type=int, default=10)
  parser.add_argument("--metrics", **several, choices=METRICS, default=METRICS)
  parser.add_argument("--indices", **several, choices=INDICES, default=INDICES)
  parser.add_argument(
    "--no-plain", dest="plain", action="store_false", help="no plain form in JAX"
  )
  return parser.parse_args()


if __name__ == "__main__":
  main()
