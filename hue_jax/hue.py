"""Activation hue: the hue angle of RGB, generalized to N channels.

An activation is a vector a ∈ R^N, the last axis of every array here. Its gray
part lies on the achromatic axis (1, …, 1)/√N; a *hue plane* is a pair of
orthonormal vectors orthogonal to that axis, an array `[channels, 2]`; the
projection z = a · plane is the *chroma vector*; its angle is the *activation
hue* θ and its length the *chroma*.

All functions are pure and work under `jit`, `vmap`, `grad` and `pmap`, on any
leading shape. They compute in float32, or float64 where the input is that, and
value and gradient are finite for every finite input. Angles are in radians, in
[0, 2π).

Source: "Coloring Deep CNN Layers with Activation Hue Loss" names the activation
hue and gives no equation; the definitions are this project's.
"""

import math

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Complex, Float, Int, Key, Shaped, UInt32

Arrays = Array | np.ndarray

TAU = 2 * math.pi

# Activations are divided by their largest magnitude before they are squared, so
# that nothing overflows. Magnitudes below _SMALLEST are not raised to 1, and a
# chroma below _ACHROMATIC times that magnitude is rounding: such a vector is gray.
_SMALLEST = 1e-12
_ACHROMATIC = 1e-12


def hue_angle(
  activations: Float[Arrays, "*leading channels"],
  plane: Float[Arrays, "channels 2"] | None = None,
) -> Float[Array, "*leading"]:
  """Activation hue θ = arg z of z = a · plane, in [0, 2π).

  In the Fourier plane θ = arg Σₙ aₙ exp(2πin/N), which for N = 3 is the circular
  hue of RGB: red 0, green 2π/3, blue 4π/3. θ does not change when gray is added
  or the activation is multiplied by a positive number.

  Args:
    activations: vectors a along the last axis.
    plane: hue plane; the Fourier plane if None.

  Returns:
    θ in radians; 0, with gradient 0, where the activation is gray.

  Raises:
    ValueError: fewer than 3 channels, or a plane of another shape.
    TypeError: activations that are not floating point.
  """
  z, chromatic, _, _ = chroma_vector(activations, plane)
  z = jnp.where(chromatic[..., None], z, jnp.array([1, 0], z.dtype))
  return wrap_angle(jnp.arctan2(z[..., 1], z[..., 0]))


def chroma(
  activations: Float[Arrays, "*leading channels"],
  plane: Float[Arrays, "channels 2"] | None = None,
) -> Float[Array, "*leading"]:
  """Chroma ‖z‖, the length of z = a · plane, in the activation's own units.

  Args:
    activations: vectors a along the last axis.
    plane: hue plane; the Fourier plane if None.

  Returns:
    ‖z‖ ≥ 0; 0, with gradient 0, where the activation is gray.

  Raises:
    ValueError: fewer than 3 channels, or a plane of another shape.
    TypeError: activations that are not floating point.
  """
  z, chromatic, _, scale = chroma_vector(activations, plane)
  return _rescale(_norm(z, where=chromatic), scale)


def saturation(
  activations: Float[Arrays, "*leading channels"],
  plane: Float[Arrays, "channels 2"] | None = None,
) -> Float[Array, "*leading"]:
  """Saturation ‖z‖ / ‖a − mean(a)‖, in [0, 1].

  The share of the activation's departure from gray that lies in the hue plane.
  For N = 3 the plane is all there is besides gray, and the saturation is 1.

  Args:
    activations: vectors a along the last axis.
    plane: hue plane; the Fourier plane if None.

  Returns:
    The saturation, without unit; 0, with gradient 0, where z = 0.

  Raises:
    ValueError: fewer than 3 channels, or a plane of another shape.
    TypeError: activations that are not floating point.
  """
  z, chromatic, departure, _ = chroma_vector(activations, plane)
  length = smooth_norm(departure, 1e-18)
  return jnp.minimum(_norm(z, where=chromatic) / length, 1)


def activation_strength(
  activations: Float[Arrays, "*leading channels"],
) -> Float[Array, "*leading"]:
  """Euclidean norm ‖a‖, with gradient 0 at a = 0.

  Args:
    activations: vectors a along the last axis.

  Returns:
    ‖a‖ in the activation's own units.

  Raises:
    TypeError: activations that are not floating point.
  """
  unit, scale = scaled(activations)
  return _rescale(_norm(unit, where=jnp.any(unit != 0, axis=-1)), scale)


# --- Hue labels -----------------------------------------------------------------


def hue_labels(
  labels: Int[Arrays, "*batch"] | int, num_classes: int
) -> Float[Array, "*batch"]:
  """Class hue θ* = 2πc/C of label c among C classes.

  It is the hue of the one-hot label itself: θ(one_hot(c, C)) = 2πc/C.

  Args:
    labels: class indices c in [0, C).
    num_classes: C.

  Returns:
    θ* in radians, in [0, 2π).

  Raises:
    ValueError: num_classes below 1.
  """
  if num_classes < 1:
    raise ValueError(f"num_classes is {num_classes}; it must be at least 1.")
  # The remainder keeps out-of-range labels (−1 for "none") on the circle.
  return TAU / num_classes * jnp.mod(jnp.asarray(labels), num_classes)


def position_hue(height: int, width: int) -> Float[Array, "{height} {width}"]:
  """Position hue φ(x, y): the polar angle about the center of the image plane.

  φ = arg(x + iy), with x to the right and y down, as images are stored, so that
  the right is 0, the bottom π/2, the left π and the top 3π/2.

  Args:
    height: rows of the layer.
    width: columns of the layer.

  Returns:
    φ in radians, in [0, 2π); 0 at the exact center, where it is undefined and
    `position_weights` is 0.

  Raises:
    ValueError: height or width below 1.
  """
  return jnp.asarray(polar_grid(height, width)[0], dtype=float)


def position_weights(height: int, width: int) -> Float[Array, "{height} {width}"]:
  """1 where the position hue is defined, 0 at the exact center.

  Args:
    height: rows of the layer.
    width: columns of the layer.

  Returns:
    Weights, without unit.

  Raises:
    ValueError: height or width below 1.
  """
  return jnp.asarray(polar_grid(height, width)[1] > 0, dtype=float)


# --- Hue planes -----------------------------------------------------------------


def fourier_plane(channels: int) -> Float[Array, "{channels} 2"]:
  """The default hue plane: √(2/N) cos(2πn/N) and √(2/N) sin(2πn/N).

  Args:
    channels: N.

  Returns:
    Two orthonormal columns, orthogonal to (1, …, 1).

  Raises:
    ValueError: fewer than 3 channels.
  """
  _check_channels(channels)
  angle = TAU * np.arange(channels) / channels
  columns = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
  return jnp.asarray(math.sqrt(2 / channels) * columns, dtype=float)


def random_plane(
  key: Key[Array, ""] | UInt32[Array, "2"], channels: int
) -> Float[Array, "{channels} 2"]:
  """A hue plane drawn uniformly among all hue planes of N channels.

  Args:
    key: JAX random key.
    channels: N.

  Returns:
    Two orthonormal columns, orthogonal to (1, …, 1).

  Raises:
    ValueError: fewer than 3 channels.
  """
  _check_channels(channels)
  return hue_plane(jax.random.normal(key, (channels, 2)))


def principal_plane(
  activations: Float[Arrays, "*leading channels"],
) -> Float[Array, "channels 2"]:
  """The hue plane of the first two principal components, gray taken out.

  Args:
    activations: a sample of activations; all leading axes are the sample.

  Returns:
    Two orthonormal columns, orthogonal to (1, …, 1), of which the first has the
    larger variance; each has its entry of largest magnitude positive.

  Raises:
    ValueError: fewer than 3 channels, or (outside `jit`) activations that span no
      plane.
    TypeError: activations that are not floating point.
  """
  _check_channels(activations.shape[-1])
  departure = _departure(_scaled_together(activations))
  vectors = departure.reshape(-1, departure.shape[-1])
  centered = vectors - vectors.mean(axis=0)
  variances, components = jnp.linalg.eigh(centered.T @ centered)
  spread = variances[-2] > 1e-6 * variances[-1]
  if not isinstance(spread, jax.core.Tracer) and not spread:
    raise ValueError(
      f"activations of shape {tuple(activations.shape)} span no plane besides gray; "
      "their variance, gray taken out, must have two directions."
    )
  first_two = components[:, :-3:-1]
  peak = jnp.argmax(jnp.abs(first_two), axis=0)
  return hue_plane(first_two * jnp.sign(first_two[peak, jnp.arange(2)]))


def class_mean_plane(
  activations: Float[Arrays, "*leading channels"],
  labels: Int[Arrays, "*leading"],
  num_classes: int,
) -> Float[Array, "channels 2"]:
  """The hue plane that spreads the class means most: their principal plane.

  Args:
    activations: a sample of activations.
    labels: the class of each, in [0, num_classes).
    num_classes: C; classes without an example are left out.

  Returns:
    Two orthonormal columns, orthogonal to (1, …, 1).

  Raises:
    ValueError: fewer than 3 channels, or fewer than 3 classes with examples.
    TypeError: activations that are not floating point.
  """
  _check_channels(activations.shape[-1])
  vectors = _scaled_together(activations).reshape(-1, activations.shape[-1])
  counts = np.bincount(np.asarray(labels).ravel(), minlength=num_classes)
  present = np.flatnonzero(counts)
  if len(present) < 3:
    raise ValueError(
      f"labels holds examples of {len(present)} classes; a plane of class means "
      "needs at least 3."
    )
  sums = jax.ops.segment_sum(vectors, jnp.ravel(labels), num_classes)
  return principal_plane(sums[present] / counts[present, None])


def hue_plane(vectors: Float[Arrays, "channels 2"]) -> Float[Array, "channels 2"]:
  """The hue plane spanned by two vectors: gray taken out, then Gram–Schmidt.

  Differentiable, so that a plane can be learned.

  Args:
    vectors: two columns.

  Returns:
    Two orthonormal columns, orthogonal to (1, …, 1); the first keeps the
    direction of the first vector's part orthogonal to (1, …, 1).

  Raises:
    ValueError: fewer than 3 channels, or (outside `jit`) vectors that span no
      plane besides gray.
  """
  channels = jnp.shape(vectors)[0]
  _check_channels(channels)
  vectors = _as_float(vectors)
  vectors = vectors - vectors.mean(axis=0)
  lengths = jnp.linalg.norm(vectors, axis=0)
  first = vectors[:, 0] / lengths[0]
  second = vectors[:, 1] / lengths[1]
  rest = second - first * (first @ second)
  # Once more: after one pass nearly parallel vectors are not orthogonal to rounding.
  rest = rest - first * (first @ rest)
  rest = rest - rest.mean()
  length = jnp.linalg.norm(rest)
  if not isinstance(length, jax.core.Tracer) and not length > 1e-5:
    raise ValueError(
      f"vectors of shape {tuple(vectors.shape)} span no plane besides gray; two "
      "columns are needed that are linearly independent of each other and of "
      "(1, …, 1)."
    )
  return jnp.stack([first, rest / length], axis=-1)


# --- The angle in the image plane -----------------------------------------------


def image_plane_phasor(
  activations: Float[Arrays, "*leading height width channels"],
) -> Complex[Array, "*leading channels"]:
  """Where about the center each channel fires: Zₙ = Σ aₙ(x, y) exp(iφ(x, y)).

  Turning the image by α multiplies Z by exp(iα); mirroring it top to bottom
  conjugates Z.

  Args:
    activations: a layer.

  Returns:
    Z, in the activation's own units; the center position does not count.

  Raises:
    TypeError: activations that are not floating point.
  """
  activations = _as_float(activations)
  height, width = activations.shape[-3:-1]
  hue, weights = position_hue(height, width), position_weights(height, width)
  real, imaginary = (
    jnp.einsum(
      "...hwc,hw->...c",
      activations,
      (weights * part).astype(activations.dtype),
      precision="highest",
    )
    for part in (jnp.cos(hue), jnp.sin(hue))
  )
  return jax.lax.complex(real, imaginary)


def image_plane_hue(
  activations: Float[Arrays, "*leading height width channels"],
) -> Float[Array, "*leading channels"]:
  """Image-plane hue of every channel: arg Zₙ of `image_plane_phasor`.

  Args:
    activations: a layer.

  Returns:
    Radians, in [0, 2π); 0 where Zₙ = 0.

  Raises:
    TypeError: activations that are not floating point.
  """
  phasor = image_plane_phasor(activations)
  phasor = jnp.where(jnp.abs(phasor) > 0, phasor, 1)
  return wrap_angle(jnp.arctan2(phasor.imag, phasor.real))


def wrap_angle(angle: Float[Arrays, "*shape"] | float) -> Float[Array, "*shape"]:
  """The angle modulo 2π, in [0, 2π).

  Args:
    angle: radians.

  Returns:
    Radians; never 2π itself, which rounding makes of small negative angles.
  """
  wrapped = jnp.mod(angle, TAU)
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
  """The chroma vector z = a · plane, without overflow.

  Args:
    activations: vectors a along the last axis.
    plane: hue plane; the Fourier plane if None.

  Returns:
    z / scale; whether z is more than rounding; (a − mean(a)) / scale; and scale.

  Raises:
    ValueError: fewer than 3 channels, or a plane of another shape.
    TypeError: activations that are not floating point.
  """
  unit, scale = scaled(activations)
  plane = checked_plane(plane, unit.shape[-1]).astype(unit.dtype)
  departure = _departure(unit)
  # "highest": TPUs and GPUs would round float32 factors to 8 or 10 bits.
  z = jnp.matmul(departure, plane, precision="highest")
  chromatic = jnp.sum(z * z, axis=-1) > _ACHROMATIC**2
  return z, chromatic, departure, scale


def checked_plane(
  plane: Float[Arrays, "rows columns"] | None, channels: int
) -> Float[Array, "{channels} 2"]:
  """The plane given, or the Fourier plane for None.

  Args:
    plane: hue plane or None.
    channels: N of the activations that it is for.

  Returns:
    The hue plane.

  Raises:
    ValueError: fewer than 3 channels, or a plane of another shape.
  """
  if plane is None:
    return fourier_plane(channels)
  _check_channels(channels)
  if jnp.shape(plane) != (channels, 2):
    raise ValueError(
      f"plane has shape {tuple(jnp.shape(plane))}; activations of {channels} "
      f"channels need ({channels}, 2)."
    )
  return jnp.asarray(plane)


def _check_channels(channels):
  if channels < 3:
    raise ValueError(
      f"activations have {channels} channels; a hue plane needs at least 3 "
      "(one direction is gray, two make the plane)."
    )


def polar_grid(
  height: int, width: int
) -> tuple[Float[np.ndarray, "height width"], Float[np.ndarray, "height width"]]:
  """Polar angle in [0, 2π) and radius of every position, in NumPy's float64."""
  if height < 1 or width < 1:
    raise ValueError(f"height × width is {height} × {width}; both must be at least 1.")
  y, x = np.mgrid[:height, :width].astype(np.float64)
  x, y = x - (width - 1) / 2, y - (height - 1) / 2
  return np.mod(np.arctan2(y, x), TAU), np.hypot(x, y)


def _as_float(activations):
  activations = jnp.asarray(activations)
  if not jnp.issubdtype(activations.dtype, jnp.floating):
    raise TypeError(
      f"activations have dtype {activations.dtype}; a floating-point dtype is needed."
    )
  return activations.astype(jnp.promote_types(activations.dtype, jnp.float32))


def scaled(
  activations: Shaped[Arrays, "*leading channels"],
) -> tuple[Float[Array, "*leading channels"], Float[Array, "*leading"]]:
  """Activations divided by their largest magnitude.

  The scale carries no gradient: what is computed from the two together does not
  depend on it.

  Args:
    activations: vectors a along the last axis.

  Returns:
    a / scale, of magnitude at most 1, and scale.

  Raises:
    ValueError: an array without an axis.
    TypeError: activations that are not floating point.
  """
  activations = _as_float(activations)
  if activations.ndim < 1:
    raise ValueError("activations have no axis; the last axis is the channels.")
  peak = jnp.max(jnp.abs(activations), axis=-1, keepdims=True)
  scale = jax.lax.stop_gradient(jnp.maximum(peak, _SMALLEST))
  return divide_by_peak(activations, scale), scale[..., 0]


def divide_by_peak(
  values: Float[Array, "*shape"], peak: Float[Array, "..."]
) -> Float[Array, "*shape"]:
  """values / peak, also where 1 / peak, by which XLA multiplies, is denormal.

  Args:
    values: of magnitude at most `peak`.
    peak: positive.

  Returns:
    The quotient.
  """
  shrink = jnp.where(peak > 1e18, 2.0**-64, 1.0).astype(values.dtype)
  return (values * shrink) / (peak * shrink)


def _scaled_together(activations):
  """Activations divided by the largest magnitude among them all."""
  activations = _as_float(activations)
  peak = jnp.maximum(jnp.max(jnp.abs(activations)), _SMALLEST)
  return divide_by_peak(activations, peak)


def _departure(activations):
  return activations - jnp.mean(activations, axis=-1, keepdims=True)


@jax.custom_jvp
def smooth_norm(
  vectors: Float[Array, "*leading channels"], floor: Float[Arrays, "*#leading"] | float
) -> Float[Array, "*leading"]:
  """√(‖v‖² + floor²), whose gradient v / √(‖v‖² + floor²) cannot overflow.

  Args:
    vectors: v along the last axis.
    floor: positive; carries no gradient.

  Returns:
    The norm, at least `floor`.
  """
  return jnp.sqrt(jnp.sum(vectors * vectors, axis=-1) + jnp.square(floor))


@smooth_norm.defjvp
def _smooth_norm_jvp(primals, tangents):
  length = smooth_norm(*primals)
  direction = primals[0] / length[..., None]
  return length, jnp.sum(direction * tangents[0], axis=-1)


def _norm(vectors, where):
  """Euclidean norm where `where` holds, else 0 with gradient 0."""
  return jnp.where(where, smooth_norm(vectors, 1e-18), 0)


def _rescale(length, scale):
  """length · scale, or the largest finite number where that overflows."""
  largest = jnp.finfo(length.dtype).max
  fits = length < largest / jnp.maximum(scale, 1)
  return jnp.where(fits, jnp.where(fits, length, 0) * scale, largest)
