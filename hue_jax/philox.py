"""Random numbers as a function of a seed and a position.

Philox4x32-10 of Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (2011):
ten rounds turn a counter of four 32-bit words and a key of two into four random
words. There is no state, so any number of any stream costs the same.
NumPy's own Philox is that of 64-bit words and gives other numbers.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

_ROUNDS = 10
_MULTIPLIERS = np.array([0xD2511F53, 0xCD9E8D57], np.uint64)
_WEYL = np.array([0x9E3779B9, 0xBB67AE85], np.uint64)
_LOW = np.uint64(0xFFFFFFFF)
_WORD = np.uint64(32)


def uniforms(seed: int, positions: np.ndarray, count: int) -> np.ndarray:
  """Draws `count` numbers at each position of the stream of a seed.

  Args:
    seed: The seed, from 0 to 2**64 - 1.
    positions: The positions, integers from 0 to 2**64 - 1, [num_positions].
    count: The number of random numbers for each position.

  Returns:
    The numbers, float32 [num_positions, count], multiples of 2**-24 in [0, 1).
  """
  positions = np.asarray(positions).astype(np.uint64)[:, np.newaxis]
  blocks = np.arange(-(-count // 4), dtype=np.uint64)
  low, high, block = np.broadcast_arrays(
    positions & _LOW, positions >> _WORD, blocks[np.newaxis]
  )
  counter = [low, high, block, np.zeros_like(block)]
  words = philox4x32(counter, [seed & 0xFFFFFFFF, seed >> 32])
  bits = np.stack(words, axis=-1).reshape(len(positions), -1)[:, :count]
  return (bits >> np.uint64(8)).astype(np.float32) * np.float32(2**-24)


@dataclasses.dataclass(frozen=True)
class NamedUniforms:
  """Random numbers of each position, by name.

  Attributes:
    counts: Name → how many numbers it has. Their order is that of the stream: a name
      before others moves these, one after them does not.
  """

  counts: Mapping[str, int]

  def draw(self, seed: int, positions: np.ndarray) -> np.ndarray:
    """Returns all numbers of each position, float32 [num_positions, num_uniforms]."""
    return uniforms(seed, positions, sum(self.counts.values()))

  def by_name(self, numbers: Any) -> dict[str, Any]:
    """Returns the numbers of each name, of all those of one position, [num_uniforms].

    They may be a tensor of any library.
    """
    named, first = {}, 0
    for name, count in self.counts.items():
      named[name] = numbers[first : first + count]
      first += count
    return named


def philox4x32(counter: list[np.ndarray], key: list[int]) -> list[np.ndarray]:
  """Applies Philox4x32-10.

  Args:
    counter: Four uint64 arrays of 32-bit words, of one shape.
    key: Two 32-bit words.

  Returns:
    Four uint64 arrays of random 32-bit words.
  """
  c0, c1, c2, c3 = counter
  keys = np.array(key, np.uint64)
  for _ in range(_ROUNDS):
    even, odd = c0 * _MULTIPLIERS[0], c2 * _MULTIPLIERS[1]
    c0, c1, c2, c3 = (
      (odd >> _WORD) ^ c1 ^ keys[0],
      odd & _LOW,
      (even >> _WORD) ^ c3 ^ keys[1],
      even & _LOW,
    )
    keys = (keys + _WEYL) & _LOW
  return [c0, c1, c2, c3]
