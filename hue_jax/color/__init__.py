"""A layer as a picture: hue = θ, saturation = saturation, value = magnitude.

    rgb = color_layer(activations)  # [..., channels] → [..., 3]

`python -m hue_jax.color` writes such pictures of a network's layers beside the images.
"""

from hue_jax.color.coloring import (
  color_layer,
  color_wheel,
  hue_to_rgb,
  plane_of,
  robust_scale,
)

__all__ = [
  "color_layer",
  "color_wheel",
  "hue_to_rgb",
  "plane_of",
  "robust_scale",
]
