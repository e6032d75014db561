"""A sheet of pictures: each image in a row, with its layers, colored, beside it."""

import math
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from jaxtyping import Array, Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from hue_jax.color.coloring import color_wheel
from hue_jax.errors import InputError

Arrays = Array | np.ndarray

_SMALLEST_CELL, _LARGEST_CELL = 128, 320
_GAP = 8
_INK, _FRAME, _PAPER = (32, 32, 32), (200, 200, 200), (255, 255, 255)


def contact_sheet(
  images: UInt8[np.ndarray, "images height width channels"],
  colored: Mapping[str, Float[Arrays, "... 3"]],
  titles: Sequence[str] | None = None,
  *,
  captions: Mapping[str, str] | None = None,
) -> Image.Image:
  """Draws images in rows, and beside each its layers, with the color wheel as legend.

  Pixels of a layer are drawn as squares, without interpolation; what is not a number is
  black.

  Args:
    images: The images, gray or RGB.
    colored: Tap → colors in [0, 1] of `color_layer`, [images, height, width, 3], in the
      order of the columns; a pooled layer, [images, 3], is drawn as one pixel.
    titles: The titles of the images, elided where they are too long; no text if None.
    captions: Tap → text under its name.

  Returns:
    The sheet, in RGB.

  Raises:
    InputError: If there is no image, or layers or titles are of another number of
      images.
  """
  _check(images, colored, titles)
  page = _Page(images.shape, len(colored), titled=titles is not None)
  page.column(0, "image", "", images)
  for number, (tap, colors) in enumerate(colored.items(), start=1):
    page.column(number, tap, (captions or {}).get(tap, ""), _to_uint8(colors))
  for row, title in enumerate(titles or ()):
    page.title(row, title)
  page.legend()
  return page.sheet


class _Page:
  """The sheet, and where things stand on it, in pixels."""

  def __init__(self, shape, num_layers, *, titled):
    num_images, *sides, _ = shape
    self.cell = _cell_size(sides)
    size = max(13, self.cell // 14)
    self.font = ImageFont.load_default(size)
    self.line = round(1.4 * size)
    self.top = 2 * self.line + _GAP
    self.title_height = self.line if titled else 0
    self.row_height = self.title_height + self.cell + _GAP
    self.legend_left = _GAP + (1 + num_layers) * (self.cell + _GAP)
    self.wheel = min(self.cell, 180)
    lines = len(_LEGEND) + 3
    self.sheet = Image.new(
      "RGB",
      (
        self.legend_left + max(self.wheel + 6 * size, 11 * size) + _GAP,
        self.top + max(num_images * self.row_height, self.wheel + lines * self.line),
      ),
      _PAPER,
    )
    self.draw = ImageDraw.Draw(self.sheet)

  def column(self, number, name, caption, pictures):
    """Draws a picture a row, and text above them."""
    x = _GAP + number * (self.cell + _GAP)
    self._write((x, _GAP // 2), name)
    self._write((x, _GAP // 2 + self.line), caption)
    for row, pixels in enumerate(pictures):
      y = self.top + row * self.row_height + self.title_height
      picture = _resized(pixels, self.cell)
      self.sheet.paste(picture, (x, y))
      right, bottom = x + picture.width, y + picture.height
      self.draw.rectangle((x - 1, y - 1, right, bottom), outline=_FRAME)

  def title(self, row, text):
    """Writes above the first picture of a row."""
    self._write((_GAP, self.top + row * self.row_height), text)

  def legend(self):
    """Draws the color wheel, and what its parts mean."""
    size, line = self.wheel, self.line
    wheel = np.asarray(jax.jit(color_wheel, static_argnums=0)(size))
    wheel = Image.fromarray(np.uint8(np.round(255 * wheel)))
    x, y = self.legend_left + round(3 * self.font.size), self.top + line
    self.sheet.paste(wheel, (x, y), mask=wheel)
    reach = size / 2 + 4
    for text, anchor, (right, down) in _DEGREES:
      place = x + size / 2 + reach * right, y + size / 2 + reach * down
      self.draw.text(place, text, fill=_INK, font=self.font, anchor=anchor)
    for number, text in enumerate(_LEGEND):
      place = self.legend_left + _GAP, y + size + (number + 1.5) * line
      self.draw.text(place, text, fill=_INK, font=self.font)

  def _write(self, corner, text):
    def fits(shown):
      return self.draw.textlength(shown, font=self.font) <= self.cell

    self.draw.text(corner, elided(text, fits), fill=_INK, font=self.font)


_LEGEND = ("angle: hue", "radius: saturation", "brightness: norm")
_DEGREES = (
  ("0°", "lm", (1, 0)),
  ("90°", "mt", (0, 1)),
  ("180°", "rm", (-1, 0)),
  ("270°", "mb", (0, -1)),
)


def elided(text: str, fits, ellipsis: str = "...") -> str:
  """Returns the text, or its beginning and end where it does not fit.

  Args:
    text: The text to be shown; what is not printable ASCII is escaped.
    fits: A function that tells whether a text fits.
    ellipsis: The text in place of what is left out.

  Returns:
    The text that fits.
  """
  text = text.encode("unicode_escape").decode("ascii")
  if fits(text):
    return text
  for kept in range(len(text) - 1, 0, -1):
    end = kept // 2
    shorter = text[: kept - end] + ellipsis + text[len(text) - end :]
    if fits(shorter):
      return shorter
  return ""


def _check(images, colored, titles):
  if not len(images):
    raise InputError("images is empty; a sheet needs at least one image.")
  for tap, picture in colored.items():
    if len(picture) != len(images):
      raise InputError(
        f"colored[{tap!r}] has {len(picture)} pictures; there are {len(images)} images."
      )
  if titles is not None and len(titles) != len(images):
    raise InputError(f"titles has {len(titles)} texts; there are {len(images)} images.")


def _cell_size(shape):
  """Returns a multiple of the image's side: layers of halved sides fit evenly."""
  side = max(shape)
  return min(side * math.ceil(_SMALLEST_CELL / side), _LARGEST_CELL)


def _to_uint8(colors):
  colors = np.asarray(colors, np.float32)
  if colors.ndim == 2:  # a pooled layer
    colors = colors[:, None, None]
  return np.uint8(np.round(255 * np.clip(np.nan_to_num(colors), 0, 1)))


def _resized(pixels, cell):
  """Returns the picture, with its own proportions, as large as the cell."""
  height, width = pixels.shape[:2]
  factor = cell / max(height, width)
  size = max(round(width * factor), 1), max(round(height * factor), 1)
  if pixels.shape[-1] == 1:
    pixels = np.repeat(pixels, 3, axis=-1)
  way = Image.Resampling.BOX if factor < 1 else Image.Resampling.NEAREST
  return Image.fromarray(pixels).resize(size, way)
