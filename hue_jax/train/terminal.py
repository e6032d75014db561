"""Tables and plots for a terminal, and as plain lines for a file or a pipe."""

import io
import shutil
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from rich.console import Console
from rich.markup import escape
from rich.table import Table

_EIGHTHS = " ▁▂▃▄▅▆▇█"


def show_table(
  columns: Sequence[str],
  rows: Sequence[Sequence[Any]],
  file: io.TextIOBase,
  title: str = "",
) -> None:
  """Writes a table: drawn by rich on a terminal, as plain lines anywhere else.

  Args:
    columns: The heads of the columns.
    rows: The rows, a value a column. Numbers are set to the right.
    file: The file to write to.
    title: What is said above the table.
  """
  cells = [[_text(value) for value in row] for row in rows]
  right = [all(_is_number(row[i]) for row in rows) for i in range(len(columns))]
  if file.isatty():
    _show_rich(columns, cells, right, file, title)
    return
  if title:
    file.write(f"{title}\n")
  widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
  for line in (columns, ["-" * width for width in widths], *cells):
    padded = (
      text.rjust(width) if side else text.ljust(width)
      for text, width, side in zip(line, widths, right, strict=True)
    )
    file.write(f"{'  '.join(padded).rstrip()}\n")
  file.write("\n")


def _show_rich(columns, cells, right, file, title):
  table = Table(title=title or None, title_justify="left")
  for name, side in zip(columns, right, strict=True):
    table.add_column(name, justify="right" if side else "left", overflow="fold")
  for row in cells:
    table.add_row(*map(escape, row))
  Console(file=file).print(table)


def _text(value):
  if isinstance(value, bool) or not _is_number(value):
    return str(value)
  return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"


def _is_number(value):
  return isinstance(value, int | float) and not isinstance(value, bool)


def plot(
  values: Float[np.ndarray, " places"], *, height: int = 5, label: str = "", ends: str
) -> str:
  """Returns a curve above 0 as lines of text.

  Args:
    values: The value at each column, at least one.
    height: The lines of the largest value; each line has eight levels.
    label: What is said above it.
    ends: What is said below it, from the left end to the right one.

  Returns:
    The lines.
  """
  top = float(np.max(values))
  levels = np.round(8 * height * np.maximum(values, 0) / (top or 1)).astype(int)
  margin = max(len(f"{top:.3g}"), 1)
  lines = [label] if label else []
  for row in reversed(range(height)):
    mark = f"{top:.3g}" if row == height - 1 else "0" if row == 0 else ""
    bar = "".join(_EIGHTHS[n] for n in np.clip(levels - 8 * row, 0, 8))
    lines.append(f"{mark.rjust(margin)} |{bar}".rstrip())
  lines.append(f"{' ' * margin} +{'-' * len(values)}")
  lines.append(f"{' ' * margin}  {ends}")
  return "\n".join(lines)


def width_of(file: io.TextIOBase) -> int:
  """Returns the columns of a terminal, or 80 of what is none."""
  return shutil.get_terminal_size().columns if file.isatty() else 80
