"""Statistics over pairs of vectors of two different images."""

import dataclasses
from collections.abc import Mapping

import numpy as np
from jaxtyping import Float, Int

from hue_jax.observe.matches import Matches
from hue_jax.observe.resampling import (
  Resamples,
  WeightedStatistic,
  measure,
  of_all,
  ratio,
)
from hue_jax.observe.results import Statistic

_VECTORS_AT_ONCE = 2**14


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
  """Sums over pairs of vectors of two different images.

  Attributes:
    images: The places of the images in the sample, [images].
    cosines: The sum of the cosines over the vectors of one image and of another,
      [images, images].
    counts: The number of such pairs, [images, images]; the diagonals are 0.
  """

  images: Int[np.ndarray, " images"]
  cosines: Float[np.ndarray, "images images"]
  counts: Float[np.ndarray, "images images"]


def pairs_of(
  images: Int[np.ndarray, " images"],
  sums: Float[np.ndarray, "images channels"],
  counts: Float[np.ndarray, " images"],
) -> Pairs:
  """Returns the pairs of vectors of which each image's sum is known.

  Args:
    images: The places of the images in the sample.
    sums: The sum of the unit vectors of each image.
    counts: The number of vectors of each image.
  """
  cosines, pairs = sums @ sums.T, np.outer(counts, counts)
  np.fill_diagonal(cosines, 0)
  np.fill_diagonal(pairs, 0)
  return Pairs(images, cosines, pairs)


def direction_pairs(matches: Matches) -> Pairs:
  """Returns the pairs of directions a / ‖a‖; vectors that are 0 do not count."""
  sums = np.zeros((len(matches.rows), matches.layer.shape[2]))
  counts = np.zeros(len(matches.rows))
  block = max(_VECTORS_AT_ONCE // matches.rows.shape[1], 1)
  for start in range(0, len(matches.rows), block):
    rows = matches.rows[start : start + block]
    vectors = np.asarray(matches.layer.vectors[rows.ravel()], np.float32)
    vectors = vectors.astype(np.float64).reshape(*rows.shape, -1)
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit = np.divide(vectors, length, out=np.zeros_like(vectors), where=length > 0)
    sums[start : start + block] = unit.sum(axis=1)
    counts[start : start + block] = (length > 0).sum(axis=(1, 2))
  return pairs_of(matches.images, sums, counts)


def within_classes(
  name: str,
  label: str,
  definition: str,
  ours: Mapping[str, Pairs],
  controls: Mapping[str, Pairs],
  resamples: Resamples,
) -> Statistic:
  """Measures the mean cosine within classes minus that between classes.

  Args:
    name: The name of the statistic.
    label: The label of a figure's axis.
    definition: A sentence, with the formula.
    ours: Tap → pairs of the trained network.
    controls: Tap → pairs of the untrained network.
    resamples: The resamples of the images that were searched for.

  Returns:
    The statistic at each tap.
  """
  num_images = resamples.weights.shape[1]
  taps = {}
  for tap, pairs in ours.items():
    taps[tap] = measure(
      within_minus_between(pairs, resamples.labels),
      (
        of_all(within_minus_between(pairs, labels), num_images)
        for labels in resamples.shuffles
      ),
      within_minus_between(controls[tap], resamples.labels),
      resamples,
    )
  return Statistic(name, label, definition, taps)


def within_minus_between(
  pairs: Pairs, labels: Int[np.ndarray, " sample"]
) -> WeightedStatistic:
  """Returns the difference of the mean cosines, of weights of the images.

  Args:
    pairs: The pairs.
    labels: The class of each image of the sample.
  """
  labels = labels[pairs.images]
  classes = [np.flatnonzero(labels == c) for c in np.unique(labels)]

  def difference(weights):
    of_both, of_class = [], []
    for sums in (pairs.cosines, pairs.counts):
      of_both.append(_quadratic(weights, sums))
      of_class.append(
        sum(_quadratic(weights[:, c], sums[np.ix_(c, c)]) for c in classes)
      )
    (all_cosines, all_pairs), (cosines, count) = of_both, of_class
    return ratio(cosines, count) - ratio(all_cosines - cosines, all_pairs - count)

  return difference


def _quadratic(weights, matrix):
  """Returns wᵀ M w of each draw."""
  if len(weights) == 1 and (weights == 1).all():
    return np.array([matrix.sum()])
  return np.einsum("bi,bi->b", weights @ matrix, weights)
