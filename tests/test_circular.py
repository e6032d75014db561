"""Circular statistics against SciPy, Astropy, definitions in float64, and chance."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats
from astropy.stats import circstats
from hypothesis import given, settings
from hypothesis import strategies as st

from hue_jax import circular
from hue_jax.errors import InputError
from tests.helpers.double_precision import double_precision

TAU = 2 * np.pi


def sample(n=200, mean=5.9, kappa=1.5, seed=0):
  return np.random.default_rng(seed).vonmises(mean, kappa, n) % TAU


@pytest.fixture
def x64():
  with double_precision():
    yield


@pytest.mark.usefixtures("x64")
class TestMoments:
  def test_scipy(self):
    angles = sample()
    np.testing.assert_allclose(
      circular.mean_direction(angles), scipy.stats.circmean(angles), rtol=1e-12
    )

  def test_astropy_with_weights(self):
    angles, weights = sample(), np.random.default_rng(1).random(200)
    mean = circstats.circmean(angles, weights=weights) % TAU
    np.testing.assert_allclose(
      circular.mean_direction(angles, weights), mean, rtol=1e-12
    )

  def test_the_resultant_is_by_definition(self):
    angles, weights = sample(), np.random.default_rng(1).random(200)
    expected = np.sum(weights * np.exp(1j * angles)) / weights.sum()
    np.testing.assert_allclose(circular.resultant(angles, weights), expected)
    assert float(circular.resultant_length(angles, weights)) == pytest.approx(
      abs(expected)
    )

  def test_weights_are_frequencies(self):
    angles, counts = sample(30), np.random.default_rng(1).integers(0, 4, 30)
    repeated = np.repeat(angles, counts)
    for function in (
      circular.mean_direction,
      circular.resultant_length,
      circular.fit_von_mises,
      circular.rayleigh_test,
    ):
      for found, expected in zip(
        jax.tree.leaves(function(angles, counts)),
        jax.tree.leaves(function(repeated)),
        strict=True,
      ):
        np.testing.assert_allclose(found, expected, rtol=1e-9)


@pytest.mark.usefixtures("x64")
class TestVonMises:
  @pytest.mark.parametrize("kappa", [0.0, 1e-3, 0.3, 1, 5, 40, 1e3, 1e6])
  def test_concentration_inverts_the_ratio_of_bessel_functions(self, kappa):
    length = scipy.special.i1e(kappa) / scipy.special.i0e(kappa)
    # Two angles ±a have the resultant length cos a.
    fit = circular.fit_von_mises(np.arccos(length) * np.array([1.0, -1]) + 2)
    if kappa:
      assert float(fit.mean_direction) == pytest.approx(2)
    np.testing.assert_allclose(fit.concentration, kappa, rtol=1e-7, atol=1e-9)

  @pytest.mark.parametrize("kappa", [49, 50.5, 52, 60])
  def test_where_the_series_takes_over(self, kappa):
    length = scipy.special.i1e(kappa) / scipy.special.i0e(kappa)
    np.testing.assert_allclose(circular._concentration(length), kappa, rtol=2e-9)

  def test_scipy_and_astropy(self):
    for kappa in (0.2, 2, 30):
      angles = sample(500, 1, kappa)
      fit = circular.fit_von_mises(angles)
      of_scipy, location, _ = scipy.stats.vonmises.fit(angles, fscale=1)
      np.testing.assert_allclose(fit.concentration, of_scipy, rtol=1e-6)
      np.testing.assert_allclose(fit.mean_direction, location % TAU, rtol=1e-6)
      # Astropy's κ is the approximation that we only start from.
      np.testing.assert_allclose(
        fit.concentration, circstats.vonmisesmle(angles)[1], rtol=0.02
      )

  def test_the_slope_is_finite(self):
    slope = jax.grad(lambda length: circular._concentration(length))
    for length in (0.0, 0.3, 0.9, 0.995):
      step = 1e-6
      upper, lower = (
        circular._concentration(jnp.array(max(length + h, 0.0))) for h in (step, -step)
      )
      expected = (upper - lower) / (2 * step if length else step)
      np.testing.assert_allclose(slope(length), expected, rtol=1e-3)
    assert slope(1.0) == 0
    spread = jax.grad(lambda a: circular.fit_von_mises(a).concentration)
    assert np.isfinite(spread(np.full(5, 1.0))).all()

  def test_the_ends(self):
    assert np.isinf(circular.fit_von_mises(np.full(5, 1.0)).concentration)
    uniform = circular.fit_von_mises(np.arange(8) * TAU / 8)
    assert float(uniform.concentration) == pytest.approx(0, abs=1e-9)


def test_float32_is_close_to_float64():
  angles = sample(1000, kappa=4)
  with double_precision():
    expected = circular.fit_von_mises(angles)
  found = circular.fit_von_mises(angles.astype(np.float32))
  assert found.concentration.dtype == jnp.float32
  np.testing.assert_allclose(found.concentration, expected.concentration, rtol=1e-4)
  np.testing.assert_allclose(found.mean_direction, expected.mean_direction, rtol=1e-5)


class TestRayleigh:
  @pytest.mark.usefixtures("x64")
  @pytest.mark.parametrize(("n", "kappa"), [(20, 0.5), (60, 0.3), (500, 0.1), (40, 0)])
  def test_astropy(self, n, kappa):
    angles = sample(n, 1, kappa)
    result = circular.rayleigh_test(angles)
    np.testing.assert_allclose(
      result.p_value, circstats.rayleightest(angles), rtol=0.03
    )
    length = scipy.stats.circvar(angles)
    np.testing.assert_allclose(result.statistic, n * (1 - length) ** 2, rtol=1e-9)

  def test_p_values_are_uniform_where_there_is_no_direction(self):
    angles = np.random.default_rng(0).random((8000, 25)) * TAU
    p = np.asarray(circular.rayleigh_test(angles).p_value)
    # Kolmogorov–Smirnov distance of 8000 draws is below 0.0182 with 99 %.
    assert scipy.stats.kstest(p, "uniform").statistic < 0.0182

  def test_a_p_value_that_is_too_small_for_its_type_has_a_logarithm(self):
    result = circular.rayleigh_test(sample(20_000, kappa=3).astype(np.float32))
    assert result.p_value == 0
    n, length = 20_000, np.sqrt(float(result.statistic) / 20_000)
    expected = np.sqrt((1 + 2 * n) ** 2 - (2 * n * length) ** 2) - (1 + 2 * n)
    np.testing.assert_allclose(result.log_p_value, expected, rtol=1e-5)
    assert float(circular.rayleigh_test(np.zeros(30)).log_p_value) < -30


def _fisher_lee_by_definition(a, b, w):
  pairs = np.triu(np.outer(w, w), 1)
  sin_a, sin_b = np.sin(a[:, None] - a), np.sin(b[:, None] - b)
  return np.sum(pairs * sin_a * sin_b) / np.sqrt(
    np.sum(pairs * sin_a**2) * np.sum(pairs * sin_b**2)
  )


@pytest.mark.usefixtures("x64")
class TestCorrelation:
  def test_fisher_lee_over_all_pairs(self):
    rng = np.random.default_rng(0)
    a, w = sample(80), rng.random(80)
    b = a + rng.vonmises(0, 2, 80)
    found = circular.circular_correlation(a, b, w)
    np.testing.assert_allclose(found, _fisher_lee_by_definition(a, b, w))
    assert 0.1 < found < 0.95

  def test_weights_are_frequencies(self):
    rng = np.random.default_rng(0)
    a, w = sample(30), rng.integers(0, 4, 30)
    b = a + rng.vonmises(0, 1, 30)
    repeated = np.repeat(a, w), np.repeat(b, w)
    np.testing.assert_allclose(
      circular.circular_correlation(a, b, w),
      circular.circular_correlation(*repeated),
    )

  def test_a_turn_is_correlated_and_a_mirror_image_inversely(self):
    a = sample(50, kappa=0.5)
    turned = circular.circular_correlation(a, (a + 2) % TAU)
    mirrored = circular.circular_correlation(a, (1 - a) % TAU)
    np.testing.assert_allclose([turned, mirrored], [1, -1], rtol=1e-12)

  def test_independent_angles(self):
    rng = np.random.default_rng(0)
    a, b = rng.random((2, 300, 100)) * TAU
    found = np.asarray(circular.circular_correlation(a, b))
    assert abs(found.mean()) < 0.03
    assert found.std() < 0.2


@pytest.mark.usefixtures("x64")
@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(-10, 10))
def test_turning_and_mirroring(seed, turn):
  rng = np.random.default_rng(seed)
  a, b, w = rng.vonmises(1, 1, 25), rng.vonmises(2, 2, 25), rng.random(25)
  order = rng.permutation(25)
  direction = circular.mean_direction
  gap = np.exp(1j * (direction(a + turn, w) - direction(a, w) - turn))
  np.testing.assert_allclose(gap, 1, atol=1e-9)
  gap = np.exp(1j * (direction(-a, w) + direction(a, w)))
  np.testing.assert_allclose(gap, 1, atol=1e-9)
  assert 0 <= direction(a + turn, w) < TAU
  for changed in (
    circular.resultant_length(a + turn, w),
    circular.resultant_length(-a, w),
    circular.resultant_length(a[order], w[order]),
  ):
    np.testing.assert_allclose(changed, circular.resultant_length(a, w), rtol=1e-9)
  rho = circular.circular_correlation
  np.testing.assert_allclose(rho(a + turn, b, w), rho(a, b, w), atol=1e-9)
  np.testing.assert_allclose(rho(-a, b, w), -rho(a, b, w), atol=1e-9)


def test_batches_are_loops():
  rng = np.random.default_rng(0)
  angles, other = rng.vonmises(1, 1, (2, 3, 40, 2))[..., 0], rng.random((3, 40)) * TAU
  weights = rng.random((3, 40))
  functions = (
    circular.mean_direction,
    circular.fit_von_mises,
    circular.rayleigh_test,
    lambda a, w: circular.circular_correlation(a, other, w),
  )
  for function in functions:
    for leaf in jax.tree.leaves(function(angles, weights)):
      assert leaf.shape == (2, 3)
  for i in range(2):
    for j in range(3):
      np.testing.assert_allclose(
        circular.mean_direction(angles, weights)[i, j],
        circular.mean_direction(angles[i, j], weights[j]),
        rtol=1e-5,
      )


def test_many_weights_of_one_sample():
  angles, draws = sample(50), np.random.default_rng(0).integers(0, 3, (7, 50))
  for function in (
    circular.resultant_length,
    circular.circular_correlation,
  ):
    arguments = (angles,) if function is circular.resultant_length else (angles,) * 2
    together = function(*arguments, draws)
    alone = [function(*arguments, draw) for draw in draws]
    np.testing.assert_allclose(together, alone, rtol=1e-5)
  assert circular.rayleigh_test(angles, draws).p_value.shape == (7,)


def test_under_jit_and_vmap():
  angles, weights = sample(60), np.ones(60)
  for function in (
    circular.fit_von_mises,
    circular.rayleigh_test,
    lambda a, w: circular.circular_correlation(a, a + 1, w),
  ):
    jitted = jax.jit(jax.vmap(function))(angles[None], weights[None])
    for found, expected in zip(
      jax.tree.leaves(jitted), jax.tree.leaves(function(angles, weights)), strict=True
    ):
      np.testing.assert_allclose(found[0], expected, rtol=1e-4)


def test_nothing_to_count_is_not_a_number():
  angles, none = sample(10), np.zeros(10)
  for function in (
    circular.mean_direction,
    circular.resultant_length,
    circular.fit_von_mises,
    circular.rayleigh_test,
  ):
    assert all(np.isnan(leaf) for leaf in jax.tree.leaves(function(angles, none)))
  of = circular.circular_correlation
  assert np.isnan(of(np.full(10, 2.0), angles))
  assert np.isnan(of(angles, np.full(10, 6.0)))
  assert np.isnan(of(angles, angles, none))


@pytest.mark.parametrize("spread", [1e-3, 0.1, 1.0])
def test_correlation_of_concentrated_angles_in_float32(spread):
  rng = np.random.default_rng(0)
  shared = rng.normal(size=400)
  a, b = (2 + spread * (shared + 0.4 * rng.normal(size=400)) for _ in range(2))
  a, b = a.astype(np.float32), b.astype(np.float32)
  found = circular.circular_correlation(a, b)
  with double_precision():
    exact = circular.circular_correlation(a.astype(np.float64), b.astype(np.float64))
  np.testing.assert_allclose(found, exact, rtol=1e-3)


def test_what_is_refused():
  with pytest.raises(TypeError, match="angles"):
    circular.mean_direction(np.arange(3))
  with pytest.raises(InputError, match=r"weights have shape \(3,\), .* angles, \(4,\)"):
    circular.mean_direction(np.ones(4), np.ones(3))
  with pytest.raises(InputError, match=r"weights have shape \(3, 4\), which does not"):
    circular.mean_direction(np.ones((2, 4)), np.ones((3, 4)))
  with pytest.raises(InputError, match=r"angles have shape \(0,\); at least one"):
    circular.mean_direction(np.ones(0))
  with pytest.raises(InputError, match="weights hold nan"):
    circular.rayleigh_test(np.ones(3), np.array([1, np.nan, 1]))
  with pytest.raises(InputError, match=r"weights hold -1.*; they must be at least 0"):
    circular.rayleigh_test(np.ones(3), np.array([1, -1, 1]))


@pytest.mark.parametrize("spread", [1, 1e-2, 1e-4])
def test_correlation_of_concentrated_angles_beside_others_of_no_weight(spread):
  rng = np.random.default_rng(0)
  a = rng.normal(scale=spread, size=50)
  angles = [a, a + rng.normal(scale=spread, size=50)]
  far = [np.concatenate([one, rng.uniform(0, TAU, 50)]) for one in angles]
  weights = np.repeat(np.float32([1, 0]), 50)
  found = circular.circular_correlation(*map(np.float32, far), weights)
  alone = circular.circular_correlation(*map(np.float32, angles))
  assert found == pytest.approx(float(alone), abs=1e-3)
  still = np.float32([0.3, 0.3, 0.3, 2.5, 2.7])
  assert np.isnan(
    circular.circular_correlation(still, still, np.float32([1, 1, 1, 0, 0]))
  )
