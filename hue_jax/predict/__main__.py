"""Tells the classes of pictures by a trained network.

  python -m hue_jax.predict cat.jpg holiday/ --network=efficientnet_lite0
  python -m hue_jax.predict pictures/ --network=runs/pets --format=html \\
    --output=pets.html

Of folders it takes all pictures, at any depth. They are read as in training: upright,
transparent parts on white, every bit depth, the first frame of an animation. The page
shows the colored layers beside each picture. A picture that cannot be read is named,
the others are done, and the exit status is 2.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hue_jax.command import Parser, add_setting, keep_standard_output, packages, run
from hue_jax.errors import InputError, Stopped
from hue_jax.files import write_text
from hue_jax.picture_arguments import (
  add_network,
  add_pictures,
  add_taps,
  check_writable,
  names,
)
from hue_jax.settings import Choice, Integer

with packages():
  from hue_jax.picture_files import find_pictures
  from hue_jax.pictures import ground_color

if TYPE_CHECKING:
  from hue_jax.predict.predict import Prediction

FORMATS = ("text", "json", "html")
_MOST_ON_A_PAGE = 64


class LeftOut(Stopped):
  """Pictures that could not be read, each of which is named."""

  word = "left out"
  status = 2


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  return run(lambda: _predict(_parser().parse_args(arguments)))


def _predict(args: argparse.Namespace) -> None:
  background = ground_color(args.background)
  output = os.path.expanduser(args.output)
  if output:
    check_writable("--output", output)
  paths = find_pictures(args.images)
  if args.format == "html":
    _check_page(len(paths))
  standard_output = keep_standard_output()
  # They take longer to import than what a user may have mistaken takes to tell.
  from hue_jax.predict import report
  from hue_jax.predict.predict import predict
  from hue_jax.train.predictor import load_predictor

  predictor = load_predictor(
    args.network, model=args.model, setting="--network", model_setting="--model"
  )
  html = args.format == "html"
  taps = predictor.network.check_taps(names(args.taps)) if html else ()
  done, left_out = _sorted_out(
    predict(
      predictor,
      paths,
      top=args.top,
      taps=taps,
      keep_images=html,
      background=background,
    )
  )
  if args.format == "text":
    text = report.as_text(done, predictor) if done else ""
  elif args.format == "json":
    text = report.as_json(done, predictor, left_out)
  else:
    text = report.as_page(done, predictor, left_out)
  if output:
    write_text(output, text)
  else:
    print(text, end="", file=standard_output, flush=True)
  if left_out:
    raise LeftOut(f"{len(left_out)} of {len(paths)} pictures, which cannot be read.")


def _sorted_out(predictions) -> "tuple[list[Prediction], list[Prediction]]":
  """Returns what was read and what was not, which is named as soon as it is known."""
  done, left_out = [], []
  for prediction in predictions:
    if prediction.trouble:
      print(f"error: {prediction.trouble}", file=sys.stderr)
    (left_out if prediction.trouble else done).append(prediction)
  return done, left_out


def _parser() -> Parser:
  parser = Parser.of("hue_jax.predict", __doc__)
  add_pictures(parser)
  add_network(parser)
  add_setting(
    parser,
    "--top",
    Integer(at_least=1),
    default=5,
    metavar="N",
    help="how many classes of each picture",
  )
  add_setting(
    parser,
    "--format",
    Choice(FORMATS),
    default="text",
    metavar=f"{{{','.join(FORMATS)}}}",
    help="text, one JSON object, or one page with colored layers",
  )
  parser.add_argument(
    "--output", default="", help="a file; standard output if not given"
  )
  add_taps(parser)
  return parser


def _check_page(count: int) -> None:
  if count > _MOST_ON_A_PAGE:
    raise InputError(
      f"{count} images are given; a page holds at most {_MOST_ON_A_PAGE}. Give fewer, "
      "or choose --format=json."
    )
  with packages():
    import jinja2  # noqa: F401


if __name__ == "__main__":
  sys.exit(main())
