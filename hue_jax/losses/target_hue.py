"""The losses of an activation against a target angle.

Source: "Coloring Deep CNN Layers with Activation Hue Loss" proposes "hue-like
angular labels" as a regularization term and gives no equation; the equations are
this project's.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from hue_jax.errors import InputError
from hue_jax.hue import TAU, chroma_vector
from hue_jax.numerics import (
  Arrays,
  Axes,
  as_float,
  as_mask,
  check_positive,
  kept,
  smooth_norm,
  weighted_mean,
)


def hue_loss(
  activations: Float[Arrays, "*leading channels"],
  target_hue: Float[Arrays, "..."] | float,
  *,
  plane: Float[Arrays, "channels 2"] | None = None,
  weights: Float[Arrays, "..."] | None = None,
  where: Shaped[Arrays, "..."] | None = None,
  axis: Axes | None = None,
  epsilon: float = 1e-4,
) -> Float[Array, "..."]:
  """Returns the hue loss 1 − cos(θ − θ*) of activations against a target angle.

  It is computed as 1 − ẑ · (cos θ*, sin θ*), with z = a · plane and the smooth
  direction ẑ = z / √(‖z‖² + ε²): no arctangent stands in the gradient, which is
  bounded by 1/ε and finite at z = 0, where the loss is 1.

  Example:
    >>> import numpy as np
    >>> import hue_jax
    >>> features = np.eye(3, dtype=np.float32)  # red, green, blue
    >>> target = hue_jax.hue_labels(np.array([0, 0, 2]), 3)
    >>> print(hue_jax.hue_loss(features, target))
    [0.0  1.5 0.0 ]

  Args:
    activations: The vectors a along the last axis, of any leading shape.
    target_hue: The target θ* in radians; it broadcasts against
      `activations.shape[:-1]`, as NumPy does, from the last axis on. For a layer
      `[batch, height, width, channels]`, `position_hue(height, width)` fits as it is
      and a class hue `[batch]` is written `target_hue[:, None, None]`: one axis
      against several could mean any of them, and is refused.
    plane: The hue plane; the Fourier plane if None.
    weights: The non-negative weights, which broadcast like `target_hue`. Without
      `axis` each loss is multiplied by its weight, with `axis` they weight the mean.
    where: The activations that count, as bools or 0 and 1, which broadcast like
      `target_hue`; all if None. Others have the loss 0 and no gradient, whatever they
      and their targets hold, and no part in a mean: `where=labels >= 0` leaves out what
      has no class.
    axis: The axes of `activations.shape[:-1]` over which to take the (weighted) mean,
      such as (-2, -1) for the positions of a layer. A mean of nothing, or whose
      weights are all 0, is 0.
    epsilon: The length ε, in the activation's units.

  Returns:
    The loss, in [0, 2], 0 at θ = θ* and 2 opposite it; of the leading shape less
    the axes of `axis`.

  Raises:
    InputError: If there are fewer than 3 channels, the plane has another shape, or
      target, weights or mask do not broadcast, or have one axis where the activations
      have several, or the mask holds other than 0 and 1.
    TypeError: If the activations are not floating point, or the target is an array of
      integers, such as class indices.
  """
  counts, activations, target = _those_that_count(activations, target_hue, where)
  z, length, _ = _smooth_chroma_vector(activations, plane, epsilon)
  cosine = _along(target, z) / length
  # Rounding alone leaves [0, 2], at the two points where the gradient is 0.
  return _reduced(jnp.clip(1 - cosine, 0, 2), weights, counts, axis)


def von_mises_loss(
  activations: Float[Arrays, "*leading channels"],
  target_hue: Float[Arrays, "..."] | float,
  *,
  plane: Float[Arrays, "channels 2"] | None = None,
  weights: Float[Arrays, "..."] | None = None,
  where: Shaped[Arrays, "..."] | None = None,
  axis: Axes | None = None,
  epsilon: float = 1e-4,
  concentration: Float[Arrays, ""] | float = 1.0,
) -> Float[Array, "..."]:
  """Returns the negative log-likelihood of the target, von Mises about the hue.

  It is −log p(θ*) = log 2πI₀(κ) − κ cos(θ − θ*), with κ = concentration · chroma: an
  activation says by its chroma how sure it is of its hue.

  Example:
    >>> import numpy as np
    >>> import hue_jax
    >>> features = np.float32([[0, 0, 0], [9, 0, 0], [-9, 0, 0]])
    >>> print(hue_jax.von_mises_loss(features, 0.0))
    [ 1.84 -0.06 14.64]

  Args:
    activations: The vectors a along the last axis, of any leading shape.
    target_hue: The target θ* in radians; it broadcasts against
      `activations.shape[:-1]` as in `hue_loss`.
    plane: The hue plane; the Fourier plane if None.
    weights: The non-negative weights of the losses, or of the mean over `axis`.
    where: The activations that count, as in `hue_loss`.
    axis: The axes of `activations.shape[:-1]` over which to take the (weighted) mean.
    epsilon: The length ε of `hue_loss`, in the activation's units.
    concentration: The κ of an activation of chroma 1.

  Returns:
    The loss in nats, of the shape that `hue_loss` gives; log 2π for a gray activation.

  Raises:
    InputError: If `hue_loss` refuses the arguments, or the concentration is not
      positive.
    TypeError: If `hue_loss` refuses the arguments.

  Source: Mardia and Jupp, "Directional Statistics", 2000, section 3.5.4.
  """
  check_positive("concentration", concentration)
  counts, activations, target = _those_that_count(activations, target_hue, where)
  z, length, scale = _smooth_chroma_vector(activations, plane, epsilon)
  # κ cos(θ − θ*) is the chroma vector's part along the target: no division, so no
  # overflow in the gradient. The bound keeps κ itself finite.
  scale = concentration * jnp.minimum(scale, 1e30)
  kappa = scale * length
  log_normalizer = math.log(TAU) + jnp.log(jax.scipy.special.i0e(kappa)) + kappa
  nats = log_normalizer - scale * _along(target, z)
  return _reduced(nats, weights, counts, axis)


def _those_that_count(activations, target_hue, where):
  """Returns mask, activations and targets, which are 0 where it does not hold."""
  activations = as_float(activations)
  target = jnp.asarray(target_hue)
  is_number = target.weak_type and not target.ndim  # of Python, within `jit`, too
  if not is_number and not jnp.issubdtype(target.dtype, jnp.floating):
    raise TypeError(
      f"target_hue has dtype {target.dtype}; angles in radians of a floating-point "
      "dtype are needed (of class indices, hue_labels(labels, num_classes))."
    )
  leading = activations.shape[:-1]
  target = _broadcast("target_hue", target.astype(activations.dtype), leading)
  if where is None:
    return None, activations, target
  counts = _broadcast("where", as_mask(where), leading)
  return counts, kept(activations, counts), kept(target, counts)


def _smooth_chroma_vector(activations, plane, epsilon):
  """Returns z / scale, √(‖z‖² + ε²) / scale, and scale."""
  z, _, _, scale = chroma_vector(activations, plane)
  return z, smooth_norm(z, jnp.maximum(epsilon / scale, 1e-12)), scale


def _along(angle, z):
  return z[..., 0] * jnp.cos(angle) + z[..., 1] * jnp.sin(angle)


def _broadcast(name, values, shape):
  if values.ndim == 1 and len(shape) > 1 and values.shape != (1,):
    first, last = (
      ", ".join(places)
      for places in (
        [":"] + ["None"] * (len(shape) - 1),
        ["None"] * (len(shape) - 1) + [":"],
      )
    )
    raise InputError(
      f"{name} has shape {values.shape}, one axis, and the activations' leading shape "
      f"is {shape}; write {name}[{first}] for one value an example, or "
      f"{name}[{last}] for one a place on the last axis."
    )
  try:
    return jnp.broadcast_to(values, shape)
  except ValueError:
    raise InputError(
      f"{name} has shape {values.shape}, which does not broadcast to the "
      f"activations' leading shape {shape}."
    ) from None


def _reduced(losses, weights, counts, axis):
  if weights is None:
    if counts is None and 0 not in losses.shape:
      return losses if axis is None else losses.mean(axis)
    weights = 1.0
  weights = jnp.asarray(weights, losses.dtype)
  weights = _broadcast("weights", weights, losses.shape)
  if counts is not None:
    losses, weights = kept(losses, counts), kept(weights, counts)
  return losses * weights if axis is None else weighted_mean(losses, weights, axis)
