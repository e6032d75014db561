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

from hue_jax.errors import InputError, check_one_of
from hue_jax.hue import wrap_angle

Arrays = Array | np.ndarray
Weights = Shaped[Arrays, "*weights"] | None

_NEWTON_STEPS = 12
_SERIES_TERMS = 64
# From here on the series of I₁/I₀ in 1/κ gives κ to 1e-9 of itself, and better.
_NEARLY_ONE = 0.99


class VonMises(NamedTuple):
  """A von Mises distribution, of density exp(κ cos(α − μ)) / 2πI₀(κ).

  Attributes:
    mean_direction: μ in [0, 2π).
    concentration: κ ≥ 0; 0 is uniform, inf a single angle.
  """

  mean_direction: Float[Array, "*batch"]
  concentration: Float[Array, "*batch"]


class TestResult(NamedTuple):
  """Of a statistical test.

  Attributes:
    statistic: as the test defines it.
    p_value: probability of a statistic at least as large under the null hypothesis.
    log_p_value: its logarithm, where the p-value itself would be 0.
  """

  __test__ = False  # not a test, whatever pytest thinks of its name

  statistic: Float[Array, "*batch"]
  p_value: Float[Array, "*batch"]
  log_p_value: Float[Array, "*batch"]


# --- Where angles point, and how much they agree --------------------------------


def resultant(
  angles: Float[Arrays, "*batch_of_angles samples"], weights: Weights = None
) -> Complex[Array, "*batch"]:
  """Mean resultant vector Σ w exp(iα) / Σ w.

  Args:
    angles: α in radians.
    weights: w ≥ 0; 1 if None.

  Returns:
    A complex number of magnitude at most 1.

  Raises:
    TypeError: angles that are not floating point.
    ValueError: weights that are negative, or do not broadcast.
  """
  angles, weights = _checked(angles, weights)
  return _resultant(angles, weights)


def mean_direction(
  angles: Float[Arrays, "*batch_of_angles samples"], weights: Weights = None
) -> Float[Array, "*batch"]:
  """Mean direction arg Σ w exp(iα), in [0, 2π).

  Args:
    angles: α in radians.
    weights: w ≥ 0; 1 if None.

  Returns:
    Radians; arbitrary where the resultant length is 0.

  Raises:
    TypeError: angles that are not floating point.
    ValueError: weights that are negative, or do not broadcast.
  """
  return wrap_angle(jnp.angle(resultant(angles, weights)))


def resultant_length(
  angles: Float[Arrays, "*batch_of_angles samples"], weights: Weights = None
) -> Float[Array, "*batch"]:
  """Mean resultant length R = |Σ w exp(iα)| / Σ w.

  Args:
    angles: α in radians.
    weights: w ≥ 0; 1 if None.

  Returns:
    In [0, 1]: 0 where the angles cancel out, 1 where all are the same.

  Raises:
    TypeError: angles that are not floating point.
    ValueError: weights that are negative, or do not broadcast.
  """
  return jnp.minimum(jnp.abs(resultant(angles, weights)), 1)


def circular_variance(
  angles: Float[Arrays, "*batch_of_angles samples"], weights: Weights = None
) -> Float[Array, "*batch"]:
  """Circular variance 1 − R, in [0, 1].

  Args:
    angles: α in radians.
    weights: w ≥ 0; 1 if None.

  Returns:
    The variance, without unit.

  Raises:
    TypeError: angles that are not floating point.
    ValueError: weights that are negative, or do not broadcast.
  """
  return 1 - resultant_length(angles, weights)


def circular_deviation(
  angles: Float[Arrays, "*batch_of_angles samples"], weights: Weights = None
) -> Float[Array, "*batch"]:
  """Circular standard deviation √(−2 ln R), in radians.

  Of a normal distribution wrapped around the circle it is the standard deviation.

  Args:
    angles: α in radians.
    weights: w ≥ 0; 1 if None.

  Returns:
    At least 0; inf where R is 0.

  Raises:
    TypeError: angles that are not floating point.
    ValueError: weights that are negative, or do not broadcast.
  """
  return jnp.sqrt(-2 * jnp.log(resultant_length(angles, weights)))


def fit_von_mises(
  angles: Float[Arrays, "*batch_of_angles samples"], weights: Weights = None
) -> VonMises:
  """The von Mises distribution of maximum likelihood.

  μ is the mean direction, and κ solves I₁(κ) / I₀(κ) = R. It is not corrected for the
  size of the sample, and is too large for small ones.

  Args:
    angles: α in radians.
    weights: w ≥ 0; 1 if None.

  Returns:
    μ and κ; κ is inf where R is 1, and very large where it is 1 but for rounding.

  Raises:
    TypeError: angles that are not floating point.
    ValueError: weights that are negative, or do not broadcast.
  """
  mean = resultant(angles, weights)
  length = jnp.minimum(jnp.abs(mean), 1)
  return VonMises(wrap_angle(jnp.angle(mean)), _concentration(length))


# --- Tests ----------------------------------------------------------------------


def rayleigh_test(
  angles: Float[Arrays, "*batch_of_angles samples"], weights: Weights = None
) -> TestResult:
  """Rayleigh test: are the angles uniform, or do they have a mean direction?

  The statistic is nR² with n = Σ w. The p-value is the approximation
  exp(√((1 + 2n)² − 4n²R²) − (1 + 2n)) of Wilkie, "Rayleigh test for randomness of
  circular data", Applied Statistics 32, 1983.

  Args:
    angles: α in radians.
    weights: w ≥ 0; 1 if None.

  Returns:
    Statistic and p-value.

  Raises:
    TypeError: angles that are not floating point.
    ValueError: weights that are negative, or do not broadcast.
  """
  angles, weights = _checked(angles, weights)
  length = jnp.minimum(jnp.abs(_resultant(angles, weights)), 1)
  n = _total(angles, weights)
  square = (2 * n * length) ** 2
  whole = 1 + 2 * n
  # √(whole² − square) − whole, without the difference of large numbers.
  log_p = -square / (jnp.sqrt(jnp.maximum(whole**2 - square, 0)) + whole)
  return TestResult(n * length**2, jnp.exp(log_p), log_p)


def watson_two_sample_test(
  angles: Float[Arrays, "*batch_of_angles samples"],
  other_angles: Float[Arrays, "*batch_of_others others"],
  weights: Weights = None,
  other_weights: Shaped[Arrays, "*other_weights"] | None = None,
) -> TestResult:
  """Watson's U² test: are two samples of angles of the same distribution?

  With d = F − G the difference of the two distribution functions at each angle of both
  samples, n and m the sizes and N = n + m: U² = nm/N² (Σ d² − (Σ d)² / N). It does not
  depend on where the circle is cut. The p-value is that of large samples,
  2 Σⱼ (−1)^(j−1) exp(−2π²j²U²). Equal angles are ties; α and α + 2π are, but for
  rounding.

  Source: Watson, "Goodness-of-fit tests on a circle II", Biometrika 49, 1962.

  Args:
    angles: of one sample, in radians.
    other_angles: of the other.
    weights: of the one, w ≥ 0; 1 if None.
    other_weights: of the other.

  Returns:
    U² and p-value.

  Raises:
    TypeError: angles that are not floating point.
    ValueError: weights that are negative, or do not broadcast.
  """
  one, w_one = _full(*_checked(angles, weights))
  other, w_other = _full(*_checked(other_angles, other_weights))
  batch = jnp.broadcast_shapes(one.shape[:-1], other.shape[:-1])
  arrays = (
    jnp.broadcast_to(array, (*batch, array.shape[-1])).reshape(-1, array.shape[-1])
    for array in (one, w_one, other, w_other)
  )
  statistic = jax.vmap(_watson)(*arrays).reshape(batch)
  log_p = _log_p_of_watson(statistic)
  return TestResult(statistic, jnp.exp(log_p), log_p)


# --- Correlation ----------------------------------------------------------------


def circular_correlation(
  angles: Float[Arrays, "*batch_of_angles samples"],
  other_angles: Float[Arrays, "*batch_of_others samples"],
  weights: Weights = None,
  *,
  method: str = "fisher_lee",
) -> Float[Array, "*batch"]:
  """Correlation of two angles, in [−1, 1].

  "fisher_lee": Σ sin(αᵢ − αⱼ) sin(βᵢ − βⱼ) over pairs, divided by the root of
  Σ sin²(αᵢ − αⱼ) · Σ sin²(βᵢ − βⱼ); ±1 where β = ±α + constant. It is computed from
  four sums instead of all pairs. "jammalamadaka": the same of the differences from the
  mean directions, Σ sin(α − ᾱ) sin(β − β̄) / √(Σ sin²(α − ᾱ) · Σ sin²(β − β̄)).

  Sources: Fisher and Lee, "A correlation coefficient for circular data", Biometrika 70,
  1983; Jammalamadaka and SenGupta, "Topics in Circular Statistics", 2001.

  Args:
    angles: α in radians.
    other_angles: β, of the same samples.
    weights: w ≥ 0; 1 if None.
    method: "fisher_lee" or "jammalamadaka".

  Returns:
    The correlation; NaN where one of the angles does not vary.

  Raises:
    TypeError: angles that are not floating point.
    ValueError: weights that are negative or do not broadcast, or an unknown method.
  """
  check_one_of("method", method, ("fisher_lee", "jammalamadaka"))
  a, weights = _checked(angles, weights)
  b, _ = _checked(other_angles, weights)
  of = _fisher_lee if method == "fisher_lee" else _jammalamadaka
  return of(a, b, weights)


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
  """Whether they do, with one length of the last axis."""
  try:
    np.broadcast_shapes(shape, other)
  except ValueError:
    return False
  return shape[-1] == other[-1]


def _full(angles, weights):
  """Both of one shape."""
  weights = jnp.ones_like(angles) if weights is None else weights
  return jnp.broadcast_arrays(angles, weights)


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
  (s, c), (t, d) = (_sine_and_cosine(angle) for angle in (a, b))

  def minor(p, q, r, u):
    return _mean(p * r, weights) * _mean(q * u, weights) - _mean(
      p * u, weights
    ) * _mean(q * r, weights)

  return _correlation(minor(s, c, t, d), minor(s, c, s, c), minor(t, d, t, d))


def _jammalamadaka(a, b, weights):
  s, t = (
    jnp.sin(angle - jnp.angle(_resultant(angle, weights))[..., None])
    for angle in (a, b)
  )
  return _correlation(
    _mean(s * t, weights), _mean(s * s, weights), _mean(t * t, weights)
  )


def _correlation(covariance, variance, other_variance):
  """NaN where an angle varies by no more than rounding."""
  least = (16 * jnp.finfo(covariance.dtype).eps) ** 2
  varies = (variance > least) & (other_variance > least)
  root = jnp.sqrt(jnp.where(varies, variance, 1)) * jnp.sqrt(
    jnp.where(varies, other_variance, 1)
  )
  return jnp.where(varies, jnp.clip(covariance / root, -1, 1), jnp.nan)


def _sine_and_cosine(angles):
  """Of the angles from their mean direction, without weights."""
  angles = angles - jnp.angle(_resultant(angles, None))[..., None]
  return jnp.sin(angles), jnp.cos(angles)


def _mean(values, weights):
  return _sum(values, weights) / _total(values, weights)


def _log_p_of_watson(statistic):
  """Logarithm of 2 Σⱼ (−1)^(j−1) exp(−2π²j²U²)."""
  large = jnp.maximum(statistic, 0.05)
  j = jnp.arange(1, _SERIES_TERMS + 1, dtype=statistic.dtype)
  exponent = 2 * jnp.pi**2 * large[..., None]
  signs = jnp.where(j % 2 == 1, 1, -1)
  # The first term is taken out, so that the logarithm lives where the sum would not.
  rest = jnp.sum(signs * jnp.exp(-exponent * (j**2 - 1)), axis=-1)
  # Below, the same function by its other series: 1 − p = 2 Σ exp(−k²/8U²) / √(2πU²)
  # over odd k.
  small = jnp.clip(statistic, 1e-6, 0.05)
  k = jnp.arange(1, 9, 2, dtype=statistic.dtype)
  terms = jnp.exp(-(k**2) / (8 * small[..., None]))
  below = 2 * terms.sum(axis=-1) / jnp.sqrt(2 * jnp.pi * small)
  log_p = jnp.where(
    statistic < 0.05, jnp.log1p(-below), jnp.log(2 * rest) - exponent[..., 0]
  )
  return jnp.minimum(log_p, 0)


@jax.custom_jvp
def _concentration(length):
  """κ of I₁(κ) / I₀(κ) = R."""
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
  """dκ/dR = 1 / (1 − R² − R/κ): 2 at R = 0; at R = 1, where it is infinite, 0."""
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
  """The same by 1 − I₁/I₀ = 1/2κ + 1/8κ² + 1/8κ³ + 25/128κ⁴ + …"""
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


def _watson(one, w_one, other, w_other):
  """U² of two samples without a batch."""
  angles = wrap_angle(jnp.concatenate([one, other]))
  order = jnp.argsort(angles)
  angles = angles[order]
  w_one = jnp.concatenate([w_one, jnp.zeros_like(w_other)])[order]
  w_other = jnp.concatenate([jnp.zeros_like(one), w_other])[order]
  n, m = w_one.sum(), w_other.sum()
  # At equal angles a distribution function has its value after the last of them.
  last = jnp.searchsorted(angles, angles, side="right") - 1
  difference = (jnp.cumsum(w_one) / n - jnp.cumsum(w_other) / m)[last]
  weights = w_one + w_other
  mean = jnp.sum(weights * difference) / (n + m)
  return n * m / (n + m) ** 2 * jnp.sum(weights * (difference - mean) ** 2)
