"""The figures of a report of studies."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from hue_jax.compare.across_studies import AcrossStudies
from hue_jax.compare.analysis import Analysis
from hue_jax.compare.report_text import ends, share
from hue_jax.pages.figures import (
  Margins,
  Theme,
  legend_above,
  new_axes,
  without_math,
)

_MARKERS = "osD^vP*X<>"


def gains(studies: Sequence[Analysis], theme: Theme) -> Figure:
  """Draws the gain in accuracy of the objectives that all studies have, by study."""
  common = set.intersection(
    *({c.objective for c in _against_baseline(study)} for study in studies)
  )
  return _forest(
    [
      (study, [c for c in _against_baseline(study) if c.objective in common])
      for study in studies
    ],
    theme,
  )


def gains_of(study: Analysis, theme: Theme) -> Figure:
  """Draws the gain in accuracy of every objective of one study."""
  return _forest([(study, _against_baseline(study))], theme)


def _forest(groups, theme):
  """Draws a line an interval, under their studies' names, along one axis of gains."""
  rows = sum(1 + len(contrasts) for _, contrasts in groups)
  longest = max((len(c.objective) for _, found in groups for c in found), default=0)
  margins = Margins(left=0.15 + 0.07 * longest, right=0.1, bottom=0.45, top=0.05)
  figure, (axis,) = new_axes(theme, 1, 1, (7.2, 0.21 * rows + 0.6), margins=margins)
  axis.axvline(0, color=theme.faint, linewidth=0.8)
  names = []
  for study, contrasts in groups:
    axis.text(
      0,
      -len(names),
      without_math(f"  {_told(study)}"),
      transform=axis.get_yaxis_transform(),
      color=theme.ink,
      fontsize=8,
      fontweight="bold",
      va="center",
      bbox={"facecolor": theme.paper, "edgecolor": "none", "pad": 1},
    )
    names.append("")
    for contrast in contrasts:
      gain = contrast.test or contrast.validation
      low, high = gain.paired.t_interval
      color = theme.series[0] if low > 0 else theme.series[1] if high < 0 else theme.ink
      axis.plot([low, high], [-len(names)] * 2, color=color, linewidth=1.4)
      axis.plot(gain.paired.mean, -len(names), "o", color=color, markersize=4)
      names.append(without_math(contrast.objective))
  axis.set_yticks(-np.arange(len(names)), names)
  axis.tick_params(axis="y", length=0)
  axis.set_ylim(0.7 - len(names), 0.7)
  axis.grid(visible=False, axis="y")
  axis.grid(axis="x", color=theme.faint, alpha=0.25, linewidth=0.6)
  axis.set_xlabel("gain in accuracy over the baseline, points", fontsize=8)
  return figure


def _told(study):
  """Returns a study in a line."""
  accuracy = study.baseline_accuracy["test" if study.reads_test else "validation"]
  return f"{study.title}: {len(study.seeds)} seeds, {study.baseline} {accuracy:.2f} %"


# Columns beside a forest plot: points from its left and right edge.
_NAME, _IMAGES, _SEEDS, _ERROR = -236, -94, -60, -8
_EFFECT, _WEIGHT = 10, 138


def forest(found: Sequence[AcrossStudies], theme: Theme) -> Figure:
  """Draws relative error reductions by study, and pooled, a panel a contrast."""
  heights = [len(across.rows) + (3.4 if across.pooled else 2) for across in found]
  # The room of the columns.
  margins = Margins(left=3.4, right=2.05, bottom=0.5, top=0.05, down=0.3)
  height = 0.2 * sum(heights) + 0.25 + 0.3 * len(heights)
  figure, axes = new_axes(
    theme, len(found), 1, (8.4, height), heights=heights, margins=margins
  )
  limits = _reach(found)
  for axis, across in zip(axes, found, strict=True):
    axis.set_xlim(limits)
    _panel(axis, across, theme)
  axes[-1].set_xlabel(
    "relative error reduction, % (right of 0: fewer errors)", fontsize=8
  )
  return figure


def _reach(found):
  """Returns limits that hold every study's own effect, and the pooled one.

  An interval far wider than the others would leave these no room: it is cut, as that of
  what is pooled over two data sets alone.
  """
  effects, bounds = [0.0, 0.0], []
  for across in found:
    for row in across.rows:
      reduction = row.contrast.errors.reduction
      if np.isfinite(reduction.interval[0]):
        effects.append(reduction.mean)
        bounds.extend(reduction.interval)
    if across.pooled:
      effects.append(across.reduction)
  bounds = bounds or [0.0]
  low = min(*effects, np.percentile(bounds, 5))
  high = max(*effects, np.percentile(bounds, 95))
  margin = 0.06 * (high - low) or 0.01
  return 100 * (low - margin), 100 * (high + margin)


def _panel(axis, across, theme):
  axis.axvline(0, color=theme.faint, linewidth=0.8)
  _beside(axis, 1.2, theme, across.title, weight="bold")
  heads = ("images", "seeds", "error, %", "reduction, % [95 %]")
  heads += ("weight, %",) if across.pooled else ()
  _beside(axis, 0.0, theme, "", *heads, color=theme.faint)
  largest = max((row.weight for row in across.rows if row.weight > 0), default=1.0)
  for number, row in enumerate(across.rows, start=1):
    errors = row.contrast.errors
    _beside(
      axis,
      -number,
      theme,
      row.title,
      f"{row.num_images:,}",
      f"{row.num_seeds}",
      f"{errors.reference:.2f}",
      share(errors.reduction.mean, errors.reduction.interval),
      f"{100 * row.weight:.0f}" if row.weight > 0 else "",
    )
    if not np.isfinite(errors.reduction.interval[0]):
      continue
    _interval(axis, -number, errors.reduction.interval, theme.ink, 1.1)
    size = 2 + 6 * np.sqrt(row.weight / largest) if row.weight > 0 else 3
    color = theme.series[0]
    axis.plot(100 * errors.reduction.mean, -number, "s", color=color, markersize=size)
  last = -len(across.rows)
  if across.pooled:
    _pooled_lines(axis, last - 1.2, across, theme)
    last -= 2.2
  axis.set_ylim(last - 0.7, 1.7)
  axis.set_yticks([])
  axis.spines["left"].set_visible(False)
  axis.grid(axis="x", color=theme.faint, alpha=0.25, linewidth=0.6)


def _pooled_lines(axis, y, across, theme):
  """Draws the pooled diamond, and the prediction interval below it."""
  color = theme.series[1]
  (low, high), middle = across.interval, across.reduction
  corners = 100 * np.array([low, middle, high, middle])
  axis.fill(corners, [y, y + 0.38, y, y - 0.38], color=color, linewidth=0)
  _arrows(axis, y, np.clip(corners[[0, 2]], *axis.get_xlim()), color)
  told = f"pooled over {across.num_origins} data sets"
  effect = share(middle, across.interval)
  _beside(axis, y, theme, told, "", "", "", effect, "", weight="bold")
  if np.isfinite(across.prediction_interval[0]):
    _interval(axis, y - 1, across.prediction_interval, color, 1.6)
    told = "one more data set, prediction"
    _beside(axis, y - 1, theme, told, "", "", "", ends(across.prediction_interval))


def _interval(axis, y, interval, color, width):
  """Draws an interval; an arrow where the axis cuts it."""
  low, high = np.clip(100 * np.array(interval), *axis.get_xlim())
  axis.plot([low, high], [y, y], color=color, linewidth=width)
  _arrows(axis, y, (low, high), color)


def _arrows(axis, y, ends, color):
  """Marks the ends that the axis cuts."""
  for end, limit, marker in zip(ends, axis.get_xlim(), "<>", strict=True):
    if end == limit:
      axis.plot(end, y, marker, color=color, markersize=5, clip_on=False)


def _beside(axis, y, theme, name, *columns, color=None, weight="normal"):
  """Writes a row's name and columns to the left and right of an axis."""
  left = zip((_IMAGES, _SEEDS, _ERROR), columns, strict=False)
  right = zip((_EFFECT, _WEIGHT), columns[3:], strict=False)
  places = [(_NAME, "left", 0, name)]
  places += [(offset, "right", 0, text) for offset, text in left]
  places += [
    (offset, align, 1, text)
    for (offset, text), align in zip(right, ("left", "right"), strict=False)
  ]
  for offset, align, edge, text in places:
    axis.annotate(
      without_math(text),
      (edge, y),
      (offset, 0),
      xycoords=axis.get_yaxis_transform(),
      textcoords="offset points",
      horizontalalignment=align,
      verticalalignment="center",
      color=color or theme.ink,
      fontsize=8,
      fontweight=weight,
      annotation_clip=False,
    )


def learning_curves(study: Analysis, theme: Theme) -> Figure:
  """Draws validation accuracy during training, and its gain over the baseline's."""
  margins = Margins(left=0.55, right=0.1, bottom=0.45, top=0.1, across=0.65)
  figure, (level, gain) = new_axes(theme, 1, 2, (9.6, 3.3), margins=margins)
  for number, (name, curve) in enumerate(study.curves.items()):
    is_baseline = name == study.baseline
    style = {
      "marker": _MARKERS[number % len(_MARKERS)],
      "markersize": 3,
      "linewidth": 1,
      "color": theme.ink if is_baseline else _color(theme, number),
      "label": without_math(name),
    }
    level.plot(curve.steps, curve.mean, **style)
    if is_baseline:
      level.fill_between(
        curve.steps, curve.low, curve.high, color=theme.ink, alpha=0.12, lw=0
      )
    gain.plot(curve.steps, curve.gain, **style)
    if not is_baseline:
      color = _color(theme, number)
      gain.fill_between(
        curve.steps, curve.gain_low, curve.gain_high, color=color, alpha=0.08, lw=0
      )
  # The first evaluations of a short training say little: the end fills the figure.
  ends = np.array([curve.gain[-1] for curve in study.curves.values()])
  widths = [curve.gain_high[-1] - curve.gain_low[-1] for curve in study.curves.values()]
  reach = 2 * max(np.abs(ends).max(), max(widths))
  gain.set_ylim(-reach, reach)
  first = study.curves[study.baseline].mean
  level.set_ylim(bottom=first[first >= first.max() - 15].min() - 2)
  level.set_ylabel("validation accuracy, %", fontsize=8)
  gain.set_ylabel("gain over the baseline, points", fontsize=8)
  for axis in (level, gain):
    axis.set_xlabel("step", fontsize=8)
  legend_above(figure, level, theme, columns=6)
  return figure


def robustness(study: Analysis, theme: Theme) -> Figure:
  """Draws accuracy under each corruption by severity, of every objective."""
  objectives = list(study.corruptions)
  kinds = list(study.corruptions[objectives[0]])
  columns = 3
  rows = -(-len(kinds) // columns)
  margins = Margins(left=0.55, right=0.1, bottom=0.45, top=0.25, across=0.6, down=0.75)
  size = (9, 2.2 * rows + 0.6)
  figure, axes = new_axes(theme, rows, columns, size, margins=margins)
  for axis, kind in zip(axes, kinds, strict=False):
    for number, name in enumerate(objectives):
      series = study.corruptions[name][kind]
      axis.plot(
        np.arange(1, len(series) + 1),
        series,
        marker=_MARKERS[number % len(_MARKERS)],
        markersize=3,
        linewidth=1,
        color=theme.ink if name == study.baseline else _color(theme, number),
        label=without_math(name),
      )
    axis.set_title(kind, fontsize=9, color=theme.ink, loc="left")
    axis.set_xticks(np.arange(1, len(series) + 1))
    axis.locator_params(axis="y", nbins=5)
    axis.set_xlabel("severity", fontsize=8)
    axis.set_ylabel("accuracy, %", fontsize=8)
  for axis in axes[len(kinds) :]:
    axis.set_visible(False)
  legend_above(figure, axes[0], theme, columns=6)
  return figure


def _against_baseline(study):
  return [c for c in study.contrasts if c.reference == study.baseline]


def _color(theme, number):
  return theme.series[number % len(theme.series)]
