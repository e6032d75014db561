"""Makes a prepared TFDS data set of local files.

  python -m hue_jax.data.prepare idx --name=fashion_mnist FOLDER
  python -m hue_jax.data.prepare folder --name=my_birds FOLDER
  python -m hue_jax.data.prepare npz --name=my_cells FILE.npz
  python -m hue_jax.data.prepare openclipart
  python -m hue_jax.data.prepare elpv

It is written under --data_dir, whole or not at all, and is read from there like any
data set of TFDS. Under the name of one that TFDS knows, such as mnist, it is that one
for TFDS too.
"""

import argparse
import functools
import hashlib
import os
import re
import sys
from collections.abc import Sequence
from typing import NamedTuple

import tensorflow_datasets as tfds

from hue_jax import command
from hue_jax.data import elpv, openclipart, store
from hue_jax.data.arrays import read_npz
from hue_jax.data.datasets import default_data_dir, registered_names
from hue_jax.data.folder import read_folder
from hue_jax.data.idx import read_idx
from hue_jax.data.sources import Cuts, Source, lacking_classes
from hue_jax.errors import InputError, check_integer
from hue_jax.pictures import ground_color
from hue_jax.settings import MAX_SEED

_KINDS = {
  "idx": "the four IDX files of MNIST and its kin, gzipped or not",
  "folder": "image files in CLASS/ or {train,validation,test}/CLASS/",
  "npz": "arrays x_train, y_train, x_test, …, or images, labels",
  "openclipart": "Open Clip Art, of Debian's package openclipart-png",
  "elpv": "photographs of solar cells, of the Python package elpv-dataset",
}
_LOCAL = "Labeled images, prepared from local files by hue_jax."
_LOCAL_FILES = ("idx", "folder", "npz")
_DESCRIPTIONS = {
  "openclipart": openclipart.DESCRIPTION,
  "elpv": elpv.DESCRIPTION,
}


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  args = _parser().parse_args(arguments)
  return command.run(functools.partial(_prepare, args))


def _prepare(args: argparse.Namespace) -> None:
  data_dir = os.path.abspath(os.path.expanduser(args.data_dir or default_data_dir()))
  target = _target(args.name, data_dir)
  _refuse_existing(target, args.overwrite)
  source = _read(args, target)
  folder = prepare(
    source,
    args.name,
    data_dir,
    overwrite=args.overwrite,
    description=_description(args),
  )
  counts = ", ".join(f"{s} {len(labels)}" for s, labels in source.labels.items())
  print(
    f"Wrote {args.name}: {source.num_classes} classes, {counts} examples, in {folder}\n"
    f"Use it with: --config.dataset={args.name} --config.data_dir={data_dir}"
  )


def prepare(
  source: Source,
  name: str,
  data_dir: str,
  *,
  overwrite: bool = False,
  description: str = _LOCAL,
) -> str:
  """Writes labeled images as a prepared TFDS data set.

  Args:
    source: The images.
    name: The name of the data set, with '/config' if TFDS knows it with one.
    data_dir: The folder of prepared data sets.
    overwrite: Whether to replace the data set if it exists.
    description: A sentence or two, stored with it.

  Returns:
    The folder of the data set.

  Raises:
    InputError: If the name cannot be used, or an image is damaged.
  """
  target = _target(name, data_dir)
  _refuse_existing(target, overwrite)
  if target.features is not None:
    _check_features(name, target.features, source)
  for line in lacking_classes(source):
    print(line, file=sys.stderr)
  return store.write_dataset(
    data_dir,
    target.base,
    target.features or _features(source),
    {
      split: store.Split(range(len(labels)), functools.partial(_example, source, split))
      for split, labels in source.labels.items()
    },
    description=description,
    config=target.config,
    version=target.version,
    overwrite=overwrite,
    made_of=source.made_of,
    silent=False,
  )


def ensure_folder(path: str, data_dir: str) -> str:
  """Prepares the pictures of a folder, unless that is done and they are the same.

  A tenth of its training examples becomes each of 'validation' and 'test' where it
  lacks them. What is done is told on standard error.

  Args:
    path: The folder, as `read_folder` takes it.
    data_dir: The folder of prepared data sets.

  Returns:
    The name of the data set, which is that of the folder.
  """
  path = os.path.abspath(os.path.expanduser(path))
  stem = re.sub(r"[^a-z0-9]+", "_", os.path.basename(path).lower()).strip("_")
  digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:8]
  name = f"folder_{stem}_{digest}" if stem else f"folder_{digest}"
  target = _target(name, data_dir)
  written = store.is_written(target.folder)
  if written and not os.path.isdir(path):  # Moved away since, and not needed.
    return name
  source = read_folder(path, Cuts(0.1, 0.1, where_lacking=True))
  if written and store.made_of(target.folder) == source.made_of:
    return name
  why = "has changed and is prepared anew" if written else "is prepared"
  counts = ", ".join(f"{s} {len(labels)}" for s, labels in source.labels.items())
  print(f"{path} {why} as {name} in {data_dir}: {counts}.", file=sys.stderr)
  prepare(
    source,
    name,
    data_dir,
    overwrite=written,
    description=f"{_LOCAL} Transparent parts are on white.",
  )
  return name


class _Target(NamedTuple):
  """What is written: a name that TFDS knows has features."""

  name: str
  base: str
  config: str | None
  version: str
  features: tfds.features.FeaturesDict | None
  folder: str


def _target(name: str, data_dir: str) -> _Target:
  base, _, config = name.partition("/")
  features, version = None, store.VERSION
  if base in registered_names():
    builder = _registered(name, data_dir)
    features, version = builder.info.features, str(builder.version)
    config = builder.builder_config.name if builder.builder_config else None
  else:
    _check_name(name)
  folder = store.dataset_folder(data_dir, base, config, version)
  return _Target(name, base, config or None, version, features, folder)


def _refuse_existing(target: _Target, overwrite: bool) -> None:
  if store.is_written(target.folder) and not overwrite:
    raise InputError(
      f"data set {target.name!r} exists in {target.folder}; --overwrite replaces it, "
      "another --name keeps it."
    )


def _example(source: Source, split: str, i: int) -> dict:
  return {"image": source.image(split, i), "label": int(source.labels[split][i])}


def _parser() -> argparse.ArgumentParser:
  summary, _, details = __doc__.partition("\n\n")
  parser = argparse.ArgumentParser(
    prog="python -m hue_jax.data.prepare",
    description=summary,
    epilog=details,
    formatter_class=argparse.RawDescriptionHelpFormatter,
  )
  kinds = parser.add_subparsers(dest="kind", required=True)
  for kind, help_text in _KINDS.items():
    command = kinds.add_parser(kind, help=help_text, description=help_text)
    if kind in _LOCAL_FILES:
      command.add_argument("source", help="the file" if kind == "npz" else "the folder")
      command.add_argument("--name", required=True, help="the name of the data set")
    else:
      command.add_argument("source", nargs="?", help="the folder, if it is elsewhere")
      command.add_argument("--name", default=kind, help="the name of the data set")
    command.add_argument("--data_dir", help="where to write it (TFDS's default)")
    command.add_argument("--overwrite", action="store_true", help="replace it")
    _add_arguments[kind](command)
  return parser


def _add_split_arguments(command: argparse.ArgumentParser) -> None:
  group = command.add_argument_group("splits that the source lacks are cut from train")
  group.add_argument(
    "--test_fraction", type=float, help="(0.1, where it has no splits at all)"
  )
  group.add_argument("--validation_fraction", type=float, help="(0)")
  group.add_argument("--seed", type=int, default=0)


def _add_label_arguments(command: argparse.ArgumentParser) -> None:
  group = command.add_argument_group("labels")
  group.add_argument("--first_label", type=int, help="of the first class (0)")
  group.add_argument("--num_classes", type=int, help="where some have no example")


def _add_background(command: argparse.ArgumentParser) -> None:
  help_text = "what transparent parts show: a color's name or #rrggbb (white)"
  command.add_argument("--background", default="white", help=help_text)


def _add_folder_arguments(command: argparse.ArgumentParser) -> None:
  _add_split_arguments(command)
  _add_background(command)


def _add_npz_arguments(command: argparse.ArgumentParser) -> None:
  _add_split_arguments(command)
  _add_label_arguments(command)
  _add_background(command)


def _add_openclipart_arguments(command: argparse.ArgumentParser) -> None:
  command.add_argument("--per_class", type=int, default=400, help="at most")
  command.add_argument("--least_per_class", type=int, default=90, help="or left out")
  command.add_argument("--size", type=int, default=256, help="longer side, at most")
  command.add_argument("--test_fraction", type=float, default=0.2)
  command.add_argument("--seed", type=int, default=0)
  _add_background(command)


def _add_elpv_arguments(command: argparse.ArgumentParser) -> None:
  command.add_argument("--test_fraction", type=float, default=0.25)
  command.add_argument("--seed", type=int, default=0)


_add_arguments = {
  "idx": _add_label_arguments,
  "folder": _add_folder_arguments,
  "npz": _add_npz_arguments,
  "openclipart": _add_openclipart_arguments,
  "elpv": _add_elpv_arguments,
}


def _read(args: argparse.Namespace, target: _Target) -> Source:
  path = os.path.expanduser(args.source) if args.source else None
  given = vars(args)
  if "seed" in given:
    check_integer("--seed", args.seed, at_least=0, at_most=MAX_SEED)
  options = {}
  if "background" in given:
    options["background"] = ground_color(args.background)
  if "num_classes" in given:
    options |= {"first_label": args.first_label, "num_classes": args.num_classes}
    if args.num_classes is None and target.features and "label" in target.features:
      # TFDS tells how many; some may have no example.
      options["num_classes"] = target.features["label"].num_classes
  if args.kind == "idx":
    return read_idx(path, **options)
  if args.kind == "elpv":
    return elpv.read_elpv(path, test_fraction=args.test_fraction, seed=args.seed)
  if args.kind == "openclipart":
    return openclipart.read_openclipart(
      path or openclipart.FOLDER,
      per_class=args.per_class,
      least_per_class=args.least_per_class,
      size=args.size,
      test_fraction=args.test_fraction,
      seed=args.seed,
      **options,
    )
  read = {"folder": read_folder, "npz": read_npz}[args.kind]
  cuts = Cuts(args.test_fraction, args.validation_fraction, args.seed)
  return read(path, cuts, **options)


def _description(args: argparse.Namespace) -> str:
  described = _DESCRIPTIONS.get(args.kind, _LOCAL)
  background = getattr(args, "background", None)
  if background is None:
    return described
  return f"{described} Transparent parts are on {background}."


def _registered(name: str, data_dir: str) -> tfds.core.DatasetBuilder:
  try:
    # Read as TFDS defines it, and not as a data set that may be there already.
    cls = tfds.builder_cls(name.partition("/")[0])
    return cls(data_dir=data_dir, config=name.partition("/")[2] or None)
  except Exception as error:
    reason = str(error).strip().splitlines()[0]
    raise InputError(f"name {name!r}: TFDS does not accept it ({reason}).") from error


def _check_features(
  name: str, features: tfds.features.FeaturesDict, source: Source
) -> None:
  if set(features) != {"image", "label"}:
    raise InputError(
      f"name {name!r} is TFDS's, whose examples have {', '.join(features)} and not "
      "just image and label; choose another name."
    )
  shape, num_classes = tuple(features["image"].shape), features["label"].num_classes
  pairs = zip(shape, source.image_shape, strict=True)
  if any(theirs is not None and theirs != ours for theirs, ours in pairs):
    raise InputError(
      f"name {name!r} is TFDS's, with images of shape {shape} and not "
      f"{source.image_shape}; choose another name."
    )
  names = source.class_names
  if source.num_classes > num_classes or (
    names is not None and list(names) != features["label"].names
  ):
    raise InputError(
      f"name {name!r} is TFDS's, with {num_classes} classes that are not those of the "
      f"source, which has {source.num_classes}; choose another name."
    )


def _check_name(name: str) -> None:
  if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
    raise InputError(
      f"name is {name!r}; it must be lower-case letters, digits and underscores, and "
      "begin with a letter."
    )


def _features(source: Source) -> tfds.features.FeaturesDict:
  if source.class_names is None:
    label = tfds.features.ClassLabel(num_classes=source.num_classes)
  else:
    label = tfds.features.ClassLabel(names=list(source.class_names))
  image = tfds.features.Image(shape=source.image_shape)
  return tfds.features.FeaturesDict({"image": image, "label": label})


if __name__ == "__main__":
  sys.exit(main())
