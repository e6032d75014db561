"""Writes what a tuning chose as one self-contained page."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from hue_jax.compare import report_text
from hue_jax.files import write_text
from hue_jax.pages import provenance, templates
from hue_jax.pages.figures import Margins, Theme, draw_picture, new_axes, without_math
from hue_jax.pages.files import in_words

FILE = "tuning.html"


def write_tuning_report(
  tuned: Mapping[str, Any], folder: str | os.PathLike[str]
) -> str:
  """Writes tuning.html and figures/tuning.svg.

  Args:
    tuned: What `tuned.json` holds.
    folder: The folder of the files.

  Returns:
    The path of the page.
  """
  folder = Path(folder).expanduser()
  (folder / "figures").mkdir(parents=True, exist_ok=True)
  objectives = sorted(tuned["objectives"].items(), key=lambda one: -one[1]["accuracy"])
  environment = templates.environment(
    "hue_jax.compare", number=report_text.number, breakable=report_text.breakable
  )
  page = environment.get_template("tuning.html").render(
    answer=_answer(tuned, objectives),
    chosen=draw_picture(
      "tuning",
      "Validation accuracy of each objective at the point that was chosen, in percent, "
      "with twice its standard error. The best of many points looks better than it is, "
      "and the studies that read the test split use other seeds.",
      lambda theme: _draw(objectives, theme),
      folder / "figures",
    ),
    objectives=objectives,
    leaves={name: dict(_leaves(one["settings"])) for name, one in objectives},
    tuned_for={name: in_words(value) for name, value in tuned["tuned_for"].items()},
    runs=tuned["runs_of_each"],
    made=provenance.today(),
    versions=provenance.versions(),
  )
  write_text(folder / FILE, page)
  return str(folder / FILE)


def _answer(tuned, objectives):
  name, best = objectives[0]
  told = (
    f"Of {len(objectives)} objectives with {tuned['runs_of_each']} trainings each, "
    f"{name} is best on validation images: {_percent(best)}"
  )
  ends = [name for name, one in objectives if one["at_an_end"]]
  if not ends:
    return f"{told}. Nothing that was chosen lies at an end of its range."
  return f"{told}. Something lies at an end of its range for {', '.join(ends)}."


def _percent(one):
  text = f"{100 * one['accuracy']:.2f}"
  error = one["standard_error"]
  return f"{text} ± {100 * error:.2f} %" if error is not None else f"{text} %"


def _leaves(tree, path=""):
  """Yields the path and value of every number of an objective's settings."""
  for name, value in tree.items():
    if isinstance(value, Mapping):
      yield from _leaves(value, f"{path}{name}.")
    elif isinstance(value, int | float) and not isinstance(value, bool):
      yield path + name, value


def _draw(objectives, theme: Theme) -> Figure:
  longest = max(len(name) for name, _ in objectives)
  margins = Margins(left=0.15 + 0.07 * longest, right=0.15, bottom=0.45, top=0.1)
  size = (7.2, 0.24 * len(objectives) + 0.6)
  figure, (axis,) = new_axes(theme, 1, 1, size, margins=margins)
  for place, (_, one) in enumerate(objectives):
    accuracy, reach = 100 * one["accuracy"], 200 * (one["standard_error"] or 0)
    color = theme.series[0]
    axis.plot([accuracy - reach, accuracy + reach], [-place] * 2, color=color)
    axis.plot(accuracy, -place, "o", color=color, markersize=4)
  names = [without_math(name) for name, _ in objectives]
  axis.set_yticks([-place for place in range(len(names))], names)
  axis.tick_params(axis="y", length=0)
  axis.set_ylim(0.7 - len(names), 0.7)
  axis.grid(visible=False, axis="y")
  axis.grid(axis="x", color=theme.faint, alpha=0.25, linewidth=0.6)
  axis.set_xlabel("validation accuracy, %", fontsize=8)
  return figure
