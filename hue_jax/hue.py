"""Activation hue: the hue angle of RGB, generalized to N channels.

An activation is a vector a ∈ R^N, the last axis of every array here. Its gray
part lies on the achromatic axis (1, …, 1)/√N; a *hue plane* is a pair of
orthonormal vectors orthogonal to that axis, an array `[channels, 2]`; the
projection z = a · plane is the *chroma vector*; its angle is the *activation
hue* θ and its length the *chroma*.

All functions are pure and work under `jit`, `vmap`, `grad` and `pmap`, on any
leading shape. They compute in float32, or float64 where the input is that; value and
gradient are finite for every finite input, and NaN for NaN. Angles are in radians,
in [0, 2π).

Source: "Coloring Deep CNN Layers with Activation Hue Loss" names the activation
hue and gives no equation; the definitions are this project's.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Integer, Key, Shaped, UInt32

from hue_jax.errors import InputError
from hue_jax.numerics import (
  Arrays,
  as_float,
  as_labels,
  einsum,
  moderate,
  norm_where,
  replicated,
  rescale,
  scaled,
  scaled_together,
  smooth_norm,
)

TAU = 2 * math.pi

# A chroma below this share of the largest magnitude is rounding: the vector is gray.
_ACHROMATIC = 1e-12


def hue_angle(
  activations: Float[Arrays, "*leading channels"],
  plane: Float[Arrays, "channels 2"] | None = None,
) -> Float[Array, "*leading"]:
  """Returns the activation hue θ = arg z of z = a · plane, in [0, 2π).

  In the Fourier plane θ = arg Σₙ aₙ exp(2πin/N), which for N = 3 is the circular
  hue of RGB: red 0, green 2π/3, blue 4π/3. θ does not change when gray is added
  or the activation is multiplied by a positive number.

  Example:
    >>> import numpy as np
    >>> import hue_jax
    >>> rgb = np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
    >>> print(np.rad2deg(hue_jax.hue_angle(rgb)))
    [  0.0 120.0 240.0  60.0]

  Args:
    activations: The vectors a along the last axis.
    plane: The hue plane; the Fourier plane if None.

  Returns:
    The hue θ in radians; 0, with gradient 0, where the activation is gray.

  Raises:
    InputError: If there are fewer than 3 channels, or the plane has another shape.
    TypeError: If the activations are not floating point.
  """
  z, chromatic, _, _ = chroma_vector(activations, plane)
  z = jnp.where(chromatic[..., None], z, jnp.array([1, 0], z.dtype))
  return wrap_angle(jnp.arctan2(z[..., 1], z[..., 0]))


def chroma(
  activations: Float[Arrays, "*leading channels"],
  plane: Float[Arrays, "channels 2"] | None = None,
) -> Float[Array, "*leading"]:
  """Returns the chroma ‖z‖, the length of z = a · plane.

  Example:
    >>> import numpy as np
    >>> import hue_jax
    >>> print(hue_jax.chroma(np.float32([[3, 0, 0], [5, 2, 2], [7, 7, 7]])))
    [2.449 2.449 0.0   ]

  Args:
    activations: The vectors a along the last axis.
    plane: The hue plane; the Fourier plane if None.

  Returns:
    The chroma ‖z‖ ≥ 0 in the activation's own units; 0, with gradient 0, where the
    activation is gray.

  Raises:
    InputError: If there are fewer than 3 channels, or the plane has another shape.
    TypeError: If the activations are not floating point.
  """
  z, chromatic, _, scale = chroma_vector(activations, plane)
  return rescale(norm_where(z, chromatic), scale)


def saturation(
  activations: Float[Arrays, "*leading channels"],
  plane: Float[Arrays, "channels 2"] | None = None,
) -> Float[Array, "*leading"]:
  """Returns the saturation ‖z‖ / ‖a − mean(a)‖, in [0, 1].

  It is the share of the activation's departure from gray that lies in the hue plane.
  For N = 3 the plane is all there is besides gray, and the saturation is 1.

  Example:
    >>> import numpy as np
    >>> import hue_jax
    >>> waves = np.float32([[1, 0, -1, 0], [1, -1, 1, -1], [2, -1, 0, -1]])
    >>> print(hue_jax.saturation(waves))
    [1.0    0.0    0.577]

  Args:
    activations: The vectors a along the last axis.
    plane: The hue plane; the Fourier plane if None.

  Returns:
    The saturation, without unit; 0, with gradient 0, where z = 0.

  Raises:
    InputError: If there are fewer than 3 channels, or the plane has another shape.
    TypeError: If the activations are not floating point.
  """
  z, chromatic, departure, _ = chroma_vector(activations, plane)
  # Gray has a length here, too: by one near 0 the second derivative would be NaN.
  departure = jnp.where(chromatic[..., None], departure, 1)
  return jnp.minimum(norm_where(z, chromatic) / smooth_norm(departure, 1e-18), 1)


def activation_strength(
  activations: Float[Arrays, "*leading channels"],
) -> Float[Array, "*leading"]:
  """Returns the Euclidean norm ‖a‖, with gradient 0 at a = 0.

  Example:
    >>> import numpy as np
    >>> import hue_jax
    >>> print(hue_jax.activation_strength(np.float32([[3, 4, 0], [0, 0, 0]])))
    [5.0 0.0]

  Args:
    activations: The vectors a along the last axis.

  Returns:
    The norm ‖a‖ in the activation's own units.

  Raises:
    TypeError: If the activations are not floating point.
  """
  unit, scale = scaled(activations)
  return rescale(norm_where(unit, jnp.any(unit != 0, axis=-1)), scale)


# --- Hue labels -----------------------------------------------------------------


def hue_labels(
  labels: Integer[Arrays, "*batch"] | int, num_classes: int
) -> Float[Array, "*batch"]:
  """Returns the class hue θ* = 2πc/C of label c among C classes.

  It is the hue of the one-hot label itself: θ(one_hot(c, C)) = 2πc/C.

  Example:
    >>> import numpy as np
    >>> import hue_jax
    >>> print(np.rad2deg(hue_jax.hue_labels(np.array([0, 1, 2, 3]), 4)))
    [  0.0  90.0 180.0 270.0]

  Args:
    labels: The class indices c in [0, C), of any integer dtype. An index out of range
      (−1 for "none") is taken modulo C, as angles are; `hue_loss` leaves it out by
      `where=labels >= 0`.
    num_classes: The number of classes C.

  Returns:
    The class hue θ* in radians, in [0, 2π).

  Raises:
    InputError: If num_classes is below 1, or the integers are one-hot labels (where
      their values are at hand: outside `jit`).
    TypeError: If the labels are not integers, as one-hot labels mostly are not.
  """
  if num_classes < 1:
    raise InputError(f"num_classes is {num_classes}; it must be at least 1.")
  labels = np.asarray(labels) if isinstance(labels, int) else labels
  indices = as_labels(labels)
  if indices.ndim > 1 and indices.shape[-1] == num_classes and _is_one_hot(labels):
    raise InputError(
      f"labels of shape {indices.shape} are one-hot; class indices are needed "
      "(labels.argmax(-1))."
    )
  if num_classes <= jnp.iinfo(indices.dtype).max:
    wrapped = jnp.mod(indices, np.asarray(num_classes, indices.dtype))
    angle = TAU / num_classes * wrapped
  else:  # JAX's integers do not hold C, but NumPy's labels may be of more bits.
    turns = (labels if isinstance(labels, np.ndarray) else indices) / num_classes
    angle = jnp.asarray(TAU * (turns % 1), float)
  # Rounding makes 2π itself of the last of very many classes.
  return jnp.where(angle >= jnp.asarray(TAU, angle.dtype), 0, angle)


def _is_one_hot(labels):
  """Tells whether every row holds one 1 and else 0; False where values are traced."""
  if isinstance(labels, jax.core.Tracer):
    return False
  rows = np.asarray(labels).astype(np.int64)
  return rows.size > 0 and bool(
    np.all((rows == 0) | (rows == 1)) and np.all(rows.sum(axis=-1) == 1)
  )


def position_hue(height: int, width: int) -> Float[Array, "{height} {width}"]:
  """Returns the position hue φ(x, y), the polar angle about the image plane's center.

  φ = arg(x + iy), with x to the right and y down, as images are stored, so that
  the right is 0, the bottom π/2, the left π and the top 3π/2.

  Example:
    >>> import numpy as np
    >>> import hue_jax
    >>> print(np.rad2deg(hue_jax.position_hue(3, 3)))
    [[225.0 270.0 315.0]
     [180.0   0.0   0.0]
     [135.0  90.0  45.0]]

  Args:
    height: The number of rows of the layer.
    width: The number of columns of the layer.

  Returns:
    The position hue φ in radians, in [0, 2π); 0 at the exact center, where it is
    undefined and `position_weights` is 0.

  Raises:
    InputError: If height or width is below 1.
  """
  return jnp.asarray(polar_grid(height, width)[0], dtype=float)


def position_weights(height: int, width: int) -> Float[Array, "{height} {width}"]:
  """Returns 1 where the position hue is defined, and 0 at the exact center.

  Example:
    >>> import hue_jax
    >>> print(hue_jax.position_weights(3, 3))
    [[1.0 1.0 1.0]
     [1.0 0.0 1.0]
     [1.0 1.0 1.0]]

  Args:
    height: The number of rows of the layer.
    width: The number of columns of the layer.

  Returns:
    The weights, without unit.

  Raises:
    InputError: If height or width is below 1.
  """
  return jnp.asarray(polar_grid(height, width)[1] > 0, dtype=float)


# --- Hue planes -----------------------------------------------------------------


def fourier_plane(channels: int) -> Float[Array, "{channels} 2"]:
  """Returns the default hue plane: √(2/N) cos(2πn/N) and √(2/N) sin(2πn/N).

  Example:
    >>> import hue_jax
    >>> print((hue_jax.fourier_plane(3) + 0))
    [[ 0.816  0.0   ]
     [-0.408  0.707]
     [-0.408 -0.707]]

  Args:
    channels: The number of channels N.

  Returns:
    Two orthonormal columns, orthogonal to (1, …, 1).

  Raises:
    InputError: If there are fewer than 3 channels.
  """
  _check_channels(channels)
  angle = TAU * np.arange(channels) / channels
  columns = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
  return jnp.asarray(math.sqrt(2 / channels) * columns, dtype=float)


def random_plane(
  key: Key[Array, ""] | UInt32[Array, "2"], channels: int
) -> Float[Array, "{channels} 2"]:
  """Returns a hue plane drawn uniformly among all hue planes of N channels.

  Example:
    >>> import jax
    >>> import numpy as np
    >>> import hue_jax
    >>> plane = hue_jax.random_plane(jax.random.key(0), 64)
    >>> np.allclose(plane.T @ plane, np.eye(2), atol=1e-5)
    True

  Args:
    key: A JAX random key.
    channels: The number of channels N.

  Returns:
    Two orthonormal columns, orthogonal to (1, …, 1).

  Raises:
    InputError: If there are fewer than 3 channels.
  """
  _check_channels(channels)
  return hue_plane(jax.random.normal(key, (channels, 2)))


@replicated
def principal_plane(
  activations: Float[Arrays, "*leading channels"],
) -> Float[Array, "channels 2"]:
  """Returns the hue plane of the first two principal components, gray taken out.

  Example:
    >>> import numpy as np
    >>> import hue_jax
    >>> sample = np.random.default_rng(0).normal(size=(500, 4)) * [9, 1, 1, 5]
    >>> plane = hue_jax.principal_plane(sample.astype(np.float32))
    >>> print(np.abs(plane).argmax(axis=0))  # the channels that vary most
    [0 3]

  Args:
    activations: A sample of activations; all leading axes are the sample.

  Returns:
    Two orthonormal columns, orthogonal to (1, …, 1), of which the first has the
    larger variance; each has its entry of largest magnitude positive.

  Raises:
    InputError: If there are fewer than 3 channels, or no activations, or (outside
      `jit`) the activations span no plane.
    TypeError: If the activations are not floating point.
  """
  _check_channels(activations.shape[-1])
  if 0 in activations.shape:
    raise InputError(
      f"activations of shape {tuple(activations.shape)} are none; a sample is needed."
    )
  departure = _departure(scaled_together(activations))
  vectors = departure.reshape(-1, departure.shape[-1])
  centered = vectors - vectors.mean(axis=0)
  variances, components = jnp.linalg.eigh(einsum("sn,sm->nm", centered, centered))
  spread = variances[-2] > 1e-6 * variances[-1]
  if not isinstance(spread, jax.core.Tracer) and not spread:
    raise InputError(
      f"activations of shape {tuple(activations.shape)} span no plane besides gray; "
      "their variance, gray taken out, must have two directions."
    )
  first_two = components[:, :-3:-1]
  peak = jnp.argmax(jnp.abs(first_two), axis=0)
  return hue_plane(first_two * jnp.sign(first_two[peak, jnp.arange(2)]))


def class_mean_plane(
  activations: Float[Arrays, "*leading channels"],
  labels: Integer[Arrays, "*leading"],
  num_classes: int,
) -> Float[Array, "channels 2"]:
  """Returns the hue plane that spreads the class means most: their principal plane.

  Example:
    >>> import numpy as np
    >>> import hue_jax
    >>> labels = np.arange(300) % 3
    >>> sample = np.eye(5, dtype=np.float32)[labels]  # each class has its channel
    >>> plane = hue_jax.class_mean_plane(sample, labels, 3)
    >>> print(np.abs(plane[3:]).max())
    0.0

  Its gradient is exact. JAX has no second derivative of it, for the directions that no
  class mean has are alike.

  Args:
    activations: A sample of activations.
    labels: The class of each activation, in [0, num_classes).
    num_classes: The number of classes C; those without an example are left out.

  Returns:
    Two orthonormal columns, orthogonal to (1, …, 1).

  Raises:
    InputError: If there are fewer than 3 channels or fewer than 3 classes with
      examples, or the labels are out of range, of another shape, or traced.
    TypeError: If the activations are not floating point.
  """
  _check_channels(activations.shape[-1])
  present, counts = _present_classes(labels, activations.shape[:-1], num_classes)
  sums = _sums_by_class(activations, labels, num_classes)
  return principal_plane(sums[present] / counts[present, None])


def _present_classes(labels, shape, num_classes):
  """Returns the indices of the classes with examples, and how many each class has."""
  if isinstance(labels, jax.core.Tracer):
    raise InputError(
      "labels are traced; which classes have examples must be known, so that "
      "class_mean_plane takes labels outside jit, vmap and the like."
    )
  as_labels(labels)  # refuses what is no class index
  labels = np.asarray(labels)
  if labels.shape != tuple(shape):
    raise InputError(
      f"labels have shape {labels.shape}; class indices of the activations' leading "
      f"shape {tuple(shape)} are needed."
    )
  if labels.size and not 0 <= labels.min() <= labels.max() < num_classes:
    raise InputError(
      f"labels hold {labels.min()} to {labels.max()}; they must be from 0 to "
      f"{num_classes - 1}."
    )
  counts = np.bincount(labels.ravel(), minlength=num_classes)
  present = np.flatnonzero(counts)
  if len(present) < 3:
    raise InputError(
      f"labels holds examples of {len(present)} classes; a plane of class means "
      "needs at least 3."
    )
  return present, counts


@replicated
def _sums_by_class(activations, labels, num_classes):
  vectors = scaled_together(activations).reshape(-1, activations.shape[-1])
  return jax.ops.segment_sum(vectors, jnp.ravel(as_labels(labels)), num_classes)


def hue_plane(vectors: Float[Arrays, "channels 2"]) -> Float[Array, "channels 2"]:
  """Returns the hue plane that two vectors span: gray taken out, then Gram–Schmidt.

  It is differentiable, so that a plane can be learned.

  Example:
    >>> import numpy as np
    >>> import hue_jax
    >>> plane = hue_jax.hue_plane(np.float32([[1, 0], [0, 2], [-1, 0], [0, -2]]))
    >>> print((2**0.5 * plane) + 0)
    [[ 1.0  0.0]
     [ 0.0  1.0]
     [-1.0  0.0]
     [ 0.0 -1.0]]

  Args:
    vectors: The two vectors, as columns.

  Returns:
    Two orthonormal columns, orthogonal to (1, …, 1); the first keeps the
    direction of the first vector's part orthogonal to (1, …, 1).

  Raises:
    InputError: If there are fewer than 3 channels, or (outside `jit`) the vectors span
      no plane besides gray.
  """
  channels = jnp.shape(vectors)[0]
  _check_channels(channels)
  vectors = as_float(vectors, "vectors")
  vectors, _ = moderate(vectors, axis=0)
  whole = jnp.linalg.norm(vectors, axis=0)
  vectors = vectors - vectors.mean(axis=0)
  # What is left of a gray vector is rounding.
  lengths = jnp.linalg.norm(vectors, axis=0)
  colored = lengths > 1e-5 * whole
  vectors = jnp.where(
    jnp.all(lengths > 0.01 * whole), vectors, vectors - vectors.mean(axis=0)
  )
  first = vectors[:, 0] / lengths[0]
  second = vectors[:, 1] / lengths[1]
  rest = second - first * einsum("n,n->", first, second)
  # Once more: after one pass nearly parallel vectors are not orthogonal to rounding.
  rest = rest - first * einsum("n,n->", first, rest)
  rest = rest - rest.mean()
  length = jnp.linalg.norm(rest)
  spans = jnp.all(colored) & (length > 1e-5)
  if not isinstance(spans, jax.core.Tracer) and not spans:
    raise InputError(
      f"vectors of shape {tuple(vectors.shape)} span no plane besides gray; two "
      "columns are needed that are linearly independent of each other and of "
      "(1, …, 1)."
    )
  return jnp.stack([first, rest / length], axis=-1)


# --- The angle in the image plane -----------------------------------------------


def image_plane_phasor(
  activations: Float[Arrays, "*leading height width channels"],
) -> Complex[Array, "*leading channels"]:
  """Returns where about the center each channel fires: Zₙ = Σ aₙ(x, y) exp(iφ(x, y)).

  Turning the image by α multiplies Z by exp(iα). Mirrored left to right it has −Z̄, and
  upside down Z̄, of the complex conjugate Z̄.

  Example:
    >>> import numpy as np
    >>> import hue_jax
    >>> layer = np.zeros((3, 3, 2), np.float32)
    >>> layer[1, 2, 0] = layer[2, 1, 1] = 1  # on the right, at the bottom
    >>> print(hue_jax.image_plane_phasor(layer) + 0)
    [1.+0.j 0.+1.j]

  Args:
    activations: The activations of a layer.

  Returns:
    The phasors Z, in the activation's own units; the center position does not count.

  Raises:
    TypeError: If the activations are not floating point.
  """
  real, imaginary, factor = _phasor(activations)
  largest = jnp.finfo(real.dtype).max
  return jax.lax.complex(
    *(jnp.clip(part / factor, -largest, largest) for part in (real, imaginary))
  )


def _phasor(activations):
  """Returns real and imaginary part of Z · power of two, and the power, by channel."""
  activations, factor = moderate(as_float(activations), axis=(-3, -2))
  height, width = activations.shape[-3:-1]
  hue, weights = position_hue(height, width), position_weights(height, width)
  real, imaginary = (
    einsum("...hwc,hw->...c", activations, (weights * part).astype(activations.dtype))
    for part in (jnp.cos(hue), jnp.sin(hue))
  )
  return real, imaginary, factor[..., 0, 0, :]


def image_plane_hue(
  activations: Float[Arrays, "*leading height width channels"],
) -> Float[Array, "*leading channels"]:
  """Returns the image-plane hue of every channel: arg Zₙ of `image_plane_phasor`.

  Example:
    >>> import numpy as np
    >>> import hue_jax
    >>> layer = np.zeros((3, 3, 2), np.float32)
    >>> layer[1, 2, 0] = layer[2, 1, 1] = 1  # on the right, at the bottom
    >>> print(np.rad2deg(hue_jax.image_plane_hue(layer)))
    [ 0.0 90.0]

  Args:
    activations: The activations of a layer.

  Returns:
    The hues in radians, in [0, 2π); 0 where Zₙ = 0.

  Raises:
    TypeError: If the activations are not floating point.
  """
  real, imaginary, factor = _phasor(activations)
  # Below, the gradient 1/|Z| would overflow.
  least = jnp.maximum(_ACHROMATIC**2 * factor, 1e-18)
  nowhere = jnp.hypot(real, imaginary) <= least
  return wrap_angle(
    jnp.arctan2(jnp.where(nowhere, 0, imaginary), jnp.where(nowhere, 1, real))
  )


def wrap_angle(angle: Float[Arrays, "*shape"] | float) -> Float[Array, "*shape"]:
  """Returns the angle modulo 2π, in [0, 2π).

  Example:
    >>> import numpy as np
    >>> from hue_jax.hue import wrap_angle
    >>> print(wrap_angle(np.float32([-np.pi / 2, 0.0, 7.0])))
    [4.7124 0.0     0.7168]

  Args:
    angle: The angle in radians.

  Returns:
    The angle in radians; never 2π itself, which rounding makes of small negative
    angles.

  Raises:
    TypeError: If the angles are not floating point.
  """
  wrapped = jnp.mod(as_float(angle, "angles"), TAU)
  # A negative denormal stays negative where the processor takes it for 0. The
  # difference is 0 and keeps the gradient.
  zero = wrapped - jax.lax.stop_gradient(wrapped)
  wrapped = jnp.where(wrapped <= 0, zero, wrapped)
  return jnp.where(wrapped >= jnp.asarray(TAU, wrapped.dtype), 0, wrapped)


# --- Helpers --------------------------------------------------------------------


def chroma_vector(
  activations: Shaped[Arrays, "*leading channels"],
  plane: Float[Arrays, "rows columns"] | None,
) -> tuple[
  Float[Array, "*leading 2"],
  Bool[Array, "*leading"],
  Float[Array, "*leading channels"],
  Float[Array, "*leading"],
]:
  """Returns the chroma vector z = a · plane, without overflow.

  Args:
    activations: The vectors a along the last axis.
    plane: The hue plane; the Fourier plane if None.

  Returns:
    The vector z / scale; whether z is more than rounding; (a − mean(a)) / scale; and
    scale.

  Raises:
    InputError: If there are fewer than 3 channels, or the plane has another shape.
    TypeError: If the activations are not floating point.
  """
  unit, scale = scaled(activations)
  plane = checked_plane(plane, unit.shape[-1]).astype(unit.dtype)
  departure = _departure(unit)
  # "highest": TPUs and GPUs would round float32 factors to 8 or 10 bits.
  z = jnp.matmul(departure, plane, precision="highest")
  chromatic = ~(jnp.sum(z * z, axis=-1) <= _ACHROMATIC**2)  # so that NaN is not gray
  return z, chromatic, departure, scale


def checked_plane(
  plane: Float[Arrays, "rows columns"] | None, channels: int
) -> Float[Array, "{channels} 2"]:
  """Returns the plane given, or the Fourier plane for None.

  Args:
    plane: The hue plane, or None.
    channels: The number of channels N of the activations that it is for.

  Returns:
    The hue plane.

  Raises:
    InputError: If there are fewer than 3 channels, or the plane has another shape.
  """
  if plane is None:
    return fourier_plane(channels)
  _check_channels(channels)
  if jnp.shape(plane) != (channels, 2):
    raise InputError(
      f"plane has shape {tuple(jnp.shape(plane))}; activations of {channels} "
      f"channels need ({channels}, 2)."
    )
  return jnp.asarray(plane)


def _check_channels(channels):
  if channels < 3:
    raise InputError(
      f"activations have {channels} channels; a hue plane needs at least 3 "
      "(one direction is gray, two make the plane)."
    )


def polar_grid(
  height: int, width: int
) -> tuple[Float[np.ndarray, "height width"], Float[np.ndarray, "height width"]]:
  """Returns polar angle in [0, 2π) and radius of every position, in NumPy's float64."""
  if height < 1 or width < 1:
    raise InputError(f"height × width is {height} × {width}; both must be at least 1.")
  y, x = np.mgrid[:height, :width].astype(np.float64)
  x, y = x - (width - 1) / 2, y - (height - 1) / 2
  return np.mod(np.arctan2(y, x), TAU), np.hypot(x, y)


def _departure(activations):
  return activations - jnp.mean(activations, axis=-1, keepdims=True)
