"""Intervals and controls: bootstrap over images, and labels shuffled over images.

Vectors of one image are not independent, so images are what is drawn: a resample is
the number of times that each image counts. Neighbors are not searched anew.
"""

import dataclasses
from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Float, Int

from hue_jax.observe.results import ControlledEstimate, Estimate

# How often each image was drawn → the statistic, for each of several draws.
WeightedStatistic = Callable[
  [Float[np.ndarray, "draws images"]], Float[np.ndarray, " draws"]
]

_PERCENTILES = (2.5, 97.5)


@dataclasses.dataclass(frozen=True)
class Resamples:
  """What all intervals of a report are taken from.

  Attributes:
    labels: The class of each image of the sample, [sample].
    shuffles: The labels, shuffled over the images, [shuffles, sample].
    weights: The number of times that each of the images that were searched for was
      drawn, with replacement, [draws, images].
  """

  labels: Int[np.ndarray, " sample"]
  shuffles: Int[np.ndarray, "shuffles sample"]
  weights: Float[np.ndarray, "draws images"]


def resample(
  labels: Int[np.ndarray, " sample"],
  num_images: int,
  *,
  num_bootstrap: int,
  num_shuffles: int,
  seed: int,
) -> Resamples:
  """Draws the resamples.

  Args:
    labels: The class of each image of the sample.
    num_images: The number of images that are searched for, and drawn from.
    num_bootstrap: The draws of images with replacement.
    num_shuffles: The permutations of the labels.
    seed: The seed of draws and permutations.

  Returns:
    The resamples.
  """
  rng = np.random.default_rng(seed)
  shuffles = rng.permuted(np.tile(labels, (num_shuffles, 1)), axis=1)
  equal = np.full(num_images, 1 / num_images)
  draws = rng.multinomial(num_images, equal, size=num_bootstrap)
  return Resamples(labels, shuffles, draws.astype(np.float64))


def measure(
  trained: WeightedStatistic,
  shuffled: Iterable[float],
  untrained: WeightedStatistic,
  resamples: Resamples,
) -> ControlledEstimate:
  """Measures a statistic beside its controls.

  Args:
    trained: The statistic of the trained network.
    shuffled: The values of the statistic with labels shuffled.
    untrained: The statistic of the untrained network.
    resamples: The resamples of the images.

  Returns:
    The values and their 95 % intervals; NaN where a statistic is not defined.
  """
  value = bootstrap(trained, resamples)
  chance = np.fromiter(shuffled, np.float64)
  reached = np.sum(chance >= value.value)
  known = np.isfinite(value.value) and np.isfinite(chance).any()
  return ControlledEstimate(
    trained=value,
    shuffled=Estimate(_mean(chance), *_interval(chance)),
    p_value=float((1 + reached) / (1 + len(chance))) if known else np.nan,
    untrained=bootstrap(untrained, resamples),
  )


def bootstrap(statistic: WeightedStatistic, resamples: Resamples) -> Estimate:
  """Computes a statistic of all images, with its bootstrap interval.

  Args:
    statistic: A function of weights of the images.
    resamples: The resamples of the images.

  Returns:
    The value and its 95 % percentile interval.
  """
  low, high = _interval(statistic(resamples.weights))
  return Estimate(float(of_all(statistic, resamples.weights.shape[1])), low, high)


def of_all(statistic: Callable[[np.ndarray], np.ndarray], num_images: int):
  """Computes a statistic of all images, each once: a number, or a vector.

  Args:
    statistic: A function of weights of the images.
    num_images: The number of images.

  Returns:
    The value of the statistic.
  """
  return statistic(np.ones((1, num_images)))[0]


def bands(
  statistic: Callable[[np.ndarray], np.ndarray], resamples: Resamples
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
  """Computes a vector of all images, with its bootstrap intervals.

  Args:
    statistic: A function of weights, [draws, images] → [draws, bins].
    resamples: The resamples of the images.

  Returns:
    The values, the low ends and the high ends, [bins]; NaN where a bin is empty.
  """
  samples = statistic(resamples.weights)
  edges = np.full((2, samples.shape[1]), np.nan)
  filled = np.isfinite(samples).any(axis=0)
  edges[:, filled] = np.nanpercentile(samples[:, filled], _PERCENTILES, axis=0)
  return of_all(statistic, resamples.weights.shape[1]), *edges


def ratio(numerator, denominator):
  """Returns numerator / denominator, NaN where the denominator is not positive."""
  numerator, denominator = np.broadcast_arrays(numerator, denominator)
  result = np.full(numerator.shape, np.nan)
  np.divide(numerator, denominator, out=result, where=denominator > 0)
  return result


def _interval(samples) -> tuple[float, float]:
  known = samples[np.isfinite(samples)]
  if not known.size:
    return np.nan, np.nan
  low, high = np.percentile(known, _PERCENTILES)
  return float(low), float(high)


def _mean(samples) -> float:
  known = samples[np.isfinite(samples)]
  return float(known.mean()) if known.size else np.nan
