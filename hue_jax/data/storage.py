"""The files of data sets, on this machine or in a bucket (gs://, s3://).

What is local is read by the system's calls, also where it is a mounted bucket. What is
remote is read by fsspec, with gcsfs or s3fs: each request is repeated, ever later and
at random moments, until it succeeds or its patience is over, and requests wait for one
another where they would fill memory.

Environment variables:
  HUE_JAX_CACHE_DIR: The folder of what is kept of data sets that cannot be written
    beside them; by default hue_jax in $XDG_CACHE_HOME, or in ~/.cache.
  HUE_JAX_BUCKET_PATIENCE: For how many seconds a request to a bucket is repeated.
  FSSPEC_GS_TOKEN, FSSPEC_S3_ENDPOINT_URL and the like: options of gcsfs and s3fs; see
    fsspec's documentation of its configuration.
"""

import errno
import functools
import importlib
import itertools
import json
import logging
import os
import random
import sys
import threading
import time
import zlib
from collections.abc import Callable
from typing import Any, NamedTuple, TypeVar

import fsspec

from hue_jax.errors import InputError
from hue_jax.files import is_local
from hue_jax.settings import Number

T = TypeVar("T")

# What is requested and not yet here, over all threads.
MAX_BYTES_IN_FLIGHT = 256 * 2**20

_PATIENCE = "HUE_JAX_BUCKET_PATIENCE"
_DEFAULT_PATIENCE = 120.0
_FIRST_WAIT, _LONGEST_WAIT = 0.2, 10.0  # seconds between two tries
_NOTE_EVERY = 30.0
_SHORT_ANSWERS = 3

# Protocol → the package with which fsspec reads it; the extras bring them.
_PACKAGES = {"gs": "gcsfs", "gcs": "gcsfs", "s3": "s3fs", "s3a": "s3fs"}
# A request ends, and is not made again by these: it is this module that waits.
_OPTIONS: dict[str, dict[str, Any]] = {
  "gcsfs": {"requests_timeout": 60},
  "s3fs": {
    "config_kwargs": {
      "connect_timeout": 10,
      "read_timeout": 60,
      "retries": {"max_attempts": 0},
      "max_pool_connections": 64,
    }
  },
}


class BucketError(InputError):
  """A bucket that is not there, may not be read, or does not answer."""


class FileFacts(NamedTuple):
  """What tells whether a file has changed.

  Attributes:
    size: Its bytes.
    stamp: A number that another content does not have: the time of its last change in
      nanoseconds or, in a bucket, a checksum of its entity tag.
  """

  size: int
  stamp: int


def check_folder(name: str, path: str) -> None:
  """Raises an InputError unless a folder of data sets can be read at all.

  Args:
    name: What has the path, as "data_dir".
    path: The folder.

  Raises:
    InputError: If its protocol is unknown, or its name is not UTF-8.
    ModuleNotFoundError: If the package that reads it is not installed.
  """
  try:
    path.encode()
  except UnicodeEncodeError:  # TensorFlow takes no such path.
    raise InputError(
      f"{name} is {path!r}; it must be a folder whose path is UTF-8."
    ) from None
  if is_local(path):
    return
  protocol, _, rest = path.partition("://")
  if protocol not in _PACKAGES or not rest.strip("/"):
    raise InputError(
      f"{name} is {path!r}; it must be a folder, gs://BUCKET/FOLDER or "
      "s3://BUCKET/FOLDER."
    )
  importlib.import_module(_PACKAGES[protocol])


def read_range(path: str, start: int, stop: int) -> bytes:
  """Reads a part of a file in a bucket, in one request.

  Args:
    path: The file.
    start: The first byte.
    stop: The end, at most that of the file.

  Returns:
    The bytes; fewer only if the file has become shorter.

  Raises:
    BucketError: If it cannot be read, or its server does not read parts.
  """

  def read():
    data = _file_system(path).cat_file(path, start=start, end=stop)
    if len(data) < stop - start:
      raise _ShortAnswerError(data)
    if len(data) > stop - start:
      raise BucketError(
        f"{path} is answered with {len(data)} bytes where {stop - start} were asked "
        "for: its server takes no ranges (HTTP's Range), which it must."
      )
    return data

  if stop <= start:
    return b""
  with _in_flight.of(stop - start):
    return _patiently(path, read)


def read_file(path: str) -> bytes | None:
  """Returns the content of a file, local or in a bucket; None where there is none."""
  if is_local(path):
    try:
      with open(path, "rb") as file:
        return file.read()
    except OSError:
      return None
  return _patiently(path, lambda: _file_system(path).cat_file(path), missing=None)


def write_file(path: str, content: bytes) -> bool:
  """Writes a file into a bucket, whole or not at all.

  Returns:
    Whether that is allowed.
  """
  try:
    _file_system(path).pipe_file(path, content)
  except Exception:  # The libraries have many errors for "may not be written".
    return False
  return True


def list_files(folder: str) -> dict[str, FileFacts]:
  """Returns the files below a folder of a bucket, in one listing.

  Args:
    folder: The folder.

  Returns:
    Path, as `folder` begins it → what tells its content; empty where there is none.

  Raises:
    BucketError: If the bucket is not there or may not be read.
  """

  def find():
    found = _file_system(folder).find(folder, detail=True, refresh=True)
    return found if isinstance(found, dict) else {}

  protocol = folder.partition("://")[0]
  return {
    f"{protocol}://{name}": FileFacts(int(facts["size"]), _stamp(facts))
    for name, facts in _patiently(folder, find).items()
  }


def list_folders(folder: str) -> list[str]:
  """Returns the names of the folders in a folder of a bucket, in order."""

  def names():
    found = _file_system(folder).ls(folder, detail=True, refresh=True)
    return sorted(
      one["name"].rstrip("/").rpartition("/")[2]
      for one in found
      if one["type"] == "directory"
    )

  return _patiently(folder, names, missing=[])


def cache_folder() -> str:
  """Returns the folder of what cannot be kept beside the data; it may not exist."""
  own = os.environ.get("HUE_JAX_CACHE_DIR")
  if own:
    return os.path.abspath(os.path.expanduser(own))
  base = os.environ.get("XDG_CACHE_HOME") or os.path.join("~", ".cache")
  return os.path.join(os.path.abspath(os.path.expanduser(base)), "hue_jax")


def patience() -> int | float:
  """Returns for how many seconds a request to a bucket is repeated.

  Raises:
    InputError: If the environment variable is no such number.
  """
  given = os.environ.get(_PATIENCE)
  return Number(at_least=0)(_PATIENCE, given) if given else _DEFAULT_PATIENCE


# --- Trying again -----------------------------------------------------------------


class _ShortAnswerError(Exception):
  """An answer that ends too early: a connection was lost, or the file is shorter."""

  def __init__(self, data: bytes):
    super().__init__("the answer ends too early")
    self.data = data


_NO_DEFAULT: Any = object()
# Bucket → until when others do not wait, for one request has waited in vain: else the
# end of a run would take the patience of all that are in the queue.
_lost_until: dict[str, float] = {}


def _patiently(path: str, request: Callable[[], T], missing: Any = _NO_DEFAULT) -> T:
  """Makes a request until it succeeds, as long as that may help.

  Args:
    path: What is asked for.
    request: A function that asks for it once.
    missing: What is returned where it is not there; an error if it is left out.
  """
  deadline = time.monotonic() + patience()
  bucket = path.partition("://")[2].partition("/")[0]
  num_short = 0
  for number in itertools.count(1):
    try:
      answer = request()
      _lost_until.pop(bucket, None)
      return answer
    except BucketError:
      raise
    except FileNotFoundError as error:
      if missing is not _NO_DEFAULT:
        return missing
      raise BucketError(f"{path} is not there: no such bucket or file.") from error
    except Exception as error:
      num_short += isinstance(error, _ShortAnswerError)
      if isinstance(error, _ShortAnswerError) and num_short >= _SHORT_ANSWERS:
        return error.data
      if _is_refusal(error):
        raise BucketError(f"{path} may not be read ({_reason(error)}).") from error
      wait = random.uniform(0, min(_LONGEST_WAIT, _FIRST_WAIT * 2**number))
      now = time.monotonic()
      if now + wait > deadline or now < _lost_until.get(bucket, 0.0):
        _lost_until[bucket] = now + patience()
        raise BucketError(
          f"{path} does not answer within {patience():g} s, as {_PATIENCE} says "
          f"({_reason(error)})."
        ) from error
      _note(path, wait, error)
      time.sleep(wait)
  raise AssertionError


def _is_refusal(error: Exception) -> bool:
  """Whether the answer would be the same another time."""
  code = getattr(error, "code", None)  # of gcsfs's HttpError, int or text
  if str(code).isdigit():
    return 400 <= int(code) < 500 and int(code) not in (408, 429)
  if isinstance(error, PermissionError) or str(error).startswith("Forbidden"):
    return True
  if isinstance(error, OSError) and error.errno in (errno.EINVAL, errno.ENOSYS):
    return True  # Of s3fs: a request that S3 does not take.
  if isinstance(error, ValueError):
    return not isinstance(error, json.JSONDecodeError)  # Of half an answer.
  return type(error).__name__ in (
    "DefaultCredentialsError",  # of google.auth
    "InvalidRegionError",  # and of botocore
    "NoCredentialsError",
    "ParamValidationError",
    "PartialCredentialsError",
  )


def _reason(error: Exception) -> str:
  text = " ".join(str(error).split()) or type(error).__name__
  return text.rstrip(".")[:200]


_noted = {"at": -_NOTE_EVERY}


def _note(path, wait, error):
  """Says now and then that a bucket does not answer: a run that waits is no riddle."""
  now = time.monotonic()
  if wait > 1 and now - _noted["at"] >= _NOTE_EVERY:
    _noted["at"] = now
    print(f"{path} is asked for again ({_reason(error)}).", file=sys.stderr)


# --- What bounds memory -----------------------------------------------------------


class _Budget:
  """A number of bytes that requests share; a larger one waits until it is alone."""

  def __init__(self, size: int):
    self._size = self._left = size
    self._changed = threading.Condition()

  def of(self, size: int) -> "_Part":
    """Returns a context that holds so many bytes."""
    return _Part(self, min(size, self._size))

  def take(self, size: int) -> None:
    """Takes bytes, when they are there."""
    with self._changed:
      self._changed.wait_for(lambda: self._left >= size)
      self._left -= size

  def give(self, size: int) -> None:
    """Gives bytes back."""
    with self._changed:
      self._left += size
      self._changed.notify_all()


class _Part(NamedTuple):
  budget: _Budget
  size: int

  def __enter__(self):
    self.budget.take(self.size)

  def __exit__(self, *_):
    self.budget.give(self.size)


_in_flight = _Budget(MAX_BYTES_IN_FLIGHT)


# --- fsspec -----------------------------------------------------------------------


def _file_system(path: str) -> fsspec.AbstractFileSystem:
  return _opened(path.partition("://")[0])


@functools.cache
def _opened(protocol: str) -> fsspec.AbstractFileSystem:
  package = _PACKAGES[protocol]
  importlib.import_module(package)
  # It prints a traceback of each error that it raises, too.
  logging.getLogger(package).setLevel(logging.CRITICAL)
  own = fsspec.config.conf.get(protocol, {})  # The environment's.
  options = {
    name: {**value, **own.get(name, {})}
    if isinstance(value, dict)
    else own.get(name, value)
    for name, value in _OPTIONS[package].items()
  }
  file_system = fsspec.filesystem(protocol, **options)
  if package == "s3fs":
    file_system.retries = 1
  return file_system


def _stamp(facts: dict[str, Any]) -> int:
  tags = ("generation", "etag", "ETag", "mtime", "updated", "LastModified")
  tag = next((str(facts[name]) for name in tags if facts.get(name)), "")
  return zlib.crc32(tag.encode())
