"""Where the system does not tell the cores of a process, all of them are taken."""

import os

import pytest

from hue_jax.compare import workers
from hue_jax.cores import available_cores
from hue_jax.data import store, survey


@pytest.mark.parametrize("told", [True, False])
@pytest.mark.parametrize(
  "use",
  [
    lambda: len(available_cores()) >= 1,
    lambda: workers.default_workers() >= 1,
    lambda: list(store._in_order(abs, [-1, -2, -3])) == [1, 2, 3],
    lambda: list(_look_through([1, 2, 3])) == [3],
  ],
)
def test_a_system_that_tells_no_cores(use, told, monkeypatch):
  if not told:
    monkeypatch.delattr(os, "sched_getaffinity")
  assert use()


def _look_through(records):
  found = object.__new__(survey._Tally)
  found._look = lambda record: record
  found._count = len
  return found.over(iter(records))
