"""IDX files, of MNIST and its kin, as labeled images."""

import gzip
import os
import re
import zlib

import numpy as np

from hue_jax.data.sources import Source, numbered_from_zero
from hue_jax.errors import InputError

_FILE = re.compile(r"(?:.*-)?(train|t10k|test)-(images|labels)[-.]idx\d-ubyte(\.gz)?")
_UINT8 = 8


def read_idx(
  folder: str, *, first_label: int | None = None, num_classes: int | None = None
) -> Source:
  """Reads the four IDX files of MNIST and its kin, gzipped or not.

  Args:
    folder: The folder with {train,t10k}-{images,labels}-idx{3,1}-ubyte[.gz]; a prefix
      as in EMNIST's file names is allowed, and 'test' for 't10k'.
    first_label: The label of the first class; None for 0.
    num_classes: The number of classes; None where each has an example.

  Returns:
    The images, gray, in splits 'train' and 'test'.

  Raises:
    InputError: If a file is missing, ambiguous, or not what its name says.
  """
  paths = _find_files(folder)
  pixels, labels = {}, {}
  for split in ("train", "test"):
    pixels[split] = _read_file(paths[split, "images"], rank=3)[..., np.newaxis]
    labels[split] = _read_file(paths[split, "labels"], rank=1)
    if len(pixels[split]) != len(labels[split]):
      raise InputError(
        f"{paths[split, 'images']} has {len(pixels[split])} images and "
        f"{paths[split, 'labels']} has {len(labels[split])} labels; they must agree."
      )
  shape = pixels["train"].shape[1:]
  if pixels["test"].shape[1:] != shape:
    raise InputError(
      f"{paths['test', 'images']} has images of {pixels['test'].shape[1:3]} pixels and "
      f"{paths['train', 'images']} of {shape[:2]}; they must agree."
    )
  labels, count = numbered_from_zero(
    folder, labels, first_label=first_label, num_classes=num_classes
  )
  return Source(shape, None, labels, lambda split, i: pixels[split][i], count)


def _find_files(folder: str) -> dict[tuple[str, str], str]:
  if not os.path.isdir(folder):
    raise InputError(f"{folder} is not a folder.")
  found: dict[tuple[str, str], list[str]] = {}
  for file in sorted(os.listdir(folder)):
    if match := _FILE.fullmatch(file):
      split = "train" if match[1] == "train" else "test"
      found.setdefault((split, match[2]), []).append(os.path.join(folder, file))
  for split, prefix in (("train", "train"), ("test", "t10k")):
    for kind, rank in (("images", 3), ("labels", 1)):
      paths = found.get((split, kind), [])
      if len(paths) != 1:
        raise InputError(
          f"{folder} must have one file {prefix}-{kind}-idx{rank}-ubyte[.gz]; it has "
          f"{', '.join(map(os.path.basename, paths)) or 'none'}."
        )
  return {key: paths[0] for key, paths in found.items()}


def _read_file(path: str, rank: int) -> np.ndarray:
  opener = gzip.open if path.endswith(".gz") else open
  try:
    with opener(path, "rb") as file:
      data = file.read()
  except (OSError, EOFError, zlib.error) as error:
    raise InputError(f"{path} cannot be read ({error}).") from error
  header = 4 + 4 * rank
  if data[:4] != bytes([0, 0, _UINT8, rank]) or len(data) < header:
    raise InputError(
      f"{path} begins with bytes {data[:4].hex(' ') or 'none'}; an IDX file of "
      f"{rank}-dimensional uint8 begins with 00 00 08 {rank:02x}."
    )
  shape = np.frombuffer(data, ">u4", count=rank, offset=4).astype(int)
  if len(data) - header != shape.prod():
    raise InputError(
      f"{path} has {len(data) - header} bytes of data where its header says "
      f"{'x'.join(map(str, shape))}."
    )
  if not shape.all():
    raise InputError(f"{path} is empty: its header says {'x'.join(map(str, shape))}.")
  return np.frombuffer(data, np.uint8, offset=header).reshape(shape)
