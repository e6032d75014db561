"""The hue loss, the losses that use the angle in the image plane, and others.

Like Optax's, a loss here is a pure function that returns one value an example,
without the mean over the batch:

    loss = cross_entropy + 0.1 * hue_loss(features, hue_labels(labels, 10)).mean()

Source: "Coloring Deep CNN Layers with Activation Hue Loss" proposes "hue-like
angular labels" as a regularization term and gives no equation; the equations are
this project's.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hue_jax import hue
from hue_jax.hue import Arrays

Axes = int | tuple[int, ...]

CENTERS = ("image", "activation")


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


class Prototypes(NamedTuple):
  """What activations of each class look like at each angle, kept from batch to batch.

  Attributes:
    means: moving average of the unit-normalized cell means, `[classes, cells,
      channels]`.
    known: 1 for the classes that have been seen, 0 for others.
  """

  means: Float[Array, "classes cells channels"]
  known: Float[Array, "classes"]


def angular_consistency_loss(
  activations: Float[Arrays, "batch height width channels"],
  labels: Int[Arrays, "batch"],
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
    rings: cuts every sector at so many radii into rings of equal area; each of the
      S · rings cells then has a prototype.
    offset: angle in radians by which the sectors are turned.
    smooth: whether a position belongs to the two nearest sectors, in proportion to
      its angle, and not to one alone.
    center: "image", or "activation" for each image's own center of activation
      strength, through which no gradient flows.
    temperature: τ.
    prototypes: P from earlier batches (see `update_prototypes`) in place of the
      batch's own; then every image of a known class counts. No gradient flows
      through them.
    where: the images that count; all if None.
    axis_name: the mapped axis over which the batch is spread; prototypes and
      counts are then those of the whole batch.

  Returns:
    Nats an image, scaled so that the mean over the images that count, of the whole
    batch, is the mean over those that have another of their class in it. Images
    without one have 0; a batch without any gives zeros.

  Raises:
    ValueError: sectors or rings below 1, a temperature that is not positive, or an
      unknown center.
    TypeError: activations that are not floating point.
  """
  if isinstance(temperature, (int, float)) and not temperature > 0:
    raise ValueError(f"temperature is {temperature}; it must be positive.")
  means, holds = _cell_means(activations, sectors, rings, offset, smooth, center)
  counts_here = _counting(labels, where)
  if prototypes is None:
    labels, num_classes = _numbered_in_batch(labels, num_classes, axis_name)
  one_hot = _one_hot(labels, num_classes, counts_here, means.dtype)
  if prototypes is None:
    sums = _psum(_einsum("bc,bsn->csn", one_hot, means), axis_name)
    counts = _psum(one_hot.sum(axis=0), axis_name)
    others = counts - one_hot  # [batch, C]: images of class c besides this one
    similarity = _einsum("bsn,csn->bsc", means, sums)
    similarity -= _einsum("bsn,bsn->bs", means, means)[..., None] * one_hot[:, None]
    similarity /= jnp.maximum(others, 1)[:, None]
  else:
    prototypes = jax.lax.stop_gradient(prototypes)
    others = jnp.broadcast_to(prototypes.known, one_hot.shape)
    similarity = _einsum("bsn,csn->bsc", means, prototypes.means)
  logits = jnp.where((others > 0)[:, None], similarity / temperature, -1e9)

  own = jnp.sum(jax.nn.log_softmax(logits) * one_hot[:, None], axis=-1)
  own = jnp.sum(own * holds, axis=-1) / jnp.sum(holds, axis=-1)
  has_peer = jnp.sum(others * one_hot, axis=-1) > 0
  loss = jnp.where(has_peer, -own, 0)
  size = _psum(counts_here.sum(), axis_name)
  return loss * size / jnp.maximum(_psum(has_peer.sum(), axis_name), 1)


def no_prototypes(num_classes: int, cells: int, channels: int) -> Prototypes:
  """The prototypes before the first batch: no class is known.

  Args:
    num_classes: C.
    cells: sectors · rings.
    channels: of the layer.

  Returns:
    Zeros.
  """
  return Prototypes(jnp.zeros((num_classes, cells, channels)), jnp.zeros(num_classes))


def update_prototypes(
  prototypes: Prototypes,
  activations: Float[Arrays, "batch height width channels"],
  labels: Int[Arrays, "batch"],
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

  P(c, s) ← decay · P(c, s) + (1 − decay) · mean of v(·, s) over the batch's images
  of class c; a class seen for the first time takes the mean itself.

  Args:
    prototypes: to move.
    activations: a layer.
    labels: the class of each image.
    decay: share of the old prototype that stays.
    sectors: as in `angular_consistency_loss`.
    rings: likewise.
    offset: likewise.
    smooth: likewise.
    center: likewise.
    where: the images that count; all if None.
    axis_name: the mapped axis over which the batch is spread.

  Returns:
    The prototypes after the batch.
  """
  means, _ = _cell_means(activations, sectors, rings, offset, smooth, center)
  means = jax.lax.stop_gradient(means)
  num_classes = prototypes.known.shape[0]
  one_hot = _one_hot(labels, num_classes, _counting(labels, where), means.dtype)
  counts = _psum(one_hot.sum(axis=0), axis_name)
  sums = _psum(_einsum("bc,bsn->csn", one_hot, means), axis_name)
  batch_means = sums / jnp.maximum(counts, 1)[:, None, None]
  rate = jnp.where(prototypes.known > 0, 1 - decay, 1.0) * (counts > 0)
  moved = prototypes.means + rate[:, None, None] * (batch_means - prototypes.means)
  return Prototypes(moved, jnp.maximum(prototypes.known, counts > 0))


# --- Losses that the hue loss is compared with ------------------------------------


def smoothed_labels(
  labels: Int[Arrays, "batch"],
  num_classes: int,
  *,
  smoothing: Float[Arrays, ""] | float,
  concentration: Float[Arrays, ""] | float = 0.0,
  class_hues: Float[Arrays, "classes"] | None = None,
) -> Float[Array, "batch classes"]:
  """(1 − ε) one-hot + ε · a von Mises bump about the class hue of the label.

  The bump over class k is ∝ exp(κ cos(h_k − h_label)): classes whose hues lie near
  each other share more of the target. κ = 0 is label smoothing as it is known, which
  spreads ε over all classes alike.

  Args:
    labels: classes.
    num_classes: C.
    smoothing: ε.
    concentration: κ.
    class_hues: h, angles in radians; 2πc/C if None.

  Returns:
    Targets that sum to 1.

  Source: Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, for
  κ = 0.
  """
  hues = hue.hue_labels(np.arange(num_classes), num_classes)
  hues = hues if class_hues is None else jnp.asarray(class_hues)
  # By example and not by class: memory batch × C, and not C × C.
  distances = hues[labels][:, None] - hues
  bumps = jax.nn.softmax(concentration * jnp.cos(distances), axis=-1)
  one_hot = jax.nn.one_hot(labels, num_classes)
  return (1 - smoothing) * one_hot + smoothing * bumps


def confidence_penalty(
  logits: Float[Arrays, "batch classes"],
) -> Float[Array, "batch"]:
  """Negative entropy of the prediction, Σ p log p.

  Args:
    logits: of the classes.

  Returns:
    Nats, from −log C (sure of nothing) to 0 (sure of one class).

  Source: Pereyra et al., "Regularizing Neural Networks by Penalizing Confident Output
  Distributions", ICLR workshop 2017.
  """
  log_p = jax.nn.log_softmax(logits)
  return jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


def center_loss(
  features: Float[Arrays, "batch channels"],
  labels: Int[Arrays, "batch"],
  centers: Float[Arrays, "classes channels"],
) -> Float[Array, "batch"]:
  """½ ‖x − c_label‖²: features lie near the center of their class.

  Args:
    features: x.
    labels: classes.
    centers: c, one a class, through which no gradient flows; `update_centers` moves
      them.

  Returns:
    The loss of each example.

  Source: Wen et al., "A Discriminative Feature Learning Approach for Deep Face
  Recognition", ECCV 2016.
  """
  difference = features - jax.lax.stop_gradient(jnp.asarray(centers))[labels]
  return 0.5 * jnp.sum(difference**2, axis=-1)


def update_centers(
  centers: Float[Arrays, "classes channels"],
  features: Float[Arrays, "batch channels"],
  labels: Int[Arrays, "batch"],
  *,
  rate: Float[Array, ""] | float = 0.5,
  where: Bool[Arrays, "batch"] | None = None,
  axis_name: str | None = None,
) -> Float[Array, "classes channels"]:
  """c ← c − α Σ (c − x) / (1 + n), over the n examples of a batch of that class.

  Args:
    centers: c.
    features: x.
    labels: classes.
    rate: α.
    where: the examples that count; all if None.
    axis_name: the mapped axis over which the batch is spread.

  Returns:
    The centers after the batch.

  Source: Wen et al., equation 4 (see `center_loss`).
  """
  centers = jnp.asarray(centers)
  features = jax.lax.stop_gradient(jnp.asarray(features, jnp.float32))
  one_hot = _one_hot(labels, len(centers), _counting(labels, where), jnp.float32)
  counts = _psum(one_hot.sum(axis=0), axis_name)[:, None]
  sums = _psum(_einsum("bc,bn->cn", one_hot, features), axis_name)
  return centers - rate * (counts * centers - sums) / (1 + counts)


def cosine_logits(
  features: Float[Arrays, "batch channels"],
  kernel: Float[Arrays, "channels classes"],
) -> Float[Array, "batch classes"]:
  """cos θ between the features and the weights of each class.

  Args:
    features: of the examples.
    kernel: one column a class.

  Returns:
    Cosines, and 0 for features of zero length.
  """
  features, kernel = jnp.asarray(features), jnp.asarray(kernel)
  lengths = hue.smooth_norm(features, 1e-6)[:, None] * hue.smooth_norm(kernel.T, 1e-6)
  return features @ kernel / lengths


def additive_angular_margin_loss(
  features: Float[Arrays, "batch channels"],
  kernel: Float[Arrays, "channels classes"],
  labels: Int[Arrays, "batch"],
  *,
  margin: Float[Arrays, ""] | float = 0.5,
  scale: Float[Arrays, ""] | float = 64.0,
) -> Float[Array, "batch"]:
  """Cross entropy of s · cos(θ + m · [class is the label]): ArcFace.

  Where θ + m passes π, the cosine goes on falling along a line, as the authors'
  implementation has it, so that a worse angle is never a smaller loss.

  Args:
    features: of the examples.
    kernel: one column a class; lengths of both do not matter.
    labels: classes.
    margin: m in radians.
    scale: s.

  Returns:
    Nats of each example.

  Source: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face
  Recognition", CVPR 2019.
  """
  cosine = cosine_logits(features, kernel)
  own = jnp.clip(jnp.take_along_axis(cosine, labels[:, None], axis=-1), -1, 1)
  sine = jnp.sqrt(jnp.maximum(1 - own**2, 1e-12))
  beyond = own < -jnp.cos(margin)  # θ + m > π
  with_margin = jnp.where(
    beyond,
    own - jnp.sin(margin) * margin,
    own * jnp.cos(margin) - sine * jnp.sin(margin),
  )
  is_label = jax.nn.one_hot(labels, cosine.shape[-1], dtype=bool)
  log_p = jax.nn.log_softmax(scale * jnp.where(is_label, with_margin, cosine))
  return -jnp.take_along_axis(log_p, labels[:, None], axis=-1)[:, 0]


def simplex_prototypes(num_classes: int) -> Float[np.ndarray, "classes classes"]:
  """Unit vectors of R^C that are as far from each other as C vectors can be.

  Any two have the cosine −1/(C − 1).

  Args:
    num_classes: C, at least 2.

  Returns:
    One vector a row: √(C/(C − 1)) (e_c − 1/C).

  Raises:
    ValueError: fewer than 2 classes.
  """
  if num_classes < 2:
    raise ValueError(f"num_classes is {num_classes}; prototypes need at least 2.")
  centered = np.eye(num_classes, dtype=np.float32) - 1 / num_classes
  return centered * np.float32(np.sqrt(num_classes / (num_classes - 1)))


def hyperspherical_prototype_loss(
  outputs: Float[Arrays, "batch dimensions"],
  labels: Int[Arrays, "batch"],
  prototypes: Float[Arrays, "classes dimensions"],
) -> Float[Array, "batch"]:
  """(1 − cos)² of the angle between an output and the prototype of its class.

  Args:
    outputs: of the network.
    labels: classes.
    prototypes: unit vectors, which stay as they are.

  Returns:
    The loss of each example, in [0, 4].

  Source: Mettes et al., "Hyperspherical Prototype Networks", NeurIPS 2019.
  """
  cosine = cosine_logits(outputs, jnp.asarray(prototypes).T)
  own = jnp.take_along_axis(cosine, labels[:, None], axis=-1)[:, 0]
  return (1 - own) ** 2


def activation_l2(
  activations: Float[Arrays, "batch *positions channels"],
) -> Float[Array, "batch"]:
  """Mean square of an example's activations, ⟨a²⟩ over positions and channels.

  Args:
    activations: a layer.

  Returns:
    The penalty of each example.

  Source: Merity et al., "Revisiting Activation Regularization for Language RNNs",
  2017.
  """
  squares = jnp.square(jnp.asarray(activations, jnp.float32))
  return squares.mean(axis=tuple(range(1, squares.ndim)))


def dense_cross_entropy(
  activations: Float[Arrays, "batch height width channels"],
  labels: Int[Arrays, "batch"],
  *,
  kernel: Float[Arrays, "channels classes"],
  bias: Float[Arrays, "classes"],
) -> Float[Array, "batch"]:
  """Cross entropy of the classifier at every position, and its mean over positions.

  Args:
    activations: the layer whose mean over positions the classifier takes.
    labels: classes.
    kernel: of the classifier.
    bias: of the classifier.

  Returns:
    Nats of each example.

  Source: the classifier as a convolution, as in Long et al., "Fully Convolutional
  Networks for Semantic Segmentation", CVPR 2015, with the image's label everywhere.
  """
  logits = jnp.einsum("bhwn,nc->bhwc", activations, kernel) + bias
  log_p = jax.nn.log_softmax(logits.astype(jnp.float32))
  own = jnp.take_along_axis(log_p, labels[:, None, None, None], axis=-1)
  return -own.mean(axis=(1, 2, 3))


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


def _cell_means(activations, sectors, rings, offset, smooth, center):
  """Unit-normalized mean activation by cell, and which cells hold a position.

  Returns:
    `[batch, cell, channels]`, and 0 or 1 by `[cell]` or `[batch, cell]`.
  """
  for name, value in (("sectors", sectors), ("rings", rings)):
    if value < 1:
      raise ValueError(f"{name} is {value}; it must be at least 1.")
  if center not in CENTERS:
    raise ValueError(f"center is {center!r}; it must be one of {', '.join(CENTERS)}.")
  activations, scale = hue.scaled(activations)
  activations = activations * (scale / scale.max(axis=(1, 2), keepdims=True))[..., None]
  angle, radius = _polar(activations, center)
  if activations.shape[1:3] == (1, 1):  # one position has no angle: it is the cell
    member = jnp.ones((1, 1, 1))
  else:
    member = _membership(angle, radius, sectors, rings, offset, smooth)
  sums = _einsum(
    "bhwn,bshw->bsn" if member.ndim == 4 else "bhwn,shw->bsn",
    activations,
    jnp.asarray(member, activations.dtype),
  )
  holds = member.sum(axis=(-2, -1)) > 0
  return sums / hue.smooth_norm(sums, 1e-6)[..., None], holds


def _polar(activations, center):
  """Angle and radius of every position; the radius is 1 in the farthest corner."""
  height, width = activations.shape[1:3]
  angle, radius = hue.polar_grid(height, width)
  if center == "activation":
    strength = jnp.linalg.norm(jax.lax.stop_gradient(activations), axis=-1)
    strength /= strength.sum(axis=(1, 2), keepdims=True) + 1e-12
    y, x = np.mgrid[:height, :width]
    y = y - jnp.sum(strength * y, axis=(1, 2), keepdims=True)
    x = x - jnp.sum(strength * x, axis=(1, 2), keepdims=True)
    angle, radius = jnp.arctan2(y, x) % hue.TAU, jnp.hypot(x, y)
  return angle, radius / max(math.hypot(height - 1, width - 1) / 2, 1e-12)


def _membership(angle, radius, sectors, rings, offset, smooth):
  """How much each position belongs to each cell, `[..., cell, height, width]`.

  In NumPy where nothing is traced, so that the compiler sees constants.
  """
  turned = (angle - offset) * (sectors / hue.TAU)
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


def _counting(labels, where):
  return jnp.ones(labels.shape, bool) if where is None else jnp.asarray(where)


def _numbered_in_batch(labels, num_classes, axis_name):
  """Classes by where they first stand in the whole batch, if it has fewer than C.

  Classes that no image has need no prototype: with many, most of the work is saved.
  """
  labels = jnp.asarray(labels)
  everyone = labels
  if axis_name is not None:
    everyone = jax.lax.all_gather(labels, axis_name, tiled=True)
  if len(everyone) >= num_classes:
    return labels, num_classes
  return jnp.argmax(labels[:, None] == everyone, axis=-1), len(everyone)


def _one_hot(labels, num_classes, counts_here, dtype):
  one_hot = jax.nn.one_hot(labels, num_classes, dtype=dtype)
  return jnp.where(counts_here[:, None], one_hot, 0)


def _einsum(formula, *operands):
  return jnp.einsum(formula, *operands, precision="highest")


def _psum(value, axis_name):
  return value if axis_name is None else jax.lax.psum(value, axis_name)
