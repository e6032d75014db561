"""Local files as labeled images: IDX files, class folders, NumPy archives."""

import dataclasses
import gzip
import io
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from hue_jax import pictures
from hue_jax.data.stratify import stratified_splits
from hue_jax.errors import InputError, check_number

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp")

_IDX_FILE = re.compile(
  r"(?:.*-)?(train|t10k|test)-(images|labels)[-.]idx\d-ubyte(\.gz)?"
)
_IDX_UINT8 = 8
_SPLIT_NAMES = {
  "train": "train",
  "validation": "validation",
  "val": "validation",
  "test": "test",
}


@dataclasses.dataclass(frozen=True)
class Source:
  """Labeled images in splits.

  Attributes:
    image_shape: The (height, width, channels) of all images; None where they vary.
    class_names: The name of each class; None for their numbers.
    labels: For each split, the class of each example, [num_examples].
    image: For a split and the number of an example in it, what TFDS encodes: an
      array, or a file object of JPEG or PNG bytes.
  """

  image_shape: tuple[int | None, int | None, int]
  class_names: Sequence[str] | None
  labels: Mapping[str, np.ndarray]
  image: Callable[[str, int], object]

  @property
  def num_classes(self) -> int:
    """The number of classes."""
    if self.class_names is not None:
      return len(self.class_names)
    return 1 + max(int(labels.max()) for labels in self.labels.values())

  def examples(self, split: str) -> Iterator[tuple[int, dict]]:
    """Yields (number, example) for each example of a split."""
    for i, label in enumerate(self.labels[split]):
      yield i, {"image": self.image(split, i), "label": int(label)}


def read_idx(folder: str) -> Source:
  """Reads the four IDX files of MNIST and its kin, gzipped or not.

  Args:
    folder: The folder with {train,t10k}-{images,labels}-idx{3,1}-ubyte[.gz]; a prefix
      as in EMNIST's file names is allowed, and 'test' for 't10k'.

  Returns:
    The images, gray, in splits 'train' and 'test'.

  Raises:
    InputError: If a file is missing, ambiguous, or not what its name says.
  """
  paths = _find_idx_files(folder)
  pixels, labels = {}, {}
  for split in ("train", "test"):
    pixels[split] = _read_idx_file(paths[split, "images"], rank=3)[..., np.newaxis]
    labels[split] = _read_idx_file(paths[split, "labels"], rank=1)
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
  return Source(shape, None, labels, lambda split, i: pixels[split][i])


def read_npz(
  path: str, test_fraction: float, validation_fraction: float, seed: int
) -> Source:
  """Reads a NumPy archive of images.

  Args:
    path: An .npz file with arrays x_train, y_train, x_test, y_test (those of test may
      be missing), or images, labels, which are cut into splits; and class_names, if
      the classes have names. Images are uint8 [n, height, width] or [n, height,
      width, 1 or 3].
    test_fraction: The part of images, labels that becomes 'test'.
    validation_fraction: The part that becomes 'validation'.
    seed: Chooses the examples of each part.

  Raises:
    InputError: If the file or an array in it is not that.
  """
  arrays = _load_npz(path)
  if "x_train" in arrays:
    pixels = {s: arrays[f"x_{s}"] for s in ("train", "test") if f"x_{s}" in arrays}
    keys = {s: (f"x_{s}", f"y_{s}") for s in pixels}
    labels = {s: _npz_labels(path, arrays, *keys[s]) for s in pixels}
    pixels = {s: _npz_images(path, arrays, keys[s][0]) for s in pixels}
  elif "images" in arrays:
    everything = _npz_images(path, arrays, "images")
    all_labels = _npz_labels(path, arrays, "images", "labels")
    parts = _cut(all_labels, test_fraction, validation_fraction, seed)
    pixels = {split: everything[part] for split, part in parts.items()}
    labels = {split: all_labels[part] for split, part in parts.items()}
  else:
    raise InputError(
      f"{path} has arrays {', '.join(sorted(arrays)) or 'none'}; accepted are x_train, "
      "y_train, x_test, y_test or images, labels."
    )
  shapes = {images_of.shape[1:] for images_of in pixels.values()}
  if len(shapes) > 1:
    raise InputError(f"{path}: x_train and x_test have images of shapes {shapes}")
  names = [str(n) for n in arrays["class_names"]] if "class_names" in arrays else None
  source = Source(shapes.pop(), names, labels, lambda split, i: pixels[split][i])
  _check_label_range(path, source)
  return source


def read_folder(
  folder: str, test_fraction: float, validation_fraction: float, seed: int
) -> Source:
  """Reads image files in class folders.

  Plain JPEG and PNG files are taken byte for byte; others are decoded, to be stored as
  PNG.
  Each file is read when its turn comes.

  Args:
    folder: Holds CLASS/*.jpg, or {train,validation|val,test}/CLASS/*.jpg. Names that
      begin with a dot are passed over.
    test_fraction: Without split folders, the part that becomes 'test'.
    validation_fraction: Without split folders, the part that becomes 'validation'.
    seed: Without split folders, chooses the files of each part.

  Returns:
    The images, with 3 channels, and classes in the order of their names.

  Raises:
    InputError: If folders or files are not that; for a damaged image, when its turn
      comes.
  """
  _check_folder(folder)
  top = _subfolders(folder)
  if "train" in top:
    classes, files, labels = _list_split_folders(folder, top)
  else:
    classes = top
    names, numbers = _list_class_folders(folder, classes)
    parts = _cut(numbers, test_fraction, validation_fraction, seed)
    files = {split: [names[i] for i in part] for split, part in parts.items()}
    labels = {split: numbers[part] for split, part in parts.items()}
  if len(classes) < 2:
    raise InputError(
      f"{folder} has {len(classes)} class folders "
      f"({', '.join(classes) or 'none'}); at least 2 are needed."
    )
  return Source(
    (None, None, 3), classes, labels, lambda split, i: _load_image(files[split][i])
  )


def _find_idx_files(folder: str) -> dict[tuple[str, str], str]:
  _check_folder(folder)
  found: dict[tuple[str, str], list[str]] = {}
  for file in sorted(os.listdir(folder)):
    if match := _IDX_FILE.fullmatch(file):
      split = "train" if match[1] == "train" else "test"
      found.setdefault((split, match[2]), []).append(os.path.join(folder, file))
  for split, prefix in (("train", "train"), ("test", "t10k")):
    for kind, rank in (("images", 3), ("labels", 1)):
      paths = found.get((split, kind), [])
      if len(paths) != 1:
        raise InputError(
          f"{folder} must have one file {prefix}-{kind}-idx{rank}-ubyte[.gz]; it has "
          f"{', '.join(map(os.path.basename, paths)) or 'none'}"
        )
  return {key: paths[0] for key, paths in found.items()}


def _read_idx_file(path: str, rank: int) -> np.ndarray:
  opener = gzip.open if path.endswith(".gz") else open
  try:
    with opener(path, "rb") as file:
      data = file.read()
  except (OSError, EOFError, zlib.error) as error:
    raise InputError(f"{path} cannot be read ({error}).") from error
  header = 4 + 4 * rank
  if data[:4] != bytes([0, 0, _IDX_UINT8, rank]) or len(data) < header:
    raise InputError(
      f"{path} begins with bytes {data[:4].hex(' ') or 'none'}; an IDX file of "
      f"{rank}-dimensional uint8 begins with 00 00 08 {rank:02x}"
    )
  shape = np.frombuffer(data, ">u4", count=rank, offset=4).astype(int)
  if len(data) - header != shape.prod():
    raise InputError(
      f"{path} has {len(data) - header} bytes of data where its header says "
      f"{'x'.join(map(str, shape))}"
    )
  if not shape.all():
    raise InputError(f"{path} is empty: its header says {'x'.join(map(str, shape))}")
  return np.frombuffer(data, np.uint8, offset=header).reshape(shape)


def _load_npz(path: str) -> dict[str, np.ndarray]:
  try:
    with np.load(path, allow_pickle=False) as archive:
      return {key: archive[key] for key in archive.files}
  except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
    raise InputError(f"{path} cannot be read as an .npz archive ({error}).") from error


def _npz_images(path: str, arrays: Mapping[str, np.ndarray], key: str) -> np.ndarray:
  array = arrays[key]
  if array.ndim == 3:
    array = array[..., np.newaxis]
  fits = array.ndim == 4 and array.shape[3] in (1, 3) and array.size > 0
  if array.dtype != np.uint8 or not fits:
    raise InputError(
      f"{path}: {key} is {arrays[key].dtype} {list(arrays[key].shape)}; accepted is "
      "uint8 [n, height, width] or [n, height, width, 1 or 3]."
    )
  return array


def _npz_labels(
  path: str, arrays: Mapping[str, np.ndarray], images_key: str, key: str
) -> np.ndarray:
  if key not in arrays:
    raise InputError(f"{path} has {images_key} and lacks {key}")
  array, count = arrays[key], len(np.atleast_1d(arrays[images_key]))
  # Some archives keep labels as a column.
  if not np.issubdtype(array.dtype, np.integer) or array.size != count or count == 0:
    raise InputError(
      f"{path}: {key} is {array.dtype} {list(array.shape)}; accepted is integer "
      f"[{count}], a label for each of {images_key}"
    )
  return array.reshape(-1)


def _check_label_range(path: str, source: Source) -> None:
  for split, labels in source.labels.items():
    wrong = (labels < 0) | (labels >= source.num_classes)
    if wrong.any():
      i = int(np.argmax(wrong))
      raise InputError(
        f"{path}: label {labels[i]} of example {i} of {split} is not among 0 to "
        f"{source.num_classes - 1}"
      )


def _check_folder(folder: str) -> None:
  if not os.path.isdir(folder):
    raise InputError(f"{folder} is not a folder.")


def _visible(folder: str) -> list[str]:
  return sorted(name for name in os.listdir(folder) if not name.startswith("."))


def _subfolders(folder: str) -> list[str]:
  names = _visible(folder)
  return [name for name in names if os.path.isdir(os.path.join(folder, name))]


def _list_split_folders(folder: str, names: Sequence[str]):
  classes: list[str] = _subfolders(os.path.join(folder, "train"))
  files, labels = {}, {}
  for name in names:
    split = _SPLIT_NAMES.get(name)
    if split is None or split in files:
      raise InputError(
        f"{folder} has folder {name!r} beside 'train'; accepted beside it are "
        "'validation' or 'val', and 'test'."
      )
    here = os.path.join(folder, name)
    if unknown := sorted(set(_subfolders(here)) - set(classes)):
      raise InputError(f"{here} has class {unknown[0]!r}, which 'train' does not have.")
    present = [c for c in classes if c in _subfolders(here)]
    files[split], numbers = _list_class_folders(here, present)
    labels[split] = np.array([classes.index(present[n]) for n in numbers])
  return classes, files, labels


def _list_class_folders(folder: str, classes: Sequence[str]):
  files, labels = [], []
  for number, name in enumerate(classes):
    here = os.path.join(folder, name)
    paths = [os.path.join(here, file) for file in _visible(here)]
    for path in paths:
      if not path.lower().endswith(IMAGE_SUFFIXES):
        raise InputError(f"{path} is not one of {', '.join(IMAGE_SUFFIXES)}")
    if not paths:
      raise InputError(f"class folder {here} has no images.")
    files += paths
    labels += [number] * len(paths)
  if not files:
    raise InputError(f"{folder} has no class folders with images.")
  return files, np.array(labels)


def _cut(labels, test_fraction, validation_fraction, seed):
  for name, value in (("test", test_fraction), ("validation", validation_fraction)):
    check_number(f"--{name}_fraction", value, at_least=0, below=1)
  if test_fraction + validation_fraction >= 1:
    raise InputError(
      f"--test_fraction and --validation_fraction are {test_fraction} and "
      f"{validation_fraction}; they must add up to less than 1."
    )
  return stratified_splits(labels, test_fraction, validation_fraction, seed)


def _load_image(path: str):
  """Returns the bytes of a plain JPEG or PNG file, the pixels of another."""
  with open(path, "rb") as file:
    contents = file.read()
  try:
    decoded = pictures.decode(contents)
  except pictures.PictureError as error:
    raise InputError(f"{path} {error}.") from error
  if pictures.plain_format(contents):
    return io.BytesIO(contents)
  return decoded if decoded.shape[-1] == 3 else decoded.repeat(3, axis=-1)
