"""Reads the blocks of a stream ahead of the steps that need them."""

import collections
import math
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import Future

import numpy as np

from hue_jax.data.blocks import LANES, BlockOrder
from hue_jax.data.daemon_pool import shared_pool
from hue_jax.data.records import RecordSource
from hue_jax.data.storage import BucketError
from hue_jax.errors import InputError

# The next window is on its way when so much of one is used.
_USED_WHEN_NEXT_IS_ASKED_FOR = 0.75
_STEPS_IN_PARALLEL = 4  # So many a loader has begun and not ended.


class BlockReader:
  """The examples of a process's rows of each step, of a stream that is read by blocks.

  It holds, of the lanes that its rows are of, the examples of a window that are not
  used yet and those of the next that are here: at most 1.25 windows, besides what the
  last steps have used. It may be called for any step, by several threads; steps in
  their order are fast.

  Args:
    source: The split.
    order: The order of the stream.
    indices: The index in the split of each place of the order, rising.
    positions_of: A function that returns, for a step, the position in the stream of
      each row of this process, [local_batch].
    repeats: How often a position stands in the rows.
    batch_size: The rows of a step over all processes.
  """

  def __init__(
    self,
    source: RecordSource,
    order: BlockOrder,
    indices: np.ndarray,
    positions_of: Callable[[int], np.ndarray],
    *,
    repeats: int = 1,
    batch_size: int,
  ):
    self._source = source
    self._order = order
    self._indices = indices
    self._positions_of = positions_of
    # A lane has its turn, and its repeated examples their last, within so many steps.
    turn = math.ceil(LANES * repeats / batch_size)
    self._horizon = _STEPS_IN_PARALLEL + 2 * turn
    self._lock = threading.Lock()
    self._windows: dict[tuple[int, int], _Window] = {}
    self._used: collections.deque = collections.deque()
    self._step = 0  # The last that was asked for.
    self._lost: BucketError | None = None  # Why nothing more can be read.

  def read(self, step: int, indices: np.ndarray) -> list[bytes]:
    """Returns the serialized examples of this process's rows of a step.

    Args:
      step: The step.
      indices: The index in the split of each row; what the order gives.

    Raises:
      InputError: If one is damaged or cannot be read.
    """
    epochs, offsets = self._order.split(self._positions_of(step))
    cells = []
    with self._lock:
      self._step = max(step, self._step)
      for epoch in np.unique(epochs).tolist():
        here = offsets[epochs == epoch]
        self._ask_for(epoch, here)
        cells += self._cells(epoch, here)
      self._used.append((step, cells))
      self._forget()
    # Epochs rise with the rows of a lane, but not with all rows of a batch.
    rows = np.argsort(epochs, kind="stable").tolist()
    found: list[bytes] = [b""] * len(rows)
    for row, (run, place) in zip(rows, cells, strict=True):
      example = run.result()[place]
      if isinstance(example, InputError):
        raise example
      if example is None:  # Used before and forgotten, for a loader went back.
        example = self._source.read(indices[row : row + 1])[0]
      found[row] = example
    return found

  def _ask_for(self, epoch: int, offsets: np.ndarray) -> None:
    """Asks for the windows of positions and, as far as these are used, for the next."""
    tables = self._order.epoch(epoch)
    windows, last = np.unique(tables.windows[offsets][::-1], return_index=True)
    ranks = tables.ranks[offsets][::-1][last]  # Positions of a window rise.
    for window, rank in zip(windows.tolist(), ranks.tolist(), strict=True):
      self._window(epoch, window).ask_for(1.0, self._step)
      used = (rank + 1) / tables.sizes[window]
      following = self._following(epoch, window)
      if following:
        share = min(1.0, used / _USED_WHEN_NEXT_IS_ASKED_FOR)
        self._window(*following).ask_for(share, self._step)

  def _following(self, epoch: int, window: int) -> tuple[int, int] | None:
    """Returns the window that comes after one in its lane; None if that cannot be."""
    lanes = self._order.epoch(epoch).lanes
    lane = lanes[window]
    if window + 1 < len(lanes) and lanes[window + 1] == lane:
      return epoch, window + 1
    tables = self._order.epoch(epoch + 1)
    first = int(tables.first_windows[lane])
    if first < len(tables.lanes) and tables.lanes[first] == lane:
      return epoch + 1, first
    return None  # The lane is empty there.

  def _window(self, epoch: int, window: int) -> "_Window":
    key = epoch, window
    if key not in self._windows:
      tables = self._order.epoch(epoch)
      first, end = tables.first_runs[window : window + 2]
      self._windows[key] = _Window(tables.runs[first:end], self._reading)
    return self._windows[key]

  def _reading(self, first: int, end: int) -> Future:
    source, indices = self._source, self._indices[first:end]
    reader = weakref.ref(self)  # What nobody waits for need not be read.

    def read():
      alive = reader()
      if alive is None:
        return []
      if alive._lost:
        raise alive._lost
      try:
        return source.read_run(indices)
      except BucketError as error:
        alive._lost = error
        raise

    return shared_pool().submit(read)

  def _cells(self, epoch: int, offsets: np.ndarray) -> list[tuple[Future, int]]:
    """Returns the run of each position, and its number there."""
    tables = self._order.epoch(epoch)
    places, windows = tables.places[offsets].tolist(), tables.windows[offsets].tolist()
    return [
      self._windows[epoch, window].cell(place)
      for place, window in zip(places, windows, strict=True)
    ]

  def _forget(self) -> None:
    """Lets go of what steps before the last ones have used."""
    oldest = self._step - self._horizon
    while self._used and self._used[0][0] < oldest:
      for run, place in self._used.popleft()[1]:
        if run.done() and not run.exception():
          run.result()[place] = None
    for key in [key for key, one in self._windows.items() if one.step < oldest]:
      del self._windows[key]


class _Window:
  """The runs of a window that are asked for, in their order."""

  def __init__(self, runs: np.ndarray, reading: Callable[[int, int], Future]):
    self._runs = runs.tolist()
    self._reading = reading
    self._asked: list[Future] = []
    self._order = np.argsort(runs[:, 0])
    self._firsts = runs[self._order, 0]
    self.step = 0  # That of the last use.

  def ask_for(self, share: int | float, step: int) -> None:
    """Asks for a share of the runs, unless that is done."""
    self.step = step
    for run in self._runs[len(self._asked) : int(share * len(self._runs))]:
      self._asked.append(self._reading(*run))

  def cell(self, place: int) -> tuple[Future, int]:
    """Returns the run of a place, and the number of the place in it."""
    number = np.searchsorted(self._firsts, place, side="right") - 1
    return self._asked[self._order[number]], place - int(self._firsts[number])
