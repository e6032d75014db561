"""Makes a prepared TFDS data set of local files.

  python -m hue_jax.data.prepare idx --name=fashion_mnist FOLDER
  python -m hue_jax.data.prepare folder --name=my_birds FOLDER
  python -m hue_jax.data.prepare npz --name=my_cells FILE.npz
  python -m hue_jax.data.prepare openclipart
  python -m hue_jax.data.prepare elpv
  python -m hue_jax.data.prepare tuxpaint

It is written under --data_dir, whole or not at all, and is read from there like any
data set of TFDS. Under the name of one that TFDS knows, such as mnist, it is that one
for TFDS too.
"""

import argparse
import functools
import os
import sys
from collections.abc import Sequence

from hue_jax.command import Parser, add_setting, packages, run
from hue_jax.errors import InputError
from hue_jax.settings import MAX_SEED, Integer, Number

with packages():
  from hue_jax.data.packages import PACKAGES, Package, read_package
  from hue_jax.data.sources import Cuts, Source, check_data_set_name
  from hue_jax.pictures import ground_color

_KINDS = {
  "idx": "the four IDX files of MNIST and its kin, gzipped or not",
  "folder": "image files in CLASS/ or {train,validation,test}/CLASS/",
  "npz": "arrays x_train, y_train, x_test, …, or images, labels",
  "openclipart": "Open Clip Art, of Debian's package openclipart-png",
  "elpv": "photographs of solar cells, of the Python package elpv-dataset",
  **{name: f"{of.title} ({of.install})" for name, of in PACKAGES.items()},
}
_LOCAL_FILES = ("idx", "folder", "npz")


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  return run(lambda: _prepare(_parser().parse_args(arguments)))


def _prepare(args: argparse.Namespace) -> None:
  check_data_set_name(args.name.partition("/")[0])
  options = {}
  if "background" in args:
    options["background"] = ground_color(args.background)
  # TensorFlow takes longer to import than what a user may have mistaken takes to tell.
  from hue_jax.data.datasets import default_data_dir
  from hue_jax.data.prepared import prepare, refuse_existing, target_of
  from hue_jax.data.storage import check_folder, is_local

  data_dir = args.data_dir or default_data_dir()
  if not is_local(data_dir):
    raise InputError(
      f"--data_dir is {data_dir!r}; it must be a folder of this machine, whose data "
      "set is copied to a bucket afterwards."
    )
  data_dir = os.path.abspath(os.path.expanduser(data_dir))
  check_folder("--data_dir", data_dir)
  target = target_of(args.name, data_dir)
  refuse_existing(target, args.overwrite)
  if "num_classes" in args:
    options |= {"first_label": args.first_label, "num_classes": args.num_classes}
    if args.num_classes is None and target.features and "label" in target.features:
      # TFDS tells how many; some may have no example.
      options["num_classes"] = target.features["label"].num_classes
  source, description = _READERS[args.kind](args, options)
  if "background" in args:
    description += f" Transparent parts are on {args.background}."
  folder = prepare(
    source, args.name, data_dir, overwrite=args.overwrite, description=description
  )
  counts = ", ".join(f"{s} {len(labels)}" for s, labels in source.labels.items())
  print(
    f"Wrote {args.name}: {source.num_classes} classes, {counts} examples, in {folder}\n"
    f"Use it with: --config.dataset={args.name} --config.data_dir={data_dir}"
  )


# --- Arguments --------------------------------------------------------------------


def _parser() -> Parser:
  parser = Parser.of("hue_jax.data.prepare", __doc__)
  kinds = parser.add_subparsers(dest="kind", required=True)
  for kind, help_text in _KINDS.items():
    command = kinds.add_parser(kind, help=help_text, description=help_text)
    if kind in _LOCAL_FILES:
      command.add_argument("source", help="the file" if kind == "npz" else "the folder")
      command.add_argument("--name", required=True, help="the name of the data set")
    else:
      package = "package file or the " if kind in PACKAGES else ""
      help_text = f"the {package}folder, if it is elsewhere"
      command.add_argument("source", nargs="?", help=help_text)
      command.add_argument("--name", default=kind, help="the name of the data set")
    command.add_argument("--data_dir", help="where to write it (TFDS's default)")
    command.add_argument("--overwrite", action="store_true", help="replace it")
    _add_arguments[kind](command)
  return parser


def _add_seed(group) -> None:
  accepts = Integer(at_least=0, at_most=MAX_SEED)
  add_setting(group, "--seed", accepts, default=0, help="of what is drawn (0)")


def _add_split_arguments(command: Parser) -> None:
  group = command.add_argument_group("splits that the source lacks are cut from train")
  help_text = "(0.1, where it has no splits at all)"
  add_setting(group, "--test_fraction", Number(), help=help_text)
  add_setting(group, "--validation_fraction", Number(), help="(0)")
  _add_seed(group)


def _add_label_arguments(command: Parser) -> None:
  group = command.add_argument_group("labels")
  add_setting(group, "--first_label", Integer(), help="of the first class (0)")
  add_setting(group, "--num_classes", Integer(), help="where some have no example")


def _add_background(command: Parser) -> None:
  help_text = "what transparent parts show: a color's name or #rrggbb (white)"
  command.add_argument("--background", default="white", help=help_text)


def _add_folder_arguments(command: Parser) -> None:
  _add_split_arguments(command)
  _add_background(command)


def _add_npz_arguments(command: Parser) -> None:
  _add_split_arguments(command)
  _add_label_arguments(command)
  _add_background(command)


def _add_openclipart_arguments(command: Parser) -> None:
  add_setting(command, "--per_class", Integer(), default=400, help="at most (400)")
  help_text = "or left out (90)"
  add_setting(command, "--least_per_class", Integer(), default=90, help=help_text)
  help_text = "longer side, at most (256)"
  add_setting(command, "--size", Integer(), default=256, help=help_text)
  add_setting(command, "--test_fraction", Number(), default=0.2, help="(0.2)")
  _add_seed(command)
  _add_background(command)


def _add_elpv_arguments(command: Parser) -> None:
  add_setting(command, "--test_fraction", Number(), default=0.25, help="(0.25)")
  _add_seed(command)


def _add_package_arguments(package: Package, command: Parser) -> None:
  parts = {"test": package.test, "validation": package.validation}
  for split, part in parts.items():
    name, help_text = f"--{split}_fraction", f"({part})"
    add_setting(command, name, Number(), default=part, help=help_text)
  _add_seed(command)
  _add_background(command)


_add_arguments = {
  "idx": _add_label_arguments,
  "folder": _add_folder_arguments,
  "npz": _add_npz_arguments,
  "openclipart": _add_openclipart_arguments,
  "elpv": _add_elpv_arguments,
  **{
    name: functools.partial(_add_package_arguments, package)
    for name, package in PACKAGES.items()
  },
}


# --- Readers: what is read, and the sentences by which the data set describes itself --


def _read_idx(args: argparse.Namespace, options: dict) -> tuple[Source, str]:
  from hue_jax.data.idx import read_idx
  from hue_jax.data.prepared import LOCAL

  return read_idx(_path(args), **options), LOCAL


def _read_folder(args: argparse.Namespace, options: dict) -> tuple[Source, str]:
  from hue_jax.data.folder import read_folder
  from hue_jax.data.prepared import LOCAL

  return read_folder(_path(args), _cuts(args), **options), LOCAL


def _read_npz(args: argparse.Namespace, options: dict) -> tuple[Source, str]:
  from hue_jax.data.arrays import read_npz
  from hue_jax.data.prepared import LOCAL

  return read_npz(_path(args), _cuts(args), **options), LOCAL


def _read_openclipart(args: argparse.Namespace, options: dict) -> tuple[Source, str]:
  from hue_jax.data.openclipart import DESCRIPTION, FOLDER, read_openclipart

  source = read_openclipart(
    _path(args) or FOLDER,
    per_class=args.per_class,
    least_per_class=args.least_per_class,
    size=args.size,
    test_fraction=args.test_fraction,
    seed=args.seed,
    **options,
  )
  return source, DESCRIPTION


def _read_elpv(args: argparse.Namespace, options: dict) -> tuple[Source, str]:
  from hue_jax.data.elpv import DESCRIPTION, read_elpv

  del options
  source = read_elpv(_path(args), test_fraction=args.test_fraction, seed=args.seed)
  return source, DESCRIPTION


def _read_package(args: argparse.Namespace, options: dict) -> tuple[Source, str]:
  package = PACKAGES[args.kind]
  source = read_package(
    package,
    _path(args),
    test_fraction=args.test_fraction,
    validation_fraction=args.validation_fraction,
    seed=args.seed,
    **options,
  )
  return source, package.description


_READERS = {
  "idx": _read_idx,
  "folder": _read_folder,
  "npz": _read_npz,
  "openclipart": _read_openclipart,
  "elpv": _read_elpv,
  **dict.fromkeys(PACKAGES, _read_package),
}


def _path(args: argparse.Namespace) -> str | None:
  return os.path.expanduser(args.source) if args.source else None


def _cuts(args: argparse.Namespace) -> Cuts:
  return Cuts(args.test_fraction, args.validation_fraction, args.seed)


if __name__ == "__main__":
  sys.exit(main())
