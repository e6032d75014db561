"""Files of arrays that are filled part by part, and never read whole into memory."""

import os
from pathlib import Path

import numpy as np

from hue_jax.errors import InputError, naming


def read_array(path: Path, shape: tuple[int, ...], **options) -> np.ndarray:
  """Reads an array whose shape is known.

  Args:
    path: The file.
    shape: The shape that it must have.
    **options: The options of `np.load`.

  Raises:
    InputError: If the file is missing, damaged, or of another shape.
  """
  try:
    array = np.load(path, **options)
  except (OSError, ValueError, EOFError) as error:
    raise InputError(f"store file {path} cannot be read ({error}).") from error
  if array.shape != shape:
    raise InputError(
      f"store file {path} is an array of shape {array.shape}; {shape} is expected."
    )
  return array


def allocate(path: Path, shape: tuple[int, int], dtype: str) -> None:
  """Makes a file of its final size with nothing written, which takes no room yet."""
  header = {
    "descr": np.lib.format.dtype_to_descr(np.dtype(dtype)),
    "fortran_order": False,
    "shape": shape,
  }
  with open(path, "wb") as file:
    np.lib.format.write_array_header_2_0(file, header)
    file.truncate(file.tell() + _num_bytes(shape, dtype))


def check_size(path: Path, shape: tuple[int, int], dtype: str) -> None:
  """Raises an InputError unless a file that `allocate` made is still of its size."""
  try:
    with open(path, "rb") as file:
      expected = _header_size(file) + _num_bytes(shape, dtype)
    found = path.stat().st_size
  except (OSError, ValueError) as error:
    raise InputError(f"store file {path} cannot be read ({error}).") from error
  if found != expected:
    raise InputError(
      f"store file {path} has {found} bytes; {expected} are expected: it was cut "
      "short or is of another capture. Remove the store to make it anew."
    )


def write_rows(path: Path, first_row: int, rows: np.ndarray) -> None:
  """Writes rows of a file that `allocate` made.

  Args:
    path: The file.
    first_row: The place of the first row.
    rows: The rows, of the type of the file, [rows, columns].

  Raises:
    OSError: If the disk is full, or cannot be written; it names the file.
  """
  with naming(path), open(path, "r+b") as file:
    start = _header_size(file) + first_row * rows[0].nbytes
    _write_at(file.fileno(), rows.tobytes(), start)


def sync(path: Path) -> None:
  """Waits until what this process has written is on the disk."""
  with naming(path), open(path, "r+b") as file:
    os.fsync(file.fileno())


def _header_size(file) -> int:
  version = np.lib.format.read_magic(file)
  if version != (2, 0):
    raise ValueError(f"array of format {version}; (2, 0) is expected")
  np.lib.format.read_array_header_2_0(file)
  return file.tell()


def _num_bytes(shape, dtype) -> int:
  return shape[0] * shape[1] * np.dtype(dtype).itemsize


def _write_at(descriptor: int, data: bytes, start: int) -> None:
  """Writes without mapping the file, whose pages would count as this process's."""
  view = memoryview(data)
  while view:
    written = os.pwrite(descriptor, view, start)
    view, start = view[written:], start + written
