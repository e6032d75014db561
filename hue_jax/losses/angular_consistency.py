"""Activations of one class agree at the same angle of the image plane."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from hue_jax.errors import InputError
from hue_jax.hue import TAU, polar_grid
from hue_jax.numerics import (
  Arrays,
  as_labels,
  counting,
  einsum,
  one_hot_where,
  psum,
  replicated,
  scaled,
  sharded_like_the_batch,
  smooth_norm,
)

CENTERS = ("image", "activation")


class Prototypes(NamedTuple):
  """The mean activation of each class at each angle, kept from batch to batch.

  Attributes:
    means: The moving average of the unit-normalized cell means, `[classes, cells,
      channels]`.
    known: 1 for the classes that have been seen, 0 for others.
  """

  means: Float[Array, "classes cells channels"]
  known: Float[Array, "classes"]


@sharded_like_the_batch
def angular_consistency_loss(
  activations: Float[Arrays, "batch height width channels"],
  labels: Integer[Arrays, "batch"],
  *,
  num_classes: int,
  sectors: int = 8,
  rings: int = 1,
  offset: Float[Array, ""] | float = 0.0,
  smooth: bool = False,
  center: str = "image",
  temperature: Float[Arrays, ""] | float = 0.1,
  prototypes: Prototypes | None = None,
  where: Bool[Arrays, "batch"] | None = None,
  axis_name: str | None = None,
) -> Float[Array, "batch"]:
  """Returns how far activations of one class differ at one angle of the image plane.

  The plane is cut about its center into S sectors of equal angle. v(b, s) is the
  unit-normalized mean activation of image b in sector s, and P(c, s) the mean of
  v(·, s) over the other images of class c in the batch. The loss of image b is

      mean over s of −log softmax_c(⟨v(b, s), P(c, s)⟩ / τ)[label of b],

  over the classes that have a prototype P and the sectors that hold a position.
  S = 1 forgets the angle and is the control.

  Example:
    >>> import numpy as np
    >>> import hue_jax
    >>> layer = np.zeros((4, 2, 2, 3), np.float32)
    >>> layer[:2, 0, 0, 0] = layer[2:, 1, 1, 1] = 1  # each class fires at its place
    >>> labels = np.array([0, 0, 1, 1])
    >>> loss = hue_jax.angular_consistency_loss(
    ...   layer, labels, num_classes=2, sectors=4, temperature=1.0
    ... )
    >>> print(loss)
    [0.6 0.6 0.6 0.6]

  Args:
    activations: The activations of a layer.
    labels: The class of each image, in [0, num_classes).
    num_classes: The number of classes C.
    sectors: The number of sectors S.
    rings: The number of rings of equal area into which every sector is cut; each of
      the S · rings cells then has a prototype.
    offset: The angle in radians by which the sectors are turned.
    smooth: Whether a position belongs to the two nearest sectors, in proportion to
      its angle, and not to one alone.
    center: "image", or "activation" for each image's own center of activation
      strength, through which no gradient flows.
    temperature: The temperature τ.
    prototypes: The prototypes P from earlier batches (see `update_prototypes`) in
      place of the batch's own; then every image of a known class counts. No gradient
      flows through them.
    where: The images that count; all if None.
    axis_name: The mapped axis over which the batch is spread; prototypes and
      counts are then those of the whole batch.

  Returns:
    The loss of each image in nats, scaled so that the mean over the images that count,
    of the whole batch, is the mean over those that have another of their class in it.
    Images without one have 0; a batch without any gives zeros.

  Raises:
    InputError: If sectors or rings is below 1, the temperature is not positive, the
      center is unknown, or the labels have more than one axis.
    TypeError: If the activations are not floating point, or the labels not integers.
  """
  if isinstance(temperature, (int, float)) and not temperature > 0:
    raise InputError(f"temperature is {temperature}; it must be positive.")
  labels = as_labels(labels, 1)
  counts_here = counting(labels, where)
  activations = _of_those(activations, where)
  means, holds = _cell_means(activations, sectors, rings, offset, smooth, center)
  if prototypes is None:
    labels, num_classes = _numbered_in_batch(labels, num_classes, axis_name)
  one_hot = one_hot_where(labels, num_classes, counts_here, means.dtype)
  if prototypes is None:
    sums = psum(einsum("bc,bsn->csn", one_hot, means), axis_name)
    counts = psum(one_hot.sum(axis=0), axis_name)
    others = counts - one_hot  # [batch, C]: images of class c besides this one
    similarity = einsum("bsn,csn->bsc", means, sums)
    similarity -= einsum("bsn,bsn->bs", means, means)[..., None] * one_hot[:, None]
    similarity /= jnp.maximum(others, 1)[:, None]
  else:
    prototypes = jax.lax.stop_gradient(prototypes)
    others = jnp.broadcast_to(prototypes.known, one_hot.shape)
    similarity = einsum("bsn,csn->bsc", means, prototypes.means)
  logits = jnp.where((others > 0)[:, None], similarity / temperature, -1e9)

  own = jnp.sum(jax.nn.log_softmax(logits) * one_hot[:, None], axis=-1)
  own = jnp.sum(own * holds, axis=-1) / jnp.sum(holds, axis=-1)
  has_peer = jnp.sum(others * one_hot, axis=-1) > 0
  loss = jnp.where(has_peer, -own, 0)
  size = psum(counts_here.sum(), axis_name)
  return loss * size / jnp.maximum(psum(has_peer.sum(), axis_name), 1)


def no_prototypes(num_classes: int, cells: int, channels: int) -> Prototypes:
  """Returns the prototypes before the first batch: no class is known.

  Example:
    >>> from hue_jax import losses
    >>> losses.no_prototypes(10, 8, 64).means.shape
    (10, 8, 64)

  Args:
    num_classes: The number of classes C.
    cells: The number of cells, sectors · rings.
    channels: The number of channels of the layer.

  Returns:
    Prototypes of zeros.
  """
  return Prototypes(jnp.zeros((num_classes, cells, channels)), jnp.zeros(num_classes))


@replicated
def update_prototypes(
  prototypes: Prototypes,
  activations: Float[Arrays, "batch height width channels"],
  labels: Integer[Arrays, "batch"],
  *,
  decay: Float[Array, ""] | float = 0.9,
  sectors: int = 8,
  rings: int = 1,
  offset: Float[Array, ""] | float = 0.0,
  smooth: bool = False,
  center: str = "image",
  where: Bool[Arrays, "batch"] | None = None,
  axis_name: str | None = None,
) -> Prototypes:
  """Moves the prototypes of a batch's classes toward the batch's means.

  The step is P(c, s) ← decay · P(c, s) + (1 − decay) · mean of v(·, s) over the batch's
  images of class c; a class seen for the first time takes the mean itself.

  Example:
    >>> import numpy as np
    >>> from hue_jax import losses
    >>> layer = np.ones((2, 4, 4, 3), np.float32)
    >>> known = losses.no_prototypes(3, 8, 3)
    >>> known = losses.update_prototypes(known, layer, np.array([0, 2]))
    >>> print(known.known)
    [1.0 0.0 1.0]

  Args:
    prototypes: The prototypes before the batch.
    activations: The activations of a layer.
    labels: The class of each image.
    decay: The share of the old prototype that stays.
    sectors: The number of sectors S, as in `angular_consistency_loss`.
    rings: The number of rings of equal area into which every sector is cut.
    offset: The angle in radians by which the sectors are turned.
    smooth: Whether a position belongs to the two nearest sectors.
    center: "image", or "activation" for each image's own center.
    where: The images that count; all if None.
    axis_name: The mapped axis over which the batch is spread.

  Returns:
    The prototypes after the batch.

  Raises:
    InputError: If `angular_consistency_loss` refuses the arguments.
    TypeError: If the activations are not floating point, or the labels not integers.
  """
  labels = as_labels(labels, 1)
  activations = _of_those(activations, where)
  means, _ = _cell_means(activations, sectors, rings, offset, smooth, center)
  means = jax.lax.stop_gradient(means)
  num_classes = prototypes.known.shape[0]
  one_hot = one_hot_where(labels, num_classes, counting(labels, where), means.dtype)
  counts = psum(one_hot.sum(axis=0), axis_name)
  sums = psum(einsum("bc,bsn->csn", one_hot, means), axis_name)
  batch_means = sums / jnp.maximum(counts, 1)[:, None, None]
  rate = jnp.where(prototypes.known > 0, 1 - decay, 1.0) * (counts > 0)
  moved = prototypes.means + rate[:, None, None] * (batch_means - prototypes.means)
  return Prototypes(moved, jnp.maximum(prototypes.known, counts > 0))


def _of_those(activations, where):
  """Returns the activations of images that count, and 0 for others, NaN or not."""
  if where is None:
    return activations
  return jnp.where(jnp.asarray(where)[:, None, None, None], activations, 0)


def _cell_means(activations, sectors, rings, offset, smooth, center):
  """Returns unit-normalized mean activations, and which cells hold a position.

  Returns:
    The means by `[batch, cell, channels]`, and 0 or 1 by `[cell]` or `[batch, cell]`.
  """
  for name, value in (("sectors", sectors), ("rings", rings)):
    if value < 1:
      raise InputError(f"{name} is {value}; it must be at least 1.")
  if center not in CENTERS:
    raise InputError(f"center is {center!r}; it must be one of {', '.join(CENTERS)}.")
  activations, scale = scaled(activations)
  activations = activations * (scale / scale.max(axis=(1, 2), keepdims=True))[..., None]
  angle, radius = _polar(activations, center)
  if activations.shape[1:3] == (1, 1):  # one position has no angle: it is the cell
    member = jnp.ones((1, 1, 1))
  else:
    member = _membership(angle, radius, sectors, rings, offset, smooth)
  sums = einsum(
    "bhwn,bshw->bsn" if member.ndim == 4 else "bhwn,shw->bsn",
    activations,
    jnp.asarray(member, activations.dtype),
  )
  holds = member.sum(axis=(-2, -1)) > 0
  return sums / smooth_norm(sums, 1e-6)[..., None], holds


def _polar(activations, center):
  """Returns angle and radius of every position, of radius 1 in the farthest corner."""
  height, width = activations.shape[1:3]
  angle, radius = polar_grid(height, width)
  if center == "activation":
    strength = jnp.linalg.norm(jax.lax.stop_gradient(activations), axis=-1)
    strength /= strength.sum(axis=(1, 2), keepdims=True) + 1e-12
    y, x = np.mgrid[:height, :width]
    y = y - jnp.sum(strength * y, axis=(1, 2), keepdims=True)
    x = x - jnp.sum(strength * x, axis=(1, 2), keepdims=True)
    angle, radius = jnp.arctan2(y, x) % TAU, jnp.hypot(x, y)
  return angle, radius / max(math.hypot(height - 1, width - 1) / 2, 1e-12)


def _membership(angle, radius, sectors, rings, offset, smooth):
  """Returns how much each position is of each cell, `[..., cell, height, width]`.

  It is in NumPy where nothing is traced, so that the compiler sees constants.
  """
  turned = (angle - offset) * (sectors / TAU)
  # Positions on a boundary belong to the sector after it, whatever the rounding.
  number = np.arange(sectors)[:, None, None]
  xp = np if isinstance(turned, np.ndarray) else jnp
  turned = xp.expand_dims(turned, -3)
  if smooth and sectors > 1:
    distance = xp.abs((turned - 0.5 - number + sectors / 2) % sectors - sectors / 2)
    member = xp.maximum(1 - distance, 0)
  else:
    member = xp.floor(turned + 1e-6) % sectors == number
  ring = xp.minimum(xp.floor(xp.expand_dims(radius, -3) ** 2 * rings), rings - 1)
  member = member * (xp.expand_dims(radius, -3) > 0)
  cells = [member * (ring == r) for r in range(rings)]
  return xp.concatenate(cells, axis=-3)


def _numbered_in_batch(labels, num_classes, axis_name):
  """Numbers classes by their first places in the whole batch, if they are fewer than C.

  Classes that no image has need no prototype: with many, most of the work is saved.
  Of a batch whose size is a symbol, as in an export, nothing is known.
  """
  everyone = labels
  if axis_name is not None:
    everyone = jax.lax.all_gather(labels, axis_name, tiled=True)
  size = everyone.shape[0]
  if not isinstance(size, int) or size >= num_classes:
    return labels, num_classes
  return jnp.argmax(labels[:, None] == everyone, axis=-1), size
