"""Activations of one class agree at the same angle of the image plane."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Shaped

from hue_jax.errors import check_one_of
from hue_jax.losses.cells import Cells, cell_directions
from hue_jax.numerics import (
  Arrays,
  check_positive,
  einsum,
  mean_of_those,
  one_hot_where,
  own_classes,
  psum,
  replicated,
  sharded_like_the_batch,
)

DECAYS = ("batch", "image")


class Prototypes(NamedTuple):
  """The mean activation of each class at each angle, kept from batch to batch.

  Attributes:
    means: The moving average of the unit-normalized cell means, `[classes, cells,
      channels]`.
    known: 1 for the classes that have been seen, 0 for others.
  """

  means: Float[Array, "classes cells channels"]
  known: Float[Array, " classes"]


@sharded_like_the_batch
def angular_consistency_loss(
  activations: Float[Arrays, "batch height width channels"],
  labels: Integer[Arrays, " batch"],
  *,
  num_classes: int,
  sectors: int = 8,
  rings: int = 1,
  offset: Float[Array, ""] | float = 0.0,
  smooth: bool = False,
  center: str = "image",
  cells: str = "polar",
  order: Integer[Arrays, " positions"] | None = None,
  temperature: Float[Arrays, ""] | float = 0.1,
  prototypes: Prototypes | None = None,
  where: Shaped[Arrays, " batch"] | None = None,
  axis_name: str | None = None,
) -> Float[Array, " batch"]:
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
    labels: The class of each image; one outside [0, num_classes) does not count.
    num_classes: The number of classes C.
    sectors: The number of sectors S.
    rings: The number of rings into which every sector is cut, of equal area in the
      circle through the corners; each of the S · rings cells then has a prototype.
    offset: The angle in radians by which the sectors are turned.
    smooth: Whether a position belongs to the two nearest sectors, in proportion to
      its angle, and not to one alone.
    center: "image", or "activation" for each image's own center of activation
      strength, through which no gradient flows.
    cells: "polar", or "grid" for S · rings rectangles in place of sectors and rings, in
      as many rows and columns as come nearest to a square of them.
    order: The positions, counted row by row, in another order: position i then belongs
      to the cell of position order[i]. A random order leaves number and sizes of the
      cells as they are, and nothing of the angle.
    temperature: The temperature τ.
    prototypes: The prototypes P from earlier batches (see `update_prototypes`) in
      place of the batch's own; then every image of a known class counts. No gradient
      flows through them.
    where: The images that count, as bools or 0 and 1; all if None.
    axis_name: The mapped axis over which the batch is spread; prototypes and
      counts are then those of the whole batch.

  Returns:
    The loss of each image in nats, scaled so that the mean over the images that count,
    of the whole batch, is the mean over those that have another of their class in it.
    Images without one have 0; a batch without any gives zeros.

  Raises:
    InputError: If sectors or rings is below 1, the temperature is not positive, the
      center or the kind of cells is unknown, the order is not one of all positions, or
      labels or mask are not one an image.
    TypeError: If the activations are not floating point, or the labels not integers.
  """
  check_positive("temperature", temperature)
  labels, counts_here = own_classes(labels, num_classes, where, activations.shape[0])
  plane = Cells(cells, sectors, rings, offset, smooth, center, order)
  means, holds = cell_directions(activations, plane, counts_here)
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
  return mean_of_those(-own, has_peer, counts_here, axis_name)


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
  labels: Integer[Arrays, " batch"],
  *,
  decay: Float[Array, ""] | float = 0.9,
  sectors: int = 8,
  rings: int = 1,
  offset: Float[Array, ""] | float = 0.0,
  smooth: bool = False,
  center: str = "image",
  cells: str = "polar",
  order: Integer[Arrays, " positions"] | None = None,
  decay_of: str = "batch",
  where: Shaped[Arrays, " batch"] | None = None,
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
    labels: The class of each image; one outside [0, classes) does not count.
    decay: The share of the old prototype that stays.
    sectors: The number of sectors S, as in `angular_consistency_loss`.
    rings: The number of rings, of equal area in the circle through the corners.
    offset: The angle in radians by which the sectors are turned.
    smooth: Whether a position belongs to the two nearest sectors.
    center: "image", or "activation" for each image's own center.
    cells: "polar" or "grid".
    order: The positions in another order.
    decay_of: "batch" where `decay` is of each batch that has the class, or "image"
      where it is of each of its n images there, decayⁿ: a class that is seen rarely
      then moves as far by each of its images as others do.
    where: The images that count, as bools or 0 and 1; all if None.
    axis_name: The mapped axis over which the batch is spread.

  Returns:
    The prototypes after the batch.

  Raises:
    InputError: If `angular_consistency_loss` refuses the arguments.
    TypeError: If the activations are not floating point, or the labels not integers.
  """
  check_one_of("decay_of", decay_of, DECAYS)
  num_classes = prototypes.known.shape[0]
  labels, counts_here = own_classes(labels, num_classes, where, activations.shape[0])
  plane = Cells(cells, sectors, rings, offset, smooth, center, order)
  means, _ = cell_directions(activations, plane, counts_here)
  means = jax.lax.stop_gradient(means)
  one_hot = one_hot_where(labels, num_classes, counts_here, means.dtype)
  counts = psum(one_hot.sum(axis=0), axis_name)
  sums = psum(einsum("bc,bsn->csn", one_hot, means), axis_name)
  batch_means = sums / jnp.maximum(counts, 1)[:, None, None]
  stays = decay if decay_of == "batch" else decay**counts
  rate = jnp.where(prototypes.known > 0, 1 - stays, 1.0) * (counts > 0)
  moved = prototypes.means + rate[:, None, None] * (batch_means - prototypes.means)
  return Prototypes(moved, jnp.maximum(prototypes.known, counts > 0))


def _numbered_in_batch(labels, num_classes, axis_name):
  """Numbers classes by their first places in the whole batch, if they are fewer than C.

  Classes that no image has need no prototype: with many, most of the work is saved.
  Of a batch whose size is a symbol, as in an export, nothing is known.
  """
  everyone = labels
  if axis_name is not None:
    everyone = jax.lax.all_gather(labels, axis_name, tiled=True)
  size = everyone.shape[0]
  if not isinstance(size, int) or not 0 < size < num_classes:
    return labels, num_classes
  return jnp.argmax(labels[:, None] == everyone, axis=-1), size
