"""Figures for a light and for a dark page.

Colors are Okabe and Ito's, which people with color blindness tell apart.
"""

import contextlib
import dataclasses
import io
import re
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
  """Draws a figure for both themes, and keeps the light one as an SVG file.

  Args:
    name: The name of the picture, and by `file_name` of the file.
    description: What it shows.
    draw: Theme → figure, which takes colors from the theme alone.
    folder: The folder of the file.

  Returns:
    The picture for a page.
  """
  drawing = svg(draw(LIGHT))
  with replacing(folder / f"{file_name(name)}.svg") as file:
    file.write(drawing.encode())
  uris = (
    data_uri("image/svg+xml", text.encode()) for text in (drawing, in_dark(drawing))
  )
  return Picture(name, description, *uris)


def file_name(name: str) -> str:
  """Returns a name in which what a file's name had better not have is "_"."""
  return "".join(c if c.isalnum() or c in "-_" else "_" for c in name)


def svg(figure: Figure) -> str:
  """Returns a figure as SVG: text stays text, and equal figures make equal files."""
  drawing = io.BytesIO()
  settings = {"svg.fonttype": "none", "svg.hashsalt": "hue_jax"}
  with _quiet(), mpl.rc_context(settings):
    if figure.get_layout_engine():
      figure.tight_layout()
      # With an engine, even one that does nothing, Matplotlib draws all twice.
      figure.set_layout_engine(None)
    for legend in figure.legends:
      room = legend.get_tightbbox().height / figure.bbox.height
      figure.subplots_adjust(top=figure.subplotpars.top - room)
    figure.savefig(drawing, format="svg", metadata={"Date": None})
  return drawing.getvalue().decode()


def in_dark(drawing: str) -> str:
  """Returns a drawing of the light theme as the dark one's: its colors exchanged.

  That takes no time, where drawing the figure again takes as long as the first time.

  Args:
    drawing: The SVG.
  """
  return re.sub("#[0-9a-f]{6}", lambda color: _DARK_OF.get(color[0], color[0]), drawing)


def _colors(theme):
  return (theme.ink, theme.faint, theme.paper, *theme.series)


_DARK_OF = dict(zip(_colors(LIGHT), _colors(DARK), strict=True))


@contextlib.contextmanager
def _quiet():
  with warnings.catch_warnings():
    # A name may have letters that Matplotlib's font lacks; the page itself shows them.
    warnings.filterwarnings("ignore", message="Glyph .* missing from font")
    yield


@dataclasses.dataclass(frozen=True)
class Margins:
  """The room about axes, in inches.

  Attributes:
    left: The room to the left of the first column.
    right: The room to the right of the last.
    bottom: The room below the last row.
    top: The room above the first row, and above it that of a legend.
    across: The room between columns.
    down: The room between rows.
  """

  left: float
  right: float
  bottom: float
  top: float
  across: float = 0.0
  down: float = 0.0

  def adjust(self, figure: Figure, rows: int, columns: int) -> None:
    """Places the axes of a figure."""
    width, height = figure.get_size_inches()
    inside = width - self.left - self.right, height - self.bottom - self.top
    each = (
      (inside[0] - (columns - 1) * self.across) / columns,
      (inside[1] - (rows - 1) * self.down) / rows,
    )
    figure.subplots_adjust(
      left=self.left / width,
      right=1 - self.right / width,
      bottom=self.bottom / height,
      top=1 - self.top / height,
      wspace=self.across / each[0],
      hspace=self.down / each[1],
    )


def new_axes(
  theme: Theme,
  rows: int,
  columns: int,
  size: Sequence[int | float],
  widths: Sequence[int | float] | None = None,
  heights: Sequence[int | float] | None = None,
  margins: Margins | None = None,
) -> tuple[Figure, list[Axes]]:
  """Makes an empty figure of a theme.

  Args:
    theme: The theme of the page.
    rows: The rows of axes.
    columns: The columns of axes.
    size: The width and height in inches.
    widths: The widths of the columns, relative to each other.
    heights: The heights of the rows, relative to each other.
    margins: The room about axes; what their labels take if None, which takes as long
      to find as the drawing itself.

  Returns:
    The figure, and its axes row by row.
  """
  layout = None if margins else "tight"
  figure = Figure(figsize=size, layout=layout, facecolor=theme.paper)
  if margins:
    margins.adjust(figure, rows, columns)
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
  """Puts the legend of one axis above all axes of the figure; `svg` makes room.

  Args:
    figure: The figure.
    axis: The axis whose lines it names.
    theme: The theme of the page.
    columns: The columns of the legend, or fewer where names are long.
  """
  handles, labels = axis.get_legend_handles_labels()
  longest = max(map(len, labels), default=0)
  fit = int(figure.get_figwidth() / (0.5 + 0.068 * longest))  # inches
  figure.legend(
    handles,
    labels,
    loc="upper left",
    ncols=max(min(columns, fit), 1),
    fontsize=8,
    frameon=False,
    labelcolor=theme.ink,
    handlelength=1.2,
  )


def without_math(text: str) -> str:
  """Returns a text in which a dollar stays a dollar."""
  return text.replace("$", r"\$")
