"""From the runs of a study to what it says: paired gains, curves, costs."""

import dataclasses
import json
import math
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from hue_jax.compare import run_records
from hue_jax.compare.run_records import STUDY_FILE, runs_of
from hue_jax.compare.statistics import (
  Paired,
  Reduction,
  error_reduction,
  holm,
  paired,
  smallest_gain,
  steps_to_reach,
  t_interval,
)
from hue_jax.errors import InputError

Record = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Measure:
  """Something that is measured of a network.

  Attributes:
    name: The name in records.
    label: The head of a table's column, unit included.
    unit: The factor from what a record holds to what is shown.
    better: The sign of what is better: 1 for more, −1 for less, 0 for neither.
  """

  name: str
  label: str
  unit: int
  better: int


MEASURES = (
  Measure("accuracy", "accuracy, %", 100, 1),
  Measure("nll", "NLL, nats", 1, -1),
  Measure("ece", "ECE, %", 100, -1),
  Measure("mistake_distance", "distance of mistakes", 1, -1),
  Measure("knn_accuracy", "k-NN accuracy of features, %", 100, 1),
  Measure("corruption_accuracy", "accuracy under corruption, %", 100, 1),
  Measure("fgsm_accuracy", "accuracy under FGSM, %", 100, 1),
  Measure("pgd_accuracy", "accuracy under PGD, %", 100, 1),
  Measure("transfer_accuracy", "accuracy of linear transfer, %", 100, 1),
)


@dataclasses.dataclass(frozen=True)
class Gain:
  """What an objective gains over another one, on one split.

  Attributes:
    measure: The measure that is compared.
    reference: The mean of the reference.
    mean: The mean of the objective.
    paired: The statistics of the differences, in the measure's unit.
    t_p: The p-value of the paired t test, corrected by Holm over the study; NaN for
      what is not tested.
    wilcoxon_p: The p-value of the signed-rank test, corrected in the same way.
  """

  measure: Measure
  reference: float
  mean: float
  paired: Paired
  t_p: float = float("nan")
  wilcoxon_p: float = float("nan")


@dataclasses.dataclass(frozen=True)
class Errors:
  """What an objective does to the errors of its reference, on one split.

  Attributes:
    reference: The mean error of the reference, in percent.
    reduction: The relative error reduction; see `error_reduction`.
    smallest_gain: The gain in points that the study would have shown; see
      `smallest_gain`.
    smallest_reduction: That gain over the error of the reference; NaN where it is 0.
  """

  reference: float
  reduction: Reduction
  smallest_gain: float
  smallest_reduction: float


@dataclasses.dataclass(frozen=True)
class Contrast:
  """An objective beside its reference.

  Attributes:
    objective: The name of the objective.
    reference: The name of the reference.
    validation: The gain in accuracy on the validation split.
    test: The gain in accuracy on the test split; None where it was not read.
    errors: The errors on the test split; None where it was not read.
    others: The gains in other measures of the test split.
  """

  objective: str
  reference: str
  validation: Gain
  test: Gain | None
  errors: Errors | None
  others: tuple[Gain, ...]

  @property
  def title(self) -> str:
    """The two names."""
    return f"{self.objective} − {self.reference}"

  def other(self, name: str) -> Gain | None:
    """Returns the gain in another measure; None if it is not defined for both."""
    return next((gain for gain in self.others if gain.measure.name == name), None)


@dataclasses.dataclass(frozen=True, eq=False)
class LearningCurve:
  """Validation accuracy of an objective during training, over seeds.

  Attributes:
    steps: The steps of the evaluations.
    mean: The mean accuracy in percent.
    low: The lower end of its 95 % interval.
    high: The upper end of it.
    gain: The mean of the paired differences from the baseline, in points.
    gain_low: The lower end of its 95 % interval.
    gain_high: The upper end of it.
    steps_to_baseline: The mean step at which a seed's curve first reaches what the
      baseline of the same seed has in the end, of those that do.
    reached: The share of the seeds that do.
  """

  steps: Float[np.ndarray, " evaluations"]
  mean: Float[np.ndarray, " evaluations"]
  low: Float[np.ndarray, " evaluations"]
  high: Float[np.ndarray, " evaluations"]
  gain: Float[np.ndarray, " evaluations"]
  gain_low: Float[np.ndarray, " evaluations"]
  gain_high: Float[np.ndarray, " evaluations"]
  steps_to_baseline: float
  reached: float


@dataclasses.dataclass(frozen=True, eq=False)
class Analysis:
  """What a study says.

  Attributes:
    title: The title of the study.
    settings: The settings of the study.
    baseline: The name of the objective that others are compared with.
    baseline_accuracy: Split → the baseline's mean accuracy in percent.
    described: Objective → what it is, in a line.
    seeds: The seeds that all objectives have finished.
    contrasts: The contrasts with the baseline, and others that the study asks for.
    curves: Objective → learning curve.
    corruptions: Objective → corruption → mean accuracy in percent by severity.
    attacks: Objective → attack → ε → mean accuracy in percent.
    observations: Statistic → tap → objective → (mean, paired difference).
    num_train_steps: The steps of each run.
    hours: The hours that all runs took together.
    ended: The time when the last run ended, in seconds since 1970.
    code: The versions of the code.
    device: The kind of the devices.
  """

  title: str
  settings: Mapping[str, Any]
  baseline: str
  baseline_accuracy: Mapping[str, float]
  described: Mapping[str, str]
  seeds: tuple[int, ...]
  contrasts: tuple[Contrast, ...]
  curves: Mapping[str, LearningCurve]
  corruptions: Mapping[str, Mapping[str, list[float]]]
  attacks: Mapping[str, Mapping[str, Mapping[str, float]]]
  observations: Mapping[str, Mapping[str, Mapping[str, tuple[float, Paired]]]]
  num_train_steps: int
  hours: float
  ended: int | float
  code: tuple[str, ...]
  device: tuple[str, ...]

  @property
  def reads_test(self) -> bool:
    """Whether the test split was read: no study of a search does."""
    return bool(self.settings["read_test"])

  @property
  def num_training_images(self) -> int:
    """The images that a training sees in an epoch, by its number of steps."""
    settings = self.settings
    images = self.num_train_steps * settings["batch_size"] / settings["num_epochs"]
    return math.ceil(images - 1e-6)

  @property
  def other_measures(self) -> tuple[Measure, ...]:
    """The measures beside accuracy that any objective has."""
    there = {gain.measure.name for c in self.contrasts for gain in c.others}
    return tuple(measure for measure in MEASURES if measure.name in there)

  @property
  def num_forms(self) -> int:
    """The number of objectives beside the baseline."""
    return len(self.settings["objectives"]) - 1


def analyze(workdir: str | os.PathLike[str]) -> Analysis:
  """Analyzes the study in a workdir, of the seeds that all objectives have finished.

  Args:
    workdir: The folder with `study.json` and `runs.jsonl`.

  Returns:
    What the study says.

  Raises:
    InputError: If no study is there, or fewer than two seeds are finished.
  """
  folder = Path(workdir).expanduser()
  if not (folder / STUDY_FILE).exists():
    raise InputError(f"{workdir} holds no study ({STUDY_FILE}).")
  settings = json.loads((folder / STUDY_FILE).read_text(encoding="utf-8"))
  by_name = {name: {} for name in settings["objectives"]}
  for record in runs_of(settings, run_records.read(folder / run_records.FILE)):
    by_name[record["objective"]][record["seed"]] = record
  seeds = sorted(set.intersection(*(set(found) for found in by_name.values())))
  if len(seeds) < 2:
    raise InputError(
      f"the number of seeds that all objectives have finished in {workdir} is "
      f"{len(seeds)}; it must be at least 2 for intervals."
    )
  runs = {name: [found[seed] for seed in seeds] for name, found in by_name.items()}
  every = [record for found in runs.values() for record in found]
  baseline = settings["baseline"]
  return Analysis(
    title=settings["title"],
    settings=settings,
    baseline=baseline,
    baseline_accuracy={
      split: 100 * float(np.mean(_values(runs[baseline], split, _accuracy)))
      for split in ("validation", "test")
      if split in runs[baseline][0]
    },
    described={name: found[0]["describe"] for name, found in runs.items()},
    seeds=tuple(seeds),
    contrasts=_contrasts(runs, settings),
    curves={name: _curve(found, runs[baseline]) for name, found in runs.items()},
    corruptions=_mean_of(runs, "corruption_accuracy"),
    attacks=_mean_of(runs, "attack_accuracy"),
    observations=_observations(runs, baseline),
    num_train_steps=every[0]["steps"],
    hours=sum({r["fingerprint"]: r["seconds"] for r in every}.values()) / 3600,
    ended=max(record["ended"] for record in every),
    code=tuple(sorted({record["code"] for record in every})),
    device=tuple(sorted({record["device"] for record in every})),
  )


# --- Gains ----------------------------------------------------------------------


def _contrasts(runs, settings) -> tuple[Contrast, ...]:
  baseline = settings["baseline"]
  pairs = [(name, baseline) for name in runs if name != baseline]
  pairs += [tuple(pair) for pair in settings.get("contrasts", ())]
  pairs = list(dict.fromkeys(pairs))
  found = [_contrast(runs, *pair) for pair in pairs]
  # Objectives of the same settings have the same runs: their contrasts are one.
  same = [tuple(runs[name][0]["fingerprint"] for name in pair) for pair in pairs]
  # One family a split: everything in which the study looks for an effect.
  for split in ("validation", "test"):
    gains = [getattr(contrast, split) for contrast in found]
    if not gains or gains[0] is None:
      continue
    t = _holm_of_distinct(same, [gain.paired.t_p for gain in gains])
    wilcoxon = _holm_of_distinct(same, [gain.paired.wilcoxon_p for gain in gains])
    found = [
      dataclasses.replace(
        contrast,
        **{split: dataclasses.replace(getattr(contrast, split), t_p=a, wilcoxon_p=b)},
      )
      for contrast, a, b in zip(found, t, wilcoxon, strict=True)
    ]
  return tuple(found)


def _holm_of_distinct(keys, p_values):
  distinct = dict(zip(keys, p_values, strict=True))
  corrected = dict(zip(distinct, holm(list(distinct.values())), strict=True))
  return [corrected[key] for key in keys]


def _contrast(runs, objective, reference) -> Contrast:
  ours, theirs = runs[objective], runs[reference]
  has_test = "test" in ours[0]
  others = []
  for measure in MEASURES[1:] if has_test else ():
    gain = _gain(ours, theirs, "test", measure)
    if gain is not None:
      others.append(gain)
  return Contrast(
    objective,
    reference,
    _gain(ours, theirs, "validation", MEASURES[0]),
    _gain(ours, theirs, "test", MEASURES[0]) if has_test else None,
    _errors(ours, theirs) if has_test else None,
    tuple(others),
  )


def _errors(ours, theirs) -> Errors:
  errors, reference = (
    100 * (1 - np.array(_values(runs, "test", _accuracy), np.float64))
    for runs in (ours, theirs)
  )
  level = float(reference.mean())
  smallest = smallest_gain(paired(reference - errors))
  return Errors(
    level,
    error_reduction(errors, reference),
    smallest,
    smallest / level if level else float("nan"),
  )


def _gain(ours, theirs, split, measure) -> Gain | None:
  """Returns a gain; None where either objective has not the measure."""
  read = _READERS[measure.name]
  one, other = (
    measure.unit * np.array(_values(runs, split, read), np.float64)
    for runs in (ours, theirs)
  )
  both = np.isfinite(one) & np.isfinite(other)
  if not both.any():
    return None
  return Gain(
    measure,
    float(other[both].mean()),
    float(one[both].mean()),
    # A difference is of two recorded numbers, and two differences of four.
    paired(
      one[both] - other[both],
      rounding=4 * run_records.rounding(np.concatenate([one[both], other[both]])),
    ),
  )


def _values(runs: Sequence[Record], split: str, read: Callable[[Record], Any]):
  found = (read(record[split]) for record in runs)
  return [float("nan") if value is None else value for value in found]


def _accuracy(measured):
  return measured["accuracy"]


def _mean_corruption(measured):
  series = measured.get("corruption_accuracy")
  return np.mean(list(series.values())) if series else None


def _mean_transfer(measured):
  found = measured.get("transfer_accuracy")
  return np.mean(list(found.values())) if found else None


def _mean_attack(kind):
  def read(measured):
    found = measured.get("attack_accuracy")
    return np.mean(list(found[kind].values())) if found else None

  return read


_READERS: dict[str, Callable[[Record], Any]] = {
  **{
    name: (lambda measured, name=name: measured.get(name))
    for name in ("accuracy", "nll", "ece", "mistake_distance", "knn_accuracy")
  },
  "corruption_accuracy": _mean_corruption,
  "fgsm_accuracy": _mean_attack("fgsm"),
  "pgd_accuracy": _mean_attack("pgd"),
  "transfer_accuracy": _mean_transfer,
}


# --- Curves and tables ----------------------------------------------------------


def _curve(runs, baseline_runs) -> LearningCurve:
  accuracy, of_baseline = (
    100 * np.array([record["curve"]["accuracy"] for record in found])
    for found in (runs, baseline_runs)
  )
  reached = np.array(
    [
      steps_to_reach(
        record["curve"]["step"],
        record["curve"]["accuracy"],
        baseline["curve"]["accuracy"][-1],
      )
      for record, baseline in zip(runs, baseline_runs, strict=True)
    ]
  )
  finite = np.isfinite(reached)
  return LearningCurve(
    np.array(runs[0]["curve"]["step"], np.float64),
    *_band(accuracy),
    *_band(accuracy - of_baseline),
    float(reached[finite].mean()) if finite.any() else float("nan"),
    float(finite.mean()),
  )


def _band(values):
  """Returns mean, low and high over seeds, the first axis."""
  low, high = np.array([t_interval(column) for column in values.T]).T
  return values.mean(axis=0), low, high


def _mean_of(runs, name):
  """Returns objective → the mean over seeds of nested accuracies, in percent."""
  found = {}
  for objective, of_objective in runs.items():
    nested = [record.get("test", {}).get(name) for record in of_objective]
    if any(nested):
      found[objective] = _mean_tree([tree for tree in nested if tree])
  return found


def _mean_tree(trees):
  first = trees[0]
  if isinstance(first, Mapping):
    return {key: _mean_tree([tree[key] for tree in trees]) for key in first}
  means = 100 * np.mean(trees, axis=0)
  return means.tolist()


def _observations(runs, baseline):
  """Returns statistic → tap → objective → (mean, difference from the baseline)."""

  def measured(record):
    return record.get("test", {}).get("observations", {})

  found = {}
  for statistic, taps in measured(runs[baseline][0]).items():
    for tap in taps:
      values = {
        objective: np.array(
          [measured(r).get(statistic, {}).get(tap, np.nan) for r in of_objective],
          np.float64,
        )
        for objective, of_objective in runs.items()
      }
      there = np.all([np.isfinite(v) for v in values.values()], axis=0)
      if there.sum() > 1:
        reference = values[baseline][there]
        found.setdefault(statistic, {})[tap] = {
          objective: (float(v[there].mean()), paired(v[there] - reference))
          for objective, v in values.items()
        }
  return found
