"""The losses that the hue loss is compared with, against plain definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from hue_jax import losses

_LABELS = np.array([0, 1, 3, 1, 1, 0])


def _random(shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


# --- Smoothed labels --------------------------------------------------------------


def test_without_concentration_smoothing_is_optax():
  optax = pytest.importorskip("optax")  # the library does without it
  found = losses.smoothed_labels(_LABELS, 5, smoothing=0.2)
  expected = optax.smooth_labels(jax.nn.one_hot(_LABELS, 5), 0.2)
  np.testing.assert_allclose(found, expected, atol=1e-6)


def test_a_bump_lies_about_the_label_on_the_circle_of_classes():
  order = [2, 0, 4, 1, 3]  # class 4 stands between 0 and 1, class 3 beside 1 and 2
  hues = np.empty(5, np.float32)
  hues[order] = 2 * np.pi * np.arange(5) / 5
  (target,) = losses.smoothed_labels(
    np.array([4]), 5, smoothing=0.5, concentration=2.0, class_hues=hues
  )
  bump = np.exp(2 * np.cos(hues - hues[4]))
  expected = 0.5 * bump / bump.sum() + 0.5 * np.eye(5)[4]
  np.testing.assert_allclose(target, expected, atol=1e-6)
  assert target[0] == pytest.approx(target[1])
  assert target[0] > target[2]
  assert target.sum() == pytest.approx(1)


# --- Confidence penalty, L2, dense cross entropy ------------------------------------


def test_confidence_penalty_is_negative_entropy():
  logits = 3 * _random((6, 5))
  p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
  np.testing.assert_allclose(
    losses.confidence_penalty(logits), -scipy.stats.entropy(p, axis=1), rtol=1e-4
  )
  extremes = np.array([[0, 0, 0, 0], [1000, 0, 0, 0]], np.float32)
  np.testing.assert_allclose(
    losses.confidence_penalty(extremes), [-np.log(4), 0], atol=1e-6
  )


def test_max_suppression_is_the_largest_logit_above_the_mean():
  logits = 3 * _random((6, 5))
  exact = logits.astype(np.float64)
  np.testing.assert_allclose(
    losses.max_suppression(logits), exact.max(axis=1) - exact.mean(axis=1), rtol=1e-5
  )
  # With the cross entropy of one-hot labels, it is label smoothing where the label has
  # the largest logit.
  labels = logits.argmax(axis=1)
  log_p = exact - np.log(np.exp(exact).sum(axis=1, keepdims=True))
  targets = losses.smoothed_labels(labels, 5, smoothing=0.2)
  one_hot = -log_p[np.arange(6), labels]
  np.testing.assert_allclose(
    one_hot + 0.2 * losses.max_suppression(logits),
    -np.sum(targets * log_p, axis=1),
    rtol=1e-5,
  )


def test_activation_l2_is_a_mean_square_of_layers_and_of_features():
  layer = _random((6, 3, 4, 5))
  np.testing.assert_allclose(
    losses.activation_l2(layer), (layer**2).reshape(6, -1).mean(axis=1), rtol=1e-5
  )
  np.testing.assert_allclose(
    losses.activation_l2(layer[:, 0, 0]), (layer[:, 0, 0] ** 2).mean(axis=1), rtol=1e-5
  )


def test_dense_cross_entropy_is_that_of_every_position():
  layer, kernel, bias = _random((6, 2, 3, 4)), _random((4, 5)), _random(5)
  nats = np.zeros(6)
  for y in range(2):
    for x in range(3):
      logits = layer[:, y, x] @ kernel + bias
      log_p = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
      nats -= log_p[np.arange(6), _LABELS] / 6
  found = losses.dense_cross_entropy(layer, _LABELS, kernel=kernel, bias=bias)
  np.testing.assert_allclose(found, nats, rtol=1e-5)


# --- Center loss ------------------------------------------------------------------


def test_center_loss_and_its_centers_are_the_papers_equations():
  features, centers = _random((6, 3)), _random((5, 3), seed=1)
  expected = 0.5 * ((features - centers[_LABELS]) ** 2).sum(axis=1)
  np.testing.assert_allclose(
    losses.center_loss(features, _LABELS, centers), expected, rtol=1e-5
  )
  moved = centers.copy()
  for c in range(5):
    mine = features[c == _LABELS]
    moved[c] -= 0.3 * (centers[c] - mine).sum(axis=0) / (1 + len(mine))
  found = losses.update_centers(centers, features, _LABELS, rate=0.3)
  np.testing.assert_allclose(found, moved, rtol=1e-5)
  np.testing.assert_array_equal(found[4], centers[4])


def test_no_gradient_flows_through_centers():
  features, centers = _random((6, 3)), _random((5, 3), seed=1)
  gradient = jax.grad(
    lambda centers: losses.center_loss(features, _LABELS, centers).sum()
  )(jnp.asarray(centers))
  np.testing.assert_array_equal(gradient, 0)


def test_centers_are_moved_by_the_whole_batch_over_devices():
  features, centers = _random((16, 3)), jnp.asarray(_random((5, 3), seed=1))
  labels = np.random.default_rng(0).integers(0, 5, 16)
  where = np.arange(16) != 3
  mesh = Mesh(np.array(jax.devices()), ("devices",))
  found = jax.jit(
    jax.shard_map(
      lambda f, y, w: losses.update_centers(
        centers, f, y, where=w, axis_name="devices"
      ),
      mesh=mesh,
      in_specs=(P("devices"), P("devices"), P("devices")),
      out_specs=P(),
    )
  )(features, labels, where)
  expected = losses.update_centers(centers, features[where], labels[where])
  np.testing.assert_allclose(found, expected, rtol=1e-5)


# --- Margins and prototypes ---------------------------------------------------------


def _arcface(features, kernel, labels, margin, scale):
  features, kernel = features.astype(np.float64), kernel.astype(np.float64)
  cosine = features @ kernel / np.linalg.norm(kernel, axis=0)
  cosine /= np.linalg.norm(features, axis=1, keepdims=True)
  rows = np.arange(len(labels))
  theta = np.arccos(cosine[rows, labels])
  assert (theta + margin < np.pi).all()
  cosine[rows, labels] = np.cos(theta + margin)
  logits = scale * cosine
  return np.log(np.exp(logits).sum(axis=1)) - logits[rows, labels]


@pytest.mark.parametrize("margin", [0.0, 0.3])
def test_additive_angular_margin_is_its_definition(margin):
  features, kernel = _random((6, 8)), _random((8, 5), seed=1)
  found = losses.additive_angular_margin_loss(
    features, kernel, _LABELS, margin=margin, scale=10.0
  )
  expected = _arcface(features, kernel, _LABELS, margin, 10.0)
  np.testing.assert_allclose(found, expected, rtol=1e-4)
  # Lengths do not matter.
  again = losses.additive_angular_margin_loss(
    7 * features, 0.1 * kernel, _LABELS, margin=margin, scale=10.0
  )
  np.testing.assert_allclose(again, found, rtol=1e-4)


def test_a_worse_angle_is_never_a_smaller_loss():
  theta = np.linspace(0, np.pi, 200, dtype=np.float32)
  features = np.stack([np.cos(theta), np.sin(theta), 0 * theta], axis=1)
  kernel = np.array([[1, 0], [0, 0], [0, 1]], np.float32)
  found = losses.additive_angular_margin_loss(
    features, kernel, np.zeros(200, int), margin=0.5, scale=5.0
  )
  assert np.all(np.diff(found) > -1e-4)
  gradient = jax.grad(
    lambda f: losses.additive_angular_margin_loss(f, kernel, np.zeros(200, int)).sum()
  )(jnp.asarray(features))
  assert np.isfinite(gradient).all()
  zero = jax.grad(
    lambda f: losses.additive_angular_margin_loss(f, kernel, np.zeros(2, int)).sum()
  )(jnp.zeros((2, 3)))
  assert np.isfinite(zero).all()


@pytest.mark.parametrize("num_classes", [2, 3, 10])
def test_prototypes_are_the_corners_of_a_simplex(num_classes):
  prototypes = losses.simplex_prototypes(num_classes)
  cosines = prototypes @ prototypes.T
  expected = np.where(np.eye(num_classes), 1, -1 / (num_classes - 1))
  np.testing.assert_allclose(cosines, expected, atol=1e-6)


def test_one_class_has_no_simplex():
  with pytest.raises(ValueError, match="num_classes is 1; prototypes need at least 2"):
    losses.simplex_prototypes(1)


def test_hyperspherical_prototype_loss():
  prototypes = losses.simplex_prototypes(4)
  outputs = np.concatenate([3 * prototypes, -2 * prototypes, _random((1, 4))])
  labels = np.array([0, 1, 2, 3, 0, 1, 2, 3, 2])
  found = losses.hyperspherical_prototype_loss(outputs, labels, prototypes)
  np.testing.assert_allclose(found[:4], 0, atol=1e-5)
  np.testing.assert_allclose(found[4:8], 4, rtol=1e-4)
  cosine = outputs[8] @ prototypes[2] / np.linalg.norm(outputs[8])
  assert found[8] == pytest.approx((1 - cosine) ** 2, rel=1e-4)
