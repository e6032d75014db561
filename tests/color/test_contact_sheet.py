"""Pixels of the sheet stand where they should, and texts fit."""

import numpy as np
import pytest

from hue_jax.color import color_wheel
from hue_jax.color.contact_sheet import contact_sheet, elided
from hue_jax.errors import InputError

_CELL = 128  # of images of 8 pixels
_STEP = _CELL + 8


def _images(count, channels=3):
  rng = np.random.default_rng(0)
  return rng.integers(0, 256, (count, 8, 8, channels), dtype=np.uint8)


def _colors(*shape):
  return np.random.default_rng(1).uniform(size=(*shape, 3)).astype(np.float32)


def _find(sheet, picture, column):
  """The top of each place in a column where the enlarged picture stands."""
  scale = _CELL // max(picture.shape[:2])
  picture = picture.repeat(scale, axis=0).repeat(scale, axis=1)
  height, width = picture.shape[:2]
  left = 8 + column * _STEP
  pixels = np.asarray(sheet)[:, left : left + width]
  return [
    top
    for top in range(len(pixels) - height + 1)
    if np.array_equal(pixels[top : top + height], picture)
  ]


def test_each_row_has_an_image_and_its_layers():
  images, stage, pooled = _images(3), _colors(3, 4, 4), _colors(3)
  sheet = contact_sheet(images, {"stage": stage, "pooled": pooled}, list("abc"))
  tops = []
  for row in range(3):
    (top,) = _find(sheet, images[row], 0)
    (same,) = _find(sheet, np.uint8(np.round(255 * stage[row])), 1)
    assert same == top
    assert [top] == _find(sheet, np.uint8(np.round(255 * pooled[row]))[None, None], 2)
    tops.append(top)
  assert tops[1] - tops[0] == tops[2] - tops[1] > _CELL
  assert tops[-1] + _CELL < sheet.height


def test_gray_images_and_layers_that_are_not_square():
  images, wide = _images(2, channels=1), _colors(2, 2, 8)
  sheet = contact_sheet(images, {"wide": wide})
  assert len(_find(sheet, images[0].repeat(3, axis=-1), 0)) >= 1
  assert len(_find(sheet, np.uint8(np.round(255 * wide[1])), 1)) >= 1


def test_the_last_column_is_the_wheel():
  sheet = np.asarray(contact_sheet(_images(2), {"stage": _colors(2, 4, 4)}))
  right = sheet[:, 8 + 2 * _STEP :].astype(int)
  vivid = right.max(-1) - right.min(-1) > 100
  rows, columns = np.nonzero(vivid)
  y, x = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
  radius = (columns.max() - columns.min()) / 2
  wheel = np.asarray(color_wheel(201))[..., :3]
  for angle in np.arange(8) * np.pi / 4:
    down, across = np.sin(angle), np.cos(angle)
    shown = right[round(y + 0.8 * radius * down), round(x + 0.8 * radius * across)]
    expected = wheel[round(100 + 80 * down), round(100 + 80 * across)]
    np.testing.assert_allclose(shown / 255, expected, atol=0.06)
  # The degrees: 270 is written above, and is wider than 90 below; 180 is at the left.
  ink = right.max(-1) < 120
  above, below = ink[rows.min() - 16 : rows.min() - 1], ink[rows.max() + 2 :][:15]
  before, after = ink[:, : columns.min() - 1], ink[:, columns.max() + 2 :]
  beside = slice(round(y) - 8, round(y) + 8)
  assert np.ptp(np.nonzero(above)[1]) > np.ptp(np.nonzero(below)[1]) > 0
  assert (
    np.ptp(np.nonzero(before[beside])[1]) > np.ptp(np.nonzero(after[beside])[1]) > 0
  )


@pytest.mark.parametrize("count", [1, 20])
@pytest.mark.parametrize("size", [1, 8, 28, 224, 1000])
def test_cells_are_large_enough_to_read_and_small_enough_to_show(count, size):
  images = np.zeros((count, size, size, 1), np.uint8)
  sheet = contact_sheet(images, {"stage": _colors(count, 3, 3)}, ["x"] * count)
  cell = sheet.height / count
  assert cell > 128
  assert sheet.height < 400 + count * 360
  assert sheet.width > 2 * 128


def test_captions_and_titles_are_written():
  images, colored = _images(1), {"stage": _colors(1, 4, 4)}
  plain = contact_sheet(images, colored, [""])
  titled = contact_sheet(images, colored, ["cat"])
  captioned = contact_sheet(images, colored, [""], captions={"stage": "4x4x7"})
  for other, columns in ((titled, slice(0, _STEP)), (captioned, slice(_STEP, None))):
    changed = np.any(np.asarray(plain) != np.asarray(other), axis=(0, 2))
    assert changed[columns].any()
    changed[columns] = False
    assert not changed.any()


def test_a_long_title_stays_in_its_cell():
  images, colored = _images(1), {"stage": _colors(1, 4, 4)}
  short = np.asarray(contact_sheet(images, colored, [""]))
  long = np.asarray(contact_sheet(images, colored, ["W" * 500]))
  changed = np.flatnonzero(np.any(short != long, axis=(0, 2)))
  assert 8 + 0.8 * _CELL < changed.max() <= 8 + _CELL


def test_texts_are_escaped_and_elided_in_the_middle():
  assert elided("a" * 9, lambda text: len(text) <= 9) == "a" * 9
  assert elided("abcdefghijkl", lambda text: len(text) <= 9) == "abc...jkl"
  assert elided("abcdefghijkl", lambda text: len(text) <= 8) == "abc...kl"
  assert elided("abcdefghijkl", lambda text: len(text) <= 2) == ""
  assert elided("a\nb\x00é", lambda _: True) == r"a\nb\x00\xe9"


def test_what_is_not_a_number_is_black():
  colors = np.full((1, 4, 4, 3), np.nan, np.float32)
  sheet = contact_sheet(_images(1), {"stage": colors})
  assert _find(sheet, np.zeros((4, 4, 3), np.uint8), 1)


def test_what_is_refused():
  images = _images(2)
  with pytest.raises(InputError, match="images is empty"):
    contact_sheet(images[:0], {})
  with pytest.raises(InputError, match=r"'stage'] has 3 pictures; there are 2"):
    contact_sheet(images, {"stage": _colors(3, 4, 4)})
  with pytest.raises(InputError, match="titles has 1 texts"):
    contact_sheet(images, {}, ["a"])
