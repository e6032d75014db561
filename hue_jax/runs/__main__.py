"""Compares the runs of a folder on one page: curves, settings that differ, results.

  python -m hue_jax.runs runs
  python -m hue_jax.runs runs --output=runs.html

The page needs no network and no server. What cannot be read of a run is said there.
Runs in a bucket are copied to this machine first.
"""

import argparse
import sys
from collections.abc import Sequence

from hue_jax.command import Parser, run
from hue_jax.errors import InputError
from hue_jax.files import local_path


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  return run(lambda: _compare(_parser().parse_args(arguments)))


def _compare(args: argparse.Namespace) -> None:
  folder = local_path("DIR", args.folder)
  if not folder.is_dir():
    raise InputError(f"DIR is {args.folder!r}; it must be a folder of runs.")
  output = local_path("--output", args.output or folder / "runs.html")
  if output.suffix != ".html":
    raise InputError(f"--output is {args.output!r}; it must end in .html.")
  # They take longer to import than what a user may have mistaken takes to tell.
  from hue_jax.runs.page import write_page
  from hue_jax.runs.reading import read_runs

  found = read_runs(folder)
  if not found:
    raise InputError(
      f"DIR is {args.folder!r}, which holds no run; it must hold workdirs of main.py, "
      "or be one."
    )
  write_page(found, output)
  damaged = sum(bool(one.damage) for one in found)
  told = f", {damaged} of them damaged in part or whole" if damaged else ""
  print(f"Wrote {output}: {len(found)} run(s){told}")


def _parser() -> Parser:
  parser = Parser.of("hue_jax.runs", __doc__)
  parser.add_argument("folder", metavar="DIR", help="A folder of workdirs, or one.")
  parser.add_argument(
    "--output", default="", help="The page; DIR/runs.html if left out."
  )
  return parser


if __name__ == "__main__":
  sys.exit(main())
