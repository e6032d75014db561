"""The hue loss, and the losses that use the angle in the image plane.

Like Optax's, a loss here is a pure function that returns one value an example,
without the mean over the batch:

    loss = cross_entropy + 0.1 * hue_loss(features, hue_labels(labels, 10)).mean()

Source: "Coloring Deep CNN Layers with Activation Hue Loss" proposes "hue-like
angular labels" as a regularization term and gives no equation; the equations are
this project's.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hue_jax import hue
from hue_jax.hue import Arrays

Axes = int | tuple[int, ...]


def hue_loss(
  activations: Float[Arrays, "*leading channels"],
  target_hue: Float[Arrays, "..."] | float,
  *,
  plane: Float[Arrays, "channels 2"] | None = None,
  weights: Float[Arrays, "..."] | None = None,
  axis: Axes | None = None,
  epsilon: float = 1e-4,
) -> Float[Array, "..."]:
  """Hue loss 1 − cos(θ − θ*) of activations against a target angle.

  Computed as 1 − ẑ · (cos θ*, sin θ*), with z = a · plane and the smooth
  direction ẑ = z / √(‖z‖² + ε²): no arctangent stands in the gradient, which is
  bounded by 1/ε and finite at z = 0, where the loss is 1.

  Args:
    activations: vectors a along the last axis, of any leading shape.
    target_hue: θ* in radians; broadcasts against `activations.shape[:-1]`, as
      NumPy does, from the last axis on. For a layer `[batch, height, width,
      channels]`, `position_hue(height, width)` fits as it is and a class hue
      `[batch]` is written `target_hue[:, None, None]`.
    plane: hue plane; the Fourier plane if None.
    weights: non-negative; broadcasts like `target_hue`. Without `axis` each loss
      is multiplied by its weight, with `axis` they weight the mean.
    axis: axes of `activations.shape[:-1]` over which to take the (weighted) mean,
      such as (-2, -1) for the positions of a layer. A mean whose weights are all
      0 is 0.
    epsilon: ε, in the activation's units.

  Returns:
    The loss, in [0, 2], 0 at θ = θ* and 2 opposite it; of the leading shape less
    the axes of `axis`.

  Raises:
    ValueError: fewer than 3 channels, a plane of another shape, or a target that
      does not broadcast.
    TypeError: activations that are not floating point.
  """
  z, length, _ = _smooth_chroma_vector(activations, plane, epsilon)
  target = _broadcast("target_hue", target_hue, length)
  cosine = _along(target, z) / length
  # Rounding alone leaves [0, 2], at the two points where the gradient is 0.
  return _reduced(jnp.clip(1 - cosine, 0, 2), weights, axis)


def von_mises_loss(
  activations: Float[Arrays, "*leading channels"],
  target_hue: Float[Arrays, "..."] | float,
  *,
  plane: Float[Arrays, "channels 2"] | None = None,
  weights: Float[Arrays, "..."] | None = None,
  axis: Axes | None = None,
  epsilon: float = 1e-4,
  concentration: float = 1.0,
) -> Float[Array, "..."]:
  """Negative log-likelihood of the target under a von Mises law about the hue.

  −log p(θ*) = log 2πI₀(κ) − κ cos(θ − θ*), with κ = concentration · chroma: an
  activation says by its chroma how sure it is of its hue.

  Args:
    activations: vectors a along the last axis, of any leading shape.
    target_hue: θ* in radians; broadcasts against `activations.shape[:-1]`.
    plane: hue plane; the Fourier plane if None.
    weights: as in `hue_loss`.
    axis: as in `hue_loss`.
    epsilon: as in `hue_loss`.
    concentration: κ of an activation of chroma 1.

  Returns:
    Nats; log 2π for a gray activation. Of the shape that `hue_loss` gives.

  Raises:
    ValueError: as in `hue_loss`, or a concentration that is not positive.
    TypeError: activations that are not floating point.

  Source: Mardia and Jupp, "Directional Statistics", 2000, section 3.5.4.
  """
  if not concentration > 0:
    raise ValueError(f"concentration is {concentration}; it must be positive.")
  z, length, scale = _smooth_chroma_vector(activations, plane, epsilon)
  target = _broadcast("target_hue", target_hue, length)
  # κ cos(θ − θ*) is the chroma vector's part along the target: no division, so no
  # overflow in the gradient. The bound keeps κ itself finite.
  scale = concentration * jnp.minimum(scale, 1e30)
  kappa = scale * length
  log_normalizer = math.log(hue.TAU) + jnp.log(jax.scipy.special.i0e(kappa)) + kappa
  nats = log_normalizer - scale * _along(target, z)
  return _reduced(nats, weights, axis)


def angular_consistency_loss(
  activations: Float[Arrays, "batch height width channels"],
  labels: Int[Arrays, "batch"],
  *,
  num_classes: int,
  sectors: int = 8,
  temperature: float = 0.1,
  where: Bool[Arrays, "batch"] | None = None,
  axis_name: str | None = None,
) -> Float[Array, "batch"]:
  """Activations of one class agree at the same angle of the image plane.

  The plane is cut about its center into S sectors of equal angle. v(b, s) is the
  unit-normalized mean activation of image b in sector s, and P(c, s) the mean of
  v(·, s) over the other images of class c in the batch. The loss of image b is

      mean over s of −log softmax_c(⟨v(b, s), P(c, s)⟩ / τ)[label of b],

  over the classes that have a prototype P and the sectors that hold a position.
  S = 1 forgets the angle and is the control.

  Args:
    activations: a layer.
    labels: the class of each image, in [0, num_classes).
    num_classes: C.
    sectors: S.
    temperature: τ.
    where: the images that count; all if None.
    axis_name: the mapped axis over which the batch is spread; prototypes and
      counts are then those of the whole batch.

  Returns:
    Nats an image, scaled so that the mean over the images that count, of the whole
    batch, is the mean over those that have another of their class in it. Images
    without one have 0; a batch without any gives zeros.

  Raises:
    ValueError: sectors below 1, or a temperature that is not positive.
    TypeError: activations that are not floating point.
  """
  if sectors < 1:
    raise ValueError(f"sectors is {sectors}; it must be at least 1.")
  if not temperature > 0:
    raise ValueError(f"temperature is {temperature}; it must be positive.")
  counts_here = jnp.ones(labels.shape, bool) if where is None else jnp.asarray(where)
  means = _sector_means(activations, sectors)
  one_hot = jax.nn.one_hot(labels, num_classes, dtype=means.dtype)
  one_hot = jnp.where(counts_here[:, None], one_hot, 0)

  sums = _psum(_einsum("bc,bsn->csn", one_hot, means), axis_name)
  counts = _psum(one_hot.sum(axis=0), axis_name)
  others = counts - one_hot  # [batch, C]: images of class c besides this one
  similarity = _einsum("bsn,csn->bsc", means, sums)
  similarity -= _einsum("bsn,bsn->bs", means, means)[..., None] * one_hot[:, None]
  logits = similarity / (jnp.maximum(others, 1)[:, None] * temperature)
  logits = jnp.where((others > 0)[:, None], logits, -1e9)

  own = jnp.sum(jax.nn.log_softmax(logits) * one_hot[:, None], axis=-1)
  has_peer = jnp.sum(others * one_hot, axis=-1) > 0
  loss = jnp.where(has_peer, -own.mean(axis=-1), 0)
  size = _psum(counts_here.sum(), axis_name)
  return loss * size / jnp.maximum(_psum(has_peer.sum(), axis_name), 1)


# --- Helpers --------------------------------------------------------------------


def _smooth_chroma_vector(activations, plane, epsilon):
  """Returns z / scale, √(‖z‖² + ε²) / scale, and scale."""
  z, _, _, scale = hue.chroma_vector(activations, plane)
  return z, hue.smooth_norm(z, jnp.maximum(epsilon / scale, 1e-12)), scale


def _along(angle, z):
  return z[..., 0] * jnp.cos(angle) + z[..., 1] * jnp.sin(angle)


def _broadcast(name, values, like):
  values = jnp.asarray(values, like.dtype)
  try:
    return jnp.broadcast_to(values, like.shape)
  except ValueError:
    raise ValueError(
      f"{name} has shape {values.shape}, which does not broadcast to the "
      f"activations' leading shape {like.shape}."
    ) from None


def _reduced(losses, weights, axis):
  if weights is None:
    return losses if axis is None else losses.mean(axis)
  weights = _broadcast("weights", weights, losses)
  return losses * weights if axis is None else weighted_mean(losses, weights, axis)


def weighted_mean(
  values: Float[Array, "*leading"], weights: Float[Array, "*leading"], axis: Axes
) -> Float[Array, "..."]:
  """Σ wv / Σ w over the axes, and 0 where all weights are 0.

  Args:
    values: v.
    weights: w, non-negative.
    axis: axes to sum over.

  Returns:
    The means.
  """
  # By the largest first, so that large weights do not overflow in the sum.
  peak = weights.max(axis, keepdims=True)
  weights = hue.divide_by_peak(weights, jnp.where(peak > 0, peak, 1))
  total = weights.sum(axis)
  return jnp.sum(values * weights, axis) / jnp.where(total > 0, total, 1)


def _sector_means(activations, sectors):
  """Unit-normalized mean activation by sector, `[batch, sector, channels]`."""
  _, height, width, _ = activations.shape
  angle, radius = hue.polar_grid(height, width)
  # Positions on a boundary belong to the sector after it, whatever the rounding.
  sector = np.floor(angle * sectors / hue.TAU + 1e-9).astype(int) % sectors
  member = sector == np.arange(sectors)[:, None, None]
  member = member & (radius > 0)
  member = member[member.any(axis=(1, 2))]
  if not len(member):  # a single position has no angle: one sector, the whole plane
    member = np.ones((1, height, width), bool)
  activations, scale = hue.scaled(activations)
  activations = activations * (scale / scale.max(axis=(1, 2), keepdims=True))[..., None]
  sums = _einsum("bhwn,shw->bsn", activations, member.astype(activations.dtype))
  return sums / hue.smooth_norm(sums, 1e-6)[..., None]


def _einsum(formula, *operands):
  return jnp.einsum(formula, *operands, precision="highest")


def _psum(value, axis_name):
  return value if axis_name is None else jax.lax.psum(value, axis_name)
