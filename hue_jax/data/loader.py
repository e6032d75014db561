"""Reads, decodes and batches the examples that each step asks for."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

from hue_jax.data import images
from hue_jax.data.datasets import Dataset
from hue_jax.data.records import RecordSource
from hue_jax.errors import InputError

_PARALLEL_READS = 4  # Steps whose records are read at the same time.


@dataclasses.dataclass(frozen=True)
class Loader:
  """What is done for each step.

  Attributes:
    dataset: The data set.
    source: The records of the split.
    plan: For a step, the indices of its examples in the split, [n], and random
      numbers for each, float32 [n, num_uniforms].
    decode: For an encoded image, whether it is a JPEG, and its random numbers, the
      image: a TensorFlow graph.
  """

  dataset: Dataset
  source: RecordSource
  plan: Callable[[int], tuple[np.ndarray, np.ndarray]]
  decode: Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]

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
      num_threads: Threads that decode; None lets TensorFlow choose.
      prefetch: Batches made ahead.

    Raises:
      InputError: For a damaged record, image or label, when its step is reached.
    """
    read_errors: dict[int, InputError] = {}
    data = tf.data.Dataset.range(steps.start, steps.stop)
    # These functions are graphs as they stand: no Python is to be converted.
    plain = tf.autograph.experimental.do_not_convert
    read = plain(self._read_with(read_errors))
    data = data.map(read, _PARALLEL_READS, deterministic=True).unbatch()
    threads = num_threads or tf.data.AUTOTUNE
    data = data.map(plain(self._decode_example), threads, deterministic=True)
    data = data.batch(local_batch).prefetch(prefetch)
    options = tf.data.Options()
    if num_threads is not None:
      options.threading.private_threadpool_size = num_threads
    iterator = data.with_options(options).as_numpy_iterator()
    for step in steps:
      try:
        batch, labels = next(iterator)
      except tf.errors.OpError as error:
        raise read_errors.get(step) or self._culprit(step) or error from error
      self._check_labels(step, labels if labels.ndim == 1 else labels[:, 0])
      yield batch, labels.astype(np.int32)

  def _read_with(self, read_errors: dict[int, InputError]):
    """Makes the graph that reads a step, and keeps the errors of reading."""

    def read_records(step):
      indices, uniforms = self.plan(int(step))
      try:
        return np.array(self.source.read(indices), object), uniforms
      except InputError as error:
        # TensorFlow makes an error of its own of what leaves this function.
        read_errors[int(step)] = error
        raise

    def read(step):
      serialized, uniforms = tf.numpy_function(
        read_records, [step], (tf.string, tf.float32)
      )
      contents, labels = self._parse(tf.ensure_shape(serialized, [None]))
      check = tf.debugging.assert_less_equal(
        images.header_pixels(contents), tf.constant(images.MAX_PIXELS, tf.int64)
      )
      with tf.control_dependencies([check]):
        is_jpeg = images.is_jpeg(contents)
      return contents, is_jpeg, tf.ensure_shape(uniforms, [None, None]), labels

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

  def _decode_example(self, contents, is_jpeg, uniforms, label):
    return self.decode(contents, is_jpeg, uniforms), label

  def _culprit(self, step: int) -> InputError | None:
    """Finds what a step failed on, by decoding its records one at a time."""
    indices, uniforms = self.plan(step)
    for index, numbers in zip(indices, uniforms, strict=True):
      try:
        contents, _ = self._parse(self.source.read(np.array([index])))
        if images.header_pixels(contents)[0] > images.MAX_PIXELS:
          raise ValueError(images.TOO_MANY_PIXELS)
        self.decode(contents[0], images.is_jpeg(contents)[0], tf.constant(numbers))
      except (tf.errors.OpError, ValueError) as error:
        return InputError(f"{self.source.describe(index)}: {_reason(error)}")
    return None

  def _check_labels(self, step: int, labels: np.ndarray) -> None:
    num_classes = self.dataset.num_classes
    wrong = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if not wrong.size:
      return
    label = labels[wrong[0]]
    place = self.source.describe(self.plan(step)[0][wrong[0]])
    if label < 0:
      raise InputError(f"{place}: label {label}: the split has no labels.")
    raise InputError(f"{place}: label {label} is not among 0 to {num_classes - 1}")


def _reason(error: Exception) -> str:
  message = str(getattr(error, "message", error)).strip()
  if images.TOO_MANY_PIXELS in message:
    return images.TOO_MANY_PIXELS
  # TensorFlow puts the name of the graph's node in braces before what happened.
  first = message.splitlines()[0].rpartition("}}")[2].partition("[Op:")[0].strip()
  return f"damaged image or record ({first})"
