"""NumPy archives as labeled images."""

import zipfile
import zlib
from collections.abc import Mapping, Sequence

import numpy as np

from hue_jax.data.sources import (
  SPLIT_NAMES,
  Cuts,
  Source,
  checked_names,
  numbered_from_zero,
)
from hue_jax.errors import InputError
from hue_jax.pictures import WHITE, flatten

_IMAGES, _LABELS = ("x", "images", "image"), ("y", "labels", "label")
_CLASS_NAMES = "class_names"
_ALL = ""  # The split of arrays that name none.
_ACCEPTED = (
  "accepted are x_train, y_train, x_val, y_val, x_test, y_test, the same as "
  "train_images, train_labels, …, or images, labels"
)


def read_npz(
  path: str,
  cuts: Cuts = Cuts(),  # noqa: B008 (frozen)
  *,
  first_label: int | None = None,
  num_classes: int | None = None,
  background: Sequence[int] = WHITE,
) -> Source:
  """Reads a NumPy archive of images.

  Args:
    path: An .npz file with arrays x_SPLIT and y_SPLIT, or SPLIT_images and
      SPLIT_labels, for each split, or images and labels, which are cut into splits;
      and class_names, if the classes have names. Images are uint8 [n, height, width]
      or [n, height, width, 1 to 4]. Labels are integers or booleans [n] or [n, 1], or
      one-hot [n, classes].
    cuts: How splits that it lacks are cut.
    first_label: The label of the first class; None for 0.
    num_classes: The number of classes; None where each has an example.
    background: What transparent parts show.

  Raises:
    InputError: If the file or an array in it is not of this form.
  """
  arrays = _load(path)
  keys = _keys_of_splits(path, arrays)
  names = _class_names(path, arrays)
  pixels = {s: _images(path, arrays, x, background) for s, (x, _) in keys.items()}
  labels = {s: _labels(path, arrays, *of) for s, of in keys.items()}
  widths = {a.shape[1] for a in labels.values() if a.ndim == 2}
  if len(widths) > 1 or (widths and any(a.ndim == 1 for a in labels.values())):
    raise InputError(f"{path} has one-hot labels in some splits and others elsewhere.")
  for told in ([len(names)] if names else []) + list(widths):
    if num_classes not in (None, told):
      raise InputError(
        f"--num_classes is {num_classes}, but {path} tells of {told} classes."
      )
    num_classes = told
  if num_classes is not None and num_classes < 2:
    raise InputError(f"{path} has {num_classes} class; a task has two or more.")
  flat = {s: a.argmax(1) if a.ndim == 2 else a for s, a in labels.items()}
  flat, count = numbered_from_zero(
    path, flat, first_label=first_label, num_classes=num_classes
  )
  shapes = {images.shape[1:] for images in pixels.values()}
  if len(shapes) > 1:
    raise InputError(
      f"{path} has images of shapes {' and '.join(map(str, sorted(shapes)))}; those of "
      "all splits must have one."
    )
  has_splits = _ALL not in flat
  flat = {s or "train": of for s, of in flat.items()}
  pixels = {s or "train": of for s, of in pixels.items()}
  parts = cuts.apply(path, flat, has_splits)
  return Source(
    shapes.pop(),
    names,
    {split: flat[of][indices] for split, (of, indices) in parts.items()},
    lambda split, i: pixels[parts[split][0]][parts[split][1][i]],
    count,
  )


def _load(path: str) -> dict[str, np.ndarray]:
  try:
    archive = np.load(path, allow_pickle=False)
    if isinstance(archive, np.ndarray):
      archive = None
      raise InputError(
        f"{path} is one array (.npy), without labels; {_ACCEPTED}, in one .npz archive "
        "(numpy.savez)."
      )
    with archive:
      found = {}
      for key in archive.files:
        try:
          found[key] = archive[key]
        except ValueError as error:
          raise InputError(f"{path}: array {key} cannot be read ({error}).") from error
    return {key: a for key, a in found.items() if isinstance(a, np.ndarray)}
  except InputError:
    raise
  # NumPy and zipfile raise many kinds for damaged files.
  except (
    OSError,
    ValueError,
    EOFError,
    KeyError,
    AttributeError,
    NotImplementedError,
    RuntimeError,
    zlib.error,
    zipfile.BadZipFile,
  ) as error:
    raise InputError(f"{path} cannot be read as an .npz archive ({error}).") from error


def _keys_of_splits(path: str, arrays) -> dict[str, tuple[str, str]]:
  """Returns split → the names of its images and its labels."""
  found: dict[tuple[str, str], str] = {}
  for key in sorted(arrays):
    if (meaning := _meaning(key)) is None:
      continue
    if meaning in found:
      raise InputError(
        f"{path} has both {found[meaning]} and {key}; one of them must go."
      )
    found[meaning] = key
  splits = sorted({split for _, split in found}, key=_ORDER.index)
  if not any(kind == "images" for kind, _ in found):
    raise InputError(
      f"{path} has arrays {', '.join(sorted(arrays)) or 'none'}; {_ACCEPTED}."
    )
  if _ALL in splits and len(splits) > 1:
    raise InputError(
      f"{path} has arrays {', '.join(found.values())}; images of no split beside those "
      "of splits could belong to any: name their split, or leave them out."
    )
  for split in splits:
    for kind, other in (("images", "labels"), ("labels", "images")):
      if (kind, split) in found and (other, split) not in found:
        raise InputError(f"{path} has {found[kind, split]} and lacks its {other}.")
  return {s: (found["images", s], found["labels", s]) for s in splits}


_ORDER = (_ALL, "train", "validation", "test")


def _meaning(key: str) -> tuple[str, str] | None:
  """Returns whether an array is of images or labels, and of which split."""
  words = key.lower().split("_")
  kinds = [w for w in words if w in _IMAGES or w in _LABELS]
  splits = [SPLIT_NAMES[w] for w in words if w in SPLIT_NAMES]
  if len(kinds) != 1 or len(splits) > 1 or len(kinds) + len(splits) != len(words):
    return None
  return "images" if kinds[0] in _IMAGES else "labels", splits[0] if splits else _ALL


def _images(path: str, arrays, key: str, background) -> np.ndarray:
  array = arrays[key]
  if array.ndim == 3:
    array = array[..., np.newaxis]
  fits = array.ndim == 4 and array.shape[3] in (1, 2, 3, 4) and array.size > 0
  if array.dtype == np.uint8 and fits:
    return flatten(array, background)
  hint = ""
  if array.ndim == 4 and array.shape[1] in (1, 3, 4) and not fits:
    hint = "; channels come last (numpy.moveaxis(x, 1, -1))"
  elif array.dtype == np.uint16:
    hint = "; of 16 bits, (x >> 8).astype(numpy.uint8) keeps the higher 8"
  elif array.dtype == np.bool_ or np.issubdtype(array.dtype, np.floating):
    hint = "; of 0 to 1, numpy.round(255.0 * x).astype(numpy.uint8) makes them so"
  raise InputError(
    f"{path}: {key} is {array.dtype} {list(arrays[key].shape)}; accepted is uint8 "
    f"[n, height, width] or [n, height, width, 1 to 4]{hint}."
  )


def _labels(path: str, arrays, images_key: str, key: str) -> np.ndarray:
  """Returns integers [n], or [n, classes] where they are one-hot."""
  array, count = arrays[key], len(arrays[images_key])
  if array.dtype == np.bool_:
    array = array.astype(np.int64)
  # Some archives keep labels as a column, or a row.
  if array.ndim == 2 and 1 in array.shape and array.size == count:
    array = array.reshape(-1)
  if array.shape == (count,) and np.issubdtype(array.dtype, np.integer):
    return array
  is_table = array.ndim == 2 and len(array) == count and array.dtype.kind in "iuf"
  if is_table and np.isin(array, (0, 1)).all() and (array.sum(1) == 1).all():
    return array
  raise InputError(
    f"{path}: {key} is {array.dtype} {list(array.shape)}; accepted is integer "
    f"[{count}], a label for each of {images_key}, or one-hot [{count}, classes]."
  )


def _class_names(path: str, arrays: Mapping[str, np.ndarray]) -> list[str] | None:
  if _CLASS_NAMES not in arrays:
    return None
  array = arrays[_CLASS_NAMES]
  if array.ndim != 1 or not array.size or array.dtype.kind not in "USiu":
    raise InputError(
      f"{path}: {_CLASS_NAMES} is {array.dtype} {list(array.shape)}; accepted is text "
      "[classes]."
    )
  try:
    names = [n.decode() if isinstance(n, bytes) else str(n) for n in array.tolist()]
  except UnicodeDecodeError as error:
    raise InputError(f"{path}: {_CLASS_NAMES} is not UTF-8 ({error}).") from error
  return checked_names(f"{path}: {_CLASS_NAMES}:", names)
