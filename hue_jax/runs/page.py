"""The page that compares runs: one file, with its curves as data and a small script."""

import json
import math
import os
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

from hue_jax.files import write_text
from hue_jax.pages import provenance, templates
from hue_jax.runs.reading import RunFolder

# Points of a curve on the page: more than a chart has pixels.
_MOST_POINTS = 600

# What is drawn first, in this order; a name that ends in "/" stands for all below it.
_FIRST = (
  "train/loss",
  "validation/loss",
  "train/top1",
  "validation/top1",
  "train/cross_entropy",
  "train/term/",
  "train/hue/",
  "train/hue_error_degrees/",
)

# Where a run is kept and how often it tells: no difference between runs.
_NO_DIFFERENCE = ("data_dir", "data_identities")


def write_page(runs: Sequence[RunFolder], output: Path) -> None:
  """Writes the page.

  Args:
    runs: The runs.
    output: The file; links to the runs' folders are relative to it.
  """
  page = templates.environment("hue_jax.runs").get_template("page.html")
  settings = differing_settings(runs)
  output.parent.mkdir(parents=True, exist_ok=True)
  text = page.render(
    runs=[_row(number, run, settings, output) for number, run in enumerate(runs)],
    settings=settings,
    repeats=repeated(runs),
    answer=_answer(runs),
    damaged=[run for run in runs if run.damage],
    data=_data(runs),
    made=provenance.today(),
    versions=provenance.versions("tensorboard"),
  )
  write_text(output, text)


# --- Curves -----------------------------------------------------------------------


def _data(runs):
  """Returns the curves for the script: name → run → [steps, values]."""
  curves = {}
  for number, run in enumerate(runs):
    for name, values in run.curves.items():
      if (
        name.startswith("train/hue/") and name.replace("/hue/", "/term/") in run.curves
      ):
        continue  # the name that terms had in version 0.1
      curves.setdefault(name, {})[number] = _thinned(values)
  names = sorted(curves, key=_place)
  return {
    "names": names,
    "first": sum(_place(name)[0] < len(_FIRST) for name in names),
    "curves": curves,
    "runs": [run.name for run in runs],
  }


def _place(name):
  for place, first in enumerate(_FIRST):
    if name == first or (first.endswith("/") and name.startswith(first)):
      return place, name
  return len(_FIRST), name


def _thinned(values):
  steps = sorted(values)
  if len(steps) > _MOST_POINTS:
    kept = np.linspace(0, len(steps) - 1, _MOST_POINTS).round().astype(int)
    steps = [steps[place] for place in kept]
  return [steps, [float(f"{values[step]:.6g}") for step in steps]]


# --- Tables -----------------------------------------------------------------------


def _row(number, run, settings, output):
  """Returns what the table of runs shows of one."""
  place = os.path.relpath(run.path.resolve(), output.resolve().parent)
  total = run.result.get("num_train_steps") or run.settings.get("num_train_steps", 0)
  top1, interval = accuracy(run)
  return {
    "number": number,
    "name": run.name,
    "address": urllib.parse.quote(place.replace(os.sep, "/")) + "/",
    "status": run.status,
    "told": run.told,
    "step": run.step,
    "of": total if total and total > 0 else None,
    "objective": run.result.get("objective", ""),
    "top1": top1,
    "interval": interval,
    "cross_entropy": run.result.get("test_cross_entropy"),
    "seconds": run.result.get("seconds"),
    "settings": [_shown(run.settings.get(name)) for name in settings],
  }


def accuracy(run: RunFolder) -> tuple[float | None, tuple[float, float] | None]:
  """Returns the test accuracy of a run, and its 95 % interval, in percent.

  The interval is Wilson's, of a share of so many images: it tells how much another test
  set of that size would change, and not how much another seed would.

  Args:
    run: The run.

  Returns:
    The accuracy and the interval, each None where it is not known.
  """
  top1, count = run.result.get("test_top1"), run.result.get("test_examples")
  if top1 is None:
    last = run.curves.get("test/top1")
    return (100 * last[max(last)], None) if last else (None, None)
  if not count:
    return 100 * top1, None
  right = round(top1 * count)
  found = stats.binomtest(right, count).proportion_ci(0.95, method="wilson")
  return 100 * top1, (100 * float(found.low), 100 * float(found.high))


def differing_settings(runs: Sequence[RunFolder]) -> list[str]:
  """Returns the names of the settings that are not the same in all runs, sorted."""
  readable = [run.settings for run in runs if run.settings]
  names = {name for settings in readable for name in settings}
  return sorted(
    name
    for name in names
    if name.partition(".")[0] not in _NO_DIFFERENCE
    and len({_shown(settings.get(name)) for settings in readable}) > 1
  )


def _shown(value):
  if value is None:
    return "—"
  if isinstance(value, dict) and not value:
    return "none"
  if isinstance(value, list | tuple):
    return ", ".join(map(str, value)) or "none"
  return f"{value:g}" if isinstance(value, float) else str(value)


def repeated(runs: Sequence[RunFolder]) -> list[dict[str, Any]]:
  """Returns what finished runs that differ in the seed alone have in the mean.

  Args:
    runs: The runs.

  Returns:
    Of each group of at least two: `names`, `seeds`, `mean` and `interval` (Student's
    t) of the test accuracy in percent.
  """
  groups = {}
  for run in runs:
    top1, _ = accuracy(run)
    if top1 is not None and run.settings and run.status == "finished":
      rest = {
        k: v
        for k, v in run.settings.items()
        if k != "seed" and k.partition(".")[0] not in _NO_DIFFERENCE
      }
      groups.setdefault(json.dumps(rest, sort_keys=True, default=str), []).append(run)
  found = []
  for members in groups.values():
    values = {run.settings.get("seed"): accuracy(run)[0] for run in members}
    if len(values) > 1:
      each = np.array(list(values.values()))
      reach = (
        stats.t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / math.sqrt(len(each))
      )
      mean = float(each.mean())
      found.append(
        {
          "names": [run.name for run in members],
          "seeds": len(values),
          "mean": mean,
          "interval": (mean - reach, mean + reach),
        }
      )
  return found


def _answer(runs):
  """Returns what the folder holds, in a sentence or two."""
  counts = {}
  for run in runs:
    counts[run.status] = counts.get(run.status, 0) + 1
  told = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
  best = max(
    (run for run in runs if accuracy(run)[0] is not None),
    key=lambda run: accuracy(run)[0],
    default=None,
  )
  if best is None:
    return f"{told}. None has a test accuracy yet."
  top1, interval = accuracy(best)
  ends = f" [{interval[0]:.2f}, {interval[1]:.2f}]" if interval else ""
  return f"{told}. The best test accuracy is {top1:.2f} %{ends}, of {best.name}."
