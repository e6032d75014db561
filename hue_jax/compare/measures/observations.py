"""What the observations measure in the networks of a study.

The same code as `python -m hue_jax.observe` runs, with the network before its first
step as the untrained one.
"""

import math

import numpy as np
from jaxtyping import Int

from hue_jax.observe.matches import Votes, count_votes, find_matches
from hue_jax.observe.neighbors import create_index
from hue_jax.observe.observations import (
  by_layer,
  by_position,
  matches_in_plane,
  matches_in_space,
)
from hue_jax.observe.resampling import resample
from hue_jax.observe.vector_store import Layer, sample_positions

NUM_NEIGHBORS = 10
_POSITIONS = 16


def observe_layers(
  trained: dict[str, np.ndarray],
  untrained: dict[str, np.ndarray],
  labels: Int[np.ndarray, " images"],
  *,
  seed: int,
) -> dict[str, dict[str, float]]:
  """Returns the observations' first statistics at every tap.

  Args:
    trained: Tap → layers of the trained network, [images, …, channels].
    untrained: Tap → layers of the untrained one.
    labels: The labels of the images.
    seed: The seed of the positions.

  Returns:
    Statistic (`knn_accuracy`, `angular_concentration`, …) → tap → value of the
    trained network; what is not defined is left out.
  """
  resamples = resample(labels, len(labels), num_bootstrap=2, num_shuffles=2, seed=seed)
  votes = {
    tap: tuple(
      _votes(tap, layers[tap], labels, resamples, seed)
      for layers in (trained, untrained)
    )
    for tap in trained
  }
  ours, control = ({tap: pair[i] for tap, pair in votes.items()} for i in (0, 1))
  our_matches, control_matches = (
    {tap: of_tap.matches for tap, of_tap in network.items()}
    for network in (ours, control)
  )
  observations = (
    by_layer.observe(ours, control, resamples),
    by_position.observe(ours, control, resamples),
    matches_in_plane.observe(our_matches, control_matches, resamples),
    matches_in_space.observe(
      our_matches, control_matches, resamples, planes=("fourier",)
    ),
  )
  return {
    statistic.name: {
      tap: measured.trained.value
      for tap, measured in statistic.taps.items()
      if math.isfinite(measured.trained.value)
    }
    for observation in observations
    for statistic in observation.statistics
  }


def _votes(tap, layer, labels, resamples, seed) -> Votes:
  layer = _sampled(tap, layer, labels, seed)
  index = create_index(layer.vectors, groups=layer.image, engine="jax")
  matches = find_matches(layer, index, np.arange(len(labels)), NUM_NEIGHBORS)
  return count_votes(matches, resamples.labels, resamples.shuffles)


def _sampled(tap, layer, labels, seed) -> Layer:
  """Draws some positions of each image, in memory."""
  num_images, channels = layer.shape[0], layer.shape[-1]
  grid = layer.reshape(
    num_images, *((1, 1) if layer.ndim == 2 else layer.shape[1:3]), -1
  )
  height, width = grid.shape[1:3]
  count = min(_POSITIONS, height * width)
  places = sample_positions(seed, np.arange(num_images), height, width, count)
  image = np.repeat(np.arange(num_images), count)
  y, x = places.ravel() // width, places.ravel() % width
  return Layer(
    tap,
    (height, width, channels),
    np.ascontiguousarray(grid[image, y, x], np.float32),
    image,
    labels[image],
    x,
    y,
  )
