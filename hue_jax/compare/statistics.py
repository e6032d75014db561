"""Paired differences over seeds: mean, intervals, tests, and Holm's correction."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from scipy import optimize, special, stats

LEVEL = 0.95
POWER = 0.8
_DRAWS = 10_000
# Pairs whose signs are counted in all ways; of more the p-value is SciPy's approximate.
_MOST_COUNTED = 50


@dataclasses.dataclass(frozen=True)
class Paired:
  """How an objective differs from the baseline, seed by seed.

  Attributes:
    count: The number of pairs n.
    mean: The mean of the differences.
    standard_error: The standard error of the mean; NaN for fewer than 2 pairs, as are
      the intervals and the t test.
    t_interval: The 95 % interval of the mean, by Student's t.
    bootstrap_interval: The 95 % interval of the mean, by percentiles of the means of
      10,000 resamples.
    higher: The number of pairs whose difference is above 0.
    lower: The number of pairs whose difference is below 0.
    t_p: The two-sided p-value of the paired t test.
    wilcoxon_p: The two-sided p-value of the signed-rank test, pairs without a
      difference counted half to each side (Pratt).
  """

  count: int
  mean: float
  standard_error: float
  t_interval: tuple[float, float]
  bootstrap_interval: tuple[float, float]
  higher: int
  lower: int
  t_p: float
  wilcoxon_p: float


def paired(
  differences: Float[np.ndarray, " pairs"], *, rounding: float = 0.0, seed: int = 0
) -> Paired:
  """Returns statistics of paired differences.

  Args:
    differences: The objective minus the baseline, of one seed each.
    rounding: How far apart equal differences may lie, for the numbers that they are of
      were rounded: the signed-rank test takes such for equal, and less for 0.
    seed: The seed of the bootstrap.

  Returns:
    The statistics; differences that are all 0 have p = 1.
  """
  count = len(differences)
  mean = float(np.mean(differences)) if count else np.nan
  higher, lower = int(np.sum(differences > 0)), int(np.sum(differences < 0))
  if count < 2:
    nothing = (np.nan, np.nan)
    return Paired(count, mean, np.nan, nothing, nothing, higher, lower, np.nan, np.nan)
  error = _standard_error(differences)
  draws = _resamples(count, seed) @ differences
  tails = (50 * (1 - LEVEL), 50 * (1 + LEVEL))
  low, high = np.percentile(draws, tails)
  if error:
    t_p = float(2 * special.stdtr(count - 1, -abs(mean) / error))
  else:  # every pair differs by the same
    t_p = 0.0 if mean else 1.0
  return Paired(
    count,
    mean,
    error,
    t_interval(differences),
    (float(low), float(high)),
    higher,
    lower,
    t_p,
    _wilcoxon_p(differences, rounding),
  )


@functools.lru_cache(maxsize=8)
def _resamples(count, seed):
  """Returns the share of each pair in each resample, [resamples, pairs]."""
  drawn = np.random.default_rng(seed).integers(0, count, (_DRAWS, count))
  shares = np.zeros((_DRAWS, count))
  np.add.at(shares, (np.arange(_DRAWS)[:, None], drawn), 1 / count)
  return shares


def _wilcoxon_p(differences, rounding):
  """Returns the signed-rank test's p: exact, with equal differences, up to 50 pairs."""
  sizes = np.abs(differences)
  order = np.argsort(sizes)
  # The places of distinct sizes; 0 of those that are no difference.
  places = np.zeros(len(sizes), int)
  places[order] = np.cumsum(np.diff(sizes[order], prepend=0) > rounding)
  if not places.any():
    return 1.0
  if len(sizes) > _MOST_COUNTED:
    signed = np.sign(differences) * places
    return float(stats.wilcoxon(signed, zero_method="pratt").pvalue)
  # Twice the ranks, which are halves.
  counts = np.bincount(places)
  ranks = (2 * np.cumsum(counts) - counts + 1)[places] * (places > 0)
  ways = _ways_to_rank(tuple(sorted(ranks.tolist())))
  positive = int(ranks[differences > 0].sum())
  tails = ways[: positive + 1].sum(), ways[positive:].sum()
  return float(min(2 * min(tails) / ways.sum(), 1.0))


@functools.lru_cache(maxsize=64)
def _ways_to_rank(ranks):
  """Returns in how many ways to choose signs the positive ranks have each sum."""
  ways = np.ones(1)
  for rank in ranks:
    ways = np.pad(ways, (0, rank)) + np.pad(ways, (rank, 0))
  return ways


def t_interval(values: Float[np.ndarray, " count"]) -> tuple[float, float]:
  """Returns the 95 % interval of the mean, by Student's t.

  Args:
    values: The values, at least 2.

  Returns:
    The two ends.
  """
  mean = float(np.mean(values))
  reach = _t_bound(len(values)) * _standard_error(values)
  return (mean - reach, mean + reach)


@functools.cache
def _t_bound(count):
  """Returns the reach of the 95 % interval of so many values' mean, in errors of it."""
  return float(special.stdtrit(count - 1, (1 + LEVEL) / 2))


def _standard_error(values):
  return float(np.std(values, ddof=1) / np.sqrt(len(values)))


@dataclasses.dataclass(frozen=True)
class Reduction:
  """By which share an objective makes fewer errors than its reference.

  Attributes:
    mean: The share 1 − mean(e) / mean(r), of the objective's errors e and the
      reference's r: 1 for no errors at all, below 0 for more errors. NaN where the
      reference makes none.
    log: −log(1 − mean), in which reductions are as far above 0 as increases below;
      infinite where the objective makes no errors.
    standard_error: The standard error of the logarithm; NaN where that is not finite,
      and for fewer than 2 pairs.
    interval: The 95 % interval of the share; NaN where the standard error is.
  """

  mean: float
  log: float
  standard_error: float
  interval: tuple[float, float]


def error_reduction(
  errors: Float[np.ndarray, " pairs"], reference: Float[np.ndarray, " pairs"]
) -> Reduction:
  """Returns the relative error reduction over pairs, by a ratio of means.

  By the delta method the standard error of log(mean(e) / mean(r)) is that of the mean
  of e / mean(e) − r / mean(r), and the interval is Student's t of n − 1 degrees of
  freedom about the logarithm.

  Args:
    errors: The objective's errors e, of one seed each, in any unit.
    reference: The reference's errors r of the same seeds, in the same unit.

  Returns:
    The reduction.
  """
  ours, theirs = (float(np.mean(e)) if len(e) else 0.0 for e in (errors, reference))
  nothing = (np.nan, np.nan)
  if theirs <= 0:
    return Reduction(np.nan, np.nan, np.nan, nothing)
  if ours <= 0:
    return Reduction(1.0, np.inf, np.nan, nothing)
  log = float(np.log(theirs / ours))
  if len(errors) < 2:
    return Reduction(reduction_of(log), log, np.nan, nothing)
  error = _standard_error(errors / ours - reference / theirs)
  reach = _t_bound(len(errors)) * error
  interval = (reduction_of(log - reach), reduction_of(log + reach))
  return Reduction(reduction_of(log), log, error, interval)


def reduction_of(log: float) -> float:
  """Returns the share of errors that is saved, of the logarithm in `Reduction`."""
  return float(-np.expm1(-log))


def smallest_gain(found: Paired) -> float:
  """Returns the smallest true mean that a paired t test would mostly have shown.

  Args:
    found: The statistics of the pairs, whose number and spread count, and not their
      mean.

  Returns:
    The mean difference that the two-sided test at 5 % finds with a power of 80 %,
    by the noncentral t distribution, in the unit of the differences; NaN for fewer
    than 2 pairs.
  """
  if found.count < 2:
    return np.nan
  return _noncentrality(found.count) * found.standard_error


@functools.cache
def _noncentrality(count):
  """Returns the mean over its standard error at which the paired t test has POWER."""
  bound = _t_bound(count)

  def excess(shift):
    # A test that finds the opposite has found something too.
    return sum(stats.nct.sf(bound, count - 1, d) for d in (shift, -shift)) - POWER

  return float(optimize.brentq(excess, 0, 2 * bound))


def median_interval(values: Float[np.ndarray, " count"]) -> tuple[float, float]:
  """Returns the 95 % interval of the median, whatever the values' distribution.

  Args:
    values: Independent values.

  Returns:
    The two ends, by the binomial test of the quantile; NaN for fewer than 6 values, of
    which no such interval is.
  """
  test = stats.quantile_test(values, p=0.5)
  low, high = test.confidence_interval(LEVEL)
  return (float(low), float(high))


def holm(p_values: Sequence[float]) -> list[float]:
  """Returns p-values corrected for their number by Holm's method.

  Rejecting those below α errs once or more with a probability of at most α. The k-th
  smallest of m is multiplied by m − k + 1, and is at least those before it.

  Args:
    p_values: The p-values of the tests of one family; NaN for a test that is not
      defined, which does not count.

  Returns:
    The corrected values, in the same order.

  Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", 1979.
  """
  values = np.asarray(p_values, np.float64)
  corrected = np.full(len(values), np.nan)
  order = [i for i in np.argsort(values) if np.isfinite(values[i])]
  largest = 0.0
  for rank, index in enumerate(order):
    largest = max(largest, min(values[index] * (len(order) - rank), 1.0))
    corrected[index] = largest
  return corrected.tolist()


def steps_to_reach(
  steps: Sequence[int], accuracies: Sequence[float], target: float
) -> float:
  """Returns the step at which a learning curve first reaches an accuracy.

  Args:
    steps: The steps of the evaluations.
    accuracies: The accuracy at each of these.
    target: The accuracy to be reached.

  Returns:
    The step, linear between two evaluations; infinite if it is never reached.
  """
  previous_step, previous = 0, 0.0
  for step, accuracy in zip(steps, accuracies, strict=True):
    if accuracy >= target:
      if accuracy == previous:
        return float(step)
      share = (target - previous) / (accuracy - previous)
      return previous_step + max(share, 0.0) * (step - previous_step)
    previous_step, previous = step, accuracy
  return float("inf")
