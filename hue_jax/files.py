"""Files that are written whole or not at all, here or in a bucket."""

import contextlib
import io
import os
import re
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from hue_jax.errors import refuse

# What begins a URL; a `Path` of one has a single slash.
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/")


def is_local(path: str | os.PathLike[str]) -> bool:
  """Returns whether a path is on this machine's file system, not a URL (gs://…)."""
  return not _URL.match(os.fspath(path))


def local_path(name: str, path: str | os.PathLike[str]) -> Path:
  """Returns a path of this machine, with ~ replaced by the home folder.

  Args:
    name: What has the path, as "--output".
    path: The path.

  Raises:
    InputError: If it is a URL: a folder of that name would be made here.
  """
  if not is_local(path):
    refuse(name, os.fspath(path), "a path of this machine")
  return Path(path).expanduser()


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
  """Opens a file that takes its place at `path` when it is complete.

  It is written under another name in the same folder and renamed at the end, so that
  whoever reads `path` finds the file before, or the whole new one. After an error
  nothing is left of it. A bucket keeps that promise itself, and does not rename: what
  goes there is sent at the end.

  Args:
    path: The place of the file; an `etils.epath.Path` may be on remote storage.

  Yields:
    The file, open for bytes.

  Raises:
    OSError: If the file cannot be written; it names `path`. Of a bucket, whatever
      etils raises.
  """
  if not is_local(path):
    content = io.BytesIO()
    yield content
    path.write_bytes(content.getvalue())
    return
  path = path if hasattr(path, "with_name") else Path(path)
  unfinished = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}.partial")
  try:
    with unfinished.open("wb") as file:
      yield file
    unfinished.replace(path)
  except BaseException as error:
    with contextlib.suppress(Exception):
      unfinished.unlink(missing_ok=True)
    if isinstance(error, OSError) and error.filename in (None, str(unfinished)):
      error.filename, error.filename2 = str(path), None
    raise


def write_text(path: str | os.PathLike[str], text: str) -> None:
  """Writes a text in UTF-8, whole or not at all."""
  with replacing(path) as file:
    file.write(text.encode())


def readable(text: str) -> str:
  r"""Returns a path, or a text with paths, as UTF-8 can have it.

  A byte of a file name that is no UTF-8, which Python keeps as a surrogate that cannot
  be written, becomes \xe9 or the like.

  Args:
    text: The path as Python has it.
  """
  return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
