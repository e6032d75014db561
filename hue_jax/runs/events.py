"""Curves out of TensorBoard's event files, without TensorFlow."""

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import google_crc32c
from tensorboard.compat.proto import event_pb2
from tensorboard.util import tensor_util

# By which name and type TensorBoard knows a number among what is in a file.
_NUMBERS = "scalars"


class Curves(NamedTuple):
  """The curves of a folder.

  Attributes:
    values: Name → step → value; what a run that was begun again told last.
    damage: What of the files cannot be read, a sentence a file.
  """

  values: dict[str, dict[int, float]]
  damage: list[str]


def read_curves(folder: Path) -> Curves:
  """Reads all event files of a folder, the oldest first.

  Args:
    folder: The folder of a run.

  Returns:
    The curves. What comes before a damaged part of a file is kept.
  """
  values, damage = {}, []
  for path in sorted(folder.glob("events.out.tfevents.*")):
    try:
      for name, step, value in _numbers(path):
        values.setdefault(name, {})[step] = value
    except (OSError, ValueError) as error:
      reason = getattr(error, "strerror", None) or error
      damage.append(f"{path.name} is read up to where it is damaged ({reason}).")
  return Curves(values, damage)


def _numbers(path) -> Iterator[tuple[str, int, float]]:
  for record in _records(path):
    try:
      event = event_pb2.Event.FromString(record)
    except Exception as error:  # protobuf's own
      raise ValueError(f"a record is no event: {error}") from None
    for value in event.summary.value:
      if value.HasField("simple_value"):
        yield value.tag, event.step, value.simple_value
      elif value.metadata.plugin_data.plugin_name == _NUMBERS:
        number = tensor_util.make_ndarray(value.tensor)
        if number.size == 1:
          yield value.tag, event.step, float(number.reshape(()))


def _records(path) -> Iterator[bytes]:
  """Yields the records of a file: length, its checksum, data, and theirs.

  Raises:
    ValueError: If the file ends within a record, or a checksum is not right.
  """
  with path.open("rb") as file:
    while head := file.read(12):
      if len(head) < 12:
        raise ValueError("it ends within a record")
      length, checksum = struct.unpack("<QI", head)
      if _checksum(head[:8]) != checksum:
        raise ValueError("the checksum of a record's length is not right")
      data = file.read(length)
      tail = file.read(4)
      if len(data) < length or len(tail) < 4:
        raise ValueError("it ends within a record")
      if _checksum(data) != struct.unpack("<I", tail)[0]:
        raise ValueError("the checksum of a record is not right")
      yield data


def _checksum(data):
  """Returns the masked CRC32C of TensorFlow's record files."""
  crc = google_crc32c.value(data)
  return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF
