"""Files of a package: where it is installed, or in the package file itself."""

import importlib.util
import io
import os
import re
import tarfile
import zipfile
from collections.abc import Iterator

from hue_jax.errors import InputError

_AR_MAGIC, _AR_HEADER = b"!<arch>\n", 60
ACCEPTED = "a folder, or a package file (.deb, .whl, .zip, .tar, .tgz)"


def python_package(name: str) -> str | None:
  """Returns the folder of an installed Python package, which is not imported."""
  package = importlib.util.find_spec(name)
  return package.submodule_search_locations[0] if package else None


def files_that_end(path: str, pattern: re.Pattern) -> list[tuple[re.Match, bytes]]:
  """Reads the files of a package whose paths end in a certain way.

  So it does not matter from where on a path is known. Links are other names of files
  and are passed over.

  Args:
    path: A folder at any depth of the package, or around it; or the package file.
    pattern: What paths end in, with slashes, whole names of folders and files.

  Returns:
    What each file matched and its contents, in the order of the former.

  Raises:
    InputError: If a file cannot be read, or `path` is neither.
  """
  path = os.path.abspath(path)
  read = _of_folder if os.path.isdir(path) else _of_package_file
  ends = re.compile(rf"(?:.*/)?({pattern.pattern})", re.DOTALL)
  try:
    found = [
      (pattern.fullmatch(match[1]), contents) for match, contents in read(path, ends)
    ]
  except OSError as error:
    where = error.filename or path
    raise InputError(f"{where} cannot be read ({error.strerror or error}).") from error
  return sorted(found, key=lambda of: of[0][0])


def _of_folder(path: str, ends: re.Pattern) -> Iterator[tuple[re.Match, bytes]]:
  for place, _, names in os.walk(path):
    for name in names:
      file = os.path.join(place, name)
      match = ends.fullmatch(file.replace(os.sep, "/"))
      if match and not os.path.islink(file):
        with open(file, "rb") as opened:
          yield match, opened.read()


def _of_package_file(path: str, ends: re.Pattern) -> Iterator[tuple[re.Match, bytes]]:
  try:
    with open(path, "rb") as file:
      if zipfile.is_zipfile(file):
        yield from _of_zip(file, ends)
      else:
        yield from _of_tar(_data_of_deb(file) or file, ends)
  except (tarfile.TarError, zipfile.BadZipFile, EOFError, ValueError) as error:
    # After the colon tarfile lists every compression that it has tried.
    reason = str(error).partition(":")[0] or type(error).__name__
    raise InputError(
      f"{path} cannot be read ({reason}); accepted is {ACCEPTED}."
    ) from error


def _of_zip(
  file: io.BufferedIOBase, ends: re.Pattern
) -> Iterator[tuple[re.Match, bytes]]:
  with zipfile.ZipFile(file) as archive:
    for name in archive.namelist():
      if match := ends.fullmatch(name):
        yield match, archive.read(name)


def _of_tar(
  file: io.BufferedIOBase, ends: re.Pattern
) -> Iterator[tuple[re.Match, bytes]]:
  with tarfile.open(fileobj=file) as archive:
    for member in archive:
      match = ends.fullmatch(member.name)
      # The second is another name of the same file, which an install writes as a file.
      if match and (member.isfile() or member.islnk()):
        yield match, archive.extractfile(member).read()


def _data_of_deb(file: io.BufferedIOBase) -> io.BufferedIOBase | None:
  """Returns the files of a Debian package, which is an archive of Unix's ar."""
  file.seek(0)
  if file.read(len(_AR_MAGIC)) != _AR_MAGIC:
    file.seek(0)
    return None
  while len(header := file.read(_AR_HEADER)) == _AR_HEADER:
    size = int(header[48:58])
    if header.startswith(b"data.tar"):
      return io.BytesIO(file.read(size))
    file.seek(size + size % 2, os.SEEK_CUR)
  raise ValueError("it has no data.tar")
