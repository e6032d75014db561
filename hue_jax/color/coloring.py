"""Colors of activations, by pure functions of arrays.

A color is three numbers of an activation: its hue θ, its saturation and its magnitude
‖a‖. They become RGB on the *circle* of hues and not on the usual hexagon, so that the
activation hue of the color, taken as a vector of three channels, is θ itself.

All functions but `plane_of` work under `jit` and `vmap`, on any leading shape, and are
finite for every finite input. Hues are in radians, in [0, 2π); colors are in [0, 1].

Source: "Coloring Deep CNN Layers with Activation Hue Loss" names the coloring and gives
no equation; the definitions are this project's.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from hue_jax.errors import InputError, check_one_of
from hue_jax.hue import (
  TAU,
  activation_strength,
  class_mean_plane,
  fourier_plane,
  hue_angle,
  polar_grid,
  principal_plane,
  saturation,
)
from hue_jax.numerics import scaled

Arrays = Array | np.ndarray

PLANES = ("fourier", "principal", "class_means")

_FULL_PERCENTILE = 99.0


def color_layer(
  activations: Float[Arrays, "*leading channels"],
  plane: Float[Arrays, "channels 2"] | None = None,
  *,
  scale: Float[Arrays, ""] | float | None = None,
) -> Float[Array, "*leading 3"]:
  """Returns colors of hue θ, the activation's saturation, and value min(‖a‖/scale, 1).

  The hue is kept: `hue_angle` of the colors is θ, wherever they are not gray.

  With three channels the hue plane is all there is besides gray, and `saturation` is 1
  whatever the color. There the saturation is the color's own, (max − min) / max|aₙ| and
  at most 1, so that a picture in RGB keeps both hue and saturation.

  Example:
    >>> import numpy as np
    >>> from hue_jax.color import color_layer
    >>> print(color_layer(np.float32([[1, 0, 0], [0, 0.5, 0]]), scale=1.0))
    [[1.0 0.0 0.0]
     [0.0 0.5 0.0]]

  Args:
    activations: The vectors a along the last axis; a layer [..., height, width,
      channels] becomes a picture, a pooled feature [..., channels] a single color.
    plane: The hue plane; the Fourier plane if None.
    scale: The magnitude that has full value; `robust_scale(activations)` if None.

  Returns:
    The colors, RGB in [0, 1]; black where the activation or the scale is zero.

  Raises:
    ValueError: If there are fewer than 3 channels, or the plane has another shape.
    TypeError: If the activations are not floating point.
  """
  strength = activation_strength(activations)
  if scale is None:
    scale = robust_scale(activations)
  scale = jnp.asarray(scale, strength.dtype)
  value = jnp.where(scale > 0, strength / jnp.where(scale > 0, scale, 1), 0)
  vividness = (
    _saturation_of_rgb(activations)
    if activations.shape[-1] == 3
    else saturation(activations, plane)
  )
  return hue_to_rgb(hue_angle(activations, plane), vividness, jnp.minimum(value, 1))


def robust_scale(
  activations: Float[Arrays, "*leading channels"],
) -> Float[Array, ""]:
  """Returns the magnitude that has full value: the 99th percentile of ‖a‖.

  Example:
    >>> import numpy as np
    >>> from hue_jax.color import robust_scale
    >>> print(robust_scale(np.float32([[3, 4, 0], [0, 0, 5]])))
    5.0

  Args:
    activations: The activations of one layer, all that are to be compared.

  Returns:
    The percentile, in the activation's own units; where that is 0, because nearly
    all of the layer is dead, the largest ‖a‖; 0 where all is.

  Raises:
    TypeError: If the activations are not floating point.
  """
  strength = activation_strength(activations)
  full = jnp.percentile(strength, _FULL_PERCENTILE)
  return jnp.where(full > 0, full, jnp.max(strength))


def hue_to_rgb(
  hue: Float[Arrays, "*#shape"] | float,
  saturation: Float[Arrays, "*#shape"] | float,
  value: Float[Arrays, "*#shape"] | float,
) -> Float[Array, "*shape 3"]:
  """Returns the color of a hue on the circle; HSV has that of a hue on the hexagon.

  RGB is value · (1 − saturation · (M − xₙ) / (M − m)), with xₙ = cos(θ − 2πn/3) and M
  and m the largest and smallest of the three. So its largest channel is the value, its
  smallest value · (1 − saturation), and since it is xₙ stretched and shifted by gray,
  `hue_angle` of it is θ.

  Example:
    >>> import numpy as np
    >>> from hue_jax.color import hue_to_rgb
    >>> print(hue_to_rgb(np.pi / 3, np.float32([1, 0.5]), 1.0))  # yellow, paler
    [[1.0 1.0 0.0]
     [1.0 1.0 0.5]]

  Args:
    hue: The hue θ in radians.
    saturation: The saturation in [0, 1].
    value: The value in [0, 1].

  Returns:
    The color, RGB in [0, 1].
  """
  hue, saturation, value = jnp.broadcast_arrays(
    *(_as_float(number) for number in (hue, saturation, value))
  )
  waves = jnp.cos(hue[..., None] - TAU / 3 * jnp.arange(3))
  largest = waves.max(axis=-1, keepdims=True)
  smallest = waves.min(axis=-1, keepdims=True)
  # The divisor is at least 1.5; rounding must not make the quotient more than 1.
  below = jnp.minimum((largest - waves) / (largest - smallest), 1)
  return value[..., None] * (1 - saturation[..., None] * below)


def color_wheel(size: int) -> Float[Array, "{size} {size} 4"]:
  """Returns the legend: hue by the angle about the center, saturation by the radius.

  Angles are those of the position hue: the right is 0, the bottom π/2.

  Example:
    >>> from hue_jax.color import color_wheel
    >>> wheel = color_wheel(5)
    >>> print(wheel[2, 4, :3])  # the right is red
    [1.0  0.2 0.2]

  Args:
    size: The side of the picture in pixels.

  Returns:
    The picture, RGB and opacity in [0, 1]; transparent outside of the wheel.

  Raises:
    ValueError: If size is below 1.
  """
  angle, radius = polar_grid(size, size)
  inside = np.clip(size / 2 - radius, 0, 1)  # the rim is a pixel wide
  wheel = hue_to_rgb(angle, np.minimum(radius / (size / 2), 1), 1.0)
  return jnp.concatenate([wheel, inside[..., None]], axis=-1)


def plane_of(
  name: str,
  activations: Float[Arrays, "batch *positions channels"],
  labels: Int[Arrays, " batch"] | None = None,
  num_classes: int | None = None,
) -> Float[Array, "channels 2"]:
  """Returns the hue plane of a layer, by name.

  Example:
    >>> import numpy as np
    >>> from hue_jax.color import plane_of
    >>> print(plane_of("fourier", np.ones((2, 4, 4, 3), np.float32)).shape)
    (3, 2)

  Args:
    name: "fourier", "principal" (of the activations' principal components) or
      "class_means" (that spreads the means of the classes most).
    activations: The activations of the layer.
    labels: The class of each image, which "class_means" needs.
    num_classes: The number of classes, which "class_means" needs.

  Returns:
    Two orthonormal columns, orthogonal to (1, …, 1).

  Raises:
    InputError: If the name is unknown, or class means come without labels.
    ValueError: If there are fewer than 3 channels, or the activations or classes span
      no plane.
    TypeError: If the activations are not floating point.
  """
  check_one_of("plane", name, PLANES)
  if name == "fourier":
    return fourier_plane(activations.shape[-1])
  if name == "principal":
    return principal_plane(activations)
  if labels is None or num_classes is None:
    raise InputError("plane is 'class_means', which needs labels and num_classes.")
  labels = np.asarray(labels).reshape(-1, *[1] * (activations.ndim - 2))
  labels = np.broadcast_to(labels, activations.shape[:-1])
  return class_mean_plane(activations, labels, num_classes)


def _saturation_of_rgb(colors):
  """Returns (max − min) / max|aₙ|, at most 1.

  It is the usual saturation where no channel is negative.
  """
  unit, _ = scaled(colors)
  return jnp.minimum(unit.max(axis=-1) - unit.min(axis=-1), 1)


def _as_float(number):
  number = jnp.asarray(number)
  return number.astype(jnp.promote_types(jnp.result_type(number, float), jnp.float32))
