"""Where each record of a tfrecord file starts.

A tfrecord file is a sequence of records: the length of the data as a little-endian
uint64, the masked CRC32C of those 8 bytes, the data, the masked CRC32C of the data.
The lengths alone lead from record to record, so that an index is made by reading 12
bytes of each. It is kept beside the data, in one file for all shards of a data set.
"""

import contextlib
import dataclasses
import os
import struct
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import google_crc32c
import numpy as np
from etils import epath

from hue_jax.files import replacing

HEADER_BYTES = 12
FOOTER_BYTES = 4
INDEX_FILE = "record_index.npz"

_HEADER = struct.Struct("<QI")
_SCAN_THREADS = 32

# Reads `size` bytes at `offset`: fewer only where the file ends.
ReadAt = Callable[[int, int], bytes]


class RecordDamageError(Exception):
  """A record that cannot be read.

  Attributes:
    path: The file.
    record: The number of the record in the file, from 0.
    reason: What is wrong with it.
  """

  def __init__(self, path: str, record: int, reason: str):
    super().__init__(f"{path} record {record}: {reason}")
    self.path = path
    self.record = record
    self.reason = reason


def load_or_build(folder: str, paths: Sequence[str]) -> dict[str, np.ndarray]:
  """Returns where the records of tfrecord files start.

  Args:
    folder: The folder of the data set, where the index is kept if it is writable.
    paths: The files.

  Returns:
    Path → the offset of each record and, last, the size of the file, [num_records +
    1].

  Raises:
    RecordDamageError: If a file is missing, truncated or has a damaged header.
  """
  kept = _load(folder)
  with ThreadPoolExecutor(_SCAN_THREADS) as pool:
    stamps = list(pool.map(_stamp, paths))
    entries = {}
    for path, stamp in zip(paths, stamps, strict=True):
      entry = kept.get(os.path.basename(path))
      entries[path] = entry if entry and entry.stamp == stamp else None
    stale = [path for path in paths if entries[path] is None]
    stamp_of = dict(zip(paths, stamps, strict=True))
    for path, offsets in zip(stale, pool.map(_scan, stale), strict=True):
      entries[path] = _Entry(stamp_of[path], offsets)
  if stale:
    _save(folder, kept | {os.path.basename(p): entries[p] for p in stale})
  return {path: entries[path].offsets for path in paths}


@contextlib.contextmanager
def open_file(path: str) -> Iterator[ReadAt]:
  """Opens a file, local or remote, for reads at given offsets."""
  if is_local(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
      yield lambda size, offset: os.pread(descriptor, size, offset)
    finally:
      os.close(descriptor)
    return
  with epath.Path(path).open("rb") as file:

    def read_at(size: int, offset: int) -> bytes:
      file.seek(offset)
      return file.read(size)

    yield read_at


def is_local(path: str) -> bool:
  """Returns whether a path is on this machine's file system, not a URL (gs://…)."""
  return "://" not in path and not path.startswith("/cns/")


def check_header(header: bytes) -> int:
  """Returns the length of a record's data, from its header; raises ValueError."""
  if len(header) < HEADER_BYTES:
    raise ValueError("the file ends within this record")
  length, checksum = _HEADER.unpack(header)
  if checksum != masked_crc(header[:8]):
    raise ValueError("the checksum of its length is wrong")
  return length


def masked_crc(data: bytes) -> int:
  """Returns the CRC32C of `data`, masked as tfrecord files do."""
  crc = google_crc32c.value(data)
  return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


@dataclasses.dataclass(frozen=True)
class _Entry:
  stamp: tuple[int, int]
  offsets: np.ndarray


def _stamp(path: str) -> tuple[int, int]:
  """Returns a file's size and modification time: what an index entry is valid for."""
  try:
    if is_local(path):
      status = os.stat(path)
      return status.st_size, status.st_mtime_ns
    status = epath.Path(path).stat()
    return int(status.length), int(status.mtime * 1e9)
  except OSError as error:
    raise RecordDamageError(path, 0, "the file is missing") from error


def _scan(path: str) -> np.ndarray:
  size, _ = _stamp(path)
  offsets = [0]
  with open_file(path) as read_at:
    while offsets[-1] < size:
      try:
        length = check_header(read_at(HEADER_BYTES, offsets[-1]))
        end = offsets[-1] + HEADER_BYTES + length + FOOTER_BYTES
        if end > size:
          raise ValueError("the file ends within this record")
      except ValueError as error:
        raise RecordDamageError(path, len(offsets) - 1, str(error)) from error
      offsets.append(end)
  return np.array(offsets, np.int64)


def _load(folder: str) -> Mapping[str, _Entry]:
  try:
    with (epath.Path(folder) / INDEX_FILE).open("rb") as file, np.load(file) as arrays:
      names, stamps = arrays["names"], arrays["stamps"]
      ends = np.cumsum(arrays["sizes"])
      offsets = np.split(arrays["offsets"], ends[:-1])
    return {
      str(name): _Entry((int(stamp[0]), int(stamp[1])), part)
      for name, stamp, part in zip(names, stamps, offsets, strict=True)
    }
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
    return {}  # No index, or not one of ours: it is made anew.


def _save(folder: str, entries: Mapping[str, _Entry]) -> None:
  """Keeps the index, if the folder can be written; a rename leaves none partial."""
  path = epath.Path(folder) / INDEX_FILE
  # Remote file systems have errors of their own for "read-only".
  with contextlib.suppress(Exception), replacing(path) as file:
    np.savez(
      file,
      names=np.array(list(entries)),
      stamps=np.array([entry.stamp for entry in entries.values()], np.int64),
      sizes=np.array([len(entry.offsets) for entry in entries.values()]),
      offsets=np.concatenate([entry.offsets for entry in entries.values()]),
    )
