"""Reads, decodes and batches the examples that each step asks for."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from hue_jax import pictures
from hue_jax.data import images
from hue_jax.data.datasets import Dataset
from hue_jax.data.host_tensorflow import tf
from hue_jax.data.records import RecordSource
from hue_jax.errors import InputError

_PARALLEL_READS = 4  # Steps whose records are read at the same time.


@dataclasses.dataclass(frozen=True)
class Loader:
  """What is done for each step.

  Attributes:
    dataset: The data set.
    source: The records of the split.
    examples_of: A function that returns, for a step, the indices of its examples in
      the split, [n], and random numbers for each, float32 [n, num_uniforms].
    read: A function that returns, for a step and the indices of its examples, their
      records.
    image_of: A TensorFlow graph that makes the image of an encoded one, its decoder
      (`images.decoder_of`) and its random numbers.
  """

  dataset: Dataset
  source: RecordSource
  examples_of: Callable[[int], tuple[np.ndarray, np.ndarray]]
  read: Callable[[int, np.ndarray], list[bytes]]
  image_of: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]

  def batches(
    self,
    steps: range,
    *,
    local_batch: int,
    num_threads: int | None = None,
    prefetch: int = 2,
  ) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields the images and labels of each step.

    Labels are [n], or, of a data set with label sets, [n, 1 + num_classes]: the label,
    and 1 for each class of the set.

    Args:
      steps: The steps; each but the last has `local_batch` examples.
      local_batch: The size of a batch.
      num_threads: The number of threads that decode; None lets TensorFlow choose.
      prefetch: The number of batches made ahead.

    Raises:
      InputError: If a record, image or label is damaged, when its step is reached.
    """
    # Examples that look plain, and which their plain decoder does not read.
    not_plain: set[int] = set()
    read_errors: dict[int, InputError] = {}

    def batches_from(step):
      data = tf.data.Dataset.range(step, steps.stop)
      # These functions are graphs as they stand: no Python is to be converted.
      plain = tf.autograph.experimental.do_not_convert
      read = plain(self._read_with(read_errors, not_plain))
      data = data.map(read, _PARALLEL_READS, deterministic=True).unbatch()
      threads = num_threads or tf.data.AUTOTUNE
      data = data.map(plain(self._make_example), threads, deterministic=True)
      data = data.batch(local_batch).prefetch(prefetch)
      options = tf.data.Options()
      if num_threads is not None:
        options.threading.private_threadpool_size = num_threads
      return data.with_options(options).as_numpy_iterator()

    iterator = batches_from(steps.start)
    for step in steps:
      try:
        batch, labels = next(iterator)
      except tf.errors.OpError:
        found = self._not_plain(step, read_errors)
        if not found:
          raise
        not_plain |= found
        iterator = batches_from(step)
        batch, labels = next(iterator)
      self._check_labels(step, labels if labels.ndim == 1 else labels[:, 0])
      yield batch, labels.astype(np.int32)

  def _read_with(self, read_errors: dict[int, InputError], not_plain: set[int]):
    """Makes the graph that reads a step, and keeps the errors of reading."""

    def read_records(step):
      indices, numbers = self.examples_of(int(step))
      try:
        return np.array(self.read(int(step), indices), object), indices, numbers
      except InputError as error:
        # TensorFlow makes an error of its own of what leaves this function.
        read_errors[int(step)] = error
        raise

    def decoders_of(indices, contents):
      decoders = map(images.decoder_of, contents)
      chosen = [
        images.ANY if index in not_plain else decoder
        for index, decoder in zip(indices.tolist(), decoders, strict=True)
      ]
      return np.array(chosen, np.int32)

    def read(step):
      serialized, indices, numbers = tf.numpy_function(
        read_records, [step], (tf.string, tf.int64, tf.float32)
      )
      contents, labels = self._parse(tf.ensure_shape(serialized, [None]))
      decoders = tf.numpy_function(decoders_of, [indices, contents], tf.int32)
      return (
        contents,
        tf.ensure_shape(decoders, [None]),
        tf.ensure_shape(numbers, [None, None]),
        labels,
      )

    return read

  def _parse(self, serialized):
    image_key, label_key = self.dataset.image_key, self.dataset.label_key
    features = {
      image_key: tf.io.FixedLenFeature([], tf.string),
      label_key: tf.io.FixedLenFeature([], tf.int64),
    }
    set_key = self.dataset.label_set_key
    if set_key is None:
      parsed = tf.io.parse_example(serialized, features)
      return parsed[image_key], parsed[label_key]
    features[set_key] = tf.io.RaggedFeature(tf.int64)
    parsed = tf.io.parse_example(serialized, features)
    # The label, and 1 for each class of the set: one row an image, as labels are.
    sets = tf.reduce_max(
      tf.one_hot(parsed[set_key].to_tensor(-1), self.dataset.num_classes), axis=1
    )
    return parsed[image_key], tf.concat(
      [parsed[label_key][:, tf.newaxis], tf.cast(sets, tf.int64)], axis=1
    )

  def _make_example(self, contents, decoder, numbers, label):
    return self.image_of(contents, decoder, numbers), label

  def _not_plain(self, step: int, read_errors: dict[int, InputError]) -> set[int]:
    """Finds what a step failed on, by decoding its records one at a time.

    Returns:
      The examples that look plain, but that the decoder for any image alone can decode.

    Raises:
      InputError: If a record or an image cannot be read.
    """
    if step in read_errors:
      raise read_errors[step]
    indices, numbers = self.examples_of(step)
    found = set()
    for index, row in zip(indices.tolist(), numbers, strict=True):
      place = self.source.describe(index)
      try:
        contents = self._parse(self.source.read(np.array([index])))[0][0].numpy()
      except tf.errors.OpError as error:
        raise InputError(f"{place} is damaged ({_reason(error)}).") from error
      decoder = images.decoder_of(contents)
      try:
        if decoder != images.ANY:
          self.image_of(contents, tf.constant(decoder), tf.constant(row))
          continue
      except tf.errors.OpError:
        found.add(index)
      try:
        pictures.decode(contents)
      except pictures.PictureError as error:
        raise InputError(f"{place} {error}.") from error
    return found

  def _check_labels(self, step: int, labels: np.ndarray) -> None:
    num_classes = self.dataset.num_classes
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if not wrong.size:
      return
    label = labels[wrong[0]]
    place = self.source.describe(self.examples_of(step)[0][wrong[0]])
    if label < 0:
      raise InputError(f"{place}: label {label}: the split has no labels.")
    raise InputError(f"{place}: label {label} is not among 0 to {num_classes - 1}")


def _reason(error: tf.errors.OpError) -> str:
  # TensorFlow puts the name of the graph's node in braces before what happened.
  first = str(error.message).strip().splitlines()[0]
  return first.rpartition("}}")[2].partition("[Op:")[0].strip()
