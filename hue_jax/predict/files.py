"""Picture files by their paths, and the folders that hold them."""

import os
from collections.abc import Iterator, Sequence

from hue_jax.errors import InputError
from hue_jax.pictures import SUFFIXES


def find_pictures(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
  """Lists files, and the pictures of folders at any depth, each once.

  A file that is named itself is listed whatever its name; in folders, files are
  pictures by the ending of their names, and hidden ones are passed over.

  Args:
    paths: Files and folders.

  Returns:
    The files, those of a folder in the order of their names.

  Raises:
    InputError: If a path is not there, or a folder cannot be read or holds no picture.
  """
  found: dict[str, str] = {}
  for path in map(os.path.expanduser, map(os.fspath, paths)):
    if os.path.isdir(path):
      files = list(_in_folder(path))
      if not files:
        raise InputError(f"folder {path} holds no picture.")
    elif os.path.exists(path):
      files = [path]
    else:
      raise InputError(f"image {path} is not there.")
    for file in files:
      found.setdefault(os.path.realpath(file), file)
  return list(found.values())


def _in_folder(folder: str) -> Iterator[str]:
  def refuse(error):
    raise InputError(f"folder {error.filename} cannot be read ({error.strerror}).")

  for place, folders, files in os.walk(folder, onerror=refuse):
    folders[:] = sorted(name for name in folders if name[0] != ".")
    for name in sorted(files):
      if name[0] != "." and os.path.splitext(name)[1].lower() in SUFFIXES:
        yield os.path.join(place, name)
