"""Throws faults at real runs, and counts what they survive.

    python -m tests.faults                    # all of it: an hour or more
    python -m tests.faults --only kills stops # some of it
    python -m tests.faults --short            # as in CI, in two minutes

Each row of the table that is printed is a kind of fault: how many were thrown, how many
runs then ended as they must, to the bit of one that was left alone, or with one clear
line, and how many did not. It ends with status 1 if one did not.
"""

import argparse
import sys
import tempfile
import time
from pathlib import Path

from tests.faults import configurations, signals, storage
from tests.faults.runs import Bench

_HEAD = (
  "| fault | tried | survived | lost | of these |\n| --- | --- | --- | --- | --- |"
)


def main() -> int:
  """Throws what the arguments name; returns the exit status."""
  parser = argparse.ArgumentParser(
    prog="python -m tests.faults",
    description=__doc__,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  parser.add_argument("--only", nargs="+", choices=sorted(_FAULTS), default=_FAULTS)
  parser.add_argument("--short", action="store_true", help="few of each kind")
  parser.add_argument("--number", type=int, help="how many of each kind")
  parser.add_argument("--seed", type=int, default=int(time.time()))
  arguments = parser.parse_args()
  print(f"seed {arguments.seed}\n\n{_HEAD}", flush=True)
  lost = []
  with tempfile.TemporaryDirectory() as folder:
    Path(folder).chmod(0o755)  # for runs that are not ours
    for name in arguments.only:
      throw, long, short = _FAULTS[name]
      number = arguments.number or (short if arguments.short else long)
      count = throw(Path(folder), number, arguments.seed)
      print(count.row(), flush=True)
      lost += [f"{count.fault}: {wrong}" for wrong in count.lost]
  print("\n".join(["", *lost]), file=sys.stderr)
  return int(bool(lost))


def _on(throw, hue="sectors"):
  """Returns a function of faults at the runs of an objective."""
  return lambda folder, number, seed: throw(Bench(folder, hue), number, seed)


# Name → function of (folder, number, seed), how many it throws, and how many in short.
_FAULTS = {
  "kills": (_on(signals.kills), 20, 3),
  "kills_memory": (_on(signals.kills, "memory"), 20, 0),
  "stops": (_on(signals.stops), 10, 0),
  "losses": (_on(signals.losses), 4, 0),
  "full_disk": (_on(storage.full_disk), 10, 1),
  "read_only": (_on(storage.read_only), 4, 0),
  "data_gone": (_on(storage.data_gone), 4, 0),
  "two_runs": (_on(storage.two_runs), 4, 0),
  "pictures": (
    lambda folder, number, seed: storage.damaged_pictures(number, seed),
    200,
    200,
  ),
  "configurations": (configurations.fuzzed, 500, 6),
}


if __name__ == "__main__":
  sys.exit(main())
