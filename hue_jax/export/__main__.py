"""Exports a trained network for other programs, with a model card.

  python -m hue_jax.export runs/fashion_hue --to=stablehlo
  python -m hue_jax.export runs/fashion_hue --to=torch --output=fashion --license=mit

Writes a folder: the best checkpoint in the format; config.json with what a loader needs
(class names, image size, mean and deviation of pixels); and README.md, a model card
that Hugging Face's hub reads, with the code that loads the file.
"""

import argparse
import importlib.util
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from hue_jax.command import Parser, add_setting, packages, run
from hue_jax.errors import InputError, refuse
from hue_jax.files import is_local, local_path, readable
from hue_jax.picture_arguments import add_network
from hue_jax.settings import Choice

with packages():
  # Each is needed later; what is missing is told before any work.
  import safetensors  # noqa: F401
  import scipy  # noqa: F401
  import yaml  # noqa: F401

FORMATS = ("safetensors", "torch", "stablehlo", "tf_saved_model")
_NO_ONNX = (
  "--to is 'onnx', for which no converter works with the versions of JAX, Flax and "
  "Orbax that this project needs (jax2onnx 0.17.1 and 0.13.0 were tried, see "
  f"docs/export.md); it must be one of {', '.join(FORMATS)}."
)


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  return run(lambda: _export(_parser().parse_args(arguments)))


def _export(args: argparse.Namespace) -> None:
  if args.to == "tf_saved_model" and importlib.util.find_spec("tensorflow") is None:
    raise InputError(
      "--to is 'tf_saved_model', which needs TensorFlow: pip install 'hue_jax[train]'."
    )
  folder = _folder(args)
  _check_license(args.license)
  # They take longer to import than what a user may have mistaken takes to tell.
  from hue_jax.export.export import check_folder, export
  from hue_jax.train.predictor import load_predictor

  check_folder(folder, args.to)
  predictor = load_predictor(
    args.network, model=args.model, setting="NETWORK", model_setting="--model"
  )
  export(predictor, args.to, folder, license_name=args.license, title=args.title)
  print(readable(f"Wrote {folder}: {', '.join(sorted(os.listdir(folder)))}"))


def _parser() -> Parser:
  parser = Parser.of("hue_jax.export", __doc__)
  add_network(parser, "network")
  add_setting(
    parser,
    "--to",
    _Format(FORMATS),
    required=True,
    metavar=f"{{{','.join(FORMATS)}}}",
    help="the format",
  )
  parser.add_argument(
    "--output", default="", help="the folder; WORKDIR/export/FORMAT if not given"
  )
  parser.add_argument(
    "--license",
    default="unknown",
    help="of the weights, as Hugging Face's hub names it: apache-2.0, cc-by-4.0, …",
  )
  parser.add_argument("--title", default="", help="the title of the model card")
  return parser


class _Format(Choice):
  """A format; of the one that nothing here can write, it is said why."""

  def __call__(self, name, value):
    if value == "onnx":
      raise InputError(_NO_ONNX)
    return super().__call__(name, value)


def _folder(args: argparse.Namespace) -> Path:
  if args.output:
    return local_path("--output", args.output)
  workdir = Path(args.network).expanduser()
  if not (is_local(args.network) and workdir.is_dir()):
    raise InputError(
      f"--output is not given; it must be, for {args.network!r} is no workdir of this "
      "machine."
    )
  return workdir / "export" / args.to


def _check_license(name: str) -> None:
  if not re.fullmatch(r"[a-z0-9][a-z0-9.\-]*", name):
    refuse("--license", name, "a name of Hugging Face's hub, as apache-2.0 or other")


if __name__ == "__main__":
  sys.exit(main())
