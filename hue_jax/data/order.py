"""Which example stands where in the endless stream of a seed."""

import functools

import numpy as np


class ShuffledOrder:
  """The example at each position of the stream of a seed.

  Positions e * N up to (e + 1) * N are epoch e: a permutation of the N examples.

  Args:
    num_examples: The number of examples of an epoch, N.
    seed: The seed, from 0 to 2**64 - 1.
  """

  def __init__(self, num_examples: int, seed: int):
    self._num_examples = num_examples
    self._seed = seed
    # Steps are read several at a time, and batches straddle epochs.
    self._permutation = functools.lru_cache(maxsize=4)(self._make_permutation)

  def __call__(self, positions: np.ndarray) -> np.ndarray:
    """Returns the index of the example at each of `positions`, an integer array."""
    epochs, offsets = np.divmod(positions, self._num_examples)
    indices = np.empty_like(offsets)
    for epoch in np.unique(epochs):
      here = epochs == epoch
      indices[here] = self._permutation(int(epoch))[offsets[here]]
    return indices

  def _make_permutation(self, epoch: int) -> np.ndarray:
    # The raw stream of a bit generator is the same in every version of NumPy, which
    # does not promise that of `Generator.permutation`.
    key = np.array([self._seed, epoch], np.uint64)
    keys = np.random.Philox(key=key).random_raw(self._num_examples)
    return np.argsort(keys, kind="stable")
