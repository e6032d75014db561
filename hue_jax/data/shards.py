"""Readers of the files of a split: tfrecord and array_record."""

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence

from hue_jax.data import record_index, storage
from hue_jax.data.daemon_pool import shared_pool
from hue_jax.data.record_index import RecordDamageError

_MAX_OPEN_READERS = 64


class TFRecordShards:
  """Random access to tfrecord files through an index of their records.

  Args:
    folder: The folder of the data set, where the index is kept.
    num_records: Path → the number of records that the data set says it has.

  Raises:
    RecordDamageError: If a file does not have them all.
  """

  def __init__(self, folder: str, num_records: Mapping[str, int]):
    self._offsets = record_index.load_or_build(folder, list(num_records))
    for path, expected in num_records.items():
      _check_count(path, len(self._offsets[path]) - 1, expected)

  def read(self, path: str, records: Sequence[int]) -> list[bytes]:
    """Reads records of one file, and checks the checksum of each."""
    if storage.is_local(path):
      return self._read_in_turn(path, records)
    # Each remote read waits for the network: take them at the same time.
    return shared_pool().map(
      lambda record: self._read_in_turn(path, [record])[0], records
    )

  def _read_in_turn(self, path: str, records: Sequence[int]) -> list[bytes]:
    offsets = self._offsets[path]
    result = []
    try:
      with record_index.open_file(path) as read_at:
        for record in records:
          start, end = int(offsets[record]), int(offsets[record + 1])
          result.append(record_index.checked(path, record, read_at(end - start, start)))
    except OSError as error:
      raise RecordDamageError(path, records[len(result)], str(error)) from error
    return result

  def read_run(
    self, path: str, records: Sequence[int]
  ) -> list[bytes | RecordDamageError]:
    """Reads records that lie near each other at once; returns the damage of some."""
    offsets = self._offsets[path]
    first, end = int(offsets[records[0]]), int(offsets[records[-1] + 1])
    try:
      with record_index.open_file(path) as read_at:
        raw = memoryview(read_at(end - first, first))
    except OSError as error:
      return [RecordDamageError(path, record, str(error)) for record in records]
    return [
      _checked_or_damage(
        path,
        record,
        bytes(raw[int(offsets[record]) - first : int(offsets[record + 1]) - first]),
      )
      for record in records
    ]


class ArrayRecordShards:
  """Random access to array_record files, which carry their own index.

  Args:
    num_records: Path → the number of records that the data set says it has.

  Raises:
    RecordDamageError: If a file does not have them all.
  """

  def __init__(self, num_records: Mapping[str, int]):
    self._num_records = num_records
    self._readers: OrderedDict = OrderedDict()
    self._lock = threading.Lock()  # A reader has one position for all its users.

  def read(self, path: str, records: Sequence[int]) -> list[bytes]:
    """Reads records of one file."""
    with self._lock:
      reader = self._reader(path)
      try:
        return reader.read(list(records))
      except Exception:  # Of many records, it does not say which is damaged.
        return [self._read_one(reader, path, record) for record in records]

  def read_run(
    self, path: str, records: Sequence[int]
  ) -> list[bytes | RecordDamageError]:
    """Reads records that lie near each other at once; returns the damage of some."""
    try:
      return list(self.read(path, records))
    except RecordDamageError:
      return [self._read_or_damage(path, record) for record in records]

  def _read_or_damage(self, path: str, record: int) -> bytes | RecordDamageError:
    try:
      return self.read(path, [record])[0]
    except RecordDamageError as damage:
      return damage

  def _read_one(self, reader, path: str, record: int) -> bytes:
    try:
      return reader.read([record])[0]
    except Exception as error:
      reason = str(error).splitlines()[0]
      raise RecordDamageError(path, record, reason) from error

  def _reader(self, path: str):
    from array_record.python import array_record_module  # Not on every platform.

    if path not in self._readers:
      try:
        reader = array_record_module.ArrayRecordReader(
          path, "readahead_buffer_size:0,max_parallelism:0"
        )
        count = reader.num_records()
      except Exception as error:
        reason = str(error).splitlines()[0]
        raise RecordDamageError(path, 0, reason) from error
      _check_count(path, count, self._num_records[path])
      self._readers[path] = reader
      if len(self._readers) > _MAX_OPEN_READERS:
        self._readers.popitem(last=False)[1].close()
    self._readers.move_to_end(path)
    return self._readers[path]


def _checked_or_damage(path, record, raw):
  try:
    return record_index.checked(path, record, raw)
  except RecordDamageError as damage:
    return damage


def _check_count(path: str, found: int, expected: int) -> None:
  if found != expected:
    file = os.path.basename(path)
    reason = f"{file} has {found} records where the data set says {expected}"
    raise RecordDamageError(path, min(found, expected), reason)
