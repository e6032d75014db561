"""Observation 3: where in the image plane the neighbors of a vector lie."""

from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from hue_jax.circular import fit_von_mises, rayleigh_test
from hue_jax.observe.histogram import histogram_density
from hue_jax.observe.image_plane import direction, radius, signed_root_of_pairs
from hue_jax.observe.matches import Matches
from hue_jax.observe.observations.verdict import conclude
from hue_jax.observe.resampling import Resamples, measure, of_all, ratio
from hue_jax.observe.results import Observation, Statistic

_CLAIM = (
  "A nearest neighbor of the same class lies at the same angle φ of its image plane: "
  "classes are told where they lie."
)


def observe(
  trained: Mapping[str, Matches], untrained: Mapping[str, Matches], resamples: Resamples
) -> Observation:
  """Measures how position hue and radius differ between vectors and neighbors.

  Args:
    trained: Tap → matches of the trained network; pooled layers are passed over.
    untrained: Tap → matches of the untrained network.
    resamples: The resamples of the images that were searched for.

  Returns:
    The observation.
  """
  taps = [tap for tap, matches in trained.items() if not matches.is_pooled]
  ours = {tap: _Displacements(trained[tap]) for tap in taps}
  controls = {tap: _Displacements(untrained[tap]) for tap in taps}

  def statistic(name, label, definition, make):
    measured = {
      tap: _measured(make, ours[tap], controls[tap], resamples) for tap in taps
    }
    return Statistic(name, label, definition, measured)

  return conclude(
    name="matches_in_plane",
    title="Matches in the image plane",
    claim=_CLAIM,
    statistics=(
      statistic(
        "hue_difference_gain",
        "R of Δφ, same minus other class",
        "Resultant length R of the difference of position hue Δφ between a vector and "
        "its k nearest neighbors, of those of the same class minus that of those of "
        "other classes. R² is the mean cosine between the Δφ of two different images.",
        _hue_gain,
      ),
      statistic(
        "radius_difference_gain",
        "|Δr|, other minus same class",
        "Mean difference |Δr| of the distance from the center, in half-sides, between "
        "a vector and its neighbors of other classes, minus that to its neighbors of "
        "the same class.",
        _radius_gain,
      ),
    ),
    what=(
      "neighbors of the same class lie at a more similar angle than those of other "
      "classes"
    ),
    numbers=_numbers(ours, controls, resamples),
    curves={
      "hue_difference": _densities(
        ours, controls, resamples, _hue_values, np.linspace(-np.pi, np.pi, 37)
      ),
      "radius_difference": _densities(
        ours, controls, resamples, _radius_values, np.linspace(0, 1.2, 25)
      ),
    },
  )


class _Displacements:
  """exp(iΔφ), |Δr| and images of each vector and neighbor, [images, positions · k]."""

  def __init__(self, matches: Matches):
    layer = matches.layer
    height, width, _ = layer.shape
    phasor = direction(layer.x, layer.y, height, width)
    distance = radius(layer.x, layer.y, height, width)
    rows, neighbors = matches.rows[..., None], matches.neighbors
    shape = (len(matches.rows), -1)
    self.turn = (phasor[neighbors] * phasor[rows].conj()).reshape(shape)
    self.radius = np.abs(distance[neighbors] - distance[rows]).reshape(shape)
    self.image = matches.images[:, None]
    self.neighbor_image = layer.image[neighbors].reshape(shape)

  def same(self, labels):
    """Tells whether the neighbor's image is of the vector's class."""
    return labels[self.neighbor_image] == labels[self.image]


def _measured(make, ours, control, resamples):
  num_images = len(ours.turn)
  return measure(
    make(ours, ours.same(resamples.labels)),
    (of_all(make(ours, ours.same(s)), num_images) for s in resamples.shuffles),
    make(control, control.same(resamples.labels)),
    resamples,
  )


# --- Statistics -----------------------------------------------------------------


def _hue_gain(displacements, same):
  of_same = _concentration(displacements.turn, same)
  of_other = _concentration(displacements.turn, ~same)
  return lambda weights: of_same(weights) - of_other(weights)


def _concentration(turn, chosen):
  sums = np.sum(turn * chosen, axis=1)
  counts = np.sum(chosen & (turn != 0), axis=1)

  def resultant_length(weights):
    squared = weights**2
    return signed_root_of_pairs(
      weights @ sums,
      squared @ np.abs(sums) ** 2,
      weights @ counts,
      squared @ counts**2,
    )

  return resultant_length


def _radius_gain(displacements, same):
  sums, counts = (
    [np.sum(values * chosen, axis=1) for chosen in (~same, same)]
    for values in (displacements.radius, np.ones_like(displacements.radius))
  )

  def gain(weights):
    other, own = (
      ratio(weights @ total, weights @ count)
      for total, count in zip(sums, counts, strict=True)
    )
    return other - own

  return gain


def _numbers(ours, controls, resamples):
  """Returns R of each kind, and tests of Δφ that count an image as one observation."""
  numbers = {}
  for network, displacements in (("trained", ours), ("untrained", controls)):
    for tap, of_tap in displacements.items():
      same = of_tap.same(resamples.labels)
      for kind, chosen in (("same", same), ("other", ~same)):
        for name, value in _circular(of_tap.turn, chosen).items():
          numbers.setdefault(f"{name}, {kind} class, {network}", {})[tap] = value
  return numbers


def _circular(turn, chosen):
  chosen = chosen & (turn != 0)
  # As many observations as images: those of one image are not independent.
  weights = jnp.asarray(chosen * (len(turn) / max(chosen.sum(), 1)))
  angles = jnp.asarray(np.angle(turn))
  angles, weights = angles.ravel(), weights.ravel()
  return {
    "R of Δφ": float(of_all(_concentration(turn, chosen), len(turn))),
    "von Mises κ of Δφ": float(fit_von_mises(angles, weights).concentration),
    "Rayleigh p of Δφ": float(rayleigh_test(angles, weights).p_value),
  }


# --- Curves ---------------------------------------------------------------------


def _hue_values(displacements):
  return np.angle(displacements.turn), displacements.turn != 0


def _radius_values(displacements):
  return displacements.radius, np.ones(displacements.radius.shape, bool)


def _densities(ours, controls, resamples, values_of, edges):
  return {
    tap: {
      "edges": edges,
      **_density(ours[tap], resamples.labels, values_of, edges, ""),
      **_density(controls[tap], resamples.labels, values_of, edges, "untrained_"),
    }
    for tap in ours
  }


def _density(displacements, labels, values_of, edges, prefix):
  values, defined = values_of(displacements)
  same = displacements.same(labels)
  density = {}
  for kind, chosen in (("same", same), ("other", ~same)):
    within = np.clip(values[chosen & defined], *edges[[0, -1]])
    density[f"{prefix}{kind}"] = histogram_density(within, edges)
  return density
