"""The order of an epoch that is read by blocks: which example stands where.

A *block* is a run of neighbors in one file, which one request reads. An epoch is a
random order of all blocks. It is cut into `LANES` lanes of equal length, whose examples
alternate in the stream: position D is of lane D mod LANES. Within a lane, the examples
of several blocks in a row, a *window*, are in random order.

So the stream is a function of (seed, position) alone. Of P processes, each with its
rows of every batch, each reads the blocks of LANES / P lanes and no others, and holds
the part 1 / P of a window in memory.
"""

import dataclasses
import functools

import numpy as np

from hue_jax.errors import InputError

LANES = 64
# An epoch has so many blocks for each lane, unless it has fewer examples, and a window
# so many of each lane.
_LEAST_BLOCKS = 4
_WINDOW_BITS = 24


def blocks_of(
  pieces: np.ndarray,
  indices: np.ndarray,
  *,
  mean_bytes: int | float,
  block_bytes: int,
) -> np.ndarray:
  """Cuts the examples of an epoch into blocks.

  Args:
    pieces: The first index of each run of the split that lies in one file, and the end
      of the last, [num_pieces + 1].
    indices: The examples of an epoch in rising order, [num_examples].
    mean_bytes: The mean size of an example.
    block_bytes: The most bytes of a block, as far as the mean tells.

  Returns:
    The first place in `indices` of each block, and the end of the last, [num_blocks +
    1].
  """
  length = int(max(1, min(block_bytes / mean_bytes, len(indices) / _all_blocks())))
  # What is left out between two examples is read with them.
  piece = np.searchsorted(pieces, indices, side="right") - 1
  within = indices - pieces[piece]
  sizes = np.diff(pieces)[piece]
  # Blocks of a file are of equal size, but for one example.
  number = within * -(-sizes // length) // sizes
  changes = np.flatnonzero((np.diff(piece) != 0) | (np.diff(number) != 0)) + 1
  return np.concatenate([[0], changes, [len(indices)]])


@dataclasses.dataclass(frozen=True)
class Epoch:
  """One epoch of the stream.

  Attributes:
    places: The place at each position, [num_examples].
    windows: The window at each position, [num_examples].
    ranks: The number of positions before it that are of its window, [num_examples].
    sizes: The number of places of each window, [num_windows].
    lanes: The lane of each window, [num_windows].
    runs: The places that are read together, [num_runs, 2]: the first, and the end.
    first_runs: The first run of each window, and the end of the last, [num_windows +
      1].
    first_windows: The first window of each lane, [LANES]; its number of windows and
      more where a lane is empty.
  """

  places: np.ndarray
  windows: np.ndarray
  ranks: np.ndarray
  sizes: np.ndarray
  lanes: np.ndarray
  runs: np.ndarray
  first_runs: np.ndarray
  first_windows: np.ndarray


class BlockOrder:
  """The place at each position of the stream of a seed.

  Positions e * N up to (e + 1) * N are epoch e: a permutation of the N places.

  Args:
    blocks: The first place of each block, and N, [num_blocks + 1].
    seed: The seed, from 0 to 2**64 - 1.
    window: The least number of examples that are mixed with each other, over all
      lanes; an epoch that has fewer is one window.
  """

  def __init__(self, blocks: np.ndarray, seed: int, *, window: int):
    self._blocks = np.asarray(blocks, np.int64)
    self._num_examples = int(blocks[-1])
    self._seed = seed
    longest = int(np.diff(self._blocks).max())
    self.window = max(window, longest * _all_blocks())
    # Steps are read several at a time, and batches straddle epochs.
    self.epoch = functools.lru_cache(maxsize=3)(self._make_epoch)

  def __call__(self, positions: np.ndarray) -> np.ndarray:
    """Returns the place at each of `positions`, an integer array."""
    epochs, offsets = self.split(positions)
    places = np.empty_like(offsets)
    for epoch in np.unique(epochs):
      here = epochs == epoch
      places[here] = self.epoch(int(epoch)).places[offsets[here]]
    return places

  def split(self, positions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the epoch of each position, and the number of those before it there."""
    return np.divmod(positions, self._num_examples)

  def _make_epoch(self, epoch: int) -> Epoch:
    num = self._num_examples
    drawn = np.argsort(self._random(epoch, 1, len(self._blocks) - 1), kind="stable")
    lengths = np.diff(self._blocks)[drawn]
    ends = np.cumsum(lengths)
    # All places, block by block.
    sequence = np.arange(num) + np.repeat(self._blocks[drawn] - ends + lengths, lengths)

    lane = (epoch * num + np.arange(num)) % LANES  # of each position
    lane_ends = np.cumsum(np.bincount(lane, minlength=LANES))
    starts = np.union1d(np.append(0, ends), lane_ends)[:-1]  # of runs in the sequence
    run_window, window_lanes = self._windows(starts, lane_ends)
    run_sizes = np.diff(np.append(starts, num))
    of_sequence = np.repeat(run_window, run_sizes)
    # By window, and at random within; so many bits that hardly two are the same.
    keys = self._random(epoch, 2, num) >> np.uint64(_WINDOW_BITS)
    keys |= of_sequence.astype(np.uint64) << np.uint64(64 - _WINDOW_BITS)
    mixed = np.argsort(keys, kind="stable")

    by_lane = np.argsort(lane, kind="stable")
    places, windows, ranks = (np.empty(num, np.int64) for _ in range(3))
    places[by_lane] = sequence[mixed]
    windows[by_lane] = of_sequence
    sizes = np.bincount(run_window, run_sizes).astype(np.int64)
    ranks[by_lane] = np.arange(num) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    firsts = sequence[starts]
    counts = np.arange(len(sizes) + 1)
    return Epoch(
      places,
      windows,
      ranks,
      sizes,
      window_lanes,
      np.stack([firsts, firsts + run_sizes], axis=1),
      np.searchsorted(run_window, counts),
      np.searchsorted(window_lanes, np.arange(LANES)),
    )

  def _windows(self, starts, lane_ends):
    """Returns the window of each run, and the lane of each window."""
    sizes = np.diff(lane_ends, prepend=0)
    lanes = np.searchsorted(lane_ends, starts, side="right")
    within = starts - (lane_ends - sizes)[lanes]
    counts = np.maximum(1, sizes * LANES // self.window)[lanes]
    number = within * counts // sizes[lanes]
    # Of a lane with few runs, some numbers have none.
    new = np.append(True, (np.diff(lanes) != 0) | (np.diff(number) != 0))
    return np.cumsum(new) - 1, lanes[new]

  def _random(self, epoch, purpose, count):
    # The raw stream of a bit generator is the same in every version of NumPy.
    key = np.array([self._seed, epoch], np.uint64)
    counter = np.array([0, 0, purpose, 0], np.uint64)
    return np.random.Philox(key=key, counter=counter).random_raw(count)


def by_lane(positions: np.ndarray, drawn: np.ndarray) -> np.ndarray:
  """Returns the positions of a batch, lane by lane: each process has few lanes.

  Args:
    positions: The positions of a step, [batch].
    drawn: The position in the stream of examples that each takes, [batch]. It differs
      from the position itself where an example stands in a batch several times.
  """
  # Two lanes together, for two examples alternate where each stands several times.
  return positions[np.argsort(drawn % LANES // 2, kind="stable")]


def check_block_bytes(
  name: str, split: str, split_bytes: int | float, block_bytes: int
) -> None:
  """Raises an InputError for blocks larger than the split.

  Args:
    name: The name of the data set.
    split: The split.
    split_bytes: Its size.
    block_bytes: The size of a block.
  """
  if block_bytes > split_bytes:
    raise InputError(
      f"shuffle_block_bytes is {block_bytes}; it must be at most {int(split_bytes)}, "
      f"the bytes of {name} split {split!r}, for shuffle 'blocks'."
    )


def _all_blocks() -> int:
  return LANES * _LEAST_BLOCKS
