"""Rows that are equal: searched once, and told apart by their numbers alone.

Layers have many: a white background gives the same activation everywhere, and a dead
layer has one vector for all positions. An engine that kept them all would return any
of thousands of rows at the same distance.
"""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Int

from hue_jax.observe.neighbors.space import blocks


class EqualRows:
  """Which rows of an array of vectors are equal.

  Attributes:
    num_rows: The rows of the array.
    first: The lowest row of each distinct vector, rising, [distinct].
  """

  def __init__(self, vectors):
    hashes = np.concatenate([_hash(block) for block in blocks(vectors)])
    self.num_rows = len(hashes)
    _, first, place = np.unique(hashes, return_index=True, return_inverse=True)
    by_row = np.argsort(first)  # the distinct vectors in the order of their rows
    self.first = first[by_row]
    rank = np.empty_like(by_row)
    rank[by_row] = np.arange(len(by_row))
    self._distinct_of_row = rank[place]

  @property
  def all_distinct(self) -> bool:
    """Whether no two rows are equal."""
    return len(self.first) == self.num_rows

  def members(self, k: int, groups: Int[np.ndarray, " rows"] | None) -> "Members":
    """Finds the rows of each distinct vector, as many as a search for k can want.

    Args:
      k: The neighbors that are searched for.
      groups: The group of each row, if those of one group are not wanted.

    Returns:
      The rows.
    """
    if self.all_distinct:
      return Members(self.first, self.first, np.ones_like(self.first))
    rows = np.argsort(self._distinct_of_row, kind="stable")
    rows = rows[_is_wanted(self._distinct_of_row[rows], rows, groups, k)]
    counts = np.bincount(self._distinct_of_row[rows], minlength=len(self.first))
    return Members(rows, np.cumsum(counts) - counts, counts)

  def lowest(
    self, k: int, groups: Int[np.ndarray, " rows"] | None
  ) -> Int[np.ndarray, "lowest"]:
    """Returns the lowest rows of all, as many as a search for k can want, rising."""
    rows = np.arange(self.num_rows)
    return rows[_is_wanted(np.zeros_like(rows), rows, groups, k)]

  def only_in(
    self, rows: Int[np.ndarray, " some"]
  ) -> Int[np.ndarray, " distinct_of_some"]:
    """Returns the distinct vectors that no rows but these have."""
    distinct, counts = np.unique(self._distinct_of_row[rows], return_counts=True)
    if self.all_distinct:
      return distinct
    return distinct[counts == np.bincount(self._distinct_of_row)[distinct]]


@dataclasses.dataclass(frozen=True, eq=False)
class Members:
  """The rows of each distinct vector, rising.

  Attributes:
    rows: The rows of the first vector, then those of the second, and so on.
    starts: The place where the rows of each vector begin, [distinct].
    counts: The number of rows of each vector, [distinct].
  """

  rows: Int[np.ndarray, " rows"]
  starts: Int[np.ndarray, " distinct"]
  counts: Int[np.ndarray, " distinct"]

  def of(
    self, candidates: Int[np.ndarray, "queries candidates"]
  ) -> Int[np.ndarray, "queries candidates most"]:
    """Returns the rows of some distinct vectors; −1 where there are no more."""
    starts, counts = self.starts[candidates], self.counts[candidates]
    place = np.arange(counts.max())
    # A place after the last is clipped here and masked below.
    at = np.minimum(starts[:, :, None] + place, len(self.rows) - 1)
    return np.where(place < counts[:, :, None], self.rows[at], -1)


def _is_wanted(distinct, rows, groups, k) -> np.ndarray:
  """Marks the first k of each vector; if a group is left out, of the others as well."""
  if groups is None:
    return _rank((distinct,)) < k
  # Of one group k are enough, and without it so are k of the others.
  wanted = _rank((distinct, groups[rows])) < k
  wanted[wanted] = _rank((distinct[wanted],)) < 2 * k
  return wanted


def _rank(keys: Sequence[np.ndarray]) -> np.ndarray:
  """Counts the elements with the same keys that stand before each."""
  order = np.lexsort(keys[::-1])
  same = np.ones(len(order) - 1, bool)
  for key in keys:
    same &= np.diff(key[order]) == 0
  starts = np.flatnonzero(np.concatenate([[True], ~same]))
  rank = np.empty(len(order), np.int64)
  rank[order] = np.arange(len(order)) - np.repeat(
    starts, np.diff(np.append(starts, len(order)))
  )
  return rank


def _hash(block) -> np.ndarray:
  """Hashes rows to 64 bits; unequal rows share them by chance once in 2**64 pairs."""
  bits = np.ascontiguousarray((block + np.float32(0)).T).view(np.uint32)  # −0 is 0
  words = np.random.default_rng(0).integers(2**64, size=(2, len(bits)), dtype=np.uint64)
  hashes = np.zeros(bits.shape[1], np.uint64)
  for channel, (addend, factor) in zip(bits, words.T, strict=True):
    # Multiply, then mix: a sum of products alone would not see all bits.
    mixed = (channel + addend) * (factor | np.uint64(1))
    hashes += mixed ^ (mixed >> np.uint64(29))
  return hashes
