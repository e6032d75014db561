"""Batches of augmented images: order and augmentation are functions of (seed, step).

Example i of step s stands at position s * batch_size + i of an endless stream. The
stream's epochs are permutations of the split that (seed, epoch) determines, and the
augmentation is determined by (seed, position). What is read by blocks has an order of
its own (see `hue_jax.data.blocks`), which (seed, position) determine, too; there, the
examples of a step stand in the batch lane by lane. So a run that stops anywhere resumes
with the batches it would have seen, and how many processes or threads do the work
changes nothing.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import numpy as np

from hue_jax.data import images
from hue_jax.data.blocks import BlockOrder, blocks_of, by_lane, check_block_bytes
from hue_jax.data.datasets import Dataset
from hue_jax.data.loader import Loader
from hue_jax.data.order import ShuffledOrder
from hue_jax.data.randaugment import augment
from hue_jax.data.read_ahead import BlockReader
from hue_jax.data.records import RecordSource
from hue_jax.errors import InputError, check_integer, check_number, check_one_of
from hue_jax.philox import NamedUniforms
from hue_jax.preprocessing import CROPS, EVAL_CROP_RATIO, Augmentation, Order
from hue_jax.settings import check, integer

_ENDLESS = 2**62

Batch = dict[str, np.ndarray]
_OfPositions = Callable[[np.ndarray], np.ndarray]
_OfStep = Callable[[int], np.ndarray]
_Reader = Callable[[int, np.ndarray], list[bytes]]


@dataclasses.dataclass(frozen=True)
class Share:
  """A process's part of each batch: equally many rows in a row.

  Attributes:
    process_index: The number of this process, from 0.
    process_count: The number of processes that share each batch.
  """

  process_index: int = integer(0, at_least=0)
  process_count: int = integer(1, at_least=1)

  def __post_init__(self):
    check(self)
    last = self.process_count - 1
    check_integer("process_index", self.process_index, at_least=0, at_most=last)

  def length(self, batch_size: int) -> int:
    """Returns the number of its rows, or raises an InputError for unequal parts."""
    if batch_size % self.process_count:
      raise InputError(
        f"batch_size is {batch_size}; it must be a multiple of process_count, "
        f"{self.process_count}."
      )
    return batch_size // self.process_count


@dataclasses.dataclass(frozen=True)
class Work:
  """How much is done at the same time, which changes no batch.

  Attributes:
    num_threads: The number of threads that decode; None lets TensorFlow choose.
    prefetch: The number of batches made ahead.
  """

  num_threads: int | None = integer(None, at_least=1)
  prefetch: int = integer(2, at_least=0)

  def __post_init__(self):
    check(self)


_WHOLE = Share()
_USUAL = Work()


def train_batches(
  dataset: Dataset,
  split: str,
  *,
  batch_size: int,
  image_size: int,
  seed: int,
  augmentation: Augmentation,
  order: Order,
  start_step: int = 0,
  channels: int | None = None,
  indices: np.ndarray | None = None,
  share: Share = _WHOLE,
  work: Work = _USUAL,
) -> Iterator[Batch]:
  """Yields shuffled and augmented batches without end.

  Args:
    dataset: The data set.
    split: A split expression, such as 'train[:90%]'.
    batch_size: The examples of a step over all processes; it may exceed the split.
    image_size: The side of the images in pixels.
    seed: The seed of the order and the augmentation.
    augmentation: What is done to each image.
    order: The order of the images, and how often each stands in the stream.
    start_step: The step of the first batch; those before it are not read.
    channels: The channels of the images, 1 or 3; None for those of the data set.
    indices: The examples that make up an epoch, by their indices in the split; all
      if None.
    share: This process's part of each batch.
    work: How many threads decode, and how many batches are made ahead.

  Returns:
    An iterator of {'image': uint8 [local_batch, image_size, image_size, channels],
    'label': int32 [local_batch]}, where local_batch = batch_size / process_count and
    process k has rows k * local_batch up to (k + 1) * local_batch of the batch.

  Raises:
    InputError: If an argument is out of its range; later, if a record is damaged.
  """
  check_integer("seed", seed, at_least=0, at_most=2**64 - 1)
  check_integer("start_step", start_step, at_least=0)
  _check_sizes(dataset, split, batch_size, image_size, channels)
  local_batch = share.length(batch_size)
  check_order(dataset, split, order)

  source = RecordSource(dataset, split)
  indices = _checked_indices(indices, len(source))
  first_row = share.process_index * local_batch
  stream = _Stream(batch_size, order.repeats, first_row, local_batch)
  example_at, positions_of, read = _reading(
    dataset, split, source, indices, stream, order, seed
  )
  random = NamedUniforms(
    {
      "shift": 2,
      "flip": 1,
      "crop": images.num_uniforms(augmentation.crop),
      "randaugment": augmentation.randaugment.num_uniforms,
    }
  )

  def examples_of(step):
    positions = positions_of(step)
    return example_at(stream.drawn(positions)), random.draw(seed, positions)

  image_of = functools.partial(
    _train_image,
    random=random,
    augmentation=augmentation,
    size=image_size,
    channels=channels or dataset.channels,
    shape=dataset.image_shape,
  )
  batches = Loader(dataset, source, examples_of, read, image_of).batches(
    range(start_step, _ENDLESS),
    local_batch=local_batch,
    num_threads=work.num_threads,
    prefetch=work.prefetch,
  )
  # Of an image with several right classes, its one label is learned.
  return (
    {"image": batch, "label": labels if labels.ndim == 1 else labels[:, 0]}
    for batch, labels in batches
  )


def _train_image(contents, decoder, numbers, *, random, augmentation, **shape):
  numbers = random.by_name(numbers)
  image = images.train_image(
    contents,
    decoder,
    numbers["crop"],
    crop=augmentation.crop,
    antialias=augmentation.antialias,
    **shape,
  )
  image = augment(augmentation.randaugment, image, numbers["randaugment"])
  if augmentation.crop == "pad" and augmentation.padding:
    image = images.shift(image, numbers["shift"], augmentation.padding)
  return images.flip(image, numbers["flip"][0]) if augmentation.flip else image


@dataclasses.dataclass(frozen=True)
class _Stream:
  """The positions of the rows of one process."""

  batch_size: int
  repeats: int
  first_row: int
  local_batch: int

  def positions(self, step: int) -> np.ndarray:
    """Returns the position of each row of a step: rows follow the stream."""
    first = step * self.batch_size + self.first_row
    return np.arange(first, first + self.local_batch)

  def positions_by_lane(self, step: int) -> np.ndarray:
    """Returns the position of each row of a step: rows of a process have few lanes."""
    batch = step * self.batch_size + np.arange(self.batch_size)
    rows = by_lane(batch, self.drawn(batch))
    return rows[self.first_row : self.first_row + self.local_batch]

  def drawn(self, positions: np.ndarray) -> np.ndarray:
    """Returns the position, in a stream without repeats, of the example of each."""
    # Repeats of two examples alternate, for neighbors may be mixed with each other.
    return 2 * (positions // (2 * self.repeats)) + positions % 2


def _reading(
  dataset, split, source, indices, stream, order, seed
) -> tuple[_OfPositions, _OfStep, _Reader]:
  """Returns the example at a position of the stream of examples; the positions of the
  rows of a step; and the records of a step and its examples.
  """
  if order.shuffle == "full":
    permutation = ShuffledOrder(len(indices), seed)
    return (
      lambda drawn: indices[permutation(drawn)],
      stream.positions,
      lambda step, examples: source.read(examples),
    )
  indices = np.sort(indices)
  blocks = blocks_of(
    source.starts,
    indices,
    mean_bytes=dataset.num_bytes(split) / len(source),
    block_bytes=order.shuffle_block_bytes,
  )
  by_blocks = BlockOrder(blocks, seed, window=order.shuffle_window)
  reader = BlockReader(
    source,
    by_blocks,
    indices,
    lambda step: stream.drawn(stream.positions_by_lane(step)),
    repeats=order.repeats,
    batch_size=stream.batch_size,
  )
  return (
    lambda drawn: indices[by_blocks(drawn)],
    stream.positions_by_lane,
    reader.read,
  )


def check_order(dataset: Dataset, split: str, order: Order) -> None:
  """Raises an InputError for an order that a split cannot be read in."""
  if order.shuffle == "blocks":
    check_block_bytes(
      dataset.name, split, dataset.num_bytes(split), order.shuffle_block_bytes
    )


def eval_batches(
  dataset: Dataset,
  split: str,
  *,
  batch_size: int,
  image_size: int,
  crop: str = "random_resized",
  crop_ratio: int | float = EVAL_CROP_RATIO,
  channels: int | None = None,
  indices: np.ndarray | None = None,
  share: Share = _WHOLE,
) -> Iterator[Batch]:
  """Yields every example of a split once, in order, over all processes together.

  Args:
    dataset: The data set.
    split: A split expression.
    batch_size: The examples of a step over all processes.
    image_size: The side of the images in pixels.
    crop: The crop of training: for 'random_resized', the shorter side is resized to
      image_size / crop_ratio and the central square is cut out; for 'pad' and 'none',
      the image is resized.
    crop_ratio: The side of that square, over the shorter side; above 0, at most 1.
    channels: The channels of the images, 1 or 3; None for those of the data set.
    indices: The examples to read instead, by their indices in the split, in this
      order.
    share: This process's part of each batch.

  Returns:
    An iterator of the batches of `train_batches` with two more entries: 'mask',
    float32 [local_batch], is 1 for an example and 0 for padding; 'index', int32
    [local_batch], is the example's index in the split and -1 for padding. A data set
    whose images have several right classes adds 'label_set', uint8 [local_batch,
    num_classes], which is 1 for these. All processes get equally many batches, and
    zeros pad the last.

  Raises:
    InputError: If an argument is out of its range; later, if a record is damaged.
  """
  check_number("crop_ratio", crop_ratio, above=0, at_most=1)
  check_one_of("crop", crop, CROPS)
  _check_sizes(dataset, split, batch_size, image_size, channels)
  local_batch = share.length(batch_size)

  source = RecordSource(dataset, split)
  indices = _checked_indices(indices, len(source))
  channels = channels or dataset.channels

  def rows(step):
    first = step * batch_size + share.process_index * local_batch
    return indices[first : first + local_batch]

  def examples_of(step):
    # One column that nobody reads: TensorFlow cannot unbatch rows without a number.
    return rows(step), np.zeros([len(rows(step)), 1], np.float32)

  def image_of(contents, decoder, numbers):
    del numbers
    return images.eval_image(
      contents,
      decoder,
      crop=crop,
      crop_ratio=crop_ratio,
      size=image_size,
      channels=channels,
      shape=dataset.image_shape,
    )

  num_steps = -(-len(indices) // batch_size)
  # Of the last batch, a process may have no rows: then it reads a step less.
  num_read = num_steps if len(rows(num_steps - 1)) else num_steps - 1
  loader = Loader(
    dataset,
    source,
    examples_of,
    lambda step, examples: source.read(examples),
    image_of,
  )
  batches = loader.batches(range(num_read), local_batch=local_batch)
  no_labels = [] if dataset.label_set_key is None else [1 + dataset.num_classes]
  nothing = (
    np.zeros([0, image_size, image_size, channels], np.uint8),
    np.zeros([0, *no_labels], np.int32),
  )
  made = (
    _padded(*next(batches, nothing), rows(step), local_batch)
    for step in range(num_steps)
  )
  return made if dataset.label_set_key is None else map(_with_label_set, made)


def _with_label_set(batch: Batch) -> Batch:
  """Separates the label and its set, which come from the loader as one row."""
  rows = batch["label"]
  return batch | {"label": rows[:, 0], "label_set": rows[:, 1:].astype(np.uint8)}


def _checked_indices(indices, num_examples: int) -> np.ndarray:
  if indices is None:
    return np.arange(num_examples)
  indices = np.asarray(indices)
  if not indices.size:
    raise InputError("indices is empty; it must name at least one example.")
  if indices.min() < 0 or indices.max() >= num_examples:
    raise InputError(
      f"indices has {indices.min()} to {indices.max()}; the split has examples 0 to "
      f"{num_examples - 1}."
    )
  return indices


def _padded(batch, labels, index, length: int) -> Batch:
  missing = length - len(index)
  return {
    "image": _with_zero_rows(batch, missing) if missing else batch,
    "label": _with_zero_rows(np.asarray(labels, np.int32), missing),
    "mask": np.repeat(np.float32([1, 0]), [len(index), missing]),
    "index": np.array([*index, *[-1] * missing], np.int32),
  }


def _with_zero_rows(array, count: int) -> np.ndarray:
  return np.concatenate([array, np.zeros([count, *array.shape[1:]], array.dtype)])


def _check_sizes(
  dataset: Dataset,
  split: str,
  batch_size: int,
  image_size: int,
  channels: int | None,
) -> None:
  check_integer("batch_size", batch_size, at_least=1)
  check_integer("image_size", image_size, at_least=1)
  check_one_of("channels", channels, (1, 3, None))
  if dataset.num_examples(split) == 0:
    raise InputError(f"{dataset.name} split {split!r} has no examples.")
