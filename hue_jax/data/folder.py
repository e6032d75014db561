"""Picture files in class folders as labeled images."""

import collections
import hashlib
import os
import sys
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from hue_jax.data.sources import SPLIT_NAMES, Cuts, Source, checked_names
from hue_jax.errors import InputError
from hue_jax.pictures import (
  FORMATS,
  SUFFIXES,
  WHITE,
  PictureError,
  decode,
  plain_format,
)

_NO_CLASSES = ("__MACOSX",)


def read_folder(
  folder: str,
  cuts: Cuts = Cuts(),  # noqa: B008 (frozen)
  *,
  background: Sequence[int] = WHITE,
) -> Source:
  """Reads picture files in class folders.

  JPEG and PNG files that every decoder shows alike are taken byte for byte; others are
  decoded, to be stored as PNG. Each file is read when its turn comes.

  A class folder holds its pictures, at any depth. Files that are no pictures by name or
  content are passed over, and counted on standard error.

  Args:
    folder: The folder with CLASS/…/*.jpg, or SPLIT/CLASS/…/*.jpg for splits of the
      usual names. Where no other folder has pictures, a folder of such a name is a
      split, and else a class.
    cuts: How splits that it lacks are cut.
    background: What transparent parts show.

  Returns:
    The images, with 3 channels, and classes in the order of their names.

  Raises:
    InputError: If folders or files are not of this form; if a picture cannot be read,
      when its turn comes.
  """
  files, labels, names, has_splits = list_folder(folder)
  parts = cuts.apply(folder, labels, has_splits)

  def image(split: str, i: int) -> np.ndarray | bytes:
    of, indices = parts[split]
    return _load(files[of][indices[i]], background)

  return Source(
    (None, None, 3),
    names,
    {split: labels[of][indices] for split, (of, indices) in parts.items()},
    image,
    len(names),
    made_of=_digest(folder, files, background, cuts),
  )


def class_folders(folder: str) -> list[str]:
  """Returns the names of the classes of a folder, without a look at its files."""
  top = _Listing(folder).folders
  splits = _split_folders(folder, top)
  if not splits:
    return sorted(top)
  places = [splits["train"]] if "train" in splits else list(splits.values())
  return sorted({name for place in places for name in _Listing(place).folders})


def list_folder(
  folder: str,
) -> tuple[dict[str, list[str]], dict[str, np.ndarray], list[str], bool]:
  """Lists the pictures of a folder.

  Args:
    folder: The folder, as `read_folder` takes it.

  Returns:
    Split → its files and their classes; the names of the classes; and whether the
    folder names splits: if not, all is 'train'.
  """
  passed: collections.Counter[str] = collections.Counter()
  top = _Listing(folder)
  splits = _split_folders(folder, top.folders)
  classes = class_folders(folder)
  if not splits:
    # A folder without a picture, such as one of annotations, is no class.
    found = {c: sorted(_pictures(top.folders[c], passed)) for c in classes}
    if passed and any(found.values()):
      classes = [c for c in classes if found[c] or not _files(top.folders[c])]
    if any(found.values()):
      _refuse_empty(top.folders, {c: found[c] for c in classes})
    trees = {"train": {c: found[c] for c in classes}}
  else:
    trees = {}
    for split, place in splits.items():
      here = _Listing(place)
      if unknown := sorted(set(here.folders) - set(classes)):
        raise InputError(
          f"{place} has class {unknown[0]!r}, which 'train' does not have."
        )
      found = {c: sorted(_pictures(p, passed)) for c, p in here.folders.items()}
      if split == "train":
        _refuse_empty(here.folders, found)
      trees[split] = {c: found.get(c, []) for c in classes}
      _count_loose(here, passed)
  _count_loose(top, passed)
  _tell(passed)
  for split in [s for s, tree in trees.items() if not any(tree.values())]:
    if splits:
      print(f"{splits[split]} has no picture in a class folder.", file=sys.stderr)
      del trees[split]
  if not trees or not classes or not any(any(t.values()) for t in trees.values()):
    raise InputError(f"{folder} has no class folders with images.")
  if len(classes) < 2:
    raise InputError(
      f"{folder} has 1 class folder ({classes[0]!r}); at least 2 are needed."
    )
  names = checked_names(f"{folder} has a class folder whose name", classes)
  files = {s: [p for c in classes for p in tree[c]] for s, tree in trees.items()}
  labels = {
    s: np.repeat(np.arange(len(classes)), [len(tree[c]) for c in classes])
    for s, tree in trees.items()
  }
  return files, labels, names, bool(splits)


class _Listing:
  """The folders and files of a folder, but for hidden ones."""

  def __init__(self, folder: str):
    if not os.path.isdir(folder):
      raise InputError(f"{folder} is not a folder.")
    self.folders: dict[str, str] = {}
    self.files: list[str] = []
    self.passed: list[str] = []
    try:
      entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
      raise InputError(f"{folder} cannot be read ({error.strerror}).") from error
    for entry in entries:
      if entry.name.startswith(".") or entry.name in _NO_CLASSES:
        self.passed.append(entry.path)
      elif entry.is_dir():
        self.folders[entry.name] = entry.path
      elif entry.is_symlink() and not os.path.exists(entry.path):
        raise InputError(f"{entry.path} is a link to a file that is not there.")
      else:
        self.files.append(entry.path)


def _split_of(name: str) -> str | None:
  return SPLIT_NAMES.get(name.strip().lower())


def _split_folders(folder: str, top: Mapping[str, str]) -> dict[str, str]:
  """Returns the folders of splits; none where the folders are classes."""
  others = [path for name, path in top.items() if not _split_of(name)]
  if others and not _are_splits(folder, top, others):
    return {}
  named: dict[str, str] = {}
  for name, path in top.items():
    if (split := _split_of(name)) in named:
      raise InputError(
        f"{folder} has folders {os.path.basename(named[split])!r} and {name!r}, which "
        f"both name the {split} split; one of them must go."
      )
    if split:
      named[split] = path
  return {s: named[s] for s in ("train", "validation", "test") if s in named}


def _are_splits(folder: str, top: Mapping[str, str], others: Sequence[str]) -> bool:
  """Returns whether folders with the names of splits are splits, beside others."""
  splits = {name: path for name, path in top.items() if _split_of(name)}
  classes = {name for path in splits.values() for name in _Listing(path).folders}
  if not classes or any(_has_pictures(path) for path in splits.values()):
    return False
  for path in others:
    if classes & set(_Listing(path).folders):
      raise InputError(
        f"{folder} has folder {os.path.basename(path)!r} beside "
        f"{', '.join(map(repr, sorted(splits)))}; a split is called one of "
        f"{', '.join(SPLIT_NAMES)}."
      )
  return not any(_any_picture(path) for path in others)


def _has_pictures(folder: str) -> bool:
  return any(_is_picture(path) for path in _Listing(folder).files)


def _any_picture(folder: str) -> bool:
  return next(_pictures(folder, collections.Counter()), None) is not None


def _files(folder: str) -> bool:
  return any(files for _, _, files in os.walk(folder))


def _pictures(
  folder: str, passed: collections.Counter, above: tuple = ()
) -> Iterator[str]:
  """Finds the pictures at any depth; what else is there is counted."""
  real = os.path.realpath(folder)
  if real in above:
    raise InputError(f"{folder} is a link to a folder that holds it.")
  here = _Listing(folder)
  for path in here.passed:
    passed[_kind(path)] += 1
  for path in here.files:
    if _is_picture(path):
      yield path
    else:
      passed[_kind(path)] += 1
  for place in here.folders.values():
    yield from _pictures(place, passed, (*above, real))


def _is_picture(path: str) -> bool:
  """Returns whether a file is a picture by its name, or else by its first bytes."""
  if os.path.splitext(path)[1].lower() in SUFFIXES:
    return True
  if not os.path.isfile(path):  # A pipe would never end.
    return False
  try:
    with Image.open(path, formats=FORMATS):
      return True
  except Image.DecompressionBombError:  # It is refused when it is decoded.
    return True
  except Exception:  # Pillow raises nearly every kind for what is no picture.
    return False


def _kind(path: str) -> str:
  stem, suffix = os.path.splitext(os.path.basename(path))
  return suffix or stem


def _count_loose(listing: _Listing, passed: collections.Counter) -> None:
  """Counts what lies beside class folders."""
  for path in (*listing.passed, *listing.files):
    passed["pictures in no class folder" if _is_picture(path) else _kind(path)] += 1


def _tell(passed: collections.Counter) -> None:
  if passed:
    kinds = [f"{count:,} {kind!a}" for kind, count in passed.most_common(8)]
    more = [f"{len(passed) - 8} other kinds"] if len(passed) > 8 else []
    print(
      f"Passed over {sum(passed.values()):,} files that are no pictures of a class: "
      f"{', '.join(kinds + more)}.",
      file=sys.stderr,
    )


def _refuse_empty(folders: Mapping[str, str], found: Mapping[str, list]) -> None:
  for name, paths in found.items():
    if not paths:
      raise InputError(f"class folder {folders[name]} has no images.")


def _load(path: str, background: Sequence[int]) -> np.ndarray | bytes:
  """Returns the bytes of a plain JPEG or PNG file, the pixels of another."""
  try:
    with open(path, "rb") as file:
      contents = file.read()
    pixels = decode(contents, background=background)
  except OSError as error:
    raise InputError(f"{path} cannot be read ({error.strerror}).") from error
  except PictureError as error:
    raise InputError(f"{path} {error}.") from error
  if plain_format(contents):
    return contents
  return np.repeat(pixels, 3, axis=2) if pixels.shape[2] == 1 else pixels


def _digest(folder: str, files: Mapping[str, Sequence[str]], *settings) -> str:
  """Returns a digest of names, sizes and times, which differs where a folder does."""
  sha = hashlib.sha256(repr(settings).encode())
  for split, paths in files.items():
    for path in paths:
      try:
        status = os.stat(path)
      except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror}).") from error
      name = os.fsencode(os.path.relpath(path, folder))
      sha.update(
        f"{split} {status.st_size} {status.st_mtime_ns} ".encode() + name + b"\0"
      )
  return sha.hexdigest()
