"""What is in a data set: every record is read once, in order, and looked at."""

import io
import os
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image

from hue_jax import pictures
from hue_jax.cores import available_cores
from hue_jax.data import record_index, storage
from hue_jax.data.datasets import Dataset
from hue_jax.data.host_tensorflow import tf
from hue_jax.data.record_index import RecordDamageError
from hue_jax.data.shards import ArrayRecordShards
from hue_jax.data.survey_report import Damage, SplitSurvey, spread
from hue_jax.errors import InputError
from hue_jax.progress import Progress

_RECORDS_AT_ONCE = 64  # Of array_record files, and by each thread that decodes.


def survey(
  dataset: Dataset, split: str | None = None, *, decode: bool = True
) -> list[SplitSurvey]:
  """Reads a data set once, in order.

  Args:
    dataset: The data set.
    split: The name of one of its splits; None for all.
    decode: Whether to decode the images; else their headers are read.

  Returns:
    What was found in each split.

  Raises:
    InputError: If there is no such split, or its files can be read in no way.
  """
  splits = dataset.builder.info.splits
  names = list(splits) if split is None else [split]
  for name in names:
    if name not in splits:
      raise InputError(
        f"--split is {name!r}; it must be one of {', '.join(splits)}, whole."
      )
  return [_survey_split(dataset, name, decode) for name in names]


def _survey_split(dataset: Dataset, split: str, decode: bool) -> SplitSurvey:
  info = dataset.builder.info
  pieces = info.splits[split].file_instructions
  paths = [dataset.path_of(str(piece.filename)) for piece in pieces]
  total = info.splits[split].num_examples
  tally = _Tally(dataset, decode)
  start = time.monotonic()
  title = f"{dataset.name} {split}"
  with Progress(total, unit="records", title=title) as progress:
    counts = {
      path: piece.examples_in_shard for path, piece in zip(paths, pieces, strict=True)
    }
    for done in tally.over(_files(dataset, counts)):
      progress.update(done)
  return tally.report(split, len(paths), total, time.monotonic() - start)


# --- Reading ----------------------------------------------------------------------


def _files(dataset, counts) -> Iterator[tuple[str, int, bytes | RecordDamageError]]:
  """Yields file, number and data of each record; what is damaged, in its place."""
  file_format = dataset.builder.info.file_format.value
  if file_format == "tfrecord":
    yield from _tfrecords(dataset.folder, counts)
  elif file_format == "array_record" and storage.is_local(dataset.folder):
    yield from _array_records(counts)
  else:
    raise InputError(
      f"data set {dataset.name!r} in {dataset.folder} is stored as {file_format}; only "
      "tfrecord, or array_record in a folder of this machine, can be checked."
    )


def _tfrecords(folder, counts):
  facts, missing = record_index.facts_of(folder, list(counts))
  whole = {}
  for path, expected in counts.items():
    if path in missing:
      yield path, 0, RecordDamageError(path, 0, "the file is missing")
      continue
    ends = [0]
    for record, end in record_index.read_in_order(path, facts[path].size):
      yield path, len(ends) - 1, record
      ends.append(end)
    number = len(ends) - 1
    if ends[-1] is None:
      continue
    if number == expected:
      whole[path] = np.array(ends, np.int64)
    else:
      reason = f"the file has {number} records where the data set says {expected}"
      yield path, min(number, expected), RecordDamageError(path, number, reason)
  record_index.keep(folder, facts, whole)


def _array_records(counts):
  for path, count in counts.items():
    try:
      shards = ArrayRecordShards({path: count})
      for first in range(0, count, _RECORDS_AT_ONCE):
        numbers = range(first, min(count, first + _RECORDS_AT_ONCE))
        found = shards.read_run(path, list(numbers))
        yield from ((path, *one) for one in zip(numbers, found, strict=True))
    except RecordDamageError as damage:
      yield path, damage.record, damage


# --- Looking ----------------------------------------------------------------------


class _Tally:
  """Counts what records are."""

  def __init__(self, dataset: Dataset, decode: bool):
    self._dataset, self._decode = dataset, decode
    self._counts = np.zeros(dataset.num_classes, np.int64)
    self._unlabeled = 0
    self._sizes: list[int] = []
    self._shapes: list[tuple[int, int, int]] = []
    self._damaged: list[Damage] = []

  def over(self, records: Iterator) -> Iterator[int]:
    """Looks at records by all cores, in order; yields how many are done at a time."""
    threads = len(available_cores())
    waiting: deque = deque()
    with ThreadPoolExecutor(threads) as pool:
      for batch in _batches(records):
        waiting.append(pool.submit(lambda batch: list(map(self._look, batch)), batch))
        if len(waiting) > 2 * threads:
          yield self._count(waiting.popleft().result())
      while waiting:
        yield self._count(waiting.popleft().result())

  def report(self, split: str, files: int, expected: int, seconds: float):
    """Returns what was found."""
    heights, widths, channels = ([shape[i] for shape in self._shapes] for i in range(3))
    return SplitSurvey(
      split=split,
      files=files,
      records=expected,
      read=len(self._sizes),
      bytes=sum(self._sizes),
      seconds=seconds,
      class_counts=self._counts.tolist(),
      unlabeled=self._unlabeled,
      record_bytes=spread(self._sizes),
      heights=spread(heights),
      widths=spread(widths),
      channels={c: channels.count(c) for c in sorted(set(channels))},
      damaged=self._damaged,
    )

  def _look(self, found):
    """Returns the damage of a record; or its size, its image's shape, its label."""
    path, number, record = found
    try:
      if isinstance(record, RecordDamageError):
        raise InputError(record.reason)
      image, label = self._parse(record)
      if label >= self._dataset.num_classes:
        last = self._dataset.num_classes - 1
        raise InputError(f"label {label} is not among 0 to {last}.")
      return len(record), self._shape(image), label
    except (InputError, pictures.PictureError) as error:
      return Damage(os.path.basename(path), number, str(error).rstrip("."))

  def _parse(self, record: bytes) -> tuple[bytes, int]:
    try:
      feature = tf.train.Example.FromString(record).features.feature
      image = feature[self._dataset.image_key].bytes_list.value[0]
      return image, feature[self._dataset.label_key].int64_list.value[0]
    except Exception as error:  # protobuf's DecodeError, or no value
      raise InputError("has no image and label that can be read.") from error

  def _shape(self, image: bytes) -> tuple[int, int, int]:
    if self._decode:
      return pictures.decode(image).shape
    try:
      with Image.open(io.BytesIO(image)) as opened:
        return opened.height, opened.width, len(opened.getbands())
    except Exception as error:  # Pillow has many for what is no picture.
      raise InputError(f"is damaged ({error}).") from error

  def _count(self, batch) -> int:
    for found in batch:
      if isinstance(found, Damage):
        self._damaged.append(found)
        continue
      size, shape, label = found
      self._sizes.append(size)
      self._shapes.append(shape)
      if label < 0:
        self._unlabeled += 1
      else:
        self._counts[label] += 1
    return len(batch)


def _batches(records: Iterator) -> Iterator[list]:
  batch = []
  for record in records:
    batch.append(record)
    if len(batch) == _RECORDS_AT_ONCE:
      yield batch
      batch = []
  if batch:
    yield batch
