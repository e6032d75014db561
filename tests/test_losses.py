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

import hue_jax
from hue_jax import circular
from tests.helpers.double_precision import double_precision
from tests.helpers.everywhere_finite import (
  CONSTANT,
  FINITE,
  assert_finite,
  assert_finite_and_alike_by_vmap_and_pmap,
  assert_full_precision,
  unchecked,
)
from tests.helpers.public_functions import CASES, total

# Much faster than one operation after another, each compiled by itself.
_hue_loss = jax.jit(hue_jax.hue_loss, static_argnames=("axis", "epsilon"))
_von_mises_loss = jax.jit(hue_jax.von_mises_loss, static_argnames=("axis", "epsilon"))
_hue_angle = jax.jit(hue_jax.hue_angle)

_LOSSES = (_hue_loss, _von_mises_loss)


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
    _hue_loss(activations, targets), expected, rtol=1e-4, atol=1e-6
  )
  # And so of the angle itself.
  cosine = np.cos(np.asarray(_hue_angle(activations)) - targets)
  np.testing.assert_allclose(expected, 1 - cosine, atol=1e-5)


def test_the_smooth_norm_counts_where_chroma_is_small():
  small = 1e-4 * _random((30, 7))
  expected = [_plain_hue_loss(a, 0.5) for a in small]
  np.testing.assert_allclose(_hue_loss(small, 0.5), expected, rtol=1e-4)
  np.testing.assert_allclose(
    _hue_loss(small, 0.5, epsilon=1e-2),
    [_plain_hue_loss(a, 0.5, 1e-2) for a in small],
    rtol=1e-4,
  )
  assert _hue_loss(np.zeros(7, "f"), 0.5) == 1


@pytest.mark.parametrize("num_classes", [3, 10, 1000])
def test_it_is_0_at_the_target_and_2_opposite(num_classes):
  one_hot = np.eye(num_classes, dtype="f")
  target = hue_jax.hue_labels(np.arange(num_classes), num_classes)
  np.testing.assert_allclose(_hue_loss(one_hot, target), 0, atol=5e-6)
  np.testing.assert_allclose(_hue_loss(one_hot, target + np.pi), 2, atol=5e-6)
  quarter = _hue_loss(one_hot, target + np.pi / 2)
  np.testing.assert_allclose(quarter, 1, atol=1e-4)


@settings(max_examples=60, deadline=None)
@given(vector=FINITE | CONSTANT, target=st.floats(-10, 10, width=32))
def test_it_lies_between_0_and_2(vector, target):
  assert 0 <= _hue_loss(vector, target) <= 2


def test_rounding_does_not_take_it_out_of_its_range():
  activations = _random((4000, 3))
  angles = np.asarray(_hue_angle(activations))
  assert np.asarray(_hue_loss(activations, angles)).min() >= 0
  assert np.asarray(_hue_loss(activations, angles + np.float32(np.pi))).max() <= 2


_VALUE_AND_GRAD = {
  f.__name__: jax.jit(jax.value_and_grad(lambda a, f=f: f(a, 1.0))) for f in _LOSSES
}


@pytest.mark.parametrize("name", _VALUE_AND_GRAD)
@settings(max_examples=60, deadline=None)
@given(vector=FINITE | CONSTANT)
def test_value_and_gradient_are_finite_for_every_finite_input(name, vector):
  assert_finite(_VALUE_AND_GRAD[name], vector)


@pytest.mark.parametrize("loss", _LOSSES)
def test_extremes_are_finite_by_vmap_of_grad_and_pmap_of_grad(loss):
  def total(activation):
    # Also with a mean over an axis, weights and an ε of nothing.
    pair = jnp.stack([activation, -activation])
    weights = jnp.float32([3e38, 1e-45])
    mean = loss(pair, 2.0, weights=weights, axis=0, epsilon=0.0)
    return loss(activation, 1.0) / 2 + mean / 2

  assert_finite_and_alike_by_vmap_and_pmap(jax.value_and_grad(total))


@pytest.mark.parametrize("loss", _LOSSES)
@pytest.mark.parametrize("size", [1.0, 1e-4])
def test_gradients_are_central_differences(loss, size):
  with double_precision():
    a = size * np.random.default_rng(3).normal(size=8)
    gradient = jax.jit(jax.grad(loss))(a, 0.7)
    value = jax.jit(loss)
    step = 1e-6 * size
    expected = [
      float(value(a + s, 0.7) - value(a - s, 0.7)) / (2 * step)
      for s in step * np.eye(8)
    ]
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-6)


def test_the_gradient_is_at_most_1_over_epsilon():
  activations = np.logspace(-9, 3, 40, dtype="f")[:, None] * _random((40, 6))
  gradient = jax.jit(jax.vmap(jax.grad(lambda a: _hue_loss(a, 1.0))))
  length = np.linalg.norm(gradient(activations), axis=-1)
  assert length.max() < 1e4 * (1 + 1e-5)
  assert length.max() > 1e3


@pytest.mark.parametrize("loss", _LOSSES)
def test_a_plane_can_be_learned(loss):
  activations, targets = (np.float64(_random(s)) for s in ((5, 6), 5))
  vectors = np.random.default_rng(4).normal(size=(6, 2))
  with double_precision():

    @jax.jit
    def total(vectors):
      return loss(activations, targets, plane=hue_jax.hue_plane(vectors)).sum()

    gradient = np.asarray(jax.jit(jax.grad(total))(vectors))
    for index in [(0, 0), (3, 0), (1, 1), (5, 1)]:
      step = np.zeros((6, 2))
      step[index] = 1e-6
      expected = float(total(vectors + step) - total(vectors - step)) / 2e-6
      np.testing.assert_allclose(gradient[index], expected, rtol=1e-5, atol=1e-8)
  assert np.abs(gradient).max() > 1e-2


@pytest.mark.parametrize("loss", _LOSSES)
def test_a_plane_turned_is_a_target_turned(loss):
  activations, targets = _random((20, 6)), _random(20, seed=1)
  plane = np.asarray(hue_jax.fourier_plane(6), np.float64)
  turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
  np.testing.assert_allclose(
    loss(activations, targets, plane=np.float32(plane @ turn)),
    loss(activations, targets + np.float32(0.3)),
    rtol=1e-4,
    atol=1e-5,
  )


def test_a_step_against_the_gradient_turns_towards_the_target():
  a = jnp.asarray(_random(6))
  before = _hue_loss(a, 2.0)
  after = _hue_loss(a - 0.1 * jax.jit(jax.grad(_hue_loss))(a, 2.0), 2.0)
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
  np.testing.assert_allclose(_hue_loss(layer, target), plain, atol=1e-5)
  np.testing.assert_allclose(
    _hue_loss(layer, target, weights=weights), plain * weights, atol=1e-5
  )
  np.testing.assert_allclose(
    _hue_loss(layer, target, weights=weights, axis=(-2, -1)),
    (plain * weights).sum((1, 2)) / weights.sum((1, 2)),
    atol=1e-5,
  )
  np.testing.assert_allclose(
    _hue_loss(layer, target, axis=(1, 2)), plain.mean((1, 2)), atol=1e-5
  )


def test_a_class_hue_is_written_with_the_axes_of_the_positions():
  layer = _random((2, 3, 4, 5))
  target = np.float32([0.3, 2.0])
  found = _hue_loss(layer, target[:, None, None])
  assert found.shape == (2, 3, 4)
  for image, y, x in np.ndindex(2, 3, 4):
    expected = _plain_hue_loss(layer[image, y, x], target[image])
    np.testing.assert_allclose(found[image, y, x], expected, atol=1e-5)


@pytest.mark.parametrize("loss", _LOSSES)
@pytest.mark.parametrize("axis", [0, -1, (0, 2), (-2, -1)])
def test_weights_of_fewer_axes_weigh_any_axes(loss, axis):
  layer = _random((2, 3, 4, 5))
  weights = np.abs(_random((3, 1), seed=2))
  one_by_one = np.asarray(loss(layer, 0.4), np.float64)
  expected = np.average(one_by_one, axis, np.broadcast_to(weights, (2, 3, 4)))
  found = loss(layer, 0.4, weights=weights, axis=axis)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_weights_of_any_size_and_of_nothing():
  layer = _random((2, 6, 5))
  even = _hue_loss(layer, 0.0, axis=-1)
  huge = _hue_loss(layer, 0.0, weights=np.full((2, 6), 3e38, "f"), axis=-1)
  np.testing.assert_allclose(huge, even, rtol=1e-5)
  none = _hue_loss(layer, 0.0, weights=np.zeros((2, 6), "f"), axis=-1)
  np.testing.assert_array_equal(none, 0)


@pytest.mark.parametrize("loss", _LOSSES)
@pytest.mark.parametrize("name", ["target_hue", "weights"])
def test_one_axis_against_several_is_refused_whatever_its_length(loss, name):
  layer = _random((4, 3, 4, 5))
  for size in (2, 3, 4):  # 4 is the batch, and the width by accident
    given = {"target_hue": 0.0, name: np.zeros(size, "f")}
    message = rf"{name}\[:, None, None\] for one value an example, or .*None, None, :\]"
    with pytest.raises(ValueError, match=message):
      loss(layer, **given)
  per_example = np.float32([0.1, 0.2, 0.3, 0.4])
  found = loss(layer, per_example[:, None, None])
  one_by_one = [loss(a, t) for a, t in zip(layer, per_example, strict=True)]
  np.testing.assert_allclose(found, one_by_one, rtol=1e-5)
  by_column = loss(layer, per_example[None, None, :])
  np.testing.assert_allclose(by_column[:, :, 2], loss(layer, 0.3)[:, :, 2], rtol=1e-5)
  assert loss(layer, np.float32([0.5])).shape == (4, 3, 4)


def test_errors_say_what_does_not_fit():
  with pytest.raises(ValueError, match=r"target_hue has shape \(3,\).*shape \(4,\)"):
    _hue_loss(_random((4, 5)), np.zeros(3, "f"))
  with pytest.raises(ValueError, match=r"weights has shape \(3,\)"):
    _hue_loss(_random((4, 5)), 0.0, weights=np.zeros(3, "f"))
  with pytest.raises(ValueError, match="2 channels"):
    _hue_loss(_random((4, 2)), 0.0)
  for wrong in (0.0, -1.0, float("nan")):
    with pytest.raises(
      ValueError, match=rf"concentration is {wrong}; it must be positive"
    ):
      hue_jax.von_mises_loss(_random((4, 5)), 0.0, concentration=wrong)


def test_von_mises_loss_is_scipys_density():
  activations, targets = _random((20, 6)), np.linspace(0, 6, 20, dtype="f")
  found = _von_mises_loss(activations, targets, concentration=2.5)
  for a, target, nats in zip(activations, targets, found, strict=True):
    x, y = _chroma_vector(a)
    density = scipy.stats.vonmises(2.5 * np.hypot(x, y), loc=np.arctan2(y, x))
    np.testing.assert_allclose(nats, -density.logpdf(float(target)), rtol=1e-4)
  # A chroma at which I₀ itself would overflow float32.
  sure = _von_mises_loss(np.float32([900, 0, 0]), 0.1)
  expected = -scipy.stats.vonmises.logpdf(0.1, np.sqrt(2 / 3) * 900)
  np.testing.assert_allclose(sure, expected, rtol=1e-4)
  gray = _von_mises_loss(np.ones(6, "f"), 1.0)
  np.testing.assert_allclose(gray, np.log(2 * np.pi), rtol=1e-3)


@pytest.mark.parametrize("loss", _LOSSES)
def test_integers_are_refused(loss):
  with pytest.raises(TypeError, match="dtype int32; a floating-point dtype"):
    unchecked(loss)(np.ones((2, 4), np.int32), 0.0)


@pytest.mark.parametrize("loss", _LOSSES)
def test_class_indices_are_no_target_hues(loss):
  features, labels = _random((4, 5)), np.array([0, 1, 2, 1])
  for wrong in (labels, labels.astype("uint8"), jnp.asarray(labels), labels > 1):
    with pytest.raises(TypeError, match=r"target_hue has dtype .* hue_labels\(labels"):
      unchecked(loss)(features, wrong)
  with pytest.raises(TypeError, match=r"hue_labels\(labels, num_classes\)"):
    unchecked(loss)(features, np.int64(3))
  # A number is an angle.
  for function in (unchecked(loss), jax.jit(unchecked(loss))):
    np.testing.assert_allclose(function(features, 2), loss(features, 2.0), rtol=1e-5)


def test_a_concentration_can_be_learned():
  features, target = _random((4, 5)), np.float32([0, 1, 2, 3])

  def total(concentration):
    return hue_jax.von_mises_loss(features, target, concentration=concentration).sum()

  step = 1e-2
  slope = (total(2.0 + step) - total(2.0 - step)) / (2 * step)
  np.testing.assert_allclose(jax.jit(jax.grad(total))(2.0), slope, rtol=1e-3)


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("loss", _LOSSES)
def test_fewer_than_3_channels_have_no_hue_loss(loss, channels):
  with pytest.raises(ValueError, match=rf"\b{channels} channels; .* at least 3"):
    loss(_random((4, channels)), 0.0)


_WITHOUT_PRODUCTS = {
  *circular.__all__,
  "activation_l2",
  "activation_strength",
  "center_loss",
  "confidence_penalty",
  "hue_labels",
  "max_suppression",
  "normalized_logits",
  "ring_loss",
  "smoothed_labels",
  "update_radius",
  "weighted_mean",
}


@pytest.mark.parametrize("name", CASES)
def test_every_product_asks_for_full_precision(name):
  case = CASES[name]
  call = case.call
  if case.differentiable:
    call = jax.value_and_grad(lambda *arrays: total(case.call(*arrays)))
  assert_full_precision(call, *case.arrays, has_products=name not in _WITHOUT_PRODUCTS)


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

_angular_consistency = jax.jit(
  hue_jax.angular_consistency_loss,
  static_argnames=("num_classes", "sectors", "temperature", "axis_name"),
)


@pytest.mark.parametrize(
  ("sectors", "shape"), [(8, (7, 7)), (4, (3, 4)), (1, (5, 5)), (6, (2, 2))]
)
def test_angular_consistency_is_its_definition(sectors, shape):
  layer = _random((8, *shape, 5))
  expected, peers = _plain_consistency(layer, _LABELS, 7, sectors, 0.3)
  found = _angular_consistency(
    layer, _LABELS, num_classes=7, sectors=sectors, temperature=0.3
  )
  np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
  # The mean over the batch is the mean over images with a peer.
  unscaled = expected * peers.sum() / 8
  np.testing.assert_allclose(found.mean(), unscaled[peers].mean(), rtol=1e-4)


def _consistency(layer, labels=_LABELS, **kwargs):
  settings_ = {"num_classes": 7, "sectors": 4} | kwargs
  return np.asarray(_angular_consistency(layer, labels, **settings_))


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
  # The exact center has no angle and does not count, not even in one sector.
  other_center = layer.copy()
  other_center[:, 2, 2] = _random((8, 6), seed=1)
  for sectors in (1, 4):
    np.testing.assert_allclose(
      _consistency(other_center, sectors=sectors),
      _consistency(layer, sectors=sectors),
      rtol=1e-4,
    )


def test_the_length_of_a_sectors_mean_does_not_matter():
  layer = _random((8, 6, 6, 5))
  longer = layer * np.logspace(-2, 4, 8, dtype="f")[:, None, None, None]
  longer[:, :3, :3] *= 5  # one of the four sectors
  np.testing.assert_allclose(_consistency(longer), _consistency(layer), rtol=1e-3)


def test_a_batch_in_another_order_gives_the_losses_in_that_order():
  layer = _random((8, 6, 6, 5))
  order = np.random.default_rng(0).permutation(8)
  np.testing.assert_allclose(
    _consistency(layer[order], _LABELS[order]),
    _consistency(layer)[order],
    rtol=1e-4,
    atol=1e-5,
  )


def test_classes_renamed_or_added_without_images_change_nothing():
  layer = _random((8, 6, 6, 5))
  np.testing.assert_allclose(
    _consistency(layer, 8 - _LABELS, num_classes=30), _consistency(layer), rtol=1e-4
  )


def test_consistency_in_bfloat16_is_near_float32():
  layer = _random((8, 6, 6, 5))
  found = _angular_consistency(jnp.asarray(layer, jnp.bfloat16), _LABELS, num_classes=7)
  assert found.dtype == jnp.float32
  expected = _angular_consistency(layer, _LABELS, num_classes=7)
  np.testing.assert_allclose(found, expected, rtol=0.05, atol=0.1)


def test_images_that_turn_together_agree_as_before():
  layer = _random((8, 6, 6, 5))
  turned = np.rot90(layer, axes=(1, 2))
  np.testing.assert_allclose(_consistency(turned), _consistency(layer), rtol=1e-4)
  some = np.concatenate([turned[:1], layer[1:]])
  assert np.abs(_consistency(some) - _consistency(layer)).max() > 0.1
  # One sector sees no turn at all.
  np.testing.assert_allclose(
    _consistency(some, sectors=1), _consistency(layer, sectors=1), rtol=1e-4
  )


def test_masked_images_are_as_if_they_were_not_there():
  layer = _random((8, 4, 4, 5))
  where = np.array([1, 1, 1, 0, 1, 0, 1, 1], bool)
  masked = _consistency(layer, where=where)
  np.testing.assert_allclose(
    masked[where], _consistency(layer[where], _LABELS[where]), rtol=1e-5
  )
  np.testing.assert_array_equal(masked[~where], 0)
  # Nor does it matter what the masked images hold.
  other = layer.copy()
  other[~where] = 1e20
  np.testing.assert_array_equal(_consistency(other, where=where), masked)


def test_a_batch_without_peers_has_no_loss():
  layer = _random((3, 4, 4, 5))
  labels = np.array([0, 1, 2])
  np.testing.assert_array_equal(_consistency(layer, labels), 0)
  gradient = jax.jit(
    jax.grad(lambda a: hue_jax.angular_consistency_loss(a, labels, num_classes=3).sum())
  )(layer)
  np.testing.assert_array_equal(gradient, 0)
  nobody = _consistency(layer, np.zeros(3, int), where=np.zeros(3, bool))
  np.testing.assert_array_equal(nobody, 0)


def test_zero_layers_have_a_finite_gradient():
  def total(layer):
    return hue_jax.angular_consistency_loss(layer, _LABELS, num_classes=7).sum()

  value_and_grad = jax.jit(jax.value_and_grad(total))
  mixed = _random((8, 4, 4, 5)) * np.float32([1e37, 1e-38, 1e-45, 0, 1])
  for layer in (np.zeros((8, 4, 4, 5)), np.full((8, 4, 4, 5), 3e38), mixed):
    for dtype in (jnp.float32, jnp.bfloat16):
      value, gradient = value_and_grad(jnp.asarray(layer, dtype))
      assert np.isfinite(value)
      assert jnp.isfinite(gradient).all()


def test_angular_consistency_gradient_is_central_differences():
  with double_precision():
    layer = np.random.default_rng(0).normal(size=(8, 3, 3, 4))

    def total(layer):
      return hue_jax.angular_consistency_loss(layer, _LABELS, num_classes=7).sum()

    gradient = jax.jit(jax.grad(total))(layer)
    total = jax.jit(total)
    for index in [(0, 0, 0, 0), (1, 2, 1, 3), (6, 0, 2, 2), (3, 1, 1, 1), (7, 2, 2, 0)]:
      step = np.zeros_like(layer)
      step[index] = 1e-6
      expected = float(total(layer + step) - total(layer - step)) / 2e-6
      np.testing.assert_allclose(gradient[index], expected, rtol=1e-5, atol=1e-7)
    assert np.abs(gradient).max() > 0.01


# With more classes than images only those in the batch are computed.
@pytest.mark.parametrize(("masked", "num_classes"), [(False, 7), (True, 7), (True, 40)])
def test_prototypes_are_those_of_the_whole_batch_over_devices(masked, num_classes):
  layer = _random((24, 3, 3, 5))
  labels = np.random.default_rng(1).integers(0, 7, 24)
  where = np.ones(24, bool)
  if masked:  # unevenly over the devices: one has no image that counts
    where[[0, 1, 2, 4, 9, 20, 23]] = False
  parameter = _random(5, seed=2)

  def value_and_grad(parameter, layer, labels, where, axis_name=None):
    def share(parameter):
      loss = hue_jax.angular_consistency_loss(
        layer * parameter,
        labels,
        num_classes=num_classes,
        where=where if masked else None,
        axis_name=axis_name,
      )
      count = where.sum()
      if axis_name:
        count = jax.lax.psum(count, axis_name)
      return loss.sum() / count, loss

    gradient, loss = jax.grad(share, has_aux=True)(parameter)
    if axis_name:
      gradient = jax.lax.psum(gradient, axis_name)
    return loss, gradient

  loss, gradient = jax.jit(value_and_grad)(parameter, layer, labels, where)
  assert np.abs(gradient).max() > 0.01

  def spread(parameter, layer, labels, where):
    return value_and_grad(parameter, layer, labels, where, "d")

  by_pmap = jax.pmap(spread, "d", in_axes=(None, 0, 0, 0))(
    parameter, *(np.reshape(x, (8, 3, *x.shape[1:])) for x in (layer, labels, where))
  )
  found = [by_pmap]
  if hasattr(jax, "shard_map"):  # The oldest JAX that is allowed lacks it.
    by_shard_map = jax.shard_map(
      spread,
      mesh=Mesh(np.array(jax.devices()), ("d",)),
      in_specs=(P(), P("d"), P("d"), P("d")),
      out_specs=(P("d"), P()),
      check_vma=False,
    )
    found.append(jax.jit(by_shard_map)(parameter, layer, labels, where))
  for found_loss, found_gradient in found:
    np.testing.assert_allclose(found_loss.reshape(24), loss, rtol=1e-4, atol=1e-5)
    for on_a_device in np.reshape(found_gradient, (-1, 5)):
      np.testing.assert_allclose(on_a_device, gradient, rtol=1e-3, atol=1e-5)


def test_settings_of_angular_consistency_are_checked():
  with pytest.raises(ValueError, match="sectors is 0; it must be at least 1"):
    _consistency(_random((8, 4, 4, 5)), sectors=0)
  with pytest.raises(ValueError, match=r"temperature is 0.0; it must be positive"):
    _consistency(_random((8, 4, 4, 5)), temperature=0.0)
