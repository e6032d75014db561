"""Every public function of arrays, with small arguments to call it by."""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

import hue_jax
from hue_jax import circular, losses
from tests.helpers.everywhere_finite import unchecked

BATCH = 8
CLASSES = 4

# Made of sizes alone, or no functions: nothing is traced, mapped or spread.
OF_SIZES = {
  "fitting_cells": lambda: losses.fitting_cells(7, 7, sectors=8, rings=2, positions=4),
  "fourier_plane": lambda: hue_jax.fourier_plane(5),
  "no_prototypes": lambda: losses.no_prototypes(CLASSES, 4, 5),
  "position_hue": lambda: hue_jax.position_hue(3, 4),
  "position_weights": lambda: hue_jax.position_weights(3, 4),
  "random_plane": lambda: hue_jax.random_plane(jax.random.key(0), 5),
  "simplex_prototypes": lambda: losses.simplex_prototypes(CLASSES),
}
NO_FUNCTIONS = {
  "MAX_ANGLE",
  "CELLS",
  "CENTERS",
  "DECAYS",
  "Axes",
  "Prototypes",
  "TestResult",
  "VonMises",
}


@dataclasses.dataclass(frozen=True)
class Case:
  """A call of a public function.

  Attributes:
    call: the function of its arrays, and of the mapped axis if it looks at the batch.
    arrays: the first of them of floating point, if `differentiable`.
    differentiable: whether a gradient flows to the first array.
    by_example: whether the result has the axis of the batch.
    spread: whether the arrays have the axis of the batch.
    low: the least of the result.
    high: the largest.
  """

  call: Callable
  arrays: tuple
  differentiable: bool = True
  by_example: bool = True
  spread: bool = True
  low: float = -np.inf
  high: float = np.inf


def _random(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


_FEATURES = _random(BATCH, 6)
_LAYER = _random(BATCH, 3, 2, 5)
_LABELS = np.array([0, 1, 0, 3, 1, 1, 0, 3])
_ANGLES = _random(BATCH, 5)
KERNEL = _random(6, CLASSES, seed=1)
_TAU = float(np.nextafter(np.float32(2 * np.pi), np.float32(0)))
_CELLS = {"sectors": 2, "num_classes": CLASSES}
KNOWN = losses.update_prototypes(
  losses.no_prototypes(CLASSES, 2, 5), _LAYER, _LABELS, sectors=2
)

CASES = {
  "activation_strength": Case(hue_jax.activation_strength, (_FEATURES,), low=0),
  "chroma": Case(hue_jax.chroma, (_FEATURES,), low=0),
  "hue_angle": Case(hue_jax.hue_angle, (_FEATURES,), low=0, high=_TAU),
  "saturation": Case(hue_jax.saturation, (_FEATURES,), low=0, high=1),
  "image_plane_hue": Case(hue_jax.image_plane_hue, (_LAYER,), low=0, high=_TAU),
  "image_plane_phasor": Case(hue_jax.image_plane_phasor, (_LAYER,)),
  "hue_labels": Case(
    lambda y: hue_jax.hue_labels(y, CLASSES),
    (_LABELS,),
    differentiable=False,
    low=0,
    high=_TAU,
  ),
  "hue_plane": Case(
    hue_jax.hue_plane, (_random(5, 2),), by_example=False, spread=False
  ),
  "principal_plane": Case(hue_jax.principal_plane, (_FEATURES,), by_example=False),
  "class_mean_plane": Case(
    lambda a: unchecked(hue_jax.class_mean_plane)(a, np.arange(BATCH) % 4, 4),
    (_FEATURES * np.float32([6, 3, 1, 0.5, 0.5, 0.5]),),  # two directions stand out
    by_example=False,
  ),
  "hue_loss": Case(
    hue_jax.hue_loss, (_FEATURES, _random(BATCH, seed=1)), low=0, high=2
  ),
  "von_mises_loss": Case(hue_jax.von_mises_loss, (_FEATURES, _random(BATCH, seed=1))),
  "angular_consistency_loss": Case(
    lambda a, y, axis_name=None: hue_jax.angular_consistency_loss(
      a, y, axis_name=axis_name, **_CELLS
    ),
    (_LAYER, _LABELS),
    low=0,
  ),
  "update_prototypes": Case(
    lambda a, y, axis_name=None: losses.update_prototypes(
      KNOWN, a, y, sectors=2, axis_name=axis_name
    ),
    (_LAYER, _LABELS),
    differentiable=False,
    by_example=False,
  ),
  "smoothed_labels": Case(
    lambda y: losses.smoothed_labels(y, CLASSES, smoothing=0.1, concentration=1.0),
    (_LABELS,),
    differentiable=False,
    low=0,
    high=1,
  ),
  "confidence_penalty": Case(
    losses.confidence_penalty, (_random(BATCH, CLASSES),), low=-1.3863, high=0
  ),
  "max_suppression": Case(losses.max_suppression, (_random(BATCH, CLASSES),), low=0),
  "center_loss": Case(
    lambda x, y: losses.center_loss(x, y, KERNEL.T), (_FEATURES, _LABELS), low=0
  ),
  "update_centers": Case(
    lambda x, y, axis_name=None: losses.update_centers(
      KERNEL.T, x, y, axis_name=axis_name
    ),
    (_FEATURES, _LABELS),
    differentiable=False,
    by_example=False,
  ),
  "ring_loss": Case(lambda x: losses.ring_loss(x, 1.5), (_FEATURES,), low=0),
  "update_radius": Case(
    lambda x, axis_name=None: losses.update_radius(1.5, x, axis_name=axis_name),
    (_FEATURES,),
    differentiable=False,
    by_example=False,
  ),
  "supervised_contrastive_loss": Case(
    losses.supervised_contrastive_loss, (_FEATURES, _LABELS), low=0
  ),
  "cell_contrastive_loss": Case(
    lambda a, y, axis_name=None: losses.cell_contrastive_loss(
      a, y, sectors=2, axis_name=axis_name
    ),
    (_LAYER, _LABELS),
    low=0,
  ),
  "angular_loss": Case(losses.angular_loss, (_FEATURES, _LABELS), low=0),
  "normalized_logits": Case(
    losses.normalized_logits, (_random(BATCH, CLASSES),), low=-25.0001, high=25.0001
  ),
  "cosine_logits": Case(
    lambda x: losses.cosine_logits(x, KERNEL), (_FEATURES,), low=-1.00001, high=1.00001
  ),
  "additive_angular_margin_loss": Case(
    lambda x, y: losses.additive_angular_margin_loss(x, y, kernel=KERNEL),
    (_FEATURES, _LABELS),
    low=0,
  ),
  "hyperspherical_prototype_loss": Case(
    lambda x, y: losses.hyperspherical_prototype_loss(
      x, y, losses.simplex_prototypes(CLASSES)
    ),
    (_random(BATCH, CLASSES), _LABELS),
    low=0,
    high=4,
  ),
  "activation_l2": Case(losses.activation_l2, (_LAYER,), low=0),
  "dense_cross_entropy": Case(
    lambda a, y: losses.dense_cross_entropy(
      a, y, kernel=KERNEL[:5], bias=np.zeros(CLASSES, np.float32)
    ),
    (_LAYER, _LABELS),
    low=0,
  ),
  "weighted_mean": Case(
    lambda v, w: losses.weighted_mean(v, w, -1),
    (jnp.asarray(_ANGLES), jnp.asarray(np.abs(_random(BATCH, 5, seed=3)))),
  ),
  "resultant": Case(circular.resultant, (_ANGLES,)),
  "mean_direction": Case(circular.mean_direction, (_ANGLES,), low=0, high=_TAU),
  "resultant_length": Case(circular.resultant_length, (_ANGLES,), low=0, high=1),
  "fit_von_mises": Case(circular.fit_von_mises, (_ANGLES,), low=0),
  "rayleigh_test": Case(circular.rayleigh_test, (_ANGLES,)),
  "circular_correlation": Case(
    circular.circular_correlation,
    (_ANGLES, _random(BATCH, 5, seed=1)),
    low=-1,
    high=1,
  ),
}


def total(result) -> jax.Array:
  """One number of all that a function gives, no two entries alike."""
  leaves = [jnp.abs(leaf).ravel() for leaf in jax.tree.leaves(result)]
  values = jnp.concatenate(leaves)
  return jnp.sum(values * (1 + jnp.arange(values.size) % 5))
