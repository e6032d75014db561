"""The losses that the hue loss is compared with, against plain definitions."""

import functools

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


# --- Ring loss --------------------------------------------------------------------


def test_ring_loss_and_its_radius_are_the_papers_equations():
  features = _random((6, 3))
  length = np.linalg.norm(features, axis=1)
  np.testing.assert_allclose(
    losses.ring_loss(features, 1.3), 0.5 * (length - 1.3) ** 2, rtol=1e-5
  )
  # The radius goes down the gradient of the mean loss by it.
  gradient = np.mean(1.3 - length)
  found = losses.update_radius(1.3, features, rate=0.2)
  np.testing.assert_allclose(found, 1.3 - 0.2 * gradient, rtol=1e-5)
  # The first batch gives it, and of a batch that does not count it stays.
  np.testing.assert_allclose(losses.update_radius(0.0, features), length.mean())
  nobody = losses.update_radius(1.3, features, where=np.zeros(6, bool))
  assert nobody == np.float32(1.3)
  slope = jax.grad(lambda radius: losses.ring_loss(features, radius).sum())(1.3)
  assert slope == 0


# --- Contrast -----------------------------------------------------------------------


def _unit(vectors):
  vectors = np.asarray(vectors, np.float64)
  return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _plain_contrast(features, labels, temperature):
  """L_out of the paper, pair by pair."""
  z, found = _unit(features), np.zeros(len(labels))
  for i in range(len(labels)):
    others = [a for a in range(len(labels)) if a != i]
    peers = [p for p in others if labels[p] == labels[i]]
    total = sum(np.exp(z[i] @ z[a] / temperature) for a in others)
    for p in peers:
      found[i] -= np.log(np.exp(z[i] @ z[p] / temperature) / total) / len(peers)
  return found


def _plain_angular(features, labels, angle):
  """The loss of all triangles, one by one."""
  x, found, t = _unit(features), np.zeros(len(labels)), np.tan(angle) ** 2
  for a in range(len(labels)):
    peers = [p for p in range(len(labels)) if labels[p] == labels[a] and p != a]
    for p in peers:
      wide = 0
      for n in range(len(labels)):
        if labels[n] != labels[a]:
          f = 4 * t * (x[a] + x[p]) @ x[n] - 2 * (1 + t) * x[a] @ x[p]
          wide += np.exp(f)
      found[a] += np.log(1 + wide) / len(peers)
  return found


_CONTRAST = {
  "supervised_contrastive_loss": (_plain_contrast, {"temperature": 0.2}),
  "angular_loss": (_plain_angular, {"angle": 0.9}),
}
_ALONE = _LABELS == 3  # no other image has the class


@pytest.mark.slow
@pytest.mark.parametrize("name", _CONTRAST)
def test_contrast_is_its_definition(name):
  plain, settings = _CONTRAST[name]
  features = _random((6, 4)) * np.logspace(-2, 2, 6, dtype="f")[:, None]
  expected = plain(features, _LABELS, *settings.values())
  assert (expected[_ALONE] == 0).all()
  # The mean over all images is that over those that have another of their class.
  expected *= 6 / 5
  loss = functools.partial(getattr(losses, name), **settings)
  np.testing.assert_allclose(loss(features, _LABELS), expected, rtol=1e-4, atol=1e-6)
  # Images that do not count are as if they were not there.
  more, labels = np.concatenate([features, features[:2]]), np.append(_LABELS, [0, 1])
  found = loss(more, labels, where=np.arange(8) < 6)
  np.testing.assert_allclose(found, np.append(expected, [0, 0]), rtol=1e-4)
  for labels in (np.arange(6), np.zeros(6, int)):
    expected = plain(features, labels, *settings.values())
    np.testing.assert_allclose(loss(features, labels), expected, rtol=1e-4, atol=1e-6)


def test_a_triangle_of_the_angle_has_the_loss_of_the_paper():
  """f is the paper's ‖a − p‖² − 4 tan² α ‖n − (a + p)/2‖², but for a constant."""
  alpha = 0.6
  a, p = _unit([[1, 0.3, 0], [1, -0.3, 0]])
  for n in _unit(_random((5, 3))):
    center = (a + p) / 2
    hinge = np.sum((a - p) ** 2) - 4 * np.tan(alpha) ** 2 * np.sum((n - center) ** 2)
    f = 4 * np.tan(alpha) ** 2 * (a + p) @ n - 2 * (1 + np.tan(alpha) ** 2) * a @ p
    # Of vectors of length 1, the constant is 2 − 6 tan² α.
    assert hinge == pytest.approx(f + 2 - 6 * np.tan(alpha) ** 2)
    found = losses.angular_loss(np.float32([a, p, n]), np.array([0, 0, 1]), angle=alpha)
    np.testing.assert_allclose(
      found, 1.5 * np.log1p(np.exp([f, f, -np.inf])), rtol=1e-4
    )


@pytest.mark.parametrize("cells", ["polar", "grid"])
def test_contrast_of_cells_is_the_mean_of_that_of_each(cells):
  layer = _random((6, 4, 4, 5))
  quarters = [
    layer[:, rows, columns].mean(axis=(1, 2))
    for rows in (slice(0, 2), slice(2, 4))
    for columns in (slice(0, 2), slice(2, 4))
  ]  # which four sectors of a square are, too
  expected = np.mean([_plain_contrast(q, _LABELS, 0.2) for q in quarters], axis=0)
  found = losses.cell_contrastive_loss(
    layer, _LABELS, sectors=4, cells=cells, temperature=0.2
  )
  np.testing.assert_allclose(found, expected * 6 / 5, rtol=1e-4)


@pytest.mark.parametrize("angle", [0.3, losses.MAX_ANGLE])
def test_angular_loss_holds_to_the_largest_angle(angle):
  features = _unit(_random((6, 4)))
  features[:3] = [1, 0, 0, 0]  # all that there is between two images
  features[3:] = -features[:3]
  labels = np.array([0, 0, 1, 0, 0, 1])
  expected = _plain_angular(features, labels, angle)
  found = losses.angular_loss(features.astype("f"), labels, angle=angle)
  np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("angle", [0.0, -1.0, 1.1, float("nan")])
def test_angles_that_cannot_be_used(angle):
  with pytest.raises(
    ValueError, match=r"angle is .*; it must be above 0 and at most π/3"
  ):
    losses.angular_loss(_random((6, 4)), _LABELS, angle=angle)


@pytest.mark.parametrize(
  "loss",
  [
    lambda f, **of: losses.supervised_contrastive_loss(f, **of),
    lambda f, **of: losses.angular_loss(f, **of),
    lambda f, **of: losses.cell_contrastive_loss(f.reshape(-1, 2, 2, 2), **of),
  ],
)
def test_contrast_and_its_gradient_are_those_of_the_whole_batch(loss):
  features, parameter = _random((16, 8)), _random(8, seed=1)
  labels = np.random.default_rng(0).integers(0, 5, 16)
  where = np.arange(16) % 5 != 0

  def value_and_grad(parameter, features, labels, where, axis_name=None):
    def share(parameter):
      found = loss(
        features * parameter, labels=labels, where=where, axis_name=axis_name
      )
      return found.sum(), found

    return jax.grad(share, has_aux=True)(parameter)

  def spread(*arrays):
    gradient, found = value_and_grad(*arrays, axis_name="d")
    return jax.lax.psum(gradient, "d"), found

  arrays = (parameter, features, labels, where)
  gradient, expected = jax.jit(value_and_grad)(*arrays)
  assert np.abs(gradient).max() > 0.01
  found = jax.jit(
    jax.shard_map(
      spread,
      mesh=Mesh(np.array(jax.devices()), ("d",)),
      in_specs=(P(), P("d"), P("d"), P("d")),
      out_specs=(P(), P("d")),
      check_vma=False,
    )
  )(*arrays)
  np.testing.assert_allclose(found[1], expected, rtol=1e-4, atol=1e-5)
  np.testing.assert_allclose(found[0], gradient, rtol=1e-3, atol=1e-5)


# --- Margins, lengths and prototypes ------------------------------------------------


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
    features, _LABELS, kernel=kernel, margin=margin, scale=10.0
  )
  expected = _arcface(features, kernel, _LABELS, margin, 10.0)
  np.testing.assert_allclose(found, expected, rtol=1e-4)
  # Lengths do not matter.
  again = losses.additive_angular_margin_loss(
    7 * features, _LABELS, kernel=0.1 * kernel, margin=margin, scale=10.0
  )
  np.testing.assert_allclose(again, found, rtol=1e-4)


@pytest.mark.slow
def test_a_worse_angle_is_never_a_smaller_loss():
  theta = np.linspace(0, np.pi, 200, dtype=np.float32)
  features = np.stack([np.cos(theta), np.sin(theta), 0 * theta], axis=1)
  kernel = np.array([[1, 0], [0, 0], [0, 1]], np.float32)
  found = losses.additive_angular_margin_loss(
    features, np.zeros(200, int), kernel=kernel, margin=0.5, scale=5.0
  )
  assert np.all(np.diff(found) > -1e-4)
  gradient = jax.grad(
    lambda f: losses.additive_angular_margin_loss(
      f, np.zeros(200, int), kernel=kernel
    ).sum()
  )(jnp.asarray(features))
  assert np.isfinite(gradient).all()
  zero = jax.grad(
    lambda f: losses.additive_angular_margin_loss(
      f, np.zeros(2, int), kernel=kernel
    ).sum()
  )(jnp.zeros((2, 3)))
  assert np.isfinite(zero).all()


def test_normalized_logits_have_one_length():
  logits = _random((6, 5)) * np.logspace(-3, 15, 6, dtype="f")[:, None]
  found = losses.normalized_logits(logits, temperature=0.1)
  np.testing.assert_allclose(found, _unit(logits) / 0.1, rtol=1e-3)
  with pytest.raises(ValueError, match=r"temperature is 0.0; it must be positive"):
    losses.normalized_logits(logits, temperature=0.0)


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
