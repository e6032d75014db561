"""Activation hues of a layer's vectors: their pairs, their position, their curves."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float, Int

from hue_jax.circular import circular_correlation, mean_direction, resultant_length
from hue_jax.color import plane_of
from hue_jax.hue import TAU, chroma_vector, hue_angle, polar_grid
from hue_jax.observe.histogram import histogram_density
from hue_jax.observe.matches import Matches
from hue_jax.observe.observations.pairs import Pairs, pairs_of
from hue_jax.observe.resampling import WeightedStatistic

_VECTORS_AT_ONCE = 2**14
_WEIGHTS_AT_ONCE = 2**23
_HUE_BINS = 36
_POSITION_PARTS = 12


@dataclasses.dataclass(frozen=True, eq=False)
class Hues:
  """Activation hue and position hue of vectors.

  Attributes:
    matches: The vectors.
    hue: The activation hue θ, [images, positions].
    has_hue: Whether the vector is more than gray, [images, positions].
    position_hue: The position hue φ, [images, positions].
    has_position: Whether the vector is away from the center, [images, positions].
  """

  matches: Matches
  hue: Float[np.ndarray, "images positions"]
  has_hue: Bool[np.ndarray, "images positions"]
  position_hue: Float[np.ndarray, "images positions"]
  has_position: Bool[np.ndarray, "images positions"]

  def pairs(self) -> Pairs:
    """Returns the pairs of the unit vectors (cos θ, sin θ)."""
    phasors = np.exp(1j * self.hue) * self.has_hue
    sums = phasors.sum(axis=1)
    return pairs_of(
      self.matches.images,
      np.stack([sums.real, sums.imag], axis=-1),
      self.has_hue.sum(axis=1).astype(np.float64),
    )


def hues_of(matches: Matches, plane_name: str) -> Hues:
  """Returns the hues of the vectors that were searched for.

  Args:
    matches: The vectors and their neighbors.
    plane_name: The hue plane, "fourier" or "principal".
  """
  layer, rows = matches.layer, matches.rows
  plane = layer_plane(plane_name, matches.vectors())
  hue, has_hue = np.empty(rows.size), np.zeros(rows.size, bool)
  for start in range(0, rows.size, _VECTORS_AT_ONCE):
    here = slice(start, start + _VECTORS_AT_ONCE)
    vectors = np.asarray(layer.vectors[rows.ravel()[here]], np.float32)
    hue[here], has_hue[here] = _hue(vectors, plane)
  angle, distance = polar_grid(*layer.shape[:2])
  x, y = layer.x[rows], layer.y[rows]
  return Hues(
    matches,
    hue.reshape(rows.shape),
    has_hue.reshape(rows.shape) & (plane is not None),
    angle[y, x],
    distance[y, x] > 0,
  )


def layer_plane(
  name: str, vectors: Float[np.ndarray, "vectors channels"]
) -> Float[np.ndarray, "channels 2"] | None:
  """Returns the hue plane of a layer; None where its vectors span none.

  Args:
    name: The hue plane, "fourier" or "principal".
    vectors: The vectors of the layer.
  """
  try:
    return np.asarray(plane_of(name, np.asarray(vectors, np.float32)))
  except ValueError:
    return None


@jax.jit
def _hue(vectors, plane):
  return hue_angle(vectors, plane), chroma_vector(vectors, plane)[1]


# --- Hue against position hue ---------------------------------------------------


def correlation(hues: Hues) -> WeightedStatistic:
  """Returns the Fisher–Lee correlation of θ and φ, of weights of the images."""
  hue, position_hue = hues.hue.ravel(), hues.position_hue.ravel()
  counts = hues.has_hue & hues.has_position

  def of_weights(weights):
    found = []
    for draws in _blocks(weights, counts.size):
      by_vector = (draws[:, :, None] * counts).reshape(len(draws), -1)
      found.append(_fisher_lee(hue, position_hue, by_vector))
    return np.concatenate(found)

  return of_weights


def correlations_of_shuffled_positions(
  hues: Hues, num_shuffles: int
) -> Float[np.ndarray, " shuffles"]:
  """Returns the correlation for each shuffle of the positions within every image."""
  rng = np.random.default_rng(0)
  places = np.arange(hues.hue.shape[1])[None, None]
  found = []
  for block in _blocks(np.zeros(num_shuffles), hues.hue.size):
    order = rng.permuted(
      np.broadcast_to(places, (len(block), *hues.hue.shape)), axis=-1
    )
    position_hue, has_position = (
      np.take_along_axis(values[None], order, axis=-1).reshape(len(block), -1)
      for values in (hues.position_hue, hues.has_position)
    )
    counts = (hues.has_hue.ravel() & has_position).astype(np.float64)
    found.append(_fisher_lee(hues.hue.ravel(), position_hue, counts))
  return np.concatenate(found)


def _blocks(draws, vectors):
  """Returns parts of the draws, so that the weights of all vectors fit in memory."""
  size = max(_WEIGHTS_AT_ONCE // vectors, 1)
  return (draws[start : start + size] for start in range(0, len(draws), size))


@jax.jit
def _fisher_lee_of(hue, position_hue, weights):
  return circular_correlation(hue, position_hue, weights)


def _fisher_lee(hue, position_hue, weights):
  return np.asarray(_fisher_lee_of(hue, position_hue, weights), np.float64)


# --- Curves ---------------------------------------------------------------------


def hue_by_class(
  ours: Hues, control: Hues, sample_labels: Int[np.ndarray, " sample"]
) -> dict[str, np.ndarray]:
  """Returns the densities of θ of each class, and where and how far they agree.

  Args:
    ours: The hues of the trained network.
    control: The hues of the untrained network.
    sample_labels: The class of each image of the sample.
  """
  classes = np.unique(sample_labels)
  labels = sample_labels[ours.matches.images]
  of_class = (labels == classes[:, None])[:, :, None]
  weights = jnp.asarray((of_class & ours.has_hue).reshape(len(classes), -1) * 1.0)
  hue = jnp.asarray(ours.hue.ravel())
  return {
    "edges": _edges(),
    "classes": classes,
    "trained": np.stack([_density(ours, labels == c) for c in classes]),
    "untrained": np.stack([_density(control, labels == c) for c in classes]),
    "mean_direction": np.asarray(mean_direction(hue, weights)),
    "resultant_length": np.asarray(resultant_length(hue, weights)),
  }


def hue_by_position_hue(ours: Hues, control: Hues) -> dict[str, np.ndarray]:
  """Returns the density of θ for each part of the circle of φ, [parts, bins].

  Args:
    ours: The hues of the trained network.
    control: The hues of the untrained network.
  """
  return {
    "edges": _edges(),
    "trained": _density_by_part(ours),
    "untrained": _density_by_part(control),
  }


def _edges():
  return np.linspace(0, TAU, _HUE_BINS + 1)


def _density(hues, images):
  """Returns the density of the hue of the vectors of some images, in 1/radian."""
  return histogram_density(hues.hue[images][hues.has_hue[images]], _edges())


def _density_by_part(hues):
  counts = hues.has_hue & hues.has_position
  part = np.minimum(
    (hues.position_hue / TAU * _POSITION_PARTS).astype(int), _POSITION_PARTS - 1
  )
  return np.stack(
    [
      histogram_density(hues.hue[counts & (part == p)], _edges())
      for p in range(_POSITION_PARTS)
    ]
  )
