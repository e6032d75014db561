"""Threads that wait for slow storage."""

import functools
import queue
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

_THREADS = 32


class DaemonPool:
  """Threads that end with the process, though a bucket may not have answered them.

  Those of `concurrent.futures` hold the end of a process up until their work is done.

  Args:
    threads: The number of threads, which are started when there is work.
  """

  def __init__(self, threads: int):
    self._waiting: queue.SimpleQueue = queue.SimpleQueue()
    self._left = threads
    self._lock = threading.Lock()

  def submit(self, call: Callable[[], Any]) -> Future:
    """Returns what a call will return, or raise, on one of the threads."""
    future: Future = Future()
    self._waiting.put((future, call))
    with self._lock:
      if self._left:
        self._left -= 1
        threading.Thread(target=self._work, daemon=True).start()
    return future

  def map(self, function: Callable[[Any], Any], items: Any) -> list:
    """Returns what a function returns for each item."""
    waiting = [self.submit(functools.partial(function, item)) for item in items]
    return [future.result() for future in waiting]

  def _work(self):
    while True:
      future, call = self._waiting.get()
      try:
        result = call()
      except BaseException as error:
        future.set_exception(error)
      else:
        future.set_result(result)
      del future, call  # Not held until there is work again.


@functools.cache
def shared_pool() -> DaemonPool:
  """Returns the threads of all readers. What they do must not wait for them itself."""
  return DaemonPool(_THREADS)
