"""Images of one class are more alike than images of others, pair by pair."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer, Shaped

from hue_jax.errors import InputError
from hue_jax.losses.cells import Cells, cell_directions
from hue_jax.numerics import (
  Arrays,
  as_float,
  check_positive,
  einsum,
  mean_of_those,
  own_classes,
  sharded_like_the_batch,
)

# Up to it, the products of exponentials in `angular_loss` are in the range of float32.
MAX_ANGLE = math.pi / 3


@sharded_like_the_batch
def supervised_contrastive_loss(
  features: Float[Arrays, "batch channels"],
  labels: Integer[Arrays, " batch"],
  *,
  temperature: Float[Arrays, ""] | float = 0.1,
  where: Shaped[Arrays, " batch"] | None = None,
  axis_name: str | None = None,
) -> Float[Array, " batch"]:
  """Returns how much nearer images of other classes are than those of the same one.

  With z the unit-normalized features, P(i) the other images of the class of image i in
  the batch, and A(i) all other images of the batch, it is the form L_out of the paper,

      −1/|P(i)| Σ over p in P(i) of log(exp(z_i · z_p / τ) / Σ over a in A(i) of
      exp(z_i · z_a / τ)),

  of the features themselves: the paper has two views of each image, and a projection
  that is thrown away, in a training before that of the classifier.

  Example:
    >>> import numpy as np
    >>> from hue_jax import losses
    >>> features = np.float32([[1, 0], [2, 0], [0, 1], [0, 3]])
    >>> for labels in ([0, 0, 1, 1], [0, 1, 0, 1]):
    ...   loss = losses.supervised_contrastive_loss(
    ...     features, np.array(labels), temperature=1.0
    ...   )
    ...   print(loss)
    [0.55 0.55 0.55 0.55]
    [1.55 1.55 1.55 1.55]

  Args:
    features: The features of the examples, of any length.
    labels: The class of each example; one below 0 is none, and does not count.
    temperature: The temperature τ.
    where: The examples that count, as bools or 0 and 1; all if None.
    axis_name: The mapped axis over which the batch is spread; the others are then
      those of the whole batch.

  Returns:
    The loss of each example in nats, scaled so that the mean over the examples that
    count, of the whole batch, is the mean over those that have another of their class
    in it. Examples without one have 0; a batch without any gives zeros.

  Raises:
    InputError: If the temperature is not positive, or labels or mask are not one an
      example.
    TypeError: If the features are not floating point, or the labels not integers.

  Source: Khosla et al., "Supervised Contrastive Learning", NeurIPS 2020, equation 2.
  """
  check_positive("temperature", temperature)
  batch = _whole_batch(labels, where, features.shape[0], axis_name)
  directions = _directions(features, batch.counts_here)[:, None]
  return _contrast(directions, jnp.ones(1), batch, temperature, axis_name)


@sharded_like_the_batch
def cell_contrastive_loss(
  activations: Float[Arrays, "batch height width channels"],
  labels: Integer[Arrays, " batch"],
  *,
  sectors: int = 8,
  rings: int = 1,
  offset: Float[Array, ""] | float = 0.0,
  smooth: bool = False,
  center: str = "image",
  cells: str = "polar",
  order: Integer[Arrays, " positions"] | None = None,
  temperature: Float[Arrays, ""] | float = 0.1,
  where: Shaped[Arrays, " batch"] | None = None,
  axis_name: str | None = None,
) -> Float[Array, " batch"]:
  """Returns the supervised contrastive loss of each cell, the mean over cells.

  In each cell of the image plane z is the unit-normalized mean activation there, and
  the images are compared as in `supervised_contrastive_loss`. Beside the angular
  consistency loss, whose cells are the same, it says what contrast does where there
  are no prototypes; beside the supervised contrastive loss, what cells do.

  Example:
    >>> import numpy as np
    >>> from hue_jax import losses
    >>> layer = np.zeros((4, 2, 2, 3), np.float32)
    >>> layer[:2, :, :, 0] = layer[2:, :, :, 1] = 1
    >>> labels = np.array([0, 0, 1, 1])
    >>> print(losses.cell_contrastive_loss(layer, labels, sectors=4, temperature=1.0))
    [0.55 0.55 0.55 0.55]

  Args:
    activations: The activations of a layer.
    labels: The class of each image; one below 0 is none, and does not count.
    sectors: The number of sectors S, as in `angular_consistency_loss`.
    rings: The number of rings, of equal area in the circle through the corners.
    offset: The angle in radians by which the cells are turned.
    smooth: Whether a position belongs to the nearest cells, in proportion.
    center: "image", or "activation" for each image's own center.
    cells: "polar" or "grid".
    order: The positions in another order.
    temperature: The temperature τ.
    where: The images that count, as bools or 0 and 1; all if None.
    axis_name: The mapped axis over which the batch is spread.

  Returns:
    The loss of each image in nats, scaled as that of `supervised_contrastive_loss`.

  Raises:
    InputError: If `angular_consistency_loss` refuses the arguments.
    TypeError: If the activations are not floating point, or the labels not integers.
  """
  check_positive("temperature", temperature)
  batch = _whole_batch(labels, where, activations.shape[0], axis_name)
  plane = Cells(cells, sectors, rings, offset, smooth, center, order)
  directions, holds = cell_directions(activations, plane, batch.counts_here)
  return _contrast(directions, holds, batch, temperature, axis_name)


@sharded_like_the_batch
def angular_loss(
  features: Float[Arrays, "batch channels"],
  labels: Integer[Arrays, " batch"],
  *,
  angle: Float[Arrays, ""] | float = math.pi / 4,
  where: Shaped[Arrays, " batch"] | None = None,
  axis_name: str | None = None,
) -> Float[Array, " batch"]:
  """Returns how far triangles of two images of a class and one of another are too wide.

  Of an image a, another image p of its class, and an image n of another class, the
  angle of the triangle at n should be at most α. With unit-normalized features x, t =
  tan² α and

      f(a, p, n) = 4t (x_a + x_p) · x_n − 2(1 + t) x_a · x_p,

  the loss of image a is the mean over p of log(1 + Σ over n of exp f(a, p, n)): the
  paper's form for N-pair batches, of all pairs of a class in the batch in place of one
  pair a class, and by itself, without the N-pair loss beside it.

  Example:
    >>> import numpy as np
    >>> from hue_jax import losses
    >>> features = np.float32([[1, 0], [2, 0], [0, 1], [0, 3]])
    >>> print(losses.angular_loss(features, np.array([0, 0, 1, 1])))
    [0.036 0.036 0.036 0.036]

  Args:
    features: The features of the examples, of any length.
    labels: The class of each example; one below 0 is none, and does not count.
    angle: The angle α in radians, from above 0 to π/3; the paper's are from 36 to 55
      degrees.
    where: The examples that count, as bools or 0 and 1; all if None.
    axis_name: The mapped axis over which the batch is spread; the others are then
      those of the whole batch.

  Returns:
    The loss of each example, scaled as that of `supervised_contrastive_loss`. Memory is
    batch × batch.

  Raises:
    InputError: If the angle is out of its range, or labels or mask are not one an
      example.
    TypeError: If the features are not floating point, or the labels not integers.

  Source: Wang et al., "Deep Metric Learning with Angular Loss", ICCV 2017.
  """
  if isinstance(angle, (int, float)) and not 0 < angle <= MAX_ANGLE:
    raise InputError(f"angle is {angle}; it must be above 0 and at most π/3.")
  batch = _whole_batch(labels, where, features.shape[0], axis_name)
  directions = _directions(features, batch.counts_here)
  cosine = einsum("bn,an->ba", directions, _gathered(directions, axis_name))
  wide = jnp.square(jnp.tan(angle))
  # Σ over n of exp(4t x_a·x_n) exp(4t x_p·x_n) is a product of matrices, since a and p
  # have the same n. The largest factor of each is taken out.
  others = batch.counts & ~batch.is_same & batch.counts_here[:, None]
  close = 4 * wide * cosine
  peak = jnp.max(close, axis=-1, where=others, initial=-jnp.inf)
  peak = jax.lax.stop_gradient(jnp.where(peak == -jnp.inf, 0, peak))
  factors = jnp.where(others, jnp.exp(close - peak[:, None]), 0)
  sums = einsum("bn,an->ba", factors, _gathered(factors, axis_name))
  has_other = others.any(axis=-1)[:, None] & batch.is_peer
  log_sums = jnp.log(jnp.where(has_other, sums, 1))
  log_sums += peak[:, None] + _gathered(peak, axis_name)
  nats = jax.nn.softplus(log_sums - 2 * (1 + wide) * cosine)
  return _mean_over_peers(jnp.where(has_other, nats, 0), batch, axis_name)


class _WholeBatch(NamedTuple):
  """How the images here and those of the whole batch are to each other.

  Attributes:
    counts_here: Whether an image here counts, `[batch]`.
    counts: Whether an image of the whole batch counts, `[whole batch]`.
    is_same: Whether two images have the same class, `[batch, whole batch]`.
    is_other: Whether the second counts and is another image.
    is_peer: Whether it is besides of the same class, and the first counts.
  """

  counts_here: Bool[Array, " batch"]
  counts: Bool[Array, " whole_batch"]
  is_same: Bool[Array, "batch whole_batch"]
  is_other: Bool[Array, "batch whole_batch"]
  is_peer: Bool[Array, "batch whole_batch"]


def _whole_batch(labels, where, size, axis_name):
  labels, counts_here = own_classes(labels, None, where, size)
  counts = _gathered(counts_here, axis_name)
  is_same = labels[:, None] == _gathered(labels, axis_name)
  first = 0 if axis_name is None else jax.lax.axis_index(axis_name) * len(labels)
  row, column = (
    jax.lax.broadcasted_iota(jnp.int32, is_same.shape, dimension)
    for dimension in (0, 1)
  )
  is_other = counts & (row + first != column)
  return _WholeBatch(
    counts_here, counts, is_same, is_other, is_other & is_same & counts_here[:, None]
  )


def _contrast(directions, holds, batch, temperature, axis_name):
  """Returns the contrastive loss of unit vectors `[batch, cell, channels]`."""
  everyone = _gathered(directions, axis_name)
  logits = einsum("bsn,asn->bsa", directions, everyone) / temperature
  logits = jnp.where(batch.is_other[:, None], logits, jnp.finfo(logits.dtype).min)
  nats = -jax.nn.log_softmax(logits)
  nats = jnp.where(batch.is_peer[:, None], nats, 0)
  # The mean over cells that hold a position, which may be other ones for each image.
  holds = jnp.broadcast_to(holds, nats.shape[:2])[..., None]
  nats = jnp.sum(nats * holds, axis=1) / jnp.sum(holds, axis=1)
  return _mean_over_peers(nats, batch, axis_name)


def _mean_over_peers(values, batch, axis_name):
  """Returns the mean over the peers of each image, scaled to images that have some."""
  peers = batch.is_peer.sum(axis=-1)
  loss = jnp.sum(values, axis=-1) / jnp.maximum(peers, 1)
  return mean_of_those(loss, peers > 0, batch.counts_here, axis_name)


def _directions(features, counts):
  """Returns unit-normalized features."""
  features = as_float(features, "features")[:, None, None]
  return cell_directions(features, Cells(), counts)[0][:, 0]


def _gathered(values, axis_name):
  """Returns the values of the whole batch."""
  if axis_name is None:
    return values
  return jax.lax.all_gather(values, axis_name, tiled=True)
