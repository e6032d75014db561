"""Arithmetic that hue and losses share: precision, range, and labels as indices.

One rule for all functions: they compute in float32, or float64 where the input is
that; half precision comes in and float32 goes out. Value and gradient are finite for
every finite input, and NaN for NaN. The gradient of a half-precision input is that of
float32, rounded: ±inf where float16 does not hold it, and never NaN.
"""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec
from jaxtyping import Array, Bool, Float, Integer, Shaped

from hue_jax.errors import InputError

Arrays = Array | np.ndarray
Axes = int | tuple[int, ...]

# Activations are divided by their largest magnitude before they are squared, so
# that nothing overflows. Magnitudes below _SMALLEST are not raised to 1.
_SMALLEST = 1e-12


def as_float(
  values: Shaped[Arrays, "*shape"] | float, name: str = "activations"
) -> Float[Array, "*shape"]:
  """Returns the array in float32, or in float64 where it is that.

  Args:
    values: The array, floating point of any precision.
    name: The name of the argument in the error.

  Returns:
    The array.

  Raises:
    TypeError: If the values are not floating point.
  """
  values = jnp.asarray(values)
  if not jnp.issubdtype(values.dtype, jnp.floating):
    raise TypeError(
      f"{name} have dtype {values.dtype}; a floating-point dtype is needed."
    )
  return values.astype(jnp.promote_types(values.dtype, jnp.float32))


def check_positive(name: str, value: Any) -> None:
  """Raises an InputError unless a value that is a Python number is positive.

  Arrays are not looked at: they may be traced.
  """
  if isinstance(value, (int, float)) and not value > 0:
    raise InputError(f"{name} is {value}; it must be positive.")


# --- Examples: their classes, and which of them count -----------------------------


def as_labels(labels: Shaped[Arrays, "*batch"] | int) -> Integer[Array, "*batch"]:
  """Returns class indices in an integer dtype of at least 32 bits.

  In fewer bits the number of classes, by which indices are compared and wrapped,
  would overflow.

  Args:
    labels: The class indices, of any integer dtype.

  Returns:
    The same indices.

  Raises:
    TypeError: If the labels are not integers, such as one-hot labels.
  """
  labels = jnp.asarray(labels)
  if not jnp.issubdtype(labels.dtype, jnp.integer):
    raise TypeError(
      f"labels have dtype {labels.dtype}; class indices of an integer dtype are "
      "needed (of one-hot labels, labels.argmax(-1))."
    )
  signed = jnp.issubdtype(labels.dtype, jnp.signedinteger)
  at_least = jnp.int32 if signed else jnp.uint32
  return labels.astype(jnp.promote_types(labels.dtype, at_least))


def labels_by_example(
  labels: Shaped[Arrays, "..."], size: Any = None
) -> Integer[Array, " batch"]:
  """Returns class indices, one an example, in an integer dtype of at least 32 bits.

  Args:
    labels: The class indices, of any integer dtype.
    size: The number of examples; any if None.

  Returns:
    The same indices.

  Raises:
    TypeError: If the labels are not integers, such as one-hot labels.
    InputError: If they are not one an example.
  """
  labels = as_labels(labels)
  if labels.ndim != 1 or (size is not None and labels.shape[0] != size):
    wanted = "1 axis" if size is None else f"shape ({size},)"
    raise InputError(
      f"labels have shape {labels.shape}; class indices of {wanted} are needed, "
      "one an example (of one-hot labels, labels.argmax(-1))."
    )
  return labels


def as_mask(where: Shaped[Arrays, "*shape"]) -> Bool[Array, "*shape"]:
  """Returns a mask as bools.

  Args:
    where: The mask, of bools or of 0 and 1 in any dtype.

  Returns:
    The mask.

  Raises:
    InputError: If it holds anything else, where that can be seen: outside `jit`.
  """
  where = jnp.asarray(where)
  if where.dtype == bool:
    return where
  known = (where == 0) | (where == 1)
  if not isinstance(known, jax.core.Tracer) and not known.all():
    raise InputError(
      f"where holds {where[~known].ravel()[0]}; it must hold bools, or 0 and 1."
    )
  return where != 0


def counting(where: Shaped[Arrays, "..."] | None, size: Any) -> Bool[Array, " batch"]:
  """Returns which examples count.

  Args:
    where: The examples that count, as `as_mask` takes them; all if None.
    size: The number of examples.

  Returns:
    The mask.

  Raises:
    InputError: If the mask has another shape, or holds other than 0 and 1.
  """
  if where is None:
    return jnp.ones(size, bool)
  where = as_mask(where)
  if where.shape != (size,):
    raise InputError(
      f"where has shape {where.shape}; a mask of shape ({size},) is needed, one value "
      "an example."
    )
  return where


def own_classes(
  labels: Shaped[Arrays, "..."],
  num_classes: int | None,
  where: Shaped[Arrays, "..."] | None = None,
  size: Any = None,
) -> tuple[Integer[Array, " batch"], Bool[Array, " batch"]]:
  """Returns labels to index by, and which examples count: those that have a class.

  Args:
    labels: The class indices; one outside [0, C) is no class.
    num_classes: The number of classes C; None where only those below 0 are none.
    where: The examples that count; all if None.
    size: The number of examples; any if None.

  Returns:
    The labels, 0 for the examples that do not count, and the mask.

  Raises:
    TypeError: If the labels are not integers.
    InputError: If labels or mask are not one an example.
  """
  labels = labels_by_example(labels, size)
  counts = counting(where, labels.shape[0]) & (labels >= 0)
  if num_classes is not None:
    counts &= labels < num_classes
  return jnp.where(counts, labels, 0), counts


def kept(
  values: Shaped[Arrays, "*shape"], counts: Bool[Array, "..."]
) -> Shaped[Array, "*shape"]:
  """Returns the values of examples that count, and 0 for others, whatever they hold.

  Args:
    values: The values, with the axes of the mask first.
    counts: The examples that count.

  Returns:
    The values; of the others no gradient flows, either.
  """
  more = jnp.ndim(values) - counts.ndim
  return jnp.where(counts[(..., *[None] * more)], values, 0)


def one_hot_where(
  labels: Integer[Array, " batch"],
  num_classes: int,
  counts_here: Bool[Array, " batch"],
  dtype: jnp.dtype,
) -> Float[Array, "batch classes"]:
  """Returns one-hot labels of the examples that count, and 0 for others."""
  return kept(jax.nn.one_hot(labels, num_classes, dtype=dtype), counts_here)


# --- Range ----------------------------------------------------------------------


def scaled(
  activations: Shaped[Arrays, "*leading channels"],
) -> tuple[Float[Array, "*leading channels"], Float[Array, "*leading"]]:
  """Returns activations divided by their largest magnitude.

  The scale carries no gradient: what is computed from the two together does not
  depend on it.

  Args:
    activations: The vectors a along the last axis.

  Returns:
    The vectors a / scale, of magnitude at most 1, and scale.

  Raises:
    InputError: If the array has no axis.
    TypeError: If the activations are not floating point.
  """
  activations = as_float(activations)
  if activations.ndim < 1:
    raise InputError("activations have no axis; the last axis is the channels.")
  peak = jnp.max(jnp.abs(activations), axis=-1, keepdims=True)
  scale = jax.lax.stop_gradient(jnp.maximum(peak, _SMALLEST))
  return divide_by_peak(activations, scale), scale[..., 0]


def scaled_together(
  activations: Shaped[Arrays, "*shape"],
) -> Float[Array, "*shape"]:
  """Returns activations divided by the largest magnitude among them all.

  Args:
    activations: An array of any shape.

  Returns:
    The array, of magnitude at most 1.

  Raises:
    TypeError: If the activations are not floating point.
  """
  activations = as_float(activations)
  peak = jnp.max(jnp.abs(activations))
  return divide_by_peak(
    activations, jnp.maximum(peak, jnp.finfo(activations.dtype).tiny)
  )


def divide_by_peak(
  values: Float[Array, "*shape"], peak: Float[Array, "..."]
) -> Float[Array, "*shape"]:
  """Returns values / peak, also where 1 / peak, by which XLA multiplies, is denormal.

  Args:
    values: The dividend, of magnitude at most `peak`.
    peak: The divisor, positive.

  Returns:
    The quotient.
  """
  shrink = jnp.where(peak > 1e18, 2.0**-64, 1.0).astype(values.dtype)
  return (values * shrink) / (peak * shrink)


def moderate(
  vectors: Float[Array, "*shape"], axis: Axes = -1
) -> tuple[Float[Array, "*shape"], Float[Array, "..."]]:
  """Returns vectors · a power of two, so that products neither overflow nor vanish.

  The power is 1, and no bit changes, unless the largest magnitude is beyond the
  fourth root of the largest number, or below its inverse.

  Args:
    vectors: The vectors, of any length.
    axis: The axes that share a power.

  Returns:
    The vectors, and the power, which carries no gradient, with the axes kept.
  """
  peak = jax.lax.stop_gradient(jnp.max(jnp.abs(vectors), axis, keepdims=True))
  exponent = jnp.finfo(vectors.dtype).maxexp
  large, power = 2.0 ** (exponent // 4), 2.0 ** (5 * exponent // 8)
  factor = jnp.where(peak > large, 1 / power, jnp.where(peak < 1 / large, power, 1.0))
  factor = factor.astype(vectors.dtype)
  return vectors * factor, factor


def multipliable(values: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
  """Returns values bounded so that sums of products of two of them are finite.

  Magnitudes beyond 2⁵⁶ in float32 (7·10¹⁶) count as that, with gradient 0.

  Args:
    values: The values, of any magnitude.

  Returns:
    The values; those within the bounds are the same to the bit.
  """
  bound = 2.0 ** (jnp.finfo(values.dtype).maxexp // 2 - 8)
  return jnp.clip(values, -bound, bound)


@jax.custom_jvp
def smooth_norm(
  vectors: Float[Array, "*leading channels"], floor: Float[Arrays, "..."] | float
) -> Float[Array, "*leading"]:
  """Returns √(‖v‖² + floor²), whose gradient v / √(‖v‖² + floor²) cannot overflow.

  Args:
    vectors: The vectors v along the last axis.
    floor: The least norm, positive; it carries no gradient.

  Returns:
    The norm, at least `floor`.
  """
  return jnp.sqrt(jnp.sum(vectors * vectors, axis=-1) + jnp.square(floor))


@smooth_norm.defjvp
def _smooth_norm_jvp(primals, tangents):
  length = smooth_norm(*primals)
  direction = primals[0] / length[..., None]
  return length, jnp.sum(direction * tangents[0], axis=-1)


def still_where_zero(
  vectors: Float[Array, "*leading channels"],
) -> Float[Array, "*leading channels"]:
  """Returns the vectors, of which those of zeros have no gradient.

  A vector of zeros has no direction: what is divided by a norm that has a floor has the
  gradient 1 / floor there, and one image of one color would undo a training.

  Args:
    vectors: The vectors v along the last axis.

  Returns:
    The same vectors.
  """
  return jnp.where(jnp.any(vectors != 0, axis=-1, keepdims=True), vectors, 0)


def norm_of_direction(
  vectors: Float[Array, "*leading channels"],
  floor: float,
  unit: Float[Array, "*leading"],
) -> Float[Array, "*leading"]:
  """Returns the norm to divide a vector by for its direction; a unit for zeros.

  A vector of zeros divided by a floor has the gradient 1 / floor, which would undo a
  training; without any it could not leave, as a head whose weights start at 0 must.
  With the unit it is that of a vector of length 1.

  Args:
    vectors: The vectors v along the last axis.
    floor: The least norm, in units.
    unit: What a length of 1 is, after `moderate`.

  Returns:
    √(‖v‖² + (floor · unit)²), and the unit where v is 0.
  """
  norm = smooth_norm(vectors, floor * unit)
  return jnp.where(jnp.any(vectors != 0, axis=-1), norm, unit)


def norm_where(
  vectors: Float[Array, "*leading channels"], where: Shaped[Array, "*leading"]
) -> Float[Array, "*leading"]:
  """Returns the Euclidean norm where `where` holds, else 0 with gradient 0.

  Args:
    vectors: The vectors v along the last axis, of moderate length.
    where: Whether v is more than rounding.

  Returns:
    The norm.
  """
  return jnp.where(where, smooth_norm(vectors, 1e-18), 0)


def rescale(
  length: Float[Array, "*shape"], scale: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
  """Returns length · scale, or the largest finite number where that overflows.

  Args:
    length: The first factor, at least 0.
    scale: The second factor, positive.

  Returns:
    The product.
  """
  largest = jnp.finfo(length.dtype).max
  overflows = length >= largest / jnp.maximum(scale, 1)
  return jnp.where(overflows, largest, jnp.where(overflows, 0, length) * scale)


# --- Means, products and sums over devices ----------------------------------------


def weighted_mean(
  values: Float[Arrays, "*leading"], weights: Float[Arrays, "*leading"], axis: Axes
) -> Float[Array, "..."]:
  """Returns Σ wv / Σ w over the axes, and 0 where all weights are 0 or there are none.

  Example:
    >>> import numpy as np
    >>> from hue_jax import losses
    >>> values, weights = np.float32([[1, 5], [2, 4]]), np.float32([[1, 3], [0, 0]])
    >>> print(losses.weighted_mean(values, weights, axis=-1))
    [4.0 0.0]

  Args:
    values: The values v.
    weights: The weights w, non-negative.
    axis: The axes to sum over.

  Returns:
    The means.
  """
  # By the largest first, so that large weights do not overflow in the sum.
  weights = jnp.asarray(weights)
  peak = weights.max(axis, keepdims=True, initial=0)
  weights = divide_by_peak(weights, jnp.where(peak > 0, peak, 1))
  total = weights.sum(axis)
  return jnp.sum(values * weights, axis) / jnp.where(total > 0, total, 1)


def einsum(formula: str, *operands: Shaped[Arrays, "..."]) -> Shaped[Array, "..."]:
  """Returns `jnp.einsum` in full precision; TPUs and GPUs round float32 factors."""
  return jnp.einsum(formula, *operands, precision="highest")


def psum(value: Shaped[Array, "*shape"], axis_name: str | None):
  """Returns the sum over a mapped axis, or the value itself where there is none."""
  return value if axis_name is None else jax.lax.psum(value, axis_name)


def mean_of_those(
  loss: Float[Array, " batch"],
  those: Bool[Array, " batch"],
  counts_here: Bool[Array, " batch"],
  axis_name: str | None,
) -> Float[Array, " batch"]:
  """Returns a loss whose mean over the examples that count is that over some of them.

  Args:
    loss: The loss of each example.
    those: The examples that have the loss; others have 0.
    counts_here: The examples that count.
    axis_name: The mapped axis over which the batch is spread.
  """
  loss = jnp.where(those, loss, 0)
  size = psum(counts_here.sum(), axis_name)
  return loss * size / jnp.maximum(psum(those.sum(), axis_name), 1)


def sharded_like_the_batch(function: Callable) -> Callable:
  """Lets a function of a batch run where arrays carry their sharding in their type.

  On a mesh of explicit axes (`AxisType.Explicit`) JAX asks for the sharding of what
  is gathered by a label or summed over the batch. The compiler finds those by
  itself, as on other meshes; the result is spread as the batch is.
  """
  return _in_automatic_axes(function, spread=True)


def replicated(function: Callable) -> Callable:
  """Does as `sharded_like_the_batch` for a function whose result every device has."""
  return _in_automatic_axes(function, spread=False)


def _in_automatic_axes(function, spread):
  @functools.wraps(function)
  def call(*args, **kwargs):
    leaves, tree = jax.tree.flatten((args, kwargs))
    found = [s for s in map(_explicit_sharding, leaves) if s is not None]
    if not found:
      return function(*args, **kwargs)
    first = next(((s.spec[0],) for s in found if s.spec and s.spec[0]), ())
    places = [i for i, x in enumerate(leaves) if isinstance(x, (jax.Array, np.ndarray))]

    def of_arrays(*arrays):
      filled = list(leaves)
      for place, array in zip(places, arrays, strict=True):
        filled[place] = array
      args, kwargs = jax.tree.unflatten(tree, filled)
      return function(*args, **kwargs)

    spec = PartitionSpec(*first) if spread else PartitionSpec()
    with jax.sharding.use_abstract_mesh(found[0].mesh):
      return jax.sharding.auto_axes(of_arrays, out_sharding=spec)(
        *(leaves[place] for place in places)
      )

  return call


def _explicit_sharding(leaf):
  """Returns the sharding in an array's type, where its mesh has explicit axes."""
  if not hasattr(jax, "typeof") or not isinstance(leaf, jax.Array):
    return None  # JAX before explicit axes, or no array that could have them
  sharding = getattr(jax.typeof(leaf), "sharding", None)
  if sharding is None or not getattr(sharding.mesh, "explicit_axes", ()):
    return None
  return sharding
