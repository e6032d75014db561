"""Vectors and a metric: distances in float64, the same for every engine."""

from collections.abc import Iterator

import numpy as np
from jaxtyping import Bool, Float, Int

from hue_jax.errors import InputError

METRICS = ("cosine", "euclidean")

# Engines compute in float32: their cosines, and squared distances in proportion to
# squared lengths, are off by less.
_ROUNDING = 4e-6
_ROWS_AT_ONCE = 2**16
_NUMBERS_AT_ONCE = 2**20


class Space:
  """Distinct vectors under a metric.

  Attributes:
    vectors: [distinct, channels], in memory or memory-mapped.
    metric: one of `METRICS`.
    center: subtracted before Euclidean distances are computed in float32, which
      keeps numbers small; 0 under "cosine".
  """

  def __init__(self, vectors: Float[np.ndarray, "distinct channels"], metric: str):
    self.vectors = vectors
    self.metric = metric
    self.center = np.zeros(vectors.shape[1], np.float32)
    if metric == "euclidean":
      total = sum(block.sum(axis=0, dtype=np.float64) for block in blocks(vectors))
      self.center = (total / len(vectors)).astype(np.float32)
    self._longest = max(
      np.linalg.norm(block, axis=1).max() for block in self.prepared_blocks()
    )

  def __len__(self) -> int:
    return len(self.vectors)

  def prepared(
    self, vectors: Float[np.ndarray, "rows channels"]
  ) -> Float[np.ndarray, "rows channels"]:
    """What engines compare: unit vectors, or vectors less the center; float32."""
    if self.metric == "cosine":
      return _unit(np.asarray(vectors, np.float32))
    return np.asarray(vectors, np.float32) - self.center

  def prepared_blocks(self) -> Iterator[Float[np.ndarray, "rows channels"]]:
    """All vectors as engines compare them, some at a time."""
    return (self.prepared(block) for block in blocks(self.vectors))

  def distances(
    self,
    queries: Float[np.ndarray, "queries channels"],
    candidates: Int[np.ndarray, "queries candidates"],
  ) -> Float[np.ndarray, "queries candidates"]:
    """Distances of some rows, computed in float64 and rounded to float32."""
    distances = np.empty(candidates.shape, np.float32)
    size = max(_NUMBERS_AT_ONCE // (candidates.shape[1] * queries.shape[1]), 1)
    for start in range(0, len(queries), size):
      here = slice(start, start + size)
      rows = np.asarray(self.vectors[candidates[here]], np.float64)
      query = queries[here, None].astype(np.float64)
      distances[here] = _distances(rows, query, self.metric)
    return distances

  def nearest(
    self, queries: Float[np.ndarray, "queries channels"], count: int
  ) -> Int[np.ndarray, "queries count"]:
    """The nearest rows by distances in float64 to all vectors, in any order."""
    size = max(8 * _NUMBERS_AT_ONCE // len(self), 1)
    parts = []
    for start in range(0, len(queries), size):
      query = queries[start : start + size].astype(np.float64)
      farness = np.concatenate(
        [
          _farness(block.astype(np.float64), query, self)
          for block in blocks(self.vectors)
        ],
        axis=1,
      )
      parts.append(np.argpartition(farness, count - 1, axis=1)[:, :count])
    return np.concatenate(parts)

  def is_nearer(
    self,
    distance: Float[np.ndarray, "queries"],
    other: Float[np.ndarray, "queries"],
    queries: Float[np.ndarray, "queries channels"],
  ) -> Bool[np.ndarray, "queries"]:
    """Whether one distance is smaller than another by more than engines' rounding."""
    if self.metric == "cosine":
      return distance < other - _ROUNDING
    reach = np.linalg.norm(self.prepared(queries), axis=1) + self._longest
    return distance**2 < other**2 - _ROUNDING * reach**2


def blocks(vectors) -> Iterator[Float[np.ndarray, "rows channels"]]:
  """Parts of vectors that fit in memory, as float32; all finite."""
  for start in range(0, len(vectors), _ROWS_AT_ONCE):
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
  """Vectors divided by their length; zero vectors stay zero. Nothing overflows."""
  peak = np.abs(vectors).max(axis=1, keepdims=True)
  unit = np.divide(vectors, peak, out=np.zeros_like(vectors), where=peak > 0)
  length = np.linalg.norm(unit, axis=1, keepdims=True)
  return np.divide(unit, length, out=unit, where=length > 0)


def _distances(rows, query, metric):
  if metric == "euclidean":
    difference = rows - query
    return np.sqrt(np.einsum("qkc,qkc->qk", difference, difference))
  products = np.einsum("qkc,qoc->qk", rows, query)
  squares = np.einsum("qkc,qkc->qk", rows, rows)
  lengths = np.sqrt(squares * np.einsum("qoc,qoc->q", query, query)[:, None])
  cosines = np.divide(products, lengths, out=np.zeros_like(products), where=lengths > 0)
  # Of parallel vectors of different length the cosine is 1 but for float64's rounding.
  return np.round(1 - np.clip(cosines, -1, 1), 12)


def _farness(vectors, queries, space):
  """What orders vectors as their distance does, in float64, by one product."""
  if space.metric == "cosine":
    return -_unit(queries) @ _unit(vectors).T
  vectors, queries = vectors - space.center, queries - space.center
  return np.einsum("vc,vc->v", vectors, vectors) - 2 * queries @ vectors.T
