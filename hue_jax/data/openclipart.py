"""Open Clip Art as Debian packages it: public-domain pictures in category folders."""

import collections
import io
import os
import sys
from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from hue_jax.data.near_duplicates import (
  clusters,
  hold_out_clusters,
  num_alike,
  perceptual_hash,
)
from hue_jax.data.sources import Source
from hue_jax.errors import InputError, check_integer, check_number
from hue_jax.pictures import WHITE
from hue_jax.progress import Progress
from hue_jax.settings import MAX_SEED

FOLDER = "/usr/share/openclipart/png"
DESCRIPTION = (
  "Open Clip Art Library, public domain (Debian package openclipart-png): pictures on "
  "white, their longer side at most 256 pixels by default, classes by folder. Pictures "
  "that look alike are on one side of the split."
)

_NO_CLASS = ("unsorted",)
# Some files of a few kilobytes decode to 169 megapixels.
_MOST_PIXELS = 16_000_000
_MOST_ALIKE = 4
_TOO_LARGE = f"of more than {_MOST_PIXELS // 10**6} megapixels"


def read_openclipart(
  folder: str = FOLDER,
  *,
  per_class: int = 400,
  least_per_class: int = 90,
  size: int = 256,
  test_fraction: float = 0.2,
  seed: int = 0,
  background: Sequence[int] = WHITE,
) -> Source:
  """Draws pictures of each category and cuts them into splits.

  Links, damaged files, files of more than 16 megapixels and pictures that look like
  four drawn before are passed over, and counted on standard error: icon sets and series
  of figures would be most of some categories.

  Args:
    folder: The folder with CATEGORY/…/*.png.
    per_class: The largest number of pictures drawn of a category.
    least_per_class: The least number; categories with fewer pictures are left out.
    size: The largest length of the longer side of the pictures in pixels.
    test_fraction: The part of each class that becomes 'test'.
    seed: The seed of the drawing and the split.
    background: What transparent parts show.

  Returns:
    The pictures in color, with splits 'train' and 'test'.

  Raises:
    InputError: If the folder has no such pictures, or an argument is out of range.
  """
  check_integer("per_class", per_class, at_least=1)
  check_integer("least_per_class", least_per_class, at_least=1)
  check_integer("size", size, at_least=8)
  check_integer("seed", seed, at_least=0, at_most=MAX_SEED)
  check_number("test_fraction", test_fraction, above=0, below=1)
  files = _files_by_category(folder)
  skipped: collections.Counter[str] = collections.Counter()
  drawn = {}
  total = sum(min(len(paths), per_class) for paths in files.values())
  with Progress(total, title="reading", unit="pictures") as progress:
    for number, (category, paths) in enumerate(files.items()):
      order = np.random.Philox(key=[seed, number]).random_raw(len(paths))
      in_turn = (paths[i] for i in np.argsort(order, kind="stable"))
      drawn[category] = list(
        _readable(in_turn, per_class, size, background, skipped, progress)
      )
  kept = {c: found for c, found in drawn.items() if len(found) >= least_per_class}
  _tell(skipped, sorted(set(drawn) - set(kept)))
  if len(kept) < 2:
    raise InputError(
      f"{folder} has {len(kept)} categories with at least {least_per_class} pictures "
      "that can be read; at least 2 are needed."
    )
  return _as_source(kept, test_fraction, seed)


def _files_by_category(folder: str) -> dict[str, list[str]]:
  if not os.path.isdir(folder):
    raise InputError(
      f"{folder} is not a folder; Debian has the pictures: apt-get install "
      "openclipart-png."
    )
  found: dict[str, list[str]] = {}
  for category in sorted(os.listdir(folder)):
    top = os.path.join(folder, category)
    if not os.path.isdir(top) or category in _NO_CLASS:
      continue
    found[category] = sorted(
      os.path.join(place, name)
      for place, _, names in os.walk(top)
      for name in names
      # A link is another picture under a second name.
      if name.endswith(".png") and not os.path.islink(os.path.join(place, name))
    )
  return found


def _readable(
  paths, most: int, size: int, background, skipped, progress
) -> Iterator[tuple[bytes, np.uint64]]:
  """Yields encoded pictures and their hashes, until there are enough."""
  codes: list[np.uint64] = []
  for path in paths:
    if len(codes) == most:
      return
    try:
      picture = _on_ground(path, size, background)
      code = perceptual_hash(picture)
      if num_alike(code, codes) >= _MOST_ALIKE:
        raise _Unusable(f"like {_MOST_ALIKE} others")
    except _Unusable as reason:
      skipped[str(reason)] += 1
      continue
    encoded = io.BytesIO()
    picture.save(encoded, "PNG")
    codes.append(code)
    progress.update()
    yield encoded.getvalue(), code


class _Unusable(Exception):
  """A file that is passed over, and why."""


def _on_ground(path: str, size: int, background: Sequence[int] = WHITE) -> Image.Image:
  try:
    with Image.open(path) as picture:
      if picture.width * picture.height > _MOST_PIXELS:
        raise _Unusable(_TOO_LARGE)
      if picture.mode.startswith("I"):  # 16 bits, which Pillow would clip to 8
        picture = Image.fromarray((np.asarray(picture) >> 8).astype(np.uint8))
      picture = picture.convert("RGBA")
  except Image.DecompressionBombError as error:
    raise _Unusable(_TOO_LARGE) from error
  except (OSError, SyntaxError, ValueError) as error:
    raise _Unusable("damaged") from error
  ground = Image.new("RGBA", picture.size, tuple(background))
  ground.alpha_composite(picture)
  ground = ground.convert("RGB")
  ground.thumbnail((size, size), Image.Resampling.LANCZOS)
  extrema = ground.getextrema()
  if all(low == high for low, high in extrema):
    raise _Unusable("of one color")
  return ground


def _tell(skipped, left_out):
  told = [f"{count} {reason}" for reason, count in sorted(skipped.items())]
  if told:
    print(f"Passed over files: {', '.join(told)}.", file=sys.stderr)
  if left_out:
    print(f"Left out, too few pictures: {', '.join(left_out)}.", file=sys.stderr)


def _as_source(kept, test_fraction: float, seed: int) -> Source:
  pictures = [encoded for found in kept.values() for encoded, _ in found]
  hashes = np.array([code for found in kept.values() for _, code in found])
  labels = np.repeat(np.arange(len(kept)), [len(found) for found in kept.values()])
  train, test = hold_out_clusters(labels, clusters(hashes), test_fraction, seed)
  members = {"train": train, "test": test}
  return Source(
    (None, None, 3),
    list(kept),
    {split: labels[indices] for split, indices in members.items()},
    lambda split, i: pictures[members[split][i]],
    len(kept),
  )
