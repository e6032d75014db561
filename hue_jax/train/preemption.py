"""Notices that the machine is about to be taken away."""

import signal
import threading

import jax
from jax.experimental import multihost_utils

from hue_jax.errors import Stopped


class Preempted(Stopped):
  """The run was told to stop, and its state is saved."""

  word = "preempted"
  status = 143


class Watch:
  """Remembers a SIGTERM between steps.

  Use as a context manager: leaving gives the signal back to who had it. Where
  several processes run, JAX's own service makes them all stop after the same step.
  """

  def __init__(self):
    self._told = False
    self._own = jax.process_count() == 1 and (
      threading.current_thread() is threading.main_thread()
    )

  def __enter__(self):
    if self._own:
      self._previous = signal.signal(signal.SIGTERM, self._remember)
    return self

  def __exit__(self, *_):
    if self._own:
      signal.signal(signal.SIGTERM, self._previous)

  def told_to_stop(self, step: int) -> bool:
    """Whether to save and stop after this step; the same in every process."""
    if jax.process_count() > 1:
      return multihost_utils.reached_preemption_sync_point(step)
    return self._told

  def _remember(self, *_):
    self._told = True
