"""The figures of a report of studies."""

from collections.abc import Sequence

import numpy as np
from matplotlib.figure import Figure

from hue_jax.compare.analysis import Analysis
from hue_jax.pages.figures import Theme, legend_above, new_axes, without_math

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
  figure, (axis,) = new_axes(theme, 1, 1, (7.2, 0.21 * rows + 0.7))
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


def learning_curves(study: Analysis, theme: Theme) -> Figure:
  """Draws validation accuracy during training, and its gain over the baseline's."""
  figure, (level, gain) = new_axes(theme, 1, 2, (9.6, 3.3))
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
  figure, axes = new_axes(theme, rows, columns, (9, 2.2 * rows + 0.6))
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
