"""The kinds of faults, and how many are thrown of each."""

import functools
from collections.abc import Callable
from pathlib import Path

from tests.faults import configurations, signals, storage
from tests.faults.runs import Bench, Count


@functools.cache
def _bench(folder: Path, hue: str) -> Bench:
  return Bench(folder, hue)


def _on(throw: Callable[..., Count], hue: str = "sectors") -> Callable[..., Count]:
  """Returns a function of faults at the runs of an objective."""
  return lambda folder, number, seed: throw(_bench(folder, hue), number, seed)


# Name → function of (folder, number, seed), how many it throws, and how many in short.
FAULTS = {
  "kills": (_on(signals.kills), 20, 3),
  "kills_memory": (_on(signals.kills, "memory"), 20, 0),
  "stops": (_on(signals.stops), 10, 0),
  "losses": (_on(signals.losses), 4, 0),
  "full_disk": (_on(storage.full_disk), 10, 1),
  "read_only": (_on(storage.read_only), 4, 0),
  "data_gone": (_on(storage.data_gone), 4, 1),
  "two_runs": (_on(storage.two_runs), 4, 0),
  "pictures": (
    lambda folder, number, seed: storage.damaged_pictures(number, seed),
    200,
    200,
  ),
  "configurations": (configurations.fuzzed, 500, 6),
}
