"""A contrast over studies: its error reductions, one of each data set, and pooled."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from hue_jax.compare.analysis import Analysis, Contrast
from hue_jax.compare.meta_analysis import Pooled, pool, pool_correlated
from hue_jax.compare.statistics import reduction_of
from hue_jax.errors import InputError

_MOST_PANELS = 4


@dataclasses.dataclass(frozen=True)
class StudyRow:
  """A study in a contrast over studies.

  Attributes:
    title: The title of the study.
    origin: The name of its data set.
    num_images: The number of its training images.
    num_seeds: The number of its pairs.
    contrast: What it says of the contrast.
    weight: Its share in the pooled effect; NaN where it is not pooled.
  """

  title: str
  origin: str
  num_images: int
  num_seeds: int
  contrast: Contrast
  weight: float


@dataclasses.dataclass(frozen=True)
class AcrossStudies:
  """The relative error reduction of one contrast over studies.

  Attributes:
    objective: The name of the objective.
    reference: The name of the reference.
    rows: The studies that have the contrast.
    num_origins: The number of data sets that are pooled.
    left_out: The titles of studies without an error or a spread to weigh them by.
    pooled: The pooled effect, −log of the ratio of errors; None for fewer than 2 data
      sets.
  """

  objective: str
  reference: str
  rows: tuple[StudyRow, ...]
  num_origins: int
  left_out: tuple[str, ...]
  pooled: Pooled | None

  @property
  def title(self) -> str:
    """The two names."""
    return f"{self.objective} − {self.reference}"

  @property
  def reduction(self) -> float:
    """The pooled relative error reduction."""
    return reduction_of(self.pooled.mean)

  @property
  def interval(self) -> tuple[float, float]:
    """The 95 % interval of the pooled relative error reduction."""
    return tuple(map(reduction_of, self.pooled.interval))

  @property
  def prediction_interval(self) -> tuple[float, float]:
    """The prediction interval of the relative error reduction; see `Pooled`."""
    return tuple(map(reduction_of, self.pooled.prediction_interval))


def across_studies(studies: Sequence[Analysis]) -> tuple[AcrossStudies, ...]:
  """Pools every contrast that at least two studies have.

  The effects are logarithms of ratios of errors, as `Reduction` has them. Studies of
  one data set share images, so that they are pooled into one effect first, by
  `pool_correlated`; the effects of data sets are then pooled by `pool`.

  Args:
    studies: Studies that read the test split.

  Returns:
    The contrasts, those of most data sets first.
  """
  pairs = dict.fromkeys(
    (c.objective, c.reference) for study in studies for c in study.contrasts
  )
  found = [_across(studies, *pair) for pair in pairs]
  found = [across for across in found if len(across.rows) > 1]
  return tuple(sorted(found, key=lambda across: -_num_origins(across.rows)))


def chosen(
  found: Sequence[AcrossStudies], names: Sequence[str]
) -> tuple[AcrossStudies, ...]:
  """Returns the contrasts of the forest plot.

  Args:
    found: The contrasts over studies.
    names: Those to return as OBJECTIVE:REFERENCE; empty for the first four.

  Returns:
    The contrasts.

  Raises:
    InputError: If at most one study has a contrast.
  """
  if not names:
    return tuple(found[:_MOST_PANELS])
  by_name = {f"{across.objective}:{across.reference}": across for across in found}
  for number, name in enumerate(names):
    if name not in by_name:
      raise InputError(
        f"contrasts[{number}] is {name!r}; it must be OBJECTIVE:REFERENCE of at least "
        f"two of the studies: {', '.join(by_name) or 'they share none'}."
      )
  return tuple(by_name[name] for name in dict.fromkeys(names))


def _across(studies, objective, reference):
  there = [
    (study, contrast)
    for study in studies
    for contrast in study.contrasts
    if (contrast.objective, contrast.reference) == (objective, reference)
  ]
  by_origin = {}
  for study, contrast in there:
    if _weighable(contrast):
      by_origin.setdefault(study.settings["dataset"], []).append((study, contrast))
  pooled, weights = _pooled(by_origin)
  rows = tuple(
    StudyRow(
      study.title,
      study.settings["dataset"],
      study.num_training_images,
      contrast.test.paired.count,
      contrast,
      weights.get(id(contrast), math.nan),
    )
    for study, contrast in there
  )
  left_out = tuple(study.title for study, c in there if not _weighable(c))
  return AcrossStudies(objective, reference, rows, len(by_origin), left_out, pooled)


def _pooled(by_origin):
  """Returns the pooled effect, and the id of each contrast → its share."""
  if len(by_origin) < 2:
    return None, {}
  effects, errors, shares = zip(
    *(
      pool_correlated(
        np.array([c.errors.reduction.log for _, c in members]),
        np.array([c.errors.reduction.standard_error for _, c in members]),
      )
      for members in by_origin.values()
    ),
    strict=True,
  )
  pooled = pool(np.array(effects), np.array(errors))
  weights = {}
  for weight, members, inside in zip(
    pooled.weights, by_origin.values(), shares, strict=True
  ):
    for (_, contrast), share in zip(members, inside, strict=True):
      weights[id(contrast)] = weight * share
  return pooled, weights


def _weighable(contrast):
  error = contrast.errors.reduction.standard_error
  return math.isfinite(error) and error > 0


def _num_origins(rows):
  return len({row.origin for row in rows})
