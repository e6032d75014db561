"""Samples of a split, found without decoding an image."""

import math

import numpy as np

from hue_jax.balance import first_of_each_class
from hue_jax.data.datasets import Dataset
from hue_jax.data.host_tensorflow import tf
from hue_jax.data.order import ShuffledOrder
from hue_jax.data.records import RecordSource
from hue_jax.errors import InputError, check_integer, check_number

_BLOCK = 1024


def class_balanced_sample(
  dataset: Dataset, split: str, *, per_class: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Draws the same number of examples of every class, without replacement.

  The split is read in a random order until every class has its number; of a class
  that has fewer examples all are taken.

  Args:
    dataset: The data set.
    split: A split expression, such as 'test'.
    per_class: The number of examples of a class.
    seed: The seed of the draw; a larger `per_class` adds to it.

  Returns:
    The indices in the split in rising order, int64 [n], and their labels, int64 [n].

  Raises:
    InputError: If the split has no examples or no labels, or a record is damaged.
  """
  check_integer("per_class", per_class, at_least=1)
  check_integer("seed", seed, at_least=0, at_most=2**64 - 1)
  source = RecordSource(dataset, split)
  if not len(source):
    raise InputError(f"{dataset.name} split {split!r} has no examples.")
  order = ShuffledOrder(len(source), seed)(np.arange(len(source)))
  wanting = np.full(dataset.num_classes, per_class)
  taken, labels_of_taken = [], []
  for start in range(0, len(order), _BLOCK):
    indices = order[start : start + _BLOCK]
    labels = _read_labels(dataset, source, indices)
    kept = first_of_each_class(labels, wanting)
    taken.append(indices[kept])
    labels_of_taken.append(labels[kept])
    wanting -= np.bincount(labels[kept], minlength=len(wanting))
    if not wanting.any():
      break
  indices, labels = np.concatenate(taken), np.concatenate(labels_of_taken)
  rising = np.argsort(indices)
  return indices[rising], labels[rising]


def random_sample(
  dataset: Dataset, split: str, *, fraction: float, seed: int
) -> np.ndarray:
  """Draws a part of a split, without replacement and without reading it.

  Args:
    dataset: The data set.
    split: A split expression, such as 'train'.
    fraction: The part, above 0 and at most 1, rounded up to whole examples.
    seed: The seed of the draw; a larger `fraction` adds to it.

  Returns:
    The indices in the split in rising order, int64 [n].

  Raises:
    InputError: If the split has no examples, or the fraction is out of its range.
  """
  check_number("fraction", fraction, above=0, at_most=1)
  check_integer("seed", seed, at_least=0, at_most=2**64 - 1)
  num_examples = dataset.num_examples(split)
  if not num_examples:
    raise InputError(f"{dataset.name} split {split!r} has no examples.")
  count = math.ceil(fraction * num_examples)
  return np.sort(ShuffledOrder(num_examples, seed)(np.arange(count)))


def _read_labels(dataset: Dataset, source: RecordSource, indices) -> np.ndarray:
  feature = {dataset.label_key: tf.io.FixedLenFeature([], tf.int64)}
  try:
    parsed = tf.io.parse_example(source.read(indices), feature)
  except tf.errors.OpError as error:
    raise InputError(
      f"{source.describe(indices[0])}, or one of the {len(indices) - 1} examples read "
      "with it, has no label that can be read."
    ) from error
  labels = parsed[dataset.label_key].numpy()
  wrong = np.flatnonzero((labels < 0) | (labels >= dataset.num_classes))
  if wrong.size:
    raise InputError(
      f"{source.describe(indices[wrong[0]])}: label {labels[wrong[0]]} is not among "
      f"0 to {dataset.num_classes - 1}."
    )
  return labels
