"""Calibration and the distance of mistakes, against plain definitions."""

import numpy as np
import pytest
import scipy.special

from hue_jax.compare.measures.predictions import (
  accuracy,
  expected_calibration_error,
  hierarchy_distances,
  mistake_distance,
  negative_log_likelihood,
)
from hue_jax.errors import InputError


@pytest.fixture
def logits():
  return 2 * np.random.default_rng(0).normal(size=(500, 4)).astype(np.float32)


@pytest.fixture
def labels():
  return np.random.default_rng(1).integers(0, 4, 500)


def test_accuracy_and_likelihood(logits, labels):
  assert accuracy(logits, labels) == np.mean(np.argmax(logits, 1) == labels)
  log_p = scipy.special.log_softmax(logits.astype(np.float64), axis=1)
  expected = -log_p[np.arange(500), labels].mean()
  assert negative_log_likelihood(logits, labels) == pytest.approx(expected)


def test_calibration_error_is_its_definition(logits, labels):
  p = scipy.special.softmax(logits.astype(np.float64), axis=1)
  confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
  error = 0
  for k in range(15):
    inside = (confidence >= k / 15) & (confidence < (k + 1) / 15)
    if inside.any():
      gap = abs(right[inside].mean() - confidence[inside].mean())
      error += inside.mean() * gap
  assert expected_calibration_error(logits, labels) == pytest.approx(error)


def test_who_is_as_sure_as_right_is_calibrated():
  rng = np.random.default_rng(0)
  logits = 1.5 * rng.normal(size=(100_000, 3))
  p = scipy.special.softmax(logits, axis=1)
  labels = (rng.uniform(size=(100_000, 1)) > p.cumsum(axis=1)).sum(axis=1)
  assert expected_calibration_error(logits, labels) < 0.01
  assert expected_calibration_error(10 * logits, labels) > 0.1


_HIERARCHY = {
  "tops": ["shirt", "coat"],
  "shoes": {"low": ["sneaker"], "high": ["boot"]},
}
_CLASSES = ("boot", "shirt", "sneaker", "coat")


def test_scores_that_are_no_numbers_are_of_no_class():
  labels = np.array([0, 0, 1, 2])
  assert accuracy(np.full((4, 3), np.nan), labels) == 0
  scores = np.eye(3)[labels]
  scores[0, 2] = np.nan
  assert accuracy(scores, labels) == 0.75


def test_distance_falls_with_the_depth_of_the_lowest_shared_node():
  found = hierarchy_distances(_HIERARCHY, _CLASSES)
  # The tree is three edges deep; two shoes, or two tops, share a node at depth one.
  assert found[0, 2] == pytest.approx(2 / 3)
  assert found[1, 3] == pytest.approx(2 / 3)
  assert found[0, 1] == found[2, 3] == 1
  np.testing.assert_array_equal(np.diag(found), 0)
  np.testing.assert_array_equal(found, found.T)


def test_distance_of_mistakes_leaves_out_what_is_right():
  distances = hierarchy_distances(_HIERARCHY, _CLASSES)
  scores = np.eye(4)[[0, 3, 1, 2]]
  labels = np.array([0, 1, 2, 2])
  expected = (2 / 3 + 1) / 2
  assert mistake_distance(scores, labels, distances) == pytest.approx(expected)
  assert np.isnan(mistake_distance(np.eye(4), np.arange(4), distances))


@pytest.mark.parametrize(
  ("hierarchy", "message"),
  [
    ({"a": ["boot", "shirt"]}, "hierarchy lacks the classes sneaker, coat"),
    ({"a": ["boot"], "b": ["boot"]}, "hierarchy has 'boot', which is there twice"),
    ({"a": ["hat"]}, "hierarchy has 'hat', which is not a class.*boot, shirt"),
  ],
)
def test_hierarchies_that_do_not_fit(hierarchy, message):
  with pytest.raises(InputError, match=message):
    hierarchy_distances(hierarchy, _CLASSES)
