"""Opening prepared TFDS data sets of labeled images."""

import dataclasses
import difflib
import functools
import hashlib
import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from etils import epath

from hue_jax.data import digits, storage
from hue_jax.data.host_tensorflow import tfds
from hue_jax.data.sources import FOLDER
from hue_jax.errors import InputError

SPLIT_LANGUAGE = "'train', 'train[:90%]', 'train[90%:]', 'train[:500]+test[5:10]'"
_IMAGE_DTYPES = ("uint8", "uint16")


class NotPreparedError(InputError):
  """A data set that is not there."""


@dataclasses.dataclass(frozen=True)
class Dataset:
  """A prepared TFDS data set of images with one class label each.

  Attributes:
    name: The name in TFDS's language, such as 'imagenet2012:5.*.*'.
    builder: The TFDS builder that reads it.
    image_key: The name of its image feature.
    label_key: The name of its label feature.
    label_set_key: The name of the feature that holds all right classes of an image,
      where an image may have several.
    remote_folder: The folder of its files, where that is in a bucket.
  """

  name: str
  builder: tfds.core.DatasetBuilder
  image_key: str
  label_key: str
  label_set_key: str | None = None
  remote_folder: str | None = None

  @property
  def folder(self) -> str:
    """The folder of its files, on this machine or in a bucket."""
    return self.remote_folder or str(self.builder.data_dir)

  def path_of(self, filename: str) -> str:
    """Returns the path of a file that TFDS names."""
    if self.remote_folder is None:
      return filename
    return f"{self.remote_folder}/{os.path.basename(filename)}"

  @property
  def num_classes(self) -> int:
    """The number of classes."""
    return self.builder.info.features[self.label_key].num_classes

  @functools.cached_property
  def class_names(self) -> tuple[str, ...]:
    """The name of each class; its number, where the data set names none."""
    return tuple(self.builder.info.features[self.label_key].names)

  @property
  def channels(self) -> int:
    """1 for gray images, otherwise 3: what is transparent shows a white ground."""
    return 1 if self.image_shape[-1] in (1, 2) else 3

  @property
  def image_shape(self) -> tuple[int | None, int | None, int | None]:
    """The (height, width, channels) of its images; None where they vary."""
    return tuple(self.builder.info.features[self.image_key].shape)

  def identity(self) -> str:
    """Returns a short digest of what the data set is, for a run to know it again.

    It is that of names, classes and the numbers of examples, and of what the examples
    are where hue_jax wrote them: however they are encoded, wherever they lie.
    """
    info = self.builder.info
    counts = {name: int(split.num_examples) for name, split in info.splits.items()}
    contents = (info.metadata or {}).get("contents", "")
    facts = [info.full_name, self.class_names, self.image_shape, counts, contents]
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]

  def about(self) -> dict[str, Any]:
    """Returns what its maker says of it, as JSON has it; "" for what is not said."""
    info = self.builder.info
    license_ = getattr(info.redistribution_info, "license", "")
    return {
      "name": info.full_name,
      "class_names": list(self.class_names),
      "description": " ".join((info.description or "").split()),
      "homepage": info.homepage or "",
      "license": license_ or "",
      "citation": (info.citation or "").strip(),
    }

  def num_examples(self, split: str) -> int:
    """Returns the number of examples of a split expression, which may be 0."""
    self.check_split(split)
    return self.builder.info.splits[split].num_examples

  def num_bytes(self, split: str) -> int | float:
    """Returns the size of the examples of a split expression, as far as means tell."""
    self.check_split(split)
    splits = self.builder.info.splits
    mean_of = {
      os.path.basename(path): one.num_bytes / max(1, one.num_examples)
      for one in splits.values()
      for path in one.filenames
    }
    pieces = splits[split].file_instructions
    return sum(one.take * mean_of[os.path.basename(one.filename)] for one in pieces)

  def check_split(self, split: str) -> None:
    """Raises InputError unless `split` is a split expression of this data set."""
    try:
      self.builder.info.splits[split].num_examples  # noqa: B018
    except Exception as error:  # TFDS raises a dozen kinds, AssertionError included.
      known = ", ".join(
        f"{name!r} ({info.num_examples} examples)"
        for name, info in self.builder.info.splits.items()
      )
      raise InputError(
        f"{self.name} has no split {split!r}; it has {known or 'no splits'}, and "
        f"parts and sums of them are written like {SPLIT_LANGUAGE}"
      ) from error


def open_dataset(name: str, data_dir: str | None = None) -> Dataset:
  """Opens a data set that is prepared under `data_dir`; never downloads.

  Args:
    name: A name in TFDS's language: 'fashion_mnist', 'imagenet2012:5.*.*', or the
      name that `python -m hue_jax.data.prepare` gave. 'digits' is written to
      `data_dir` when it is not there, and so is 'folder=PATH', pictures in class
      folders, also when they have changed.
    data_dir: The folder of prepared data sets, which may be in a bucket (gs://…,
      s3://…); None is TFDS's default, which the environment variable TFDS_DATA_DIR
      sets. Nothing is written to a bucket but the index of its records.

  Returns:
    The data set.

  Raises:
    NotPreparedError: If the name is unknown or the data set is not prepared.
    BucketError: If the bucket is not there or cannot be read.
    InputError: If it does not have one image and one class label.
  """
  data_dir = default_data_dir() if data_dir is None else os.path.expanduser(data_dir)
  storage.check_folder("data_dir", data_dir)
  remote_folder = None
  if not storage.is_local(data_dir):
    builder, remote_folder = _find_in_bucket(name, data_dir.rstrip("/"))
  else:
    builder = _find_locally(name, data_dir)
  image_key, label_key = _find_keys(
    name, builder.info.features, builder.info.supervised_keys
  )
  label_set_key = _find_label_set(builder.info.features, builder.info.supervised_keys)
  return Dataset(name, builder, image_key, label_key, label_set_key, remote_folder)


def default_data_dir() -> str:
  """Returns the folder that TFDS itself would use."""
  return os.path.expanduser(
    os.environ.get("TFDS_DATA_DIR") or str(tfds.core.constants.DATA_DIR)
  )


def registered_names() -> list[str]:
  """Returns the names of the data sets that TFDS itself can make."""
  # Listing what its community added would ask the network.
  return tfds.list_builders(with_community_datasets=False)


def _find_locally(name: str, data_dir: str) -> tfds.core.DatasetBuilder:
  if name == "digits":
    digits.ensure_written(data_dir)
  if name.startswith(FOLDER):
    from hue_jax.data.prepared import ensure_folder  # Which opens data sets itself.

    name = ensure_folder(name.removeprefix(FOLDER), data_dir)
  return _find_builder(name, data_dir)


def _find_in_bucket(name: str, data_dir: str) -> tuple[tfds.core.DatasetBuilder, str]:
  """Finds a data set by copies of the small files that describe it."""
  if name.startswith(FOLDER):
    raise InputError(
      f"dataset is {name!r} and data_dir is {data_dir!r}; pictures of a folder are "
      "prepared in a folder of this machine alone."
    )
  base = _base(name)
  with tempfile.TemporaryDirectory() as copies:
    paths = storage.list_files(f"{data_dir}/{base}")
    for path in filter(_DESCRIBES.search, paths):
      copy = os.path.join(copies, path.removeprefix(f"{data_dir}/"))
      os.makedirs(os.path.dirname(copy), exist_ok=True)
      with open(copy, "wb") as file:
        file.write(storage.read_file(path) or b"")
    builder = _find_builder(name, copies, data_dir)
    return builder, f"{data_dir}/{os.path.relpath(builder.data_dir, copies)}"


# The files of a data set that hold no examples.
_DESCRIBES = re.compile(r"\.(json|txt)$")


def _find_builder(
  name: str, data_dir: str, told: str | None = None
) -> tfds.core.DatasetBuilder:
  """Finds a data set in a folder, which errors call by another name if it is a copy."""
  told = told or data_dir
  try:
    builder = tfds.core.read_only_builder.builder_from_files(name, data_dir=data_dir)
    _ = builder.info.metadata  # TFDS reads it when it is asked for: now it is there.
    metadata = Path(builder.data_dir) / "metadata.json"
    if metadata.exists():
      _check_object(metadata)
    return builder
  except tfds.core.DatasetNotFoundError as error:
    raise NotPreparedError(_not_found(name, told)) from error
  except Exception as error:  # TFDS raises many kinds for damaged files.
    if "Parsing builder name" in str(error):
      raise NotPreparedError(_not_found(name, told)) from error
    reason = _damage(Path(data_dir) / _base(name)) or _first_line(error)
    raise InputError(
      f"data set {name!r} in {told} cannot be opened: {reason}"
    ) from error


def _damage(folder: Path) -> str:
  """Returns which JSON file of a data set is damaged, and how; "" if none is."""
  for path in sorted(folder.rglob("*.json")):
    try:
      _check_object(path)
    except (OSError, ValueError) as error:
      return f"{path.relative_to(folder)} is damaged ({_first_line(error)})"
  return ""


def _check_object(path: Path) -> None:
  """Raises a ValueError unless a file holds a JSON object."""
  if not isinstance(json.loads(path.read_bytes()), dict):
    raise ValueError("it holds no JSON object")


def _first_line(error: Exception) -> str:
  return str(error).strip().partition("\n")[0] or type(error).__name__


def _base(name: str) -> str:
  """Returns the name of a data set without version and configuration."""
  return name.split(":")[0].split("/")[0]


def _not_found(name: str, data_dir: str) -> str:
  base = _base(name)
  prepared = _prepared_names(data_dir)
  there = f"prepared in {data_dir}: {', '.join(prepared) or 'nothing'}"
  if base in registered_names():
    return (
      f"data set {name!r} is not prepared in {data_dir}; make it with: "
      f"tfds build {name}{_where(base, data_dir)} ({there})"
    )
  known = {*registered_names(), *(path.split("/")[0] for path in prepared)}
  near = difflib.get_close_matches(base, sorted(known), n=5)
  return (
    f"data set {name!r} is neither in TFDS nor prepared in {data_dir}; near matches: "
    f"{', '.join(near) or 'none'}; make one of your own images with: "
    f"python -m hue_jax.data.prepare --help ({there})"
  )


def _where(base: str, data_dir: str) -> str:
  if not storage.is_local(data_dir):
    return ", and copy its folder there"
  return f" --data_dir={data_dir}{_by_hand(base, data_dir)}"


def _by_hand(base: str, data_dir: str) -> str:
  """Returns what a person has to fetch first, as TFDS cannot."""
  downloads = os.path.join(data_dir, "downloads", "manual")
  if base == "imagenet2012":
    return (
      ", after fetching ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar by hand "
      f"from image-net.org into {downloads}"
    )
  instructions = tfds.builder_cls(base).MANUAL_DOWNLOAD_INSTRUCTIONS
  if instructions:
    return (
      f", after fetching by hand into {downloads}: {' '.join(instructions.split())}"
    )
  return ""


def _prepared_names(data_dir: str) -> list[str]:
  """Returns what is prepared, as name/version or name/config/version."""
  if not storage.is_local(data_dir):
    return storage.list_folders(data_dir)  # To look into each would take long.
  root = epath.Path(data_dir)
  if not root.exists():
    return []
  found = [*root.glob("*/*/features.json"), *root.glob("*/*/*/features.json")]
  folders = [path.parent.relative_to(root) for path in found]
  return sorted(str(folder) for folder in folders if str(folder)[0] != ".")


def _find_keys(name: str, features: tfds.features.FeatureConnector, supervised):
  """Finds the image and the label, by the supervised keys or as the only ones."""
  members = dict(features) if isinstance(features, tfds.features.FeaturesDict) else {}
  images = [k for k, f in members.items() if isinstance(f, tfds.features.Image)]
  labels = [k for k, f in members.items() if isinstance(f, tfds.features.ClassLabel)]
  if supervised and supervised[0] in images and supervised[-1] in labels:
    images, labels = [supervised[0]], [supervised[-1]]
  if len(images) != 1 or len(labels) != 1:
    raise InputError(
      f"data set {name!r} must have one Image and one ClassLabel feature; it has "
      + (", ".join(f"{k!r} ({type(f).__name__})" for k, f in members.items()) or "none")
    )
  dtype = np.dtype(members[images[0]].np_dtype).name
  if dtype not in _IMAGE_DTYPES:
    raise InputError(
      f"data set {name!r} has images of {dtype}; accepted are "
      f"{' and '.join(_IMAGE_DTYPES)}"
    )
  return images[0], labels[0]


def _find_label_set(features, supervised) -> str | None:
  """Returns the key of the supervised label, where it is a sequence of classes."""
  if not supervised or not isinstance(features, tfds.features.FeaturesDict):
    return None
  feature = dict(features).get(supervised[-1])
  is_set = isinstance(feature, tfds.features.Sequence) and isinstance(
    feature.feature, tfds.features.ClassLabel
  )
  return supervised[-1] if is_set else None
