"""Small data sets in memory, and the training set that a seed draws from them."""

import dataclasses
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from jaxtyping import Int, UInt8

from hue_jax.balance import first_of_each_class
from hue_jax.errors import InputError
from hue_jax.files import replacing
from hue_jax.settings import Text

SPLITS = ("train", "validation", "test")
FILE = "data.npz"


@dataclasses.dataclass(frozen=True, eq=False)
class Examples:
  """Images with their classes.

  Attributes:
    images: The images as stored, gray or RGB.
    labels: The classes of the images.
  """

  images: UInt8[np.ndarray, "examples height width channels"]
  labels: Int[np.ndarray, " examples"]

  def __len__(self) -> int:
    """Returns the number of examples."""
    return len(self.labels)

  def __getitem__(self, indices: Any) -> "Examples":
    """Returns the examples that NumPy's indexing takes."""
    return Examples(self.images[indices], self.labels[indices])


@dataclasses.dataclass(frozen=True, eq=False)
class ArrayTask:
  """A data set in memory.

  Attributes:
    name: The name of the data set.
    class_names: The names of its classes.
    train: The examples to draw training sets from.
    validation: The examples on which choices are made; no part of `train`.
    test: The examples that are read once, when choices are made.
  """

  name: str
  class_names: tuple[str, ...]
  train: Examples
  validation: Examples
  test: Examples

  @property
  def num_classes(self) -> int:
    """The number of classes."""
    return len(self.class_names)

  @property
  def channels(self) -> int:
    """The channels of the images, 1 or 3."""
    return self.image_shape[-1]

  @property
  def image_shape(self) -> tuple[int, int, int]:
    """The (height, width, channels) of the images."""
    return tuple(self.train.images.shape[1:])

  def training_set(self, per_class: int, seed: int) -> Examples:
    """Draws so many training images of every class, by a seed; all if 0."""
    if not per_class:
      return self.train
    chosen = class_balanced(self.train.labels, self.num_classes, per_class, seed)
    return self.train[chosen]


def class_balanced(
  labels: Int[np.ndarray, " examples"], num_classes: int, per_class: int, seed: int
) -> Int[np.ndarray, " chosen"]:
  """Draws so many examples of every class, without replacement; of a rarer class all.

  Args:
    labels: The labels of all examples.
    num_classes: The number of classes.
    per_class: The number of examples of a class.
    seed: The seed of the draw; a larger `per_class` adds to it.

  Returns:
    The indices of the examples, rising.
  """
  order = np.random.default_rng([seed, 0]).permutation(len(labels))
  most = np.full(num_classes, per_class)
  return np.sort(order[first_of_each_class(labels[order], most)])


def load_task(
  settings: Mapping[str, Any], workdir: str | os.PathLike[str]
) -> ArrayTask:
  """Returns the task of a study: from the workdir, where it is since the first time.

  The first time it is read by TFDS, which needs TensorFlow; afterwards, and on any
  machine to which `data.npz` is copied, it is not needed.

  Args:
    settings: The settings `dataset`, `data_dir`, `train_split`, `validation_split`,
      `test_split`, `image_size` and `channels`.
    workdir: The folder of the study.

  Returns:
    The task.

  Raises:
    InputError: If the data set cannot be used, or `data.npz` is of another one.
  """
  path = Path(workdir).expanduser() / FILE
  if not path.exists():
    write_task(_read_dataset(settings), settings, workdir)
  theirs, task = read_task(workdir)
  identity = _identity(settings, task.train)
  if theirs != identity:
    raise InputError(
      f"{path} holds {', '.join(theirs)}; the configuration asks for "
      f"{', '.join(identity)}. Choose another workdir, or remove the file."
    )
  return dataclasses.replace(task, name=str(settings["dataset"]))


def read_task(workdir: str | os.PathLike[str]) -> tuple[list[str], ArrayTask]:
  """Returns the task in a workdir, whatever it is.

  Args:
    workdir: The folder of a study.

  Returns:
    What the task was made of: its data set, splits, image size and channels; and the
    task.

  Raises:
    InputError: If there is none that can be read.
  """
  path = Path(workdir).expanduser() / FILE
  try:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
      found = {name: arrays[name] for name in arrays.files}
    identity = [str(value) for value in found["identity"]]
    splits = {
      split: Examples(found[f"{split}_images"], found[f"{split}_labels"])
      for split in SPLITS
    }
    class_names = tuple(str(name) for name in found["class_names"])
  except (OSError, EOFError, KeyError, ValueError, BadZipFile, zlib.error) as error:
    raise InputError(
      f"{path} cannot be read ({error}); remove it to have it made anew."
    ) from None
  return identity, ArrayTask(identity[0], class_names, **splits)


def write_task(
  task: ArrayTask, settings: Mapping[str, Any], workdir: str | os.PathLike[str]
) -> None:
  """Writes `data.npz`, which `load_task` reads: so arrays of one's own are a task too.

  Args:
    task: The task, whose images have the settings' size and channels.
    settings: The settings, as `load_task` takes them.
    workdir: The folder of the study.
  """
  arrays = {}
  for split in SPLITS:
    examples = getattr(task, split)
    arrays[f"{split}_images"] = examples.images
    arrays[f"{split}_labels"] = examples.labels
  path = Path(workdir).expanduser() / FILE
  path.parent.mkdir(parents=True, exist_ok=True)
  with replacing(path) as file:
    np.savez_compressed(
      file,
      identity=_identity(settings, task.train),
      class_names=np.array(task.class_names),
      **arrays,
    )


def _read_dataset(settings) -> ArrayTask:
  # TensorFlow, which a study in memory needs this once.
  from hue_jax.data.datasets import open_dataset
  from hue_jax.data.input_pipeline import eval_batches

  for name in ("dataset", *(f"{split}_split" for split in SPLITS)):
    Text(empty=False)(name, settings[name])
  dataset = open_dataset(settings["dataset"], settings["data_dir"])

  def read(split):
    if not dataset.num_examples(split):
      raise InputError(f"{dataset.name} split {split!r} has no examples.")
    batches = list(
      eval_batches(
        dataset,
        split,
        batch_size=256,
        image_size=settings["image_size"],
        crop="none",
        channels=settings["channels"] or dataset.channels,
      )
    )
    count = dataset.num_examples(split)
    return Examples(
      np.concatenate([batch["image"] for batch in batches])[:count],
      np.concatenate([batch["label"] for batch in batches])[:count],
    )

  splits = {split: read(settings[f"{split}_split"]) for split in SPLITS}
  return ArrayTask(dataset.name, dataset.class_names, **splits)


def _identity(settings, examples) -> list[str]:
  """Returns what `data.npz` was made of; channels of 0 are those of the examples."""
  names = ("dataset", "train_split", "validation_split", "test_split", "image_size")
  channels = settings["channels"] or examples.images.shape[-1]
  return [*(str(settings[name]) for name in names), str(channels)]
