"""Tunes every objective of a study on its validation split, all with one budget.

The points of an objective are those of a scrambled Sobol sequence, uniform in the
logarithm of what is tuned: the learning rate and the weight decay, of which all
objectives try the same values, and strengths of the objective's own. All points are
trained with few seeds, the best of them with more, and the best mean is kept.

Source: Sobol, 1967; Owen, "Scrambled Net Variance for Integrals of Smooth Functions",
1997; of the two rounds: Jamieson and Talwalkar, "Non-stochastic Best Arm
Identification and Hyperparameter Optimization", AISTATS 2016.
"""

import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import qmc

from hue_jax.compare.settings import checked_settings
from hue_jax.compare.study import run_study
from hue_jax.compare.tuned import FILE, tuned_for
from hue_jax.compare.tuning_report import write_tuning_report
from hue_jax.errors import InputError
from hue_jax.files import write_text
from hue_jax.pages.files import json_text


def tune(
  settings: Mapping[str, Any],
  workdir: str | os.PathLike[str],
  *,
  workers: int | str | None = None,
) -> dict[str, Any]:
  """Tunes the objectives of a study; the test split is not read.

  Args:
    settings: Settings with the fields of `defaults.py`, `tuning` among
      them.
    workdir: The folder of the runs, which goes on where it was stopped, and of
      `tuned.json` and the page `tuning.html`.
    workers: The processes, as `run_study` takes them.

  Returns:
    What `tuned.json` holds: what the objectives were tuned for, the seeds, and for
    each objective its settings, its mean validation accuracy and the standard error
    of that, and which of its values lie at an end of their range.

  Raises:
    InputError: If a setting cannot be used.
  """
  settings = checked_settings(settings)
  tuning = settings["tuning"]
  points = {
    name: dict(_points(objective, tuning, _ranges(name, objective, tuning)))
    for name, objective in settings["objectives"].items()
  }

  def run(chosen, num_seeds):
    """Returns the validation accuracy of each seed, by objective and point."""
    objectives = {
      f"{name}@{point}": points[name][point]
      for name in chosen
      for point in chosen[name]
    }
    study = {
      **settings,
      "objectives": objectives,
      "baseline": next(iter(objectives)),
      "contrasts": (),
      "first_seed": tuning["first_seed"],
      "num_seeds": num_seeds,
      "read_test": False,
      "tuning": {},
    }
    found = {name: {point: [] for point in chosen[name]} for name in chosen}
    for record in run_study(study, workdir, workers=workers):
      name, _, point = record["objective"].rpartition("@")
      diverged = record["curve"]["train_loss"][-1] is None
      accuracy = -math.inf if diverged else record["validation"]["accuracy"]
      found[name][int(point)].append(accuracy)
    return found

  first = run(points, tuning["num_seeds"])
  num_seeds = tuning["num_seeds"] + tuning["more_seeds"]
  last = run(
    {name: _best(found, tuning["finalists"]) for name, found in first.items()},
    num_seeds,
  )
  tuned = {
    "tuned_for": tuned_for(settings),
    "first_seed": tuning["first_seed"],
    "num_seeds": num_seeds,
    "runs_of_each": len(next(iter(first.values()))) * tuning["num_seeds"]
    + min(tuning["finalists"], tuning["points"]) * tuning["more_seeds"],
    "objectives": {
      name: _told(settings["objectives"][name], name, points[name], found, tuning)
      for name, found in last.items()
    },
  }
  path = Path(workdir).expanduser() / FILE
  write_text(path, json_text(tuned, indent=1) + "\n")
  write_tuning_report(tuned, workdir)
  return tuned


# --- Points -------------------------------------------------------------------------


def _ranges(name, objective, tuning):
  """Returns path → (low, high) of all that is tuned of an objective."""
  shared = dict(_leaves(tuning["shared"]))
  own = dict(_leaves(tuning["own"].get(name, {})))
  for path in own:
    _check_there(name, objective, path)
  return shared | own


def _points(objective, tuning, ranges) -> Iterator[tuple[int, dict[str, Any]]]:
  """Yields the number of each point, and the objective at it."""
  # As many columns for all objectives: they share the values of the first ones.
  columns = len(dict(_leaves(tuning["shared"]))) + max(
    (len(dict(_leaves(own))) for own in tuning["own"].values()), default=0
  )
  sequence = qmc.Sobol(max(columns, 1), scramble=True, rng=np.random.default_rng(0))
  rows = sequence.random_base2(max(math.ceil(math.log2(tuning["points"])), 0))
  for point, row in enumerate(rows[: tuning["points"]]):
    found = objective
    for (path, (low, high)), share in zip(ranges.items(), row, strict=False):
      value = low * (high / low) ** float(share)
      found = _with(found, path, float(f"{value:.3g}"))
    yield point, found


def _leaves(tree, path=()):
  for name, value in tree.items():
    if isinstance(value, Mapping):
      yield from _leaves(value, (*path, name))
    else:
      yield (*path, name), value


def _with(tree, path, value):
  name, *rest = path
  if not rest:
    return {**tree, name: value}
  return {**tree, name: _with(tree.get(name, {}), rest, value)}


def _check_there(name, objective, path):
  """Refuses to tune a setting of a term or classifier that the objective lacks."""
  for step in path[:-1]:
    if step not in objective:
      raise InputError(
        f"tuning.own.{name}.{'.'.join(path)} is tuned, and objectives.{name} has no "
        f"{step}; it has {', '.join(objective) or 'nothing'}."
      )
    objective = objective[step]


def _best(found, count):
  """Returns the points of the best means, the best first; of equals, the first."""
  means = {point: float(np.mean(values)) for point, values in found.items()}
  return sorted(means, key=lambda point: -means[point])[:count]


def _told(objective, name, points, found, tuning):
  (best,) = _best(found, 1)
  accuracies = np.array(found[best])
  if not np.isfinite(accuracies).all():
    raise InputError(
      f"objectives.{name} has no point at which every training ended in finite "
      "numbers; tuning.shared must reach lower learning rates."
    )
  ends = []
  for path, (low, high) in _ranges(name, objective, tuning).items():
    value = points[best]
    for step in path:
      value = value[step]
    # Within a tenth of the range, on the logarithm's scale.
    share = math.log(value / low) / math.log(high / low) if high > low else 0.5
    if not 0.1 < share < 0.9:
      ends.append(".".join(path))
  count = len(accuracies)
  error = float(np.std(accuracies, ddof=1) / math.sqrt(count)) if count > 1 else None
  return {
    "settings": points[best],
    "point": best,
    "accuracy": float(np.mean(accuracies)),
    "standard_error": error,
    "at_an_end": ends,
  }
