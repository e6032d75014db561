"""Observation 2: where in the image plane a layer tells the class."""

from collections.abc import Mapping

import numpy as np

from hue_jax.hue import TAU, polar_grid
from hue_jax.observe.image_plane import direction, radius, signed_root_of_pairs
from hue_jax.observe.matches import Votes
from hue_jax.observe.observations.verdict import conclude
from hue_jax.observe.resampling import Resamples, bands, measure, of_all, ratio
from hue_jax.observe.results import Observation, Statistic

_CLAIM = (
  "Class-informative activations are concentrated about an angle φ in the image plane."
)
_MAP_SIDE = 14
_RADIUS_BINS = 8


def observe(
  trained: Mapping[str, Votes], untrained: Mapping[str, Votes], resamples: Resamples
) -> Observation:
  """Measures the accuracy of the vote by position, polar angle and radius.

  Args:
    trained: Tap → votes of the trained network; pooled layers are passed over.
    untrained: Tap → votes of the untrained network.
    resamples: The resamples of the images that were searched for.

  Returns:
    The observation.
  """
  taps = [tap for tap, votes in trained.items() if not votes.matches.is_pooled]
  return conclude(
    name="by_position",
    title="Class information over the image plane",
    claim=_CLAIM,
    statistics=_statistics(taps, trained, untrained, resamples),
    what="right votes concentrate about an angle of the image plane",
    curves={
      "map": {tap: _maps(trained[tap], untrained[tap]) for tap in taps},
      "by_angle": {
        tap: _curves(_angle_bins, trained[tap], untrained[tap], resamples)
        for tap in taps
      },
      "by_radius": {
        tap: _curves(_radius_bins, trained[tap], untrained[tap], resamples)
        for tap in taps
      },
    },
  )


def _statistics(taps, trained, untrained, resamples) -> tuple[Statistic, ...]:
  """Returns what is measured at each tap; the first decides the verdict."""
  return tuple(
    Statistic(
      name,
      label,
      definition,
      {tap: _measured(make, trained[tap], untrained[tap], resamples) for tap in taps},
    )
    for name, label, definition, make in (
      (
        "angular_concentration",
        "R of right votes by φ",
        "Resultant length R of the position hue φ of right votes, each position's "
        "share of votes that is right above the layer's mean, over pairs of different "
        "images: R² = Σ s·s′ / Σ c·c′ with s = Σ (right − mean) exp(iφ) and c = Σ "
        "right of an image. 0 where accuracy does not depend on the angle; a negative "
        "value is one of R².",
        _concentration,
      ),
      (
        "center_gain",
        "accuracy, inner minus outer half",
        "Accuracy of the vote at the half of the positions that is nearer to the "
        "center, minus that at the other half.",
        _center_gain,
      ),
    )
  )


def _measured(make, trained, untrained, resamples):
  num_images = len(trained.correct)
  return measure(
    make(trained.matches, trained.correct),
    (of_all(make(trained.matches, c), num_images) for c in trained.shuffled),
    make(untrained.matches, untrained.correct),
    resamples,
  )


# --- Statistics -----------------------------------------------------------------


def _concentration(matches, correct):
  phasors = direction(*_positions(matches))
  of_right = np.sum(correct * phasors, axis=1)
  of_all = np.sum(phasors, axis=1)
  right, count = correct.sum(axis=1), correct.shape[1]

  def concentration(weights):
    mean = ratio(weights @ right, weights.sum(axis=1) * count)
    squared = weights**2
    sums = weights @ of_right - mean * (weights @ of_all)
    # Σ w² |of_right − mean · of_all|², expanded: the mean differs between draws.
    squares = (
      squared @ np.abs(of_right) ** 2
      - 2 * mean * (squared @ np.real(of_right * of_all.conj()))
      + mean**2 * (squared @ np.abs(of_all) ** 2)
    )
    return signed_root_of_pairs(sums, squares, weights @ right, squared @ right**2)

  return concentration


def _center_gain(matches, correct):
  distance = radius(*_positions(matches))
  height, width, _ = matches.layer.shape
  y, x = np.mgrid[:height, :width]
  inner = distance <= np.median(radius(x, y, height, width))

  def gain(weights):
    accuracies = (
      ratio(weights @ (correct & half).sum(axis=1), weights @ half.sum(axis=1))
      for half in (inner, ~inner)
    )
    return np.subtract(*accuracies)

  return gain


def _positions(matches):
  """Returns vectors' columns and rows, [images, positions], and the layer's sides."""
  height, width, _ = matches.layer.shape
  rows = matches.rows
  return matches.layer.x[rows], matches.layer.y[rows], height, width


# --- Maps and curves ------------------------------------------------------------


def _maps(trained, untrained):
  height, width, _ = trained.matches.layer.shape
  shape = (min(height, _MAP_SIDE), min(width, _MAP_SIDE))

  def accuracy(votes):
    x, y, _, _ = _positions(votes.matches)
    cell = (y * shape[0] // height) * shape[1] + x * shape[1] // width
    by_cell = _binned(cell, votes.correct, shape[0] * shape[1])
    return of_all(by_cell, len(votes.correct)).reshape(shape)

  return {"trained": accuracy(trained), "untrained": accuracy(untrained)}


def _curves(bins_of, trained, untrained, resamples):
  edges, place = bins_of(trained.matches)
  value, low, high = bands(_binned(place, trained.correct, len(edges) - 1), resamples)
  num_images = len(trained.correct)
  _, other_place = bins_of(untrained.matches)
  chance = trained.shuffled.mean(axis=0)
  return {
    "edges": edges,
    "trained": value,
    "trained_low": low,
    "trained_high": high,
    "shuffled": of_all(_binned(place, chance, len(edges) - 1), num_images),
    "untrained": of_all(
      _binned(other_place, untrained.correct, len(edges) - 1), num_images
    ),
  }


def _binned(place, correct, num_bins):
  """Returns accuracy by bin, of weights of images; vectors in bin −1 do not count."""
  images = np.arange(len(place))[:, None] * num_bins + place
  inside = place >= 0
  length = len(place) * num_bins
  right, count = (
    np.bincount(images[inside], values[inside], minlength=length).reshape(-1, num_bins)
    for values in (correct.astype(np.float64), np.ones(place.shape))
  )
  return lambda weights: ratio(weights @ right, weights @ count)


def _angle_bins(matches):
  """Returns edges in radians, and the bin of each vector; −1 at the exact center."""
  x, y, height, width = _positions(matches)
  num_bins = 16 if min(height, width) >= _MAP_SIDE else 8
  angle, distance = polar_grid(height, width)
  place = np.minimum(angle / TAU * num_bins, num_bins - 1).astype(int)
  return (
    np.linspace(0, TAU, num_bins + 1),
    np.where(distance > 0, place, -1)[y, x],
  )


def _radius_bins(matches):
  """Returns edges in half-sides, and the bin of each vector."""
  edges = np.linspace(0, np.sqrt(2), _RADIUS_BINS + 1)
  place = np.digitize(radius(*_positions(matches)), edges[1:-1])
  return edges, place
