"""A confusion matrix as a picture, as TensorBoard shows it."""

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, UInt8
from PIL import Image, ImageDraw, ImageFont

from hue_jax.color.contact_sheet import elided

_INK, _PAPER, _FULL = (32, 32, 32), (255, 255, 255), (0, 114, 178)
_SIDE = 640  # of the matrix, or a little less
_SMALLEST, _LARGEST = 2, 64  # of a cell
_NAMED, _NUMBERED = 14, 30  # from which side on a row has a name, a cell a number
_NAME_WIDTH, _GAP = 150, 8


def confusion_picture(
  counts: Float[np.ndarray, "classes classes"], class_names: Sequence[str]
) -> UInt8[np.ndarray, "1 height width 3"]:
  """Draws of each class (row) the share that was told to be of each class (column).

  Args:
    counts: How often an image of the class of the row was told to be of the column's.
    class_names: The names of the classes.

  Returns:
    One picture, as TensorBoard takes it: blue is all, white none; where cells are large
    enough, rows have names, and cells the share in percent.
  """
  number = len(counts)
  cell = int(np.clip(_SIDE // number, _SMALLEST, _LARGEST))
  font = ImageFont.load_default(13)
  left = _NAME_WIDTH + _GAP if cell >= _NAMED else _GAP
  top = 3 * _GAP + 13
  side = number * cell
  page = Image.new("RGB", (left + side + _GAP, top + side + _GAP), _PAPER)
  draw = ImageDraw.Draw(page)
  shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
  page.paste(Image.fromarray(_colors(shares)).resize((side, side), 0), (left, top))
  draw.rectangle((left - 1, top - 1, left + side, top + side), outline=_INK)
  told = "row: class; column: told, in the same order; percent"
  draw.text((left, _GAP), told, fill=_INK, font=font)
  if cell >= _NAMED:
    for row, name in enumerate(class_names):
      text = elided(
        name, lambda shown: draw.textlength(shown, font=font) <= _NAME_WIDTH - _GAP
      )
      place = left - _GAP, top + (row + 0.5) * cell
      draw.text(place, text, fill=_INK, font=font, anchor="rm")
  if cell >= _NUMBERED:
    for row, column in np.argwhere(counts):
      place = left + (column + 0.5) * cell, top + (row + 0.5) * cell
      ink = _PAPER if shares[row, column] > 0.5 else _INK
      text = f"{100 * shares[row, column]:.0f}"
      draw.text(place, text, fill=ink, font=font, anchor="mm")
  return np.asarray(page)[np.newaxis]


def _colors(shares):
  paper, full = np.array(_PAPER, np.float64), np.array(_FULL, np.float64)
  return np.uint8(np.round(paper + shares[..., None] * (full - paper)))
