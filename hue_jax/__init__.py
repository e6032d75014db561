"""Activation hue and its loss for JAX.

    from hue_jax import hue_labels, hue_loss

    loss = cross_entropy + 0.1 * hue_loss(features, hue_labels(labels, 10)).mean()

`hue_jax.models`, `hue_jax.data` and `hue_jax.train` are imported by name.
"""

from hue_jax.hue import (
  activation_strength,
  chroma,
  class_mean_plane,
  fourier_plane,
  hue_angle,
  hue_labels,
  hue_plane,
  image_plane_hue,
  image_plane_phasor,
  position_hue,
  position_weights,
  principal_plane,
  random_plane,
  saturation,
)
from hue_jax.losses import angular_consistency_loss, hue_loss, von_mises_loss

__all__ = [
  "activation_strength",
  "angular_consistency_loss",
  "chroma",
  "class_mean_plane",
  "fourier_plane",
  "hue_angle",
  "hue_labels",
  "hue_loss",
  "hue_plane",
  "image_plane_hue",
  "image_plane_phasor",
  "position_hue",
  "position_weights",
  "principal_plane",
  "random_plane",
  "saturation",
  "von_mises_loss",
]

__version__ = "0.1.0"
