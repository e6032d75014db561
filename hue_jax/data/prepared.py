"""Prepared TFDS data sets that are made of labeled images.

`python -m hue_jax.data.prepare` is the command.
"""

import functools
import hashlib
import os
import re
import sys
from typing import NamedTuple

from hue_jax.data import store
from hue_jax.data.datasets import registered_names
from hue_jax.data.folder import read_folder
from hue_jax.data.host_tensorflow import tfds
from hue_jax.data.sources import (
  Cuts,
  Source,
  check_data_set_name,
  lacking_classes,
)
from hue_jax.errors import InputError

LOCAL = "Labeled images, prepared from local files by hue_jax."


def prepare(
  source: Source,
  name: str,
  data_dir: str,
  *,
  overwrite: bool = False,
  description: str = LOCAL,
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
  target = target_of(name, data_dir)
  refuse_existing(target, overwrite)
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
  target = target_of(name, data_dir)
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
    description=f"{LOCAL} Transparent parts are on white.",
  )
  return name


class Target(NamedTuple):
  """What is written: a name that TFDS knows has features."""

  name: str
  base: str
  config: str | None
  version: str
  features: tfds.features.FeaturesDict | None
  folder: str


def target_of(name: str, data_dir: str) -> Target:
  """Returns what is written under a name.

  Args:
    name: The name of the data set, with '/config' if TFDS knows it with one.
    data_dir: The folder of prepared data sets.

  Raises:
    InputError: If the name cannot be used.
  """
  base, _, config = name.partition("/")
  features, version = None, store.VERSION
  if base in registered_names():
    builder = _registered(name, data_dir)
    features, version = builder.info.features, str(builder.version)
    config = builder.builder_config.name if builder.builder_config else None
  else:
    check_data_set_name(name)
  folder = store.dataset_folder(data_dir, base, config, version)
  return Target(name, base, config or None, version, features, folder)


def refuse_existing(target: Target, overwrite: bool) -> None:
  """Raises an InputError if the data set is there, and is not to be overwritten."""
  if store.is_written(target.folder) and not overwrite:
    raise InputError(
      f"data set {target.name!r} exists in {target.folder}; --overwrite replaces it, "
      "another --name keeps it."
    )


def _example(source: Source, split: str, i: int) -> dict:
  return {"image": source.image(split, i), "label": int(source.labels[split][i])}


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


def _features(source: Source) -> tfds.features.FeaturesDict:
  if source.class_names is None:
    label = tfds.features.ClassLabel(num_classes=source.num_classes)
  else:
    label = tfds.features.ClassLabel(names=list(source.class_names))
  image = tfds.features.Image(shape=source.image_shape)
  return tfds.features.FeaturesDict({"image": image, "label": label})
