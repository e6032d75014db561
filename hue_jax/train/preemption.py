"""Notices that a run is told to stop: SIGTERM, as of a machine that is taken away, or
SIGINT, as of Ctrl-C.
"""

import os
import signal
import threading
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import jax
from jax.experimental import multihost_utils

from hue_jax.errors import Stopped

_Item = TypeVar("_Item")
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Preempted(Stopped):
  """The run was told to stop, and its state is saved."""

  word = "preempted"

  def __init__(self, message: str, signum: int = signal.SIGTERM):
    """Takes the line that is told, and the signal, which makes the exit status."""
    super().__init__(message)
    self.status = 128 + signum


class Watch:
  """Remembers a signal to stop until it is asked, between steps.

  Use as a context manager: leaving gives the signals back to who had them. The first
  signal gives them back, too, so that a second one does what it would have done
  without this: `stop_at_once`, in a command. Where several processes run, JAX's own
  service notices SIGTERM in any of them and makes them all stop at the same place;
  SIGINT is handed to it as SIGTERM.
  """

  def __init__(self):
    self._told: int | None = None
    self._asked = 0
    self._previous: dict[int, Any] = {}

  def __enter__(self):
    if threading.current_thread() is threading.main_thread():
      for signum in _SIGNALS if jax.process_count() == 1 else (signal.SIGINT,):
        # Ctrl-C does not mean what a shell runs in the background.
        if signal.getsignal(signum) is not signal.SIG_IGN:
          self._previous[signum] = signal.signal(signum, self._remember)
    return self

  def __exit__(self, *_):
    self._give_back()

  @property
  def signal_name(self) -> str:
    """The name of the signal, as in "SIGTERM"."""
    return signal.Signals(self._told or signal.SIGTERM).name

  def told_to_stop(self) -> bool:
    """Returns whether to save and stop here; the same in every process.

    Every process must ask equally often, at the same places.
    """
    self._asked += 1
    if jax.process_count() > 1:
      return multihost_utils.reached_preemption_sync_point(self._asked)
    return self._told is not None

  def stopped(self, where: str) -> Preempted:
    """Returns the exception to raise when told to stop.

    Args:
      where: What was done and what is saved.
    """
    return Preempted(
      f"stopped by {self.signal_name} {where}; the same command goes on.",
      self._told or signal.SIGTERM,
    )

  def until_told(self, items: Iterable[_Item], where: str) -> Iterator[_Item]:
    """Yields the items, and raises `Preempted` between them when told to stop.

    Args:
      items: The items, such as the batches of an evaluation.
      where: What was done and what is saved.
    """
    for item in items:
      if self.told_to_stop():
        raise self.stopped(where)
      yield item

  def _remember(self, signum, _):
    self._give_back()
    self._told = signum
    os.write(2, b"stopping after this step; a second signal stops at once.\n")
    if jax.process_count() > 1:
      signal.raise_signal(signal.SIGTERM)

  def _give_back(self):
    for signum, handler in self._previous.items():
      signal.signal(signum, handler)
    self._previous = {}


def stop_at_once() -> None:
  """Makes SIGTERM and SIGINT end this process with a line, and nothing else.

  It is for commands, in place of a traceback from wherever the signal found them. What
  a run writes is whole or not there whenever it ends.
  """
  for signum in _SIGNALS:
    if signal.getsignal(signum) is not signal.SIG_IGN:
      signal.signal(signum, _end)


def _end(signum, _):
  os.write(2, f"stopped at once by {signal.Signals(signum).name}.\n".encode())
  os._exit(128 + signum)
