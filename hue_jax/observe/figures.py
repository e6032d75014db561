"""The figures of a report: an overview of each observation, and a detail of each layer.

One network has one color in all figures.
"""

import dataclasses
from collections.abc import Callable, Iterator

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import hsv_to_rgb
from matplotlib.figure import Figure

from hue_jax.observe.results import ControlledEstimate, Observation, Results, Statistic
from hue_jax.pages.figures import Theme, ink, legend_above, new_axes, without_math

_PLANE_TICKS = ([0, 90, 180, 270, 360], ["right", "bottom", "left", "top", "right"])
_MOST_CLASSES = 30
_NOT_SAMPLED = "#858d97"  # a gray on either paper


@dataclasses.dataclass(frozen=True)
class Drawn:
  """A figure that can be drawn for any theme.

  Attributes:
    name: The name of its files.
    observation: The name of the observation that it belongs to.
    tap: The layer of a detail; "" for an overview.
    description: What the figure shows, for those who cannot see it.
    draw: Theme → figure.
  """

  name: str
  observation: str
  tap: str
  description: str
  draw: Callable[[Theme], Figure]


def figures(results: Results) -> Iterator[Drawn]:
  """Lists the figures of a report, those of one observation together.

  Args:
    results: The results that the report shows.

  Yields:
    The figures, not drawn yet.
  """
  for observation in results.observations:
    if observation.statistics[0].taps:
      yield _overview(observation)
    detail = _DETAILS.get(observation.name)
    curves = next(iter(observation.curves.values()), {})
    for tap in curves if detail else ():
      yield _detail(observation, tap, detail, results)


# --- Overviews ------------------------------------------------------------------


def _overview(observation: Observation) -> Drawn:
  statistics = [s for s in observation.statistics if s.taps]

  def draw(theme):
    columns = min(len(statistics), 2)
    rows = -(-len(statistics) // columns)
    figure, axes = new_axes(theme, rows, columns, (4.3 * columns + 0.6, 2.9 * rows))
    for axis, statistic in zip(axes, statistics, strict=False):
      _by_tap(axis, statistic, theme)
    for axis in axes[len(statistics) :]:
      axis.set_visible(False)
    legend_above(figure, axes[0], theme, columns=3)
    return figure

  names = ", ".join(statistic.label for statistic in statistics)
  return Drawn(
    observation.name,
    observation.name,
    "",
    f"By layer, for the trained network, shuffled labels and the untrained network: "
    f"{names}. The numbers are in the table.",
    draw,
  )


def _by_tap(axis: Axes, statistic: Statistic, theme: Theme):
  places = np.arange(len(statistic.taps))
  measured = list(statistic.taps.values())
  axis.axhline(0, color=theme.faint, linewidth=0.6)
  series = (
    ("trained", theme.series[0], -0.16, "o"),
    ("untrained", theme.series[1], 0.16, "s"),
  )
  _shuffled_bars(axis, places, measured, theme)
  for name, color, shift, marker in series:
    estimates = [getattr(m, name) for m in measured]
    values = np.array([e.value for e in estimates])
    errors = np.abs(
      [[e.value - e.low for e in estimates], [e.high - e.value for e in estimates]]
    )
    axis.errorbar(
      places + shift,
      values,
      errors,
      color=color,
      label=name,
      marker=marker,
      markersize=4,
      linestyle="none",
      elinewidth=1.6,
      capsize=0,
    )
  axis.set_xticks(
    places,
    [without_math(tap) for tap in statistic.taps],
    rotation=35,
    ha="right",
    rotation_mode="anchor",
  )
  axis.set_title(without_math(statistic.label), fontsize=9, color=theme.ink, loc="left")
  axis.margins(x=0.06)


def _shuffled_bars(axis, places, measured: list[ControlledEstimate], theme):
  low = np.array([m.shuffled.low for m in measured])
  high = np.array([m.shuffled.high for m in measured])
  axis.bar(
    places,
    high - low,
    0.62,
    low,
    color=theme.faint,
    alpha=0.45,
    label="labels shuffled, 95 %",
  )


# --- Details --------------------------------------------------------------------


def _detail(observation, tap, detail, results) -> Drawn:
  draw, description = detail
  return Drawn(
    f"{observation.name}_{tap}",
    observation.name,
    tap,
    description.format(tap=tap),
    lambda theme: draw(observation, tap, results, theme),
  )


def _draw_by_position(observation, tap, results, theme):
  figure, axes = new_axes(theme, 1, 4, (12.4, 2.9), [1, 1.12, 1.5, 1.5])
  maps = observation.curves["map"][tap]
  finite = np.concatenate([values[np.isfinite(values)] for values in maps.values()])
  low, high = (finite.min(), finite.max()) if finite.size else (0, 1)
  for axis, name in zip(axes, ("trained", "untrained"), strict=False):
    shown = _map(axis, maps[name], low, max(high, low + 1e-3))
    axis.set_title(f"accuracy, {name}", fontsize=9, color=theme.ink, loc="left")
  bar = figure.colorbar(shown, ax=axes[1], shrink=0.85)
  ink(bar.ax, theme)
  _bands(axes[2], observation.curves["by_angle"][tap], 180 / np.pi, theme)
  axes[2].set_xticks(*_PLANE_TICKS)
  axes[2].set_title(
    "accuracy by polar angle φ", fontsize=9, color=theme.ink, loc="left"
  )
  _bands(axes[3], observation.curves["by_radius"][tap], 1, theme)
  axes[3].set_xlabel("distance from the center (half-sides)", fontsize=8)
  axes[3].set_title("accuracy by radius", fontsize=9, color=theme.ink, loc="left")
  axes[3].legend(fontsize=8, frameon=False, labelcolor=theme.ink)
  return figure


def _map(axis, values, low, high):
  cmap = mpl.colormaps["viridis"].with_extremes(bad=_NOT_SAMPLED)
  shown = axis.imshow(
    np.ma.masked_invalid(values),
    cmap=cmap,
    vmin=low,
    vmax=high,
    interpolation="nearest",
  )
  axis.set(xticks=[], yticks=[])
  axis.grid(visible=False)
  return shown


def _bands(axis, curves, unit, theme):
  centers = unit * (curves["edges"][1:] + curves["edges"][:-1]) / 2
  axis.fill_between(
    centers,
    curves["trained_low"],
    curves["trained_high"],
    color=theme.series[0],
    alpha=0.25,
    linewidth=0,
  )
  for name, color, style in (
    ("trained", theme.series[0], "-"),
    ("untrained", theme.series[1], "-"),
    ("shuffled", theme.faint, "--"),
  ):
    axis.plot(centers, curves[name], style, color=color, label=name, marker=".")
  axis.set_ylim(bottom=0)


def _draw_in_plane(observation, tap, results, theme):
  figure, axes = new_axes(theme, 1, 2, (9.4, 2.9))
  _densities(axes[0], observation.curves["hue_difference"][tap], 180 / np.pi, theme)
  axes[0].set_xticks([-180, -90, 0, 90, 180])
  axes[0].set_xlabel("difference of position hue Δφ (degrees)", fontsize=8)
  axes[0].set_title("density per degree", fontsize=9, color=theme.ink, loc="left")
  _densities(axes[1], observation.curves["radius_difference"][tap], 1, theme)
  axes[1].set_xlabel("|Δr| (half-sides)", fontsize=8)
  axes[1].set_title("density per half-side", fontsize=9, color=theme.ink, loc="left")
  axes[1].legend(fontsize=8, frameon=False, labelcolor=theme.ink)
  return figure


def _densities(axis, curves, unit, theme):
  for name, label, color, style in (
    ("same", "same class", theme.series[0], "-"),
    ("other", "other class", theme.series[0], ":"),
    ("untrained_same", "same class, untrained", theme.series[1], "-"),
    ("untrained_other", "other class, untrained", theme.series[1], ":"),
  ):
    axis.stairs(
      np.nan_to_num(curves[name] / unit),
      unit * curves["edges"],
      color=color,
      linestyle=style,
      linewidth=1.4,
      label=label,
      baseline=None,
    )
  axis.set_ylim(bottom=0)


def _draw_in_space(observation, tap, results, theme):
  by_position = observation.curves["hue_by_position_hue"].get(tap)
  columns = 4 if by_position else 2
  figure, axes = new_axes(theme, 1, columns, (3.2 * columns, 3.4))
  curves = observation.curves["hue_by_class"][tap]
  shown = _largest_classes(curves)
  highest = max(_highest(curves[name][shown]) for name in ("trained", "untrained"))
  for axis, name in zip(axes, ("trained", "untrained"), strict=False):
    _rows_of_hue(axis, curves[name][shown], highest)
    axis.set_title(f"hue θ by class, {name}", fontsize=9, color=theme.ink, loc="left")
  names = [without_math(results.class_names[c]) for c in curves["classes"][shown]]
  axes[0].set_yticks(np.arange(len(names)), [_short(name) for name in names])
  axes[0].tick_params(axis="y", labelsize=7)
  axes[1].set_yticks([])
  if by_position:
    highest = max(_highest(by_position[name]) for name in ("trained", "untrained"))
    for axis, name in zip(axes[2:], ("trained", "untrained"), strict=True):
      _rows_of_hue(axis, by_position[name], highest)
      axis.set_title(f"hue θ by φ, {name}", fontsize=9, color=theme.ink, loc="left")
      last = len(by_position[name])
      ticks = np.array([0, 1, 2, 3]) * last / 4 - 0.5
      axis.set_yticks(ticks, ["right", "bottom", "left", "top"])
    axes[3].set_yticks([])
  return figure


def _rows_of_hue(axis, density, highest):
  """Draws each row as a density of θ: by its hue, and strong where many are."""
  bins = density.shape[1]
  hue = np.broadcast_to((np.arange(bins) + 0.5) / bins, density.shape)
  strength = np.nan_to_num(density) / highest
  full = hsv_to_rgb(
    np.stack([hue, np.full_like(hue, 0.85), np.full_like(hue, 0.9)], -1)
  )
  # What is weak is transparent, and shows the paper of either theme.
  axis.imshow(
    np.concatenate([full, strength[..., None]], axis=-1),
    aspect="auto",
    extent=(0, 360, len(density) - 0.5, -0.5),
    interpolation="nearest",
  )
  axis.set_xticks([0, 120, 240, 360])
  axis.set_xlabel("θ (degrees)", fontsize=8)
  axis.grid(visible=False)


def _highest(density) -> float:
  finite = density[np.isfinite(density)]
  return float(finite.max()) if finite.size and finite.max() > 0 else 1.0


def _largest_classes(curves):
  """Returns the classes whose hues agree most, where a figure cannot hold all."""
  agreement = np.nan_to_num(curves["resultant_length"])
  shown = np.argsort(-agreement, kind="stable")[:_MOST_CLASSES]
  return np.sort(shown)


_DETAILS = {
  "by_position": (
    _draw_by_position,
    "Layer {tap}: maps of the accuracy of the vote over the image plane, trained and "
    "untrained, and curves of it by polar angle and by radius.",
  ),
  "matches_in_plane": (
    _draw_in_plane,
    "Layer {tap}: densities of the differences of position hue and of radius between "
    "vectors and their neighbors of the same class and of others.",
  ),
  "matches_in_space": (
    _draw_in_space,
    "Layer {tap}: densities of the activation hue by class and by position hue, "
    "trained and untrained.",
  ),
}


# --- Style ----------------------------------------------------------------------


def _short(name: str) -> str:
  return name if len(name) <= 18 else f"{name[:17]}…"
