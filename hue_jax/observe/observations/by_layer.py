"""Observation 1: how much of the class a layer tells, by the votes of its neighbors."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Bool

from hue_jax.observe.matches import Votes
from hue_jax.observe.observations.verdict import conclude
from hue_jax.observe.resampling import Resamples, measure, ratio
from hue_jax.observe.results import Observation, Statistic

_CLAIM = (
  "Activation vectors of a trained network tell the class of their image: their "
  "nearest neighbors in other images are of the same class."
)


def observe(
  trained: Mapping[str, Votes], untrained: Mapping[str, Votes], resamples: Resamples
) -> Observation:
  """Measures the accuracy of votes of neighbors in other images at each tap.

  Args:
    trained: Tap → votes of the trained network.
    untrained: Tap → votes of the untrained network.
    resamples: The resamples of the images that were searched for.

  Returns:
    The observation.
  """
  taps = {
    tap: measure(
      _accuracy(trained[tap].correct),
      trained[tap].shuffled.mean(axis=(1, 2)),
      _accuracy(untrained[tap].correct),
      resamples,
    )
    for tap in trained
  }
  accuracy = Statistic(
    name="knn_accuracy",
    label="accuracy of k-NN voting",
    definition=(
      "Share of activation vectors whose k nearest neighbors, all of other images, "
      "vote for the class of their own image; of equal votes the nearest neighbor's "
      "class wins."
    ),
    taps=taps,
  )
  return conclude(
    name="by_layer",
    title="Class information by layer",
    claim=_CLAIM,
    statistics=(accuracy,),
    what="the neighbors of a vector name its class",
  )


def _accuracy(correct: Bool[np.ndarray, "images positions"]):
  """Returns the mean over vectors, by weights of their images."""
  right = correct.sum(axis=1)
  count = np.full(len(correct), correct.shape[1])
  return lambda weights: ratio(weights @ right, weights @ count)
