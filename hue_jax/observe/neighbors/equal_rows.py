"""Rows that are equal: searched once, and told apart by their numbers alone.

Layers have many: a white background gives the same activation everywhere, and a dead
layer has one vector for all positions. An engine that kept them all would return any
of thousands of rows at the same distance.
"""

import numpy as np
from jaxtyping import Int

from hue_jax.observe.neighbors.space import blocks


class EqualRows:
  """Which rows of an array of vectors are equal.

  Attributes:
    num_rows: of the array.
    first: lowest row of each distinct vector, rising, [distinct].
  """

  def __init__(self, vectors):
    hashes = np.concatenate([_hash(block) for block in blocks(vectors)])
    self.num_rows = len(hashes)
    _, first, place = np.unique(hashes, return_index=True, return_inverse=True)
    by_row = np.argsort(first)  # the distinct vectors in the order of their rows
    self.first = first[by_row]
    self._distinct_of_row = np.argsort(by_row)[place]

  def distinct(self, vectors):
    """The distinct vectors: the array itself, if all rows are."""
    return vectors if len(self.first) == self.num_rows else vectors[self.first]

  def members(
    self, k: int, groups: Int[np.ndarray, "rows"] | None
  ) -> Int[np.ndarray, "distinct members"]:
    """Rows of each distinct vector, rising, as many as a search for k can want.

    Args:
      k: of the search.
      groups: of the rows, if those of one group are not wanted.

    Returns:
      Rows; −1 where there are no more.
    """
    if len(self.first) == self.num_rows:
      return self.first[:, None]
    rows = np.argsort(self._distinct_of_row, kind="stable")
    most = k
    if groups is not None:
      # Of one group k are enough, and without it so are k of the others.
      rows = rows[_rank((self._distinct_of_row[rows], groups[rows])) < k]
      most = 2 * k
    distinct = self._distinct_of_row[rows]
    rank = _rank((distinct,))
    rows, distinct, rank = (values[rank < most] for values in (rows, distinct, rank))
    members = np.full((len(self.first), rank.max() + 1), -1)
    members[distinct, rank] = rows
    return members


def _rank(keys) -> np.ndarray:
  """How many elements with the same keys stand before each."""
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
  """64 bits of each row, equal for equal rows; by chance equal once in 2**64 pairs."""
  bits = np.ascontiguousarray(block + np.float32(0)).view(np.uint32)  # −0 is 0
  words = np.random.default_rng(0).integers(
    2**64, size=(2, bits.shape[1]), dtype=np.uint64
  )
  hashes = np.zeros(len(bits), np.uint64)
  for column in range(bits.shape[1]):
    # Multiply, then mix: a sum of products alone would not see all bits.
    mixed = (bits[:, column] + words[0, column]) * (words[1, column] | np.uint64(1))
    hashes += mixed ^ (mixed >> np.uint64(29))
  return hashes
