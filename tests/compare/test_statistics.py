"""Paired statistics against SciPy and plain definitions."""

import numpy as np
import pytest
import scipy.stats

from hue_jax.compare.run_records import rounding
from hue_jax.compare.statistics import (
  error_reduction,
  holm,
  median_interval,
  paired,
  smallest_gain,
  steps_to_reach,
)

_DIFFERENCES = np.array([0.4, -0.1, 0.7, 0.2, 0.9, 0.0, 0.5, -0.3, 0.6, 0.3])


def test_paired_statistics_are_scipys():
  found = paired(_DIFFERENCES)
  test = scipy.stats.ttest_1samp(_DIFFERENCES, 0)
  interval = test.confidence_interval()
  assert found.count == 10
  assert found.mean == pytest.approx(_DIFFERENCES.mean())
  assert found.t_interval == pytest.approx((interval.low, interval.high))
  assert found.t_p == pytest.approx(test.pvalue)
  assert (found.higher, found.lower) == (7, 2)
  bootstrap = scipy.stats.bootstrap(
    (_DIFFERENCES,), np.mean, method="percentile", n_resamples=20000, rng=1
  ).confidence_interval
  assert found.bootstrap_interval == pytest.approx(
    (bootstrap.low, bootstrap.high), abs=0.02
  )
  pratt = scipy.stats.wilcoxon(_DIFFERENCES, zero_method="pratt")
  assert found.wilcoxon_p == pytest.approx(pratt.pvalue)


def test_few_pairs_of_which_some_are_equal_or_0_are_tested_as_scipy_tests_them():
  rng = np.random.default_rng(0)
  for count in [*range(2, 9)] * 2:
    few = rng.integers(-3, 4, count) / 7
    few[0] = 1 / 7
    expected = scipy.stats.wilcoxon(few, zero_method="pratt").pvalue
    assert paired(few).wilcoxon_p == expected, few


@pytest.mark.parametrize("seed", range(5))
def test_all_signs_of_twenty_pairs_are_counted_where_some_are_equal_or_0(seed):
  many = np.random.default_rng(seed).integers(-4, 6, 20) / 100
  ranks = scipy.stats.rankdata(np.abs(many)) * (many != 0)
  signs = (np.arange(2**20)[:, None] >> np.arange(20)) & 1
  sums, found = signs @ ranks, ranks[many > 0].sum()
  expected = 2 * min(np.mean(sums >= found), np.mean(sums <= found))
  assert paired(many).wilcoxon_p == pytest.approx(min(expected, 1))


def test_more_pairs_are_approximated_as_by_scipy():
  many = np.random.default_rng(0).integers(-4, 6, 60) / 100
  expected = scipy.stats.wilcoxon(many, zero_method="pratt").pvalue
  assert paired(many).wilcoxon_p == pytest.approx(expected)


@pytest.mark.parametrize("count", [20, 60])
@pytest.mark.parametrize("num_examples", [78, 397, 797, 10_000, 50_000])
def test_accuracies_that_were_rounded_have_the_p_of_their_counts(count, num_examples):
  rng = np.random.default_rng(num_examples)
  right = rng.integers(int(0.80 * num_examples), int(0.82 * num_examples), (2, count))
  right[0] = right[1] + rng.integers(-3, 5, count)
  one, other = 100 * np.array(
    [[float(f"{n / num_examples:.6g}") for n in of] for of in right]
  )
  rounded = 4 * rounding(np.concatenate([one, other]))
  found = paired(one - other, rounding=rounded).wilcoxon_p
  assert found == paired(right[0] - right[1].astype(float)).wilcoxon_p


def test_no_difference_at_all_is_no_effect():
  found = paired(np.zeros(6))
  assert found.t_interval == (0, 0)
  assert found.t_p == found.wilcoxon_p == 1
  assert (found.higher, found.lower) == (0, 0)


def test_the_same_difference_everywhere():
  found = paired(np.full(6, 0.25))
  assert found.mean == 0.25
  assert found.t_p == 0


def test_one_pair_has_a_mean_and_no_interval():
  found = paired(np.array([0.5]))
  assert found.mean == 0.5
  assert np.isnan(found.t_interval).all()
  assert np.isnan(found.t_p)


def test_intervals_hold_the_true_mean_as_often_as_they_say():
  rng = np.random.default_rng(0)
  inside = [
    low <= 0.3 <= high
    for low, high in (paired(rng.normal(0.3, 1, 20)).t_interval for _ in range(400))
  ]
  assert 0.92 < np.mean(inside) < 0.98


def test_error_reduction_is_a_ratio_of_means():
  reference, errors = np.array([10.0, 14, 12]), np.array([9.0, 9, 12])
  found = error_reduction(errors, reference)
  assert found.mean == pytest.approx(6 / 36)
  assert found.log == pytest.approx(np.log(36 / 30))
  again = error_reduction(errors / 100, reference / 100)
  assert again.interval == pytest.approx(found.interval)
  # The other way round the ratio is the inverse, and the interval its own.
  back = error_reduction(reference, errors)
  assert back.log == pytest.approx(-found.log)
  assert back.standard_error == pytest.approx(found.standard_error)
  assert 1 - back.interval[0] == pytest.approx(1 / (1 - found.interval[1]))


def test_error_reduction_agrees_with_the_bootstrap_of_its_pairs():
  rng = np.random.default_rng(0)
  reference = rng.normal(20, 3, 400)
  errors = 0.9 * reference + rng.normal(0, 1.5, 400)
  found = error_reduction(errors, reference)
  expected = scipy.stats.bootstrap(
    (errors, reference),
    lambda e, r, axis: 1 - e.mean(axis=axis) / r.mean(axis=axis),
    paired=True,
    rng=1,
  ).confidence_interval
  width = expected.high - expected.low
  assert found.interval == pytest.approx((expected.low, expected.high), abs=width / 20)


def test_error_reduction_without_errors_is_told_apart():
  some, none = np.array([0.1, 0.0, 0.2]), np.zeros(3)
  assert np.isnan(error_reduction(some, none).mean)
  assert np.isnan(error_reduction(none, none).mean)
  perfect = error_reduction(none, some)
  assert (perfect.mean, perfect.log) == (1, np.inf)
  assert np.isnan(perfect.interval).all()
  assert error_reduction(some, some).interval == (0, 0)
  one = error_reduction(some[:1], 2 * some[:1])
  assert one.mean == pytest.approx(0.5)
  assert np.isnan(one.interval).all()


def test_error_reduction_holds_the_true_one_as_often_as_it_says():
  rng = np.random.default_rng(3)
  inside = []
  for _ in range(500):
    reference = rng.normal(10, 1, 10)
    errors = 0.8 * reference + rng.normal(0, 0.6, 10)
    low, high = error_reduction(errors, reference).interval
    inside.append(low < 0.2 < high)
  assert 0.92 < np.mean(inside) < 0.98


# statsmodels 0.15.0: TTestPower().solve_power(nobs=n, alpha=0.05, power=0.8) · √n.
@pytest.mark.parametrize(
  ("count", "expected"),
  [(2, 16.33401), (3, 5.653489), (5, 3.761060), (20, 2.953585), (100, 2.829117)],
)
def test_smallest_gain_has_a_power_of_80_percent(count, expected):
  differences = np.random.default_rng(0).normal(size=count)
  found = paired(differences)
  assert smallest_gain(found) / found.standard_error == pytest.approx(
    expected, rel=1e-5
  )
  assert smallest_gain(paired(differences + 5)) == pytest.approx(smallest_gain(found))


def test_smallest_gain_of_few_or_equal_pairs():
  assert np.isnan(smallest_gain(paired(np.array([1.0]))))
  assert smallest_gain(paired(np.full(5, 0.2))) == pytest.approx(0, abs=1e-12)


def test_median_interval_is_between_order_statistics():
  # For 10 values the binomial is at most 1 with a probability of 1.1 %, at most 2 with
  # 5.5 %: the second smallest and the second largest.
  values = np.array([5.0, 1, 9, 3, 7, 2, 8, 4, 10, 1000])
  assert median_interval(values) == (2, 10)
  assert np.isnan(median_interval(values[:5])).all()
  assert median_interval(np.zeros(6)) == (0, 0)


def test_median_interval_holds_the_median_of_a_skewed_distribution():
  rng = np.random.default_rng(2)
  inside = [
    low <= np.log(2) <= high
    for low, high in (median_interval(rng.exponential(size=25)) for _ in range(400))
  ]
  assert np.mean(inside) > 0.94


def test_holm_is_its_definition():
  p = [0.01, 0.04, 0.03, 0.005]
  # Sorted 0.005, 0.01, 0.03, 0.04: times 4, 3, 2, 1, and never falling.
  assert holm(p) == pytest.approx([0.03, 0.06, 0.06, 0.02])
  assert holm([0.6, 0.9]) == pytest.approx([1.0, 1.0])
  found = holm([0.01, float("nan"), 0.5])
  assert found[0] == pytest.approx(0.02)
  assert np.isnan(found[1])
  assert holm([]) == []


def test_holm_errs_with_any_of_many_as_seldom_as_it_says():
  rng = np.random.default_rng(1)
  errs = [min(holm(rng.uniform(size=12).tolist())) < 0.05 for _ in range(1000)]
  assert np.mean(errs) < 0.07


def test_steps_to_reach_an_accuracy():
  steps, accuracies = [10, 20, 30, 40], [0.2, 0.6, 0.5, 0.8]
  assert steps_to_reach(steps, accuracies, 0.4) == pytest.approx(15)
  assert steps_to_reach(steps, accuracies, 0.7) == pytest.approx(30 + 20 / 3)
  assert steps_to_reach(steps, accuracies, 0.1) == pytest.approx(5)
  assert steps_to_reach(steps, accuracies, 0.9) == float("inf")
  assert steps_to_reach([10], [0.0], 0.0) == 10
