"""Reads a prepared data set once, in order, and tells what is in it.

  python -m hue_jax.data.check --dataset=imagenet2012 --data_dir=gs://BUCKET/tfds
  python -m hue_jax.data.check --dataset=my_birds --split=train --json

Counts by class, sizes, the rate of reading, and what is damaged, by file and record;
the exit status is 1 if something is. The index of the records, which a training needs,
is kept on the way.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Sequence

from hue_jax.command import Parser, keep_standard_output, run
from hue_jax.data.survey_report import text_of
from hue_jax.errors import Stopped
from hue_jax.files import readable


class Damaged(Stopped):
  """A data set of which something cannot be read."""

  word = "damaged"


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  return run(lambda: _check(_parser().parse_args(arguments)))


def _check(args: argparse.Namespace) -> None:
  output = keep_standard_output()
  # TensorFlow takes longer to import than what a user may have mistaken takes to tell.
  from hue_jax.data.datasets import open_dataset
  from hue_jax.data.survey import survey

  dataset = open_dataset(args.dataset, args.data_dir)
  found = survey(dataset, args.split, decode=not args.headers_only)
  if args.json:
    content = {"dataset": args.dataset, "folder": dataset.folder}
    content["splits"] = [dataclasses.asdict(split) for split in found]
    print(json.dumps(content), file=output)
  else:
    print(readable(f"{args.dataset} in {dataset.folder}"), file=output)
    for split in found:
      print(text_of(split, dataset.class_names), file=output)
  output.flush()
  if any(split.damaged for split in found):
    lost = sum(split.lost for split in found)
    of = sum(split.records for split in found)
    raise Damaged(f"{lost:,} of the {of:,} records of {args.dataset} cannot be used")


def _parser() -> Parser:
  parser = Parser.of("hue_jax.data.check", __doc__)
  parser.add_argument("--dataset", required=True, help="its name, as TFDS has it")
  parser.add_argument("--data_dir", help="where it is prepared (TFDS's default)")
  parser.add_argument("--split", help="one of its splits (all)")
  parser.add_argument("--json", action="store_true", help="as one line of JSON")
  parser.add_argument(
    "--headers_only",
    action="store_true",
    help="trust the pixels of an image whose header can be read",
  )
  return parser


if __name__ == "__main__":
  sys.exit(main())
