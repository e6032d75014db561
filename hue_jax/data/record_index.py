"""Where each record of a tfrecord file starts.

A tfrecord file is a sequence of records: the length of the data as a little-endian
uint64, the masked CRC32C of those 8 bytes, the data, the masked CRC32C of the data.
The lengths alone lead from record to record, so that an index is made by reading 12
bytes of each or, where each read takes long, by reading all in large pieces. It is kept
beside the data, in one file for all shards of a data set, or where these may not be
written, in the folder of `storage.cache_folder`.
"""

import collections
import contextlib
import dataclasses
import functools
import hashlib
import io
import os
import struct
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import google_crc32c
import numpy as np

from hue_jax.data import storage
from hue_jax.data.daemon_pool import shared_pool
from hue_jax.data.storage import FileFacts
from hue_jax.files import replacing

HEADER_BYTES = 12
FOOTER_BYTES = 4
INDEX_FILE = "record_index.npz"

_HEADER = struct.Struct("<QI")
_SCAN_THREADS = 16
_PIECES_AHEAD = 4
PIECE = 8 * 2**20  # What is read at once where reads take long.
_TRIED_READS, _SLOW_READ = 16, 0.002  # seconds

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


class _UnreadableError(Exception):
  """What is wrong with a record: no ValueError, which the loss of a bucket is."""


def load_or_build(folder: str, paths: Sequence[str]) -> dict[str, np.ndarray]:
  """Returns where the records of tfrecord files start.

  Args:
    folder: The folder of the data set, local or in a bucket.
    paths: The files in it.

  Returns:
    Path → the offset of each record and, last, the size of the file, [num_records +
    1].

  Raises:
    RecordDamageError: If a file is missing, truncated or has a damaged header.
    BucketError: If a bucket cannot be read.
  """
  kept = _load(folder)
  facts, missing = facts_of(folder, paths)
  if missing:
    raise RecordDamageError(missing[0], 0, "the file is missing")
  entries = {path: _valid(kept, path, facts[path]) for path in paths}
  offsets = {path: entry.offsets for path, entry in entries.items() if entry}
  stale = [path for path in paths if entries[path] is None]
  if stale:
    with ThreadPoolExecutor(_SCAN_THREADS) as pool:
      scans = pool.map(lambda path: _scan(path, facts[path].size), stale)
      made = dict(zip(stale, scans, strict=True))
    keep(folder, facts, made)
    offsets |= made
  return {path: offsets[path] for path in paths}


def facts_of(
  folder: str, paths: Sequence[str]
) -> tuple[dict[str, FileFacts], list[str]]:
  """Returns what tells of each file whether it has changed, and the missing files.

  Args:
    folder: The folder of the data set.
    paths: The files in it.
  """
  if storage.is_local(folder):
    with ThreadPoolExecutor(_SCAN_THREADS) as pool:
      found = dict(zip(paths, pool.map(_local_facts, paths), strict=True))
  else:
    listed = storage.list_files(folder)
    found = {path: listed.get(path) for path in paths}
  facts = {path: one for path, one in found.items() if one is not None}
  return facts, [path for path in paths if path not in facts]


def keep(
  folder: str, facts: Mapping[str, FileFacts], offsets: Mapping[str, np.ndarray]
) -> None:
  """Keeps the index of files, with that of others that is kept.

  Args:
    folder: The folder of the data set.
    facts: File → what tells whether it has changed.
    offsets: File → the offset of each record and, last, its size.
  """
  kept = _load(folder)
  made = {os.path.basename(p): _Entry(facts[p], one) for p, one in offsets.items()}
  if any(_valid(kept, path, facts[path]) is None for path in offsets):
    _save(folder, kept[1] | kept[0] | made)


def read_in_order(
  path: str, size: int
) -> Iterator[tuple[bytes | RecordDamageError, int | None]]:
  """Yields the data of each record of a file, which is read once, in large pieces.

  Args:
    path: The file.
    size: Its size.

  Yields:
    The data of a record, or what is wrong with it, and where in the file it ends; None
    where that is not known, and no more can be found.
  """
  file = _Sequential(_pieces(path, size))
  end = number = 0
  while end < size:
    try:
      length = HEADER_BYTES + _check_header(file.peek(HEADER_BYTES)) + FOOTER_BYTES
      if end + length > size:
        raise _UnreadableError("the file ends within this record")
      raw = file.take(length)
    except (_UnreadableError, OSError) as error:
      yield RecordDamageError(path, number, str(error)), None
      return
    end += length
    try:
      yield checked(path, number, raw), end
    except RecordDamageError as damage:
      yield damage, end
    number += 1


@contextlib.contextmanager
def open_file(path: str) -> Iterator[ReadAt]:
  """Opens a file, local or remote, for reads at given offsets."""
  if storage.is_local(path):
    descriptor = os.open(path, os.O_RDONLY)
    try:
      yield functools.partial(_read_fully, descriptor)
    finally:
      os.close(descriptor)
    return
  yield lambda size, offset: storage.read_range(path, offset, offset + size)


def checked(path: str, record: int, raw: bytes) -> bytes:
  """Returns the data of a record.

  Args:
    path: The file.
    record: The number of the record in the file.
    raw: The record, with its header and footer.

  Raises:
    RecordDamageError: If a checksum is wrong, or it is cut.
  """
  data = raw[HEADER_BYTES:-FOOTER_BYTES]
  try:
    length = _check_header(raw[:HEADER_BYTES])
    checksum = int.from_bytes(raw[-FOOTER_BYTES:], "little")
    if length != len(data):
      raise _UnreadableError("the file ends within this record")
    if checksum != masked_crc(data):
      raise _UnreadableError("the checksum of its data is wrong")
  except _UnreadableError as error:
    raise RecordDamageError(path, record, str(error)) from error
  return data


def _check_header(header: bytes) -> int:
  """Returns the length of a record's data, from its header."""
  if len(header) < HEADER_BYTES:
    raise _UnreadableError("the file ends within this record")
  length, checksum = _HEADER.unpack(header)
  if checksum != masked_crc(header[:8]):
    raise _UnreadableError("the checksum of its length is wrong")
  return length


def masked_crc(data: bytes) -> int:
  """Returns the CRC32C of `data`, masked as tfrecord files do."""
  crc = google_crc32c.value(data)
  return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def _read_fully(descriptor: int, size: int, offset: int) -> bytes:
  data = os.pread(descriptor, size, offset)
  if len(data) == size:
    return data
  # A mounted bucket may give less at a time.
  parts = [data]
  while parts[-1]:
    done = sum(map(len, parts))
    parts.append(os.pread(descriptor, size - done, offset + done))
  return b"".join(parts)


# --- Making it --------------------------------------------------------------------


def _scan(path: str, size: int) -> np.ndarray:
  offsets = [0]
  with open_file(path) as read_at:
    headers = _Headers(read_at, size, PIECE if not storage.is_local(path) else 0)
    while offsets[-1] < size:
      try:
        length = _check_header(headers.at(offsets[-1]))
        end = offsets[-1] + HEADER_BYTES + length + FOOTER_BYTES
        if end > size:
          raise _UnreadableError("the file ends within this record")
      except _UnreadableError as error:
        raise RecordDamageError(path, len(offsets) - 1, str(error)) from error
      offsets.append(end)
  return np.array(offsets, np.int64)


class _Headers:
  """The headers of a file, each after the one before it.

  Args:
    read_at: The reader of the file.
    size: The size of the file.
    piece: How many bytes are read at once; 0 for those of a header, until some of them
      turn out to take long.
  """

  def __init__(self, read_at: ReadAt, size: int, piece: int):
    self._read_at, self._size, self._piece = read_at, size, piece
    self._start, self._data = 0, b""
    self._reads, self._seconds = 0, 0.0

  def at(self, offset: int) -> bytes:
    """Returns the bytes of the header at an offset, as far as the file has them."""
    begin = offset - self._start
    if begin + HEADER_BYTES > len(self._data):
      length = min(max(self._piece, HEADER_BYTES), self._size - offset)
      began = time.perf_counter()
      self._start, self._data, begin = offset, self._read_at(length, offset), 0
      self._seconds += time.perf_counter() - began
      self._reads += 1
      if self._reads == _TRIED_READS and self._seconds > _TRIED_READS * _SLOW_READ:
        self._piece = PIECE
    return self._data[begin : begin + HEADER_BYTES]


def _local_facts(path: str) -> FileFacts | None:
  try:
    status = os.stat(path)
  except OSError:
    return None
  return FileFacts(status.st_size, status.st_mtime_ns)


def _pieces(path: str, size: int) -> Iterator[bytes]:
  """Yields a file piece by piece, and reads some ahead."""
  pool, waiting = shared_pool(), collections.deque()
  with open_file(path) as read_at:
    for offset in range(0, size, PIECE):
      length = min(PIECE, size - offset)
      waiting.append(pool.submit(functools.partial(read_at, length, offset)))
      if len(waiting) == _PIECES_AHEAD:
        yield waiting.popleft().result()
    while waiting:
      yield waiting.popleft().result()


class _Sequential:
  """Bytes that come in pieces, read one after another."""

  def __init__(self, pieces: Iterator[bytes]):
    self._pieces = pieces
    self._data, self._begin = b"", 0

  def peek(self, count: int) -> bytes:
    """Returns the next bytes, fewer only where they end."""
    parts = [self._data[self._begin :]] if self._left() < count else []
    while parts and sum(map(len, parts)) < count:
      piece = next(self._pieces, b"")
      if not piece:
        break
      parts.append(piece)
    if parts:
      self._data, self._begin = b"".join(parts), 0
    return self._data[self._begin : self._begin + count]

  def take(self, count: int) -> bytes:
    """Returns the next bytes, and goes past them."""
    data = self.peek(count)
    self._begin += len(data)
    return data

  def _left(self) -> int:
    return len(self._data) - self._begin


# --- Keeping it -------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Entry:
  facts: FileFacts
  offsets: np.ndarray


def _load(folder: str) -> list[dict[str, _Entry]]:
  """Returns what is kept beside the data, and in the local cache."""
  return [_parsed(_path(folder)), _parsed(_cache_path(folder))]


def _valid(kept: list[dict[str, _Entry]], path: str, facts: FileFacts) -> _Entry | None:
  """Returns what is kept of a file as it is now; None where there is nothing."""
  of_file = (one.get(os.path.basename(path)) for one in kept)
  return next((entry for entry in of_file if entry and entry.facts == facts), None)


def _parsed(path: str) -> dict[str, _Entry]:
  content = storage.read_file(path) or b""
  try:
    with np.load(io.BytesIO(content)) as arrays:
      names, stamps = arrays["names"], arrays["stamps"]
      ends = np.cumsum(arrays["sizes"])
      offsets = np.split(arrays["offsets"], ends[:-1])
    return {
      str(name): _Entry(FileFacts(int(stamp[0]), int(stamp[1])), part)
      for name, stamp, part in zip(names, stamps, offsets, strict=True)
    }
  except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
    return {}  # No index, or not one of ours: it is made anew.


def _save(folder: str, entries: Mapping[str, _Entry]) -> None:
  """Keeps the index beside the data, or else in the local cache, or else nowhere."""
  file = io.BytesIO()
  np.savez(
    file,
    names=np.array(list(entries)),
    stamps=np.array([entry.facts for entry in entries.values()], np.int64),
    sizes=np.array([len(entry.offsets) for entry in entries.values()]),
    offsets=np.concatenate([entry.offsets for entry in entries.values()]),
  )
  content = file.getvalue()
  if storage.is_local(folder):
    with contextlib.suppress(OSError):
      _replace(_path(folder), content)
      return
  elif storage.write_file(_path(folder), content):
    return
  with contextlib.suppress(OSError):
    os.makedirs(os.path.dirname(_cache_path(folder)), exist_ok=True)
    _replace(_cache_path(folder), content)


def _replace(path: str, content: bytes) -> None:
  with replacing(path) as file:  # A rename leaves none partial.
    file.write(content)


def _path(folder: str) -> str:
  return f"{folder.rstrip('/')}/{INDEX_FILE}"


def _cache_path(folder: str) -> str:
  digest = hashlib.sha256(os.fsencode(folder)).hexdigest()[:16]
  return os.path.join(storage.cache_folder(), "record_index", f"{digest}.npz")
