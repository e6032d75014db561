"""Figures for a light and for a dark page.

Colors are Okabe and Ito's, which people with color blindness tell apart.
"""

import contextlib
import dataclasses
import io
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from hue_jax.files import replacing
from hue_jax.pages.files import data_uri


@dataclasses.dataclass(frozen=True)
class Theme:
  """The colors of a page.

  Attributes:
    ink: The color of text and axes.
    faint: The color of the grid and of what is shown for comparison alone.
    paper: The color behind the figure.
    series: The colors of what is shown, in order.
  """

  ink: str
  faint: str
  paper: str
  series: tuple[str, ...]


LIGHT = Theme(
  "#1f2328",
  "#8c959f",
  "#ffffff",
  ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#b58900", "#56b4e9", "#6e40c9"),
)
DARK = Theme(
  "#e6e8eb",
  "#7d8590",
  "#16191d",
  ("#56b4e9", "#e69f00", "#2fc49a", "#e39ac1", "#f0e442", "#0a8ad8", "#b08cf0"),
)


@dataclasses.dataclass(frozen=True)
class Picture:
  """A figure on a page, in both themes, as data URIs.

  Attributes:
    name: The name of its files.
    description: What it shows, for those who cannot see it.
    light: The figure for a light page.
    dark: The figure for a dark one.
  """

  name: str
  description: str
  light: str
  dark: str


def draw_picture(
  name: str, description: str, draw: Callable[[Theme], Figure], folder: Path
) -> Picture:
  """Draws a figure for both themes, and keeps the light one as PNG and SVG.

  Args:
    name: The name of the files; what a file's name had better not have becomes "_".
    description: What it shows.
    draw: Theme → figure.
    folder: The folder of the files.

  Returns:
    The picture for a page.
  """
  stem = "".join(c if c.isalnum() or c in "-_" else "_" for c in name)
  light, dark = (draw(theme) for theme in (LIGHT, DARK))
  _lay_out(light, dark)
  with replacing(folder / f"{stem}.png") as file:
    save(light, file, "png")
  drawings = [io.BytesIO(), io.BytesIO()]
  for figure, drawing in zip((light, dark), drawings, strict=True):
    save(figure, drawing, "svg")
  with replacing(folder / f"{stem}.svg") as file:
    file.write(drawings[0].getvalue())
  uris = (data_uri("image/svg+xml", drawing.getvalue()) for drawing in drawings)
  return Picture(name, description, *uris)


def _lay_out(figure, twin):
  """Places the axes of a figure for all its files, and those of its twin alike."""
  # A layout takes as long as a drawing, and each file would need both anew.
  with _quiet():
    figure.draw_without_rendering()
  for axis, other in zip(figure.axes, twin.axes, strict=True):
    other.set_position(axis.get_position(original=True))
  for one in (figure, twin):
    one.set_layout_engine(None)


@contextlib.contextmanager
def _quiet():
  with warnings.catch_warnings():
    # A name may have letters that Matplotlib's font lacks; the page itself shows them.
    warnings.filterwarnings("ignore", message="Glyph .* missing from font")
    yield


def save(figure: Figure, file: io.IOBase, file_format: str) -> None:
  """Writes a figure as "png" or "svg", to an open file."""
  # Text stays text, and equal runs make equal files.
  metadata = {"Date": None} if file_format == "svg" else None
  settings = {"svg.fonttype": "none", "svg.hashsalt": "hue_jax"}
  with mpl.rc_context(settings), _quiet():
    figure.savefig(file, format=file_format, dpi=160, metadata=metadata)


def new_axes(
  theme: Theme,
  rows: int,
  columns: int,
  size: Sequence[int | float],
  widths: Sequence[int | float] | None = None,
  heights: Sequence[int | float] | None = None,
) -> tuple[Figure, list[Axes]]:
  """Makes an empty figure of a theme.

  Args:
    theme: The theme of the page.
    rows: The rows of axes.
    columns: The columns of axes.
    size: The width and height in inches.
    widths: The widths of the columns, relative to each other.
    heights: The heights of the rows, relative to each other.

  Returns:
    The figure, and its axes row by row.
  """
  figure = Figure(figsize=size, layout="constrained", facecolor=theme.paper)
  grid = figure.add_gridspec(rows, columns, width_ratios=widths, height_ratios=heights)
  axes = [figure.add_subplot(cell) for cell in grid]
  for axis in axes:
    ink(axis, theme)
  return figure, axes


def ink(axis: Axes, theme: Theme) -> None:
  """Gives an axis the colors of a theme."""
  axis.set_facecolor(theme.paper)
  axis.tick_params(colors=theme.ink, labelsize=8, length=3)
  axis.xaxis.label.set_color(theme.ink)
  axis.yaxis.label.set_color(theme.ink)
  axis.grid(axis="y", color=theme.faint, alpha=0.25, linewidth=0.6)
  for side, spine in axis.spines.items():
    spine.set_visible(side in ("left", "bottom"))
    spine.set_color(theme.faint)


def legend_above(figure: Figure, axis: Axes, theme: Theme, *, columns: int) -> None:
  """Puts the legend of one axis above all axes of the figure."""
  handles, labels = axis.get_legend_handles_labels()
  figure.legend(
    handles,
    labels,
    loc="outside upper left",
    ncols=columns,
    fontsize=8,
    frameon=False,
    labelcolor=theme.ink,
    handlelength=1.2,
  )


def without_math(text: str) -> str:
  """Returns a text in which a dollar stays a dollar."""
  return text.replace("$", r"\$")
