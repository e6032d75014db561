"""Observation 4: the angle of activations of one class, in activation space."""

import dataclasses
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from hue_jax.circular import circular_correlation, mean_direction, resultant_length
from hue_jax.color import plane_of
from hue_jax.hue import TAU, chroma_vector, hue_angle, polar_grid
from hue_jax.observe.histogram import histogram_density
from hue_jax.observe.matches import Matches
from hue_jax.observe.observations.verdict import conclude
from hue_jax.observe.resampling import Resamples, measure, of_all, ratio
from hue_jax.observe.results import Observation, Statistic

PLANES = ("fourier", "principal")

_CLAIM = (
  "Class-informative activations are concentrated about an angle θ of activation "
  "space: those of one class have a hue of their own."
)
_VECTORS_AT_ONCE = 2**14
_WEIGHTS_AT_ONCE = 2**23
_HUE_BINS = 36
_POSITION_PARTS = 12


def observe(
  trained: Mapping[str, Matches],
  untrained: Mapping[str, Matches],
  resamples: Resamples,
  *,
  planes: Sequence[str] = PLANES,
) -> Observation:
  """Concentration of hue and direction within classes, and hue against position.

  Args:
    trained: tap → matches of the trained network.
    untrained: of the untrained network.
    resamples: of the images that were searched for.
    planes: hue planes, "fourier" or "principal"; the first decides the verdict.

  Returns:
    The observation.
  """
  edges = np.linspace(0, TAU, _HUE_BINS + 1)
  statistics, first = [], {}
  for plane in planes:
    ours, controls = (
      {tap: _angles(matches, plane) for tap, matches in network.items()}
      for network in (trained, untrained)
    )
    first = first or {"ours": ours, "controls": controls}
    statistics += [
      _within_classes(
        f"hue_concentration_{plane}",
        f"cos Δθ, within minus between classes ({plane} plane)",
        "Mean cosine of the difference of activation hue θ over pairs of vectors of "
        f"different images of one class, minus that of two classes; θ in the {plane} "
        "plane.",
        {tap: angles.pairs() for tap, angles in ours.items()},
        {tap: angles.pairs() for tap, angles in controls.items()},
        resamples,
      ),
      _hue_by_position(plane, ours, controls, resamples),
    ]
  directions = _within_classes(
    "direction_concentration",
    "direction cosine, within minus between classes",
    "Mean cosine ⟨a, b⟩ / ‖a‖‖b‖ over pairs of activation vectors of different images "
    "of one class, minus that of two classes.",
    {tap: _direction_pairs(matches) for tap, matches in trained.items()},
    {tap: _direction_pairs(matches) for tap, matches in untrained.items()},
    resamples,
  )
  return conclude(
    name="matches_in_space",
    title="Matches in activation space",
    claim=_CLAIM,
    statistics=(statistics[0], directions, *statistics[1:]),
    what="activations of one class have more similar hues than those of two",
    curves={
      "hue_by_class": {
        tap: _hue_by_class(first["ours"][tap], first["controls"][tap], resamples, edges)
        for tap in trained
      },
      "hue_by_position_hue": {
        tap: {
          "edges": edges,
          "trained": _hue_by_position_hue(first["ours"][tap], edges),
          "untrained": _hue_by_position_hue(first["controls"][tap], edges),
        }
        for tap in trained
        if not trained[tap].is_pooled
      },
    },
  )


# --- Pairs of images ------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Pairs:
  """Sums over pairs of vectors of two different images.

  Attributes:
    images: places in the sample, [images].
    cosines: sum over the vectors of one image and of another, [images, images].
    counts: number of such pairs, likewise; the diagonals are 0.
  """

  images: np.ndarray
  cosines: np.ndarray
  counts: np.ndarray


def _pairs(images, sums, counts):
  """Of the sums of unit vectors of each image and of their numbers."""
  cosines, pairs = sums @ sums.T, np.outer(counts, counts)
  np.fill_diagonal(cosines, 0)
  np.fill_diagonal(pairs, 0)
  return _Pairs(images, cosines, pairs)


def _within_classes(name, label, definition, ours, controls, resamples):
  num_images = resamples.weights.shape[1]
  taps = {}
  for tap, pairs in ours.items():
    taps[tap] = measure(
      _within_minus_between(pairs, resamples.labels),
      (
        of_all(_within_minus_between(pairs, labels), num_images)
        for labels in resamples.shuffles
      ),
      _within_minus_between(controls[tap], resamples.labels),
      resamples,
    )
  return Statistic(name, label, definition, taps)


def _within_minus_between(pairs, labels):
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
  """wᵀ M w of each draw."""
  if len(weights) == 1 and (weights == 1).all():
    return np.array([matrix.sum()])
  return np.einsum("bi,bi->b", weights @ matrix, weights)


def _direction_pairs(matches):
  """Of the directions of the vectors; those that are 0 do not count."""
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
  return _pairs(matches.images, sums, counts)


# --- Hue ------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Angles:
  """Activation hue and position hue of vectors.

  Attributes:
    matches: whose vectors they are.
    hue: θ, [images, positions].
    has_hue: whether the vector is more than gray, likewise.
    position_hue: φ, likewise.
    has_position: whether it is away from the center, likewise.
  """

  matches: Matches
  hue: np.ndarray
  has_hue: np.ndarray
  position_hue: np.ndarray
  has_position: np.ndarray

  def pairs(self) -> _Pairs:
    phasors = np.exp(1j * self.hue) * self.has_hue
    sums = phasors.sum(axis=1)
    return _pairs(
      self.matches.images,
      np.stack([sums.real, sums.imag], axis=-1),
      self.has_hue.sum(axis=1).astype(np.float64),
    )


def _angles(matches, plane_name):
  layer, rows = matches.layer, matches.rows
  plane = layer_plane(plane_name, matches.vectors())
  hue, has_hue = np.empty(rows.size), np.zeros(rows.size, bool)
  for start in range(0, rows.size, _VECTORS_AT_ONCE):
    here = slice(start, start + _VECTORS_AT_ONCE)
    vectors = np.asarray(layer.vectors[rows.ravel()[here]], np.float32)
    hue[here], has_hue[here] = _hue(vectors, plane)
  angle, distance = polar_grid(*layer.shape[:2])
  x, y = layer.x[rows], layer.y[rows]
  return _Angles(
    matches,
    hue.reshape(rows.shape),
    has_hue.reshape(rows.shape) & (plane is not None),
    angle[y, x],
    distance[y, x] > 0,
  )


def layer_plane(
  name: str, vectors: Float[np.ndarray, "vectors channels"]
) -> Float[np.ndarray, "channels 2"] | None:
  """The hue plane of a layer; none where its vectors span none, as of a dead layer.

  Args:
    name: one of `PLANES`.
    vectors: of the layer.

  Returns:
    The plane.
  """
  try:
    return np.asarray(plane_of(name, np.asarray(vectors, np.float32)))
  except ValueError:
    return None


@jax.jit
def _hue(vectors, plane):
  return hue_angle(vectors, plane), chroma_vector(vectors, plane)[1]


# --- Hue against position hue ---------------------------------------------------


def _hue_by_position(plane, ours, controls, resamples):
  """Fisher–Lee correlation of θ and φ, whose first control moves positions."""
  taps = {
    tap: measure(
      _correlation(angles),
      _correlations_of_shuffled_positions(angles, len(resamples.shuffles)),
      _correlation(controls[tap]),
      resamples,
    )
    for tap, angles in ours.items()
    if not angles.matches.is_pooled
  }
  return Statistic(
    f"hue_position_correlation_{plane}",
    f"correlation of θ and φ ({plane} plane)",
    "Circular correlation (Fisher and Lee 1983) of the activation hue θ, in the "
    f"{plane} plane, with the position hue φ. Labels do not enter: its first control "
    "shuffles the positions within each image.",
    taps,
  )


def _correlation(angles):
  hue, position_hue = angles.hue.ravel(), angles.position_hue.ravel()
  counts = angles.has_hue & angles.has_position

  def correlation(weights):
    found = []
    for draws in _blocks(weights, counts.size):
      by_vector = (draws[:, :, None] * counts).reshape(len(draws), -1)
      found.append(_fisher_lee(hue, position_hue, by_vector))
    return np.concatenate(found)

  return correlation


def _correlations_of_shuffled_positions(angles, num_shuffles):
  rng = np.random.default_rng(0)
  places = np.arange(angles.hue.shape[1])[None, None]
  found = []
  for block in _blocks(np.zeros(num_shuffles), angles.hue.size):
    order = rng.permuted(
      np.broadcast_to(places, (len(block), *angles.hue.shape)), axis=-1
    )
    position_hue, has_position = (
      np.take_along_axis(values[None], order, axis=-1).reshape(len(block), -1)
      for values in (angles.position_hue, angles.has_position)
    )
    counts = (angles.has_hue.ravel() & has_position).astype(np.float64)
    found.append(_fisher_lee(angles.hue.ravel(), position_hue, counts))
  return np.concatenate(found)


def _blocks(draws, vectors):
  """Parts of the draws, so that the weights of all vectors fit in memory."""
  size = max(_WEIGHTS_AT_ONCE // vectors, 1)
  return (draws[start : start + size] for start in range(0, len(draws), size))


@jax.jit
def _fisher_lee_of(hue, position_hue, weights):
  return circular_correlation(hue, position_hue, weights, method="fisher_lee")


def _fisher_lee(hue, position_hue, weights):
  return np.asarray(_fisher_lee_of(hue, position_hue, weights), np.float64)


# --- Curves ---------------------------------------------------------------------


def _hue_by_class(ours, control, resamples, edges):
  classes = np.unique(resamples.labels)
  labels = resamples.labels[ours.matches.images]
  of_class = (labels == classes[:, None])[:, :, None]
  weights = jnp.asarray((of_class & ours.has_hue).reshape(len(classes), -1) * 1.0)
  hue = jnp.asarray(ours.hue.ravel())
  return {
    "edges": edges,
    "classes": classes,
    "trained": np.stack([_density(ours, labels == c, edges) for c in classes]),
    "untrained": np.stack([_density(control, labels == c, edges) for c in classes]),
    "mean_direction": np.asarray(mean_direction(hue, weights)),
    "resultant_length": np.asarray(resultant_length(hue, weights)),
  }


def _density(angles, images, edges):
  """Of the hue of the vectors of some images, in 1/radian."""
  return histogram_density(angles.hue[images][angles.has_hue[images]], edges)


def _hue_by_position_hue(angles, edges):
  """Density of θ for each part of the circle of φ, [parts of φ, bins of θ]."""
  counts = angles.has_hue & angles.has_position
  part = np.minimum(
    (angles.position_hue / TAU * _POSITION_PARTS).astype(int), _POSITION_PARTS - 1
  )
  return np.stack(
    [
      histogram_density(angles.hue[counts & (part == p)], edges)
      for p in range(_POSITION_PARTS)
    ]
  )
