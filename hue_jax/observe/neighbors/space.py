"""Vectors and a metric: distances in float64, the same for every engine."""

from collections.abc import Callable, Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from hue_jax.errors import InputError

METRICS = ("cosine", "euclidean")

# Engines compute in float32: their cosines, and squared distances in proportion to
# squared lengths, are off by less.
_ROUNDING = 1e-5
_ROWS_AT_ONCE = 2**14
_NUMBERS_AT_ONCE = 2**18


class Space:
  """Distinct vectors under a metric.

  Args:
    vectors: The vectors, in memory or memory-mapped; they are read when needed and not
      copied.
    rows: The rows of the distinct ones among them; None if all are.
    metric: One of `METRICS`.
  """

  def __init__(
    self,
    vectors: Float[np.ndarray, "rows channels"],
    rows: Int[np.ndarray, " distinct"] | None,
    metric: str,
  ):
    self._vectors = vectors
    self._rows = rows
    self.metric = metric
    if metric == "cosine":
      self._lengths = np.concatenate([_lengths(block) for block in self._blocks()])
      return
    # Less their center and in units of their size, numbers keep their digits.
    self._center, self._scale = _center_and_scale(self._blocks(), len(self))
    self._longest = max(_lengths(block).max() for block in self.prepared_blocks())

  def __len__(self) -> int:
    return len(self._vectors if self._rows is None else self._rows)

  @property
  def channels(self) -> int:
    """The number of channels of a vector."""
    return self._vectors.shape[1]

  def take(
    self, ids: Int[np.ndarray, "*ids"] | slice
  ) -> Float[np.ndarray, "*ids channels"]:
    """Returns some of the distinct vectors, float32."""
    return np.asarray(
      self._vectors[ids if self._rows is None else self._rows[ids]], np.float32
    )

  def prepared(
    self, vectors: Float[np.ndarray, "rows channels"]
  ) -> Float[np.ndarray, "rows channels"]:
    """Returns what engines compare, float32: unit, or centered and scaled vectors."""
    if self.metric == "cosine":
      return _unit(vectors)
    with np.errstate(over="ignore"):  # of a query that is far from all vectors
      return vectors * self._scale - self._center * self._scale

  def prepared_blocks(
    self, start: int = 0, stop: int | None = None
  ) -> Iterator[Float[np.ndarray, "rows channels"]]:
    """Yields the vectors as engines compare them, some at a time."""
    return (self.prepared(block) for block in self._blocks(start, stop))

  def distances(
    self,
    queries: Float[np.ndarray, "queries channels"],
    candidates: Int[np.ndarray, "queries candidates"],
  ) -> Float[np.ndarray, "queries candidates"]:
    """Returns distances, computed in float64 and rounded to float32."""
    distances = np.empty(candidates.shape, np.float32)
    size = max(_NUMBERS_AT_ONCE // (candidates.shape[1] * self.channels), 1)
    for start in range(0, len(queries), size):
      here = slice(start, start + size)
      distances[here] = self._distances(queries[here], candidates[here])
    return distances

  def _distances(self, queries, candidates):
    vectors = self.take(candidates).astype(np.float64)
    queries = queries.astype(np.float64)
    if self.metric == "euclidean":
      vectors -= queries[:, None]
      distances = np.sqrt(np.einsum("qkc,qkc->qk", vectors, vectors))
      return np.minimum(distances, np.finfo(np.float32).max)
    products = np.einsum("qkc,qc->qk", vectors, queries)
    lengths = self._lengths[candidates] * _lengths(queries)[:, None]
    return _cosine_distances(products, lengths)

  def within_reach(
    self,
    queries: Float[np.ndarray, "queries channels"],
    k: int,
    left_out: Callable[[int], Int[np.ndarray, " some"]],
  ) -> Iterator[Int[np.ndarray, " candidates"]]:
    """Finds all vectors that can be among the k nearest; slow, but certain.

    Args:
      queries: The vectors to search for.
      k: The neighbors that are wanted.
      left_out: The place of a query → the vectors that do not count for it.

    Yields:
      The vectors of each query: k, and those whose distance cannot be told from the
      farthest's.
    """
    size = max(_NUMBERS_AT_ONCE // len(self), 1)
    for start in range(0, len(queries), size):
      query = queries[start : start + size].astype(np.float64)
      parts = [self._farness(query, block) for block in self._numbered_blocks()]
      for i, farness in enumerate(np.concatenate(parts, axis=1)):
        farness[left_out(start + i)] = np.inf
        place = min(k, len(farness)) - 1
        farthest = np.partition(farness, place)[place]
        # Rounding to float32 may make equal what differs here.
        slack = farthest * 2.0**-20 + self._slack(query[i])
        yield np.flatnonzero(farness <= farthest + slack)

  def _farness(self, queries, numbered):
    """Returns cosine or squared Euclidean distances, float64, by one matrix product."""
    start, block = numbered
    block = block.astype(np.float64)
    if self.metric == "cosine":
      lengths = self._lengths[start : start + len(block)] * _lengths(queries)[:, None]
      return _cosine_distances(queries @ block.T, lengths)
    block, queries = (
      (vectors - self._center) * float(self._scale) for vectors in (block, queries)
    )
    squares = _lengths(block) ** 2 + _lengths(queries)[:, None] ** 2
    return np.maximum(squares - 2 * queries @ block.T, 0)

  def _slack(self, query):
    if self.metric == "cosine":
      return 1e-11
    length = np.linalg.norm((query - self._center) * float(self._scale))
    return 1e-12 * (length + self._longest) ** 2

  def is_nearer(
    self,
    distance: Float[np.ndarray, " queries"],
    other: Float[np.ndarray, " queries"],
    queries: Float[np.ndarray, "queries channels"],
  ) -> Bool[np.ndarray, " queries"]:
    """Tells whether a distance is smaller by more than engines' rounding."""
    if self.metric == "cosine":
      return distance < other - _ROUNDING
    distance, other = (
      d.astype(np.float64) * float(self._scale) for d in (distance, other)
    )
    reach = _lengths(self.prepared(queries)) + self._longest
    with np.errstate(invalid="ignore"):  # inf − inf, which is not nearer
      return distance**2 < other**2 - _ROUNDING * reach**2

  def _blocks(self, start=0, stop=None):
    stop = len(self) if stop is None else min(stop, len(self))
    for first in range(start, stop, _ROWS_AT_ONCE):
      yield self.take(slice(first, min(first + _ROWS_AT_ONCE, stop)))

  def _numbered_blocks(self):
    return zip(range(0, len(self), _ROWS_AT_ONCE), self._blocks(), strict=True)


def blocks(vectors) -> Iterator[Float[np.ndarray, "rows channels"]]:
  """Yields parts of vectors that fit in memory, as float32; all finite."""
  for start in range(0, len(vectors), _ROWS_AT_ONCE):
    with np.errstate(over="ignore"):  # float64 that float32 cannot hold: see below
      block = np.asarray(vectors[start : start + _ROWS_AT_ONCE], np.float32)
    check_finite("vectors", block, start)
    yield block


def check_finite(name: str, array: np.ndarray, first_row: int = 0) -> None:
  """Raises an InputError that names the first row with a number that is not finite."""
  if np.isfinite(array).all():
    return
  row = np.flatnonzero(~np.isfinite(array).all(axis=1))[0]
  raise InputError(f"{name} hold a number that is not finite in row {first_row + row}.")


def _unit(vectors):
  """Returns vectors divided by their length, without overflow; zero ones stay zero."""
  peak = np.abs(vectors).max(axis=1, keepdims=True)
  unit = np.divide(vectors, peak, out=np.zeros_like(vectors), where=peak > 0)
  length = np.linalg.norm(unit, axis=1, keepdims=True)
  return np.divide(unit, length, out=unit, where=length > 0)


def _lengths(vectors):
  """Returns ‖v‖, in float64."""
  vectors = vectors.astype(np.float64)
  return np.sqrt(np.einsum("vc,vc->v", vectors, vectors))


def _cosine_distances(products, lengths):
  """Returns 1 − cos, and 1 where a vector is zero."""
  cosines = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
  # Of parallel vectors of different length the cosine is 1 but for float64's rounding.
  return np.round(1 - np.clip(cosines, -1, 1), 12)


def _center_and_scale(blocks, count):
  """Returns the vectors' mean, and a power of 2 that takes their numbers below 1."""
  total, peak = 0.0, 0.0
  for block in blocks:
    total = total + block.sum(axis=0, dtype=np.float64)
    peak = max(peak, float(np.abs(block).max()))
  scale = 2.0 ** -np.clip(np.frexp(peak)[1], -120, 120)
  return (total / count).astype(np.float32), np.float32(scale)
