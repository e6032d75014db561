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

from tests.faults.kinds import FAULTS

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
  parser.add_argument("--only", nargs="+", choices=sorted(FAULTS), default=FAULTS)
  parser.add_argument("--short", action="store_true", help="few of each kind")
  parser.add_argument("--number", type=int, help="how many of each kind")
  parser.add_argument("--seed", type=int, default=int(time.time()))
  arguments = parser.parse_args()
  print(f"seed {arguments.seed}\n\n{_HEAD}", flush=True)
  lost = []
  with tempfile.TemporaryDirectory() as folder:
    for name in arguments.only:
      throw, long, short = FAULTS[name]
      number = arguments.number or (short if arguments.short else long)
      count = throw(Path(folder), number, arguments.seed)
      print(count.row(), flush=True)
      lost += [f"{count.fault}: {wrong}" for wrong in count.lost]
  print("\n".join(["", *lost]), file=sys.stderr)
  return int(bool(lost))


if __name__ == "__main__":
  sys.exit(main())
