"""Files that are written whole or not at all."""

import contextlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


@contextlib.contextmanager
def replacing(path: str | os.PathLike[str]) -> Iterator[BinaryIO]:
  """Opens a file that takes its place at `path` when it is complete.

  It is written under another name in the same folder and renamed at the end, so that
  whoever reads `path` finds the file before, or the whole new one. After an error
  nothing is left of it.

  Args:
    path: The place of the file; an `etils.epath.Path` may be on remote storage.

  Yields:
    The file, open for bytes.

  Raises:
    OSError: If the file cannot be written; it names `path`.
  """
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
