"""The hue losses against plain loops in float64, and their properties."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P
from test_hue import _CONSTANT, _FINITE, assert_finite

import hue_jax

_LOSSES = (hue_jax.hue_loss, hue_jax.von_mises_loss)


def _random(shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _chroma_vector(activation):
  n = len(activation)
  angles = 2 * np.pi * np.arange(n) / n
  z = np.sqrt(2 / n) * np.sum(activation.astype(np.float64) * np.exp(1j * angles))
  return z.real, z.imag


def _plain_hue_loss(activation, target, epsilon=1e-4):
  x, y = _chroma_vector(activation)
  length = np.sqrt(x * x + y * y + epsilon**2)
  return 1 - (x * np.cos(target) + y * np.sin(target)) / length


# --- Hue loss -------------------------------------------------------------------


def test_hue_loss_is_the_formula():
  activations, targets = _random((30, 7)), np.linspace(-7, 7, 30, dtype="f")
  expected = [_plain_hue_loss(a, t) for a, t in zip(activations, targets, strict=True)]
  np.testing.assert_allclose(
    hue_jax.hue_loss(activations, targets), expected, rtol=1e-4, atol=1e-6
  )
  # And so of the angle itself.
  cosine = np.cos(np.asarray(hue_jax.hue_angle(activations)) - targets)
  np.testing.assert_allclose(expected, 1 - cosine, atol=1e-5)


def test_the_smooth_norm_counts_where_chroma_is_small():
  small = 1e-4 * _random((30, 7))
  expected = [_plain_hue_loss(a, 0.5) for a in small]
  np.testing.assert_allclose(hue_jax.hue_loss(small, 0.5), expected, rtol=1e-4)
  np.testing.assert_allclose(
    hue_jax.hue_loss(small, 0.5, epsilon=1e-2),
    [_plain_hue_loss(a, 0.5, 1e-2) for a in small],
    rtol=1e-4,
  )
  assert hue_jax.hue_loss(np.zeros(7, "f"), 0.5) == 1


@pytest.mark.parametrize("num_classes", [3, 10, 1000])
def test_it_is_0_at_the_target_and_2_opposite(num_classes):
  one_hot = np.eye(num_classes, dtype="f")
  target = hue_jax.hue_labels(np.arange(num_classes), num_classes)
  np.testing.assert_allclose(hue_jax.hue_loss(one_hot, target), 0, atol=5e-6)
  np.testing.assert_allclose(hue_jax.hue_loss(one_hot, target + np.pi), 2, atol=5e-6)
  quarter = hue_jax.hue_loss(one_hot, target + np.pi / 2)
  np.testing.assert_allclose(quarter, 1, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(vector=_FINITE, target=st.floats(-10, 10, width=32))
def test_it_lies_between_0_and_2(vector, target):
  assert 0 <= hue_jax.hue_loss(vector, target) <= 2


_VALUE_AND_GRAD = {
  f.__name__: jax.jit(jax.value_and_grad(lambda a, f=f: f(a, 1.0))) for f in _LOSSES
}


@pytest.mark.parametrize("name", _VALUE_AND_GRAD)
@settings(max_examples=60, deadline=None)
@given(vector=_FINITE | _CONSTANT)
def test_value_and_gradient_are_finite_for_every_finite_input(name, vector):
  assert_finite(_VALUE_AND_GRAD[name], vector)


@pytest.mark.parametrize("loss", _LOSSES)
def test_gradients_are_central_differences(loss):
  with jax.enable_x64(True):
    a = np.random.default_rng(3).normal(size=8)
    gradient = jax.grad(loss)(jnp.asarray(a), 0.7)
    step = 1e-6 * np.eye(8)
    expected = [float(loss(a + s, 0.7) - loss(a - s, 0.7)) / 2e-6 for s in step]
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


def test_a_step_against_the_gradient_turns_towards_the_target():
  a = jnp.asarray(_random(6))
  before = hue_jax.hue_loss(a, 2.0)
  after = hue_jax.hue_loss(a - 0.1 * jax.grad(hue_jax.hue_loss)(a, 2.0), 2.0)
  assert after < before


@pytest.mark.parametrize("loss", _LOSSES)
def test_a_batch_permuted_gives_the_losses_permuted(loss):
  activations, targets = _random((12, 5)), _random(12, seed=1)
  order = np.random.default_rng(0).permutation(12)
  np.testing.assert_array_equal(
    np.asarray(loss(activations, targets))[order],
    loss(activations[order], targets[order]),
  )


def test_position_hue_broadcasts_and_weights_weigh_the_mean():
  layer = _random((2, 3, 4, 5))
  target = hue_jax.position_hue(3, 4)
  weights = np.abs(_random((2, 3, 4), seed=2))
  plain = np.array(
    [
      [
        [_plain_hue_loss(layer[b, y, x], target[y, x]) for x in range(4)]
        for y in range(3)
      ]
      for b in range(2)
    ]
  )
  np.testing.assert_allclose(hue_jax.hue_loss(layer, target), plain, atol=1e-5)
  np.testing.assert_allclose(
    hue_jax.hue_loss(layer, target, weights=weights), plain * weights, atol=1e-5
  )
  np.testing.assert_allclose(
    hue_jax.hue_loss(layer, target, weights=weights, axis=(-2, -1)),
    (plain * weights).sum((1, 2)) / weights.sum((1, 2)),
    atol=1e-5,
  )
  np.testing.assert_allclose(
    hue_jax.hue_loss(layer, target, axis=(1, 2)), plain.mean((1, 2)), atol=1e-5
  )


def test_a_class_hue_is_written_with_the_axes_of_the_positions():
  layer = _random((2, 3, 4, 5))
  target = np.float32([0.3, 2.0])
  found = hue_jax.hue_loss(layer, target[:, None, None])
  for image in range(2):
    np.testing.assert_allclose(
      found[image], hue_jax.hue_loss(layer[image], float(target[image])), atol=1e-6
    )


def test_weights_of_any_size_and_of_nothing():
  layer = _random((2, 6, 5))
  even = hue_jax.hue_loss(layer, 0.0, axis=-1)
  huge = hue_jax.hue_loss(layer, 0.0, weights=np.full((2, 6), 3e38, "f"), axis=-1)
  np.testing.assert_allclose(huge, even, rtol=1e-5)
  none = hue_jax.hue_loss(layer, 0.0, weights=np.zeros((2, 6), "f"), axis=-1)
  np.testing.assert_array_equal(none, 0)


@pytest.mark.parametrize("loss", _LOSSES)
def test_under_every_transformation(loss):
  activations, targets = _random((8, 6)), _random(8, seed=1)
  expected = loss(activations, targets)
  for mapped in (jax.jit(loss), jax.vmap(loss), jax.pmap(loss)):
    np.testing.assert_allclose(mapped(activations, targets), expected, rtol=1e-5)
  half = loss(jnp.asarray(activations, jnp.bfloat16), targets)
  assert half.dtype == jnp.float32
  np.testing.assert_allclose(half, expected, atol=0.05)


def test_errors_say_what_does_not_fit():
  with pytest.raises(ValueError, match=r"target_hue has shape \(3,\).*shape \(4,\)"):
    hue_jax.hue_loss(_random((4, 5)), np.zeros(3, "f"))
  with pytest.raises(ValueError, match=r"weights has shape \(3,\)"):
    hue_jax.hue_loss(_random((4, 5)), 0.0, weights=np.zeros(3, "f"))
  with pytest.raises(ValueError, match="2 channels"):
    hue_jax.hue_loss(_random((4, 2)), 0.0)
  with pytest.raises(ValueError, match=r"concentration is 0.0; it must be positive"):
    hue_jax.von_mises_loss(_random((4, 5)), 0.0, concentration=0.0)


def test_von_mises_loss_is_scipys_density():
  activations, targets = _random((20, 6)), np.linspace(0, 6, 20, dtype="f")
  found = hue_jax.von_mises_loss(activations, targets, concentration=2.5)
  for a, target, nats in zip(activations, targets, found, strict=True):
    x, y = _chroma_vector(a)
    density = scipy.stats.vonmises(2.5 * np.hypot(x, y), loc=np.arctan2(y, x))
    np.testing.assert_allclose(nats, -density.logpdf(float(target)), rtol=1e-4)
  gray = hue_jax.von_mises_loss(np.ones(6, "f"), 1.0)
  np.testing.assert_allclose(gray, np.log(2 * np.pi), rtol=1e-3)


# --- Angular consistency --------------------------------------------------------


def _plain_consistency(layer, labels, num_classes, sectors, temperature):
  """The definition, image by image, sector by sector, class by class."""
  batch, height, width, _ = layer.shape
  layer = layer.astype(np.float64)
  cells = {}
  for y in range(height):
    for x in range(width):
      dy, dx = y - (height - 1) / 2, x - (width - 1) / 2
      if dx or dy:
        turn = np.arctan2(dy, dx) % (2 * np.pi) / (2 * np.pi)
        cells.setdefault(int(turn * sectors + 1e-9) % sectors, []).append((y, x))
  losses, peers = [], []
  for b in range(batch):
    nats = []
    for positions in cells.values():

      def direction(image, positions=positions):
        mean = np.mean([layer[image, y, x] for y, x in positions], axis=0)
        return mean / np.linalg.norm(mean)

      logits = {}
      for c in range(num_classes):
        others = [i for i in range(batch) if labels[i] == c and i != b]
        if others:
          prototype = np.mean([direction(i) for i in others], axis=0)
          logits[c] = direction(b) @ prototype / temperature
      if labels[b] in logits:
        values = np.array(list(logits.values()))
        nats.append(np.log(np.exp(values).sum()) - logits[labels[b]])
    peers.append(bool(nats))
    losses.append(np.mean(nats) if nats else 0.0)
  return np.array(losses) * batch / max(sum(peers), 1), np.array(peers)


_LABELS = np.array([0, 1, 0, 3, 1, 1, 0, 5])


@pytest.mark.parametrize(
  ("sectors", "shape"), [(8, (7, 7)), (4, (3, 4)), (1, (5, 5)), (6, (2, 2))]
)
def test_angular_consistency_is_its_definition(sectors, shape):
  layer = _random((8, *shape, 5))
  expected, peers = _plain_consistency(layer, _LABELS, 7, sectors, 0.3)
  found = hue_jax.angular_consistency_loss(
    layer, _LABELS, num_classes=7, sectors=sectors, temperature=0.3
  )
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
  # The mean over the batch is the mean over images with a peer.
  unscaled = expected * peers.sum() / 8
  np.testing.assert_allclose(found.mean(), unscaled[peers].mean(), rtol=1e-4)


def _consistency(layer, labels=_LABELS, **kwargs):
  settings_ = {"num_classes": 7, "sectors": 4} | kwargs
  return np.asarray(hue_jax.angular_consistency_loss(layer, labels, **settings_))


def test_one_sector_forgets_the_angle_and_more_do_not():
  layer = _random((8, 5, 5, 6))
  around = [i for i in range(25) if i != 12]
  shuffled = layer.reshape(8, 25, 6).copy()
  shuffled[0, around] = shuffled[0, np.random.default_rng(0).permutation(around)]
  shuffled = shuffled.reshape(layer.shape)
  np.testing.assert_allclose(
    _consistency(shuffled, sectors=1), _consistency(layer, sectors=1), rtol=1e-4
  )
  assert np.abs(_consistency(shuffled) - _consistency(layer)).max() > 0.1


def test_images_that_turn_together_agree_as_before():
  layer = _random((8, 6, 6, 5))
  turned = np.rot90(layer, axes=(1, 2))
  np.testing.assert_allclose(_consistency(turned), _consistency(layer), rtol=1e-4)
  some = np.concatenate([turned[:1], layer[1:]])
  assert np.abs(_consistency(some) - _consistency(layer)).max() > 0.1


def test_masked_images_are_as_if_they_were_not_there():
  layer = _random((8, 4, 4, 5))
  where = np.array([1, 1, 1, 0, 1, 0, 1, 1], bool)
  masked = _consistency(layer, where=where)
  np.testing.assert_allclose(
    masked[where], _consistency(layer[where], _LABELS[where]), rtol=1e-5
  )
  np.testing.assert_array_equal(masked[~where], 0)


def test_a_batch_without_peers_has_no_loss():
  layer = _random((3, 4, 4, 5))
  labels = np.array([0, 1, 2])
  np.testing.assert_array_equal(_consistency(layer, labels), 0)
  gradient = jax.grad(
    lambda a: hue_jax.angular_consistency_loss(a, labels, num_classes=3).sum()
  )(jnp.asarray(layer))
  np.testing.assert_array_equal(gradient, 0)


def test_zero_layers_have_a_finite_gradient():
  def total(layer):
    return hue_jax.angular_consistency_loss(layer, _LABELS, num_classes=7).sum()

  for layer in (np.zeros((8, 4, 4, 5)), np.full((8, 4, 4, 5), 1e30)):
    value, gradient = jax.value_and_grad(total)(jnp.asarray(layer, jnp.float32))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def test_angular_consistency_gradient_is_central_differences():
  with jax.enable_x64(True):
    layer = np.random.default_rng(0).normal(size=(8, 3, 3, 4))

    def total(layer):
      return hue_jax.angular_consistency_loss(layer, _LABELS, num_classes=7).sum()

    gradient = jax.grad(total)(jnp.asarray(layer))
    for index in [(0, 0, 0, 0), (1, 2, 1, 3), (6, 0, 2, 2), (3, 1, 1, 1)]:
      step = np.zeros_like(layer)
      step[index] = 1e-6
      expected = float(total(layer + step) - total(layer - step)) / 2e-6
      np.testing.assert_allclose(gradient[index], expected, rtol=1e-5, atol=1e-8)


def test_prototypes_are_those_of_the_whole_batch_over_devices():
  layer = _random((32, 4, 4, 5))
  labels = np.random.default_rng(1).integers(0, 7, 32)
  scale = jnp.asarray(_random(5, seed=2))

  def value_and_grad(scale, layer, labels, axis_name=None):
    def share(scale):
      loss = hue_jax.angular_consistency_loss(
        layer * scale, labels, num_classes=7, axis_name=axis_name
      )
      return loss.sum() / 32, loss

    gradient, loss = jax.grad(share, has_aux=True)(scale)
    if axis_name:
      gradient = jax.lax.psum(gradient, axis_name)
    return loss, gradient

  loss, gradient = value_and_grad(scale, layer, labels)

  def spread(scale, layer, labels):
    return value_and_grad(scale, layer, labels, "d")

  by_pmap = jax.pmap(spread, "d", in_axes=(None, 0, 0))(
    scale, layer.reshape(8, 4, 4, 4, 5), labels.reshape(8, 4)
  )
  by_shard_map = jax.shard_map(
    spread,
    mesh=Mesh(np.array(jax.devices()), ("d",)),
    in_specs=(P(), P("d"), P("d")),
    out_specs=(P("d"), P()),
    check_vma=False,
  )(scale, layer, labels)
  for found_loss, found_gradient in (by_pmap, by_shard_map):
    np.testing.assert_allclose(found_loss.reshape(32), loss, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(
      np.reshape(found_gradient, (-1, 5))[0], gradient, rtol=1e-3, atol=1e-5
    )


def test_settings_of_angular_consistency_are_checked():
  with pytest.raises(ValueError, match="sectors is 0; it must be at least 1"):
    _consistency(_random((8, 4, 4, 5)), sectors=0)
  with pytest.raises(ValueError, match=r"temperature is 0.0; it must be positive"):
    _consistency(_random((8, 4, 4, 5)), temperature=0.0)
