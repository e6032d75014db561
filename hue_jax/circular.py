"""Circular statistics: means, concentration, tests and correlation of angles.

Angles are in radians, the last axis is the sample, and all axes before it are a batch.
Weights are frequencies: an angle of weight 2 counts as two. They broadcast against the
angles, so that many sets of weights, as of a bootstrap, take one call:

    mean_direction(angles, draws)  # [n], [draws, n] → [draws]

All functions are pure and work under `jit` and `vmap`, in float32 or float64. Where
all weights are 0 a statistic is not defined, and NaN.

Sources: Mardia and Jupp, "Directional Statistics", 2000; others are named where used.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import i0e, i1e
from jaxtyping import Array, Complex, Float, Shaped

from hue_jax.errors import InputError
from hue_jax.hue import wrap_angle
from hue_jax.numerics import Arrays

Weights = Shaped[Arrays, "*weights"] | None

_NEWTON_STEPS = 12
# From here on the series of I₁/I₀ in 1/κ gives κ to 1e-9 of itself, and better.
_NEARLY_ONE = 0.99

__all__ = [
  "TestResult",
  "VonMises",
  "circular_correlation",
  "fit_von_mises",
  "mean_direction",
  "rayleigh_test",
  "resultant",
  "resultant_length",
]


class VonMises(NamedTuple):
  """A von Mises distribution, of density exp(κ cos(α − μ)) / 2πI₀(κ).

  Attributes:
    mean_direction: The mean direction μ in [0, 2π).
    concentration: The concentration κ ≥ 0; 0 is uniform, inf a single angle.
  """

  mean_direction: Float[Array, "*batch"]
  concentration: Float[Array, "*batch"]


class TestResult(NamedTuple):
  """The result of a statistical test.

  Attributes:
    statistic: The statistic, as the test defines it.
    p_value: The probability of a statistic at least as large under the null hypothesis.
    log_p_value: The logarithm of the p-value, for where that itself would be 0.
  """

  __test__ = False  # not a test, whatever pytest thinks of its name

  statistic: Float[Array, "*batch"]
  p_value: Float[Array, "*batch"]
  log_p_value: Float[Array, "*batch"]


# --- Where angles point, and how much they agree --------------------------------


def resultant(
  angles: Float[Arrays, "*batch_of_angles samples"], weights: Weights = None
) -> Complex[Array, "*batch"]:
  """Returns the mean resultant vector Σ w exp(iα) / Σ w.

  Example:
    >>> import numpy as np
    >>> from hue_jax import circular
    >>> angles = np.float32([6.2, 0.2, 0.4])
    >>> print(circular.resultant(angles[None]))
    [0.966+0.168j]

  Args:
    angles: The angles α in radians.
    weights: The weights w ≥ 0; 1 if None.

  Returns:
    The vector as a complex number of magnitude at most 1.

  Raises:
    TypeError: If the angles are not floating point.
    InputError: If the weights are negative, or do not broadcast.
  """
  angles, weights = _checked(angles, weights)
  return _resultant(angles, weights)


def mean_direction(
  angles: Float[Arrays, "*batch_of_angles samples"], weights: Weights = None
) -> Float[Array, "*batch"]:
  """Returns the mean direction arg Σ w exp(iα), in [0, 2π).

  Example:
    >>> import numpy as np
    >>> from hue_jax import circular
    >>> angles = np.float32([6.2, 0.2, 0.4])
    >>> print(circular.mean_direction(angles))
    0.173

  Args:
    angles: The angles α in radians.
    weights: The weights w ≥ 0; 1 if None.

  Returns:
    The direction in radians; arbitrary where the resultant length is 0.

  Raises:
    TypeError: If the angles are not floating point.
    InputError: If the weights are negative, or do not broadcast.
  """
  return wrap_angle(jnp.angle(resultant(angles, weights)))


def resultant_length(
  angles: Float[Arrays, "*batch_of_angles samples"], weights: Weights = None
) -> Float[Array, "*batch"]:
  """Returns the mean resultant length R = |Σ w exp(iα)| / Σ w.

  Example:
    >>> import numpy as np
    >>> from hue_jax import circular
    >>> angles = np.float32([6.2, 0.2, 0.4])
    >>> print(circular.resultant_length(angles))
    0.980

  Args:
    angles: The angles α in radians.
    weights: The weights w ≥ 0; 1 if None.

  Returns:
    The length in [0, 1]: 0 where the angles cancel out, 1 where all are the same.

  Raises:
    TypeError: If the angles are not floating point.
    InputError: If the weights are negative, or do not broadcast.
  """
  return jnp.minimum(jnp.abs(resultant(angles, weights)), 1)


def fit_von_mises(
  angles: Float[Arrays, "*batch_of_angles samples"], weights: Weights = None
) -> VonMises:
  """Returns the von Mises distribution of maximum likelihood.

  Its μ is the mean direction, and its κ solves I₁(κ) / I₀(κ) = R. The concentration is
  not corrected for the size of the sample, and is too large for small ones.

  Example:
    >>> import numpy as np
    >>> from hue_jax import circular
    >>> angles = np.float32([6.2, 0.2, 0.4])
    >>> print(circular.fit_von_mises(angles).concentration)
    25.83

  Args:
    angles: The angles α in radians.
    weights: The weights w ≥ 0; 1 if None.

  Returns:
    The distribution; κ is inf where R is 1, and very large where R is 1 but for
    rounding.

  Raises:
    TypeError: If the angles are not floating point.
    InputError: If the weights are negative, or do not broadcast.
  """
  mean = resultant(angles, weights)
  length = jnp.minimum(jnp.abs(mean), 1)
  return VonMises(wrap_angle(jnp.angle(mean)), _concentration(length))


# --- Tests ----------------------------------------------------------------------


def rayleigh_test(
  angles: Float[Arrays, "*batch_of_angles samples"], weights: Weights = None
) -> TestResult:
  """Returns the Rayleigh test of uniform angles against those of one mean direction.

  The statistic is nR² with n = Σ w. The p-value is the approximation
  exp(√((1 + 2n)² − 4n²R²) − (1 + 2n)) of Wilkie, "Rayleigh test for randomness of
  circular data", Applied Statistics 32, 1983.

  Example:
    >>> import numpy as np
    >>> from hue_jax import circular
    >>> angles = np.float32([6.2, 0.2, 0.4])
    >>> print(circular.rayleigh_test(angles).p_value)
    0.041

  Args:
    angles: The angles α in radians.
    weights: The weights w ≥ 0; 1 if None.

  Returns:
    The statistic, the p-value and its logarithm.

  Raises:
    TypeError: If the angles are not floating point.
    InputError: If the weights are negative, or do not broadcast.
  """
  angles, weights = _checked(angles, weights)
  length = jnp.minimum(jnp.abs(_resultant(angles, weights)), 1)
  n = _total(angles, weights)
  square = (2 * n * length) ** 2
  whole = 1 + 2 * n
  # √(whole² − square) − whole, without the difference of large numbers.
  log_p = -square / (jnp.sqrt(jnp.maximum(whole**2 - square, 0)) + whole)
  return TestResult(n * length**2, jnp.exp(log_p), log_p)


# --- Correlation ----------------------------------------------------------------


def circular_correlation(
  angles: Float[Arrays, "*batch_of_angles samples"],
  other_angles: Float[Arrays, "*batch_of_others samples"],
  weights: Weights = None,
) -> Float[Array, "*batch"]:
  """Returns the correlation of two angles, in [−1, 1].

  It is Σ sin(αᵢ − αⱼ) sin(βᵢ − βⱼ) over pairs, divided by the root of Σ sin²(αᵢ − αⱼ) ·
  Σ sin²(βᵢ − βⱼ); ±1 where β = ±α + constant. It is computed from four sums instead of
  all pairs.

  Source: Fisher and Lee, "A correlation coefficient for circular data", Biometrika 70,
  1983.

  Example:
    >>> import numpy as np
    >>> from hue_jax import circular
    >>> angles = np.float32([6.2, 0.2, 0.4])
    >>> print(circular.circular_correlation(angles, 1 - angles))
    -1.0

  Args:
    angles: The angles α in radians.
    other_angles: The angles β of the same samples, in radians.
    weights: The weights w ≥ 0; 1 if None.

  Returns:
    The correlation; NaN where one of the angles does not vary.

  Raises:
    TypeError: If the angles are not floating point.
    InputError: If the weights are negative, or do not broadcast.
  """
  a, weights = _checked(angles, weights)
  b, _ = _checked(other_angles, weights)
  return _fisher_lee(a, b, weights)


# --- Helpers --------------------------------------------------------------------


def _checked(angles, weights):
  angles = jnp.asarray(angles)
  if not jnp.issubdtype(angles.dtype, jnp.floating):
    raise TypeError(
      f"angles have dtype {angles.dtype}; radians of a floating-point dtype are needed."
    )
  angles = angles.astype(jnp.promote_types(angles.dtype, jnp.float32))
  if not angles.ndim or not angles.shape[-1]:
    raise InputError(f"angles have shape {angles.shape}; at least one is needed.")
  if weights is None:
    return angles, None
  weights = jnp.asarray(weights)
  if not weights.ndim or not _broadcast(angles.shape, weights.shape):
    raise InputError(
      f"weights have shape {weights.shape}, which does not broadcast against that of "
      f"the angles, {angles.shape}."
    )
  if not isinstance(weights, jax.core.Tracer) and not bool(jnp.all(weights >= 0)):
    raise InputError(f"weights hold {weights.min()}; they must be at least 0.")
  return angles, weights.astype(angles.dtype)


def _broadcast(shape, other) -> bool:
  """Tells whether two shapes broadcast, with one length of the last axis."""
  try:
    np.broadcast_shapes(shape, other)
  except ValueError:
    return False
  return shape[-1] == other[-1]


def _sum(values, weights):
  if weights is None:
    return jnp.sum(values, axis=-1)
  # As a product of matrices: no array of all draws times all samples.
  if values.ndim == 1:
    return jnp.matmul(weights, values, precision="highest")
  return jnp.einsum("...n,...n->...", values, weights, precision="highest")


def _total(angles, weights):
  if weights is None:
    return jnp.full(angles.shape[:-1], angles.shape[-1], angles.dtype)
  return jnp.sum(weights, axis=-1)


def _resultant(angles, weights):
  real, imaginary = (
    _mean(part, weights) for part in (jnp.cos(angles), jnp.sin(angles))
  )
  return jax.lax.complex(*jnp.broadcast_arrays(real, imaginary))


def _fisher_lee(a, b, weights):
  # From one direction each, no difference of large numbers: the sines are small where
  # the angles are concentrated. Σ sin(αᵢ − αⱼ) sin(βᵢ − βⱼ) is, over all i and j,
  # 2 (Σ ss′ Σ cc′ − Σ sc′ Σ cs′).
  (s, c), (t, d) = (_sine_and_cosine(angle, weights) for angle in (a, b))

  def minor(p, q, r, u):
    return _mean(p * r, weights) * _mean(q * u, weights) - _mean(
      p * u, weights
    ) * _mean(q * r, weights)

  return _correlation(minor(s, c, t, d), minor(s, c, s, c), minor(t, d, t, d))


def _correlation(covariance, variance, other_variance):
  """Returns the correlation; NaN where an angle varies by no more than rounding."""
  least = (16 * jnp.finfo(covariance.dtype).eps) ** 2
  varies = (variance > least) & (other_variance > least)
  root = jnp.sqrt(jnp.where(varies, variance, 1)) * jnp.sqrt(
    jnp.where(varies, other_variance, 1)
  )
  return jnp.where(varies, jnp.clip(covariance / root, -1, 1), jnp.nan)


def _sine_and_cosine(angles, weights):
  """Returns those of the angles from their mean direction.

  Without weights where there are several of each angle: no array of all of them.
  """
  shared = weights if weights is not None and weights.ndim == 1 else None
  angles = angles - jnp.angle(_resultant(angles, shared))[..., None]
  return jnp.sin(angles), jnp.cos(angles)


def _mean(values, weights):
  return _sum(values, weights) / _total(values, weights)


@jax.custom_jvp
def _concentration(length):
  """Solves I₁(κ) / I₀(κ) = R for κ."""
  below = jnp.minimum(length, _NEARLY_ONE)
  # Best and Fisher 1981, for a start within a few per cent.
  kappa = jnp.where(
    below < 0.53,
    2 * below + below**3 + 5 * below**5 / 6,
    jnp.where(
      below < 0.85,
      -0.4 + 1.39 * below + 0.43 / (1 - below),
      1 / (below**3 - 4 * below**2 + 3 * below),
    ),
  )
  for _ in range(_NEWTON_STEPS):
    ratio = i1e(kappa) / i0e(kappa)
    # I₁/κI₀ tends to 1/2 at 0, where the derivative is 1/2.
    over_kappa = jnp.where(kappa > 1e-4, ratio / jnp.maximum(kappa, 1e-4), 0.5)
    kappa = jnp.maximum(kappa - (ratio - below) / (1 - ratio**2 - over_kappa), 0)
  return jnp.where(length < _NEARLY_ONE, kappa, _large_concentration(length))


@_concentration.defjvp
def _concentration_jvp(primals, tangents):
  """Returns κ and its change by dκ/dR = 1 / (1 − R² − R/κ).

  The derivative is 2 at R = 0; at R = 1, where it is infinite, it counts as 0.
  """
  (length,), (change,) = primals, tangents
  kappa = _concentration(length)
  over_kappa = jnp.where(kappa > 1e-3, length / jnp.maximum(kappa, 1e-3), 0.5)
  # At large κ the difference is lost to rounding, and is 1/2κ² + 1/4κ³ + 3/8κ⁴ + …
  inverse = 1 / jnp.maximum(kappa, 1)
  series = 2 * kappa**2 / (1 + inverse / 2 + 3 * inverse**2 / 4)
  slope = jnp.where(
    kappa > 50, series, 1 / jnp.maximum(1 - length**2 - over_kappa, 1e-4)
  )
  return kappa, jnp.where(jnp.isfinite(kappa), slope, 0) * change


def _large_concentration(length):
  """Solves 1 − R = 1 − I₁/I₀ = 1/2κ + 1/8κ² + 1/8κ³ + 25/128κ⁴ + … for κ."""
  rest = jnp.maximum(1 - length, 0)
  inverse = 2 * rest
  for _ in range(_NEWTON_STEPS):
    series = 1 / 2 + inverse * (
      1 / 8
      + inverse
      * (1 / 8 + inverse * (25 / 128 + inverse * (13 / 32 + inverse * (1073 / 1024))))
    )
    inverse = rest / series
  return 1 / inverse
