"""Effects pooled over studies against a published example and plain definitions."""

import numpy as np
import pytest
from scipy import stats

from hue_jax.compare.meta_analysis import pool, pool_correlated

# Thirteen trials of a vaccine against tuberculosis (Colditz et al., 1994): with the
# disease and without, of the vaccinated and of the others.
_TRIALS = np.array(
  [
    [4, 119, 11, 128],
    [6, 300, 29, 274],
    [3, 228, 11, 209],
    [62, 13536, 248, 12619],
    [33, 5036, 47, 5761],
    [180, 1361, 372, 1079],
    [8, 2537, 10, 619],
    [505, 87886, 499, 87892],
    [29, 7470, 45, 7232],
    [17, 1699, 65, 1600],
    [186, 50448, 141, 27197],
    [5, 2493, 3, 2338],
    [27, 16886, 29, 17825],
  ],
  np.float64,
)


def _log_risk_ratios():
  ill, well, control_ill, control_well = _TRIALS.T
  size, control_size = ill + well, control_ill + control_well
  effects = np.log(ill / size / (control_ill / control_size))
  variances = 1 / ill - 1 / size + 1 / control_ill - 1 / control_size
  return effects, np.sqrt(variances)


def test_the_vaccine_trials_are_pooled_as_statsmodels_pools_them():
  # statsmodels 0.15.0: combine_effects(method_re="iterated", use_t=True, atol=1e-12).
  found = pool(*_log_risk_ratios())
  assert found.tau_squared == pytest.approx(0.31806845220, rel=1e-8)
  assert found.mean == pytest.approx(-0.71496815349, rel=1e-8)
  assert found.standard_error == pytest.approx(0.18089219154, rel=1e-8)
  assert found.interval == pytest.approx((-1.10909838, -0.32083793), rel=1e-7)
  assert found.q == pytest.approx(152.23300808, rel=1e-9)
  assert found.i_squared == pytest.approx(0.92117346855, rel=1e-9)
  assert found.q_p < 1e-20
  reach = stats.t.ppf(0.975, 11) * np.sqrt(0.31806845220 + 0.18089219154**2)
  expected = (-0.71496815349 - reach, -0.71496815349 + reach)
  assert found.prediction_interval == pytest.approx(expected, rel=1e-8)
  assert sum(found.weights) == pytest.approx(1)


def test_effects_that_agree_are_pooled_as_of_one_study():
  errors = np.array([0.1, 0.2, 0.4])
  found = pool(np.array([1.0, 1.1, 0.9]), errors)
  assert found.tau_squared == found.i_squared == 0
  np.testing.assert_allclose(found.weights, errors**-2 / np.sum(errors**-2))
  assert found.standard_error == pytest.approx(np.sum(errors**-2) ** -0.5)
  equal = pool(np.ones(4), np.full(4, 0.5))
  assert (equal.mean, equal.q, equal.q_p) == (1, 0, 1)
  assert equal.prediction_interval[0] < equal.interval[0]


def test_two_effects_have_no_prediction_interval():
  found = pool(np.array([0.0, 1.0]), np.array([0.1, 0.1]))
  assert found.mean == pytest.approx(0.5)
  assert found.tau_squared == pytest.approx(0.5 - 0.01)
  assert np.isnan(found.prediction_interval).all()


def test_intervals_hold_the_mean_and_the_next_effect_as_often_as_they_say():
  rng = np.random.default_rng(0)
  for largest, few in ((1.2, 0.87), (0.4, 0.91)):
    inside, predicted = [], []
    for _ in range(600):
      errors = rng.uniform(largest / 4, largest, 9)
      effects = rng.normal(rng.normal(0.4, 0.8, 9), errors)
      found = pool(effects, errors)
      inside.append(found.interval[0] < 0.4 < found.interval[1])
      low, high = found.prediction_interval
      predicted.append(low < rng.normal(0.4, 0.8) < high)
    assert 0.92 < np.mean(inside) < 0.98
    # The prediction takes τ² as if it were known: too short where errors hide it.
    assert few < np.mean(predicted) < 0.98


def test_effects_of_one_origin_are_no_surer_than_any_correlation_makes_them():
  errors = np.array([0.1, 0.3, 0.2])
  mean, error, shares = pool_correlated(np.array([1.0, 2.0, 3.0]), errors)
  np.testing.assert_allclose(shares, errors**-2 / np.sum(errors**-2))
  assert mean == pytest.approx(np.dot(shares, [1, 2, 3]))
  rng = np.random.default_rng(1)
  for _ in range(20):
    factors = rng.normal(size=(3, 3))
    covariance = factors @ factors.T
    scale = errors / np.sqrt(np.diag(covariance))
    covariance *= np.outer(scale, scale)
    assert np.sqrt(shares @ covariance @ np.array(shares)) <= error + 1e-12
  alone = pool_correlated(np.array([0.7]), np.array([0.2]))
  assert alone[:2] == pytest.approx((0.7, 0.2))
