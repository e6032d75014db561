"""Identities of the activation hue, against independent references."""

import colorsys
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

import hue_jax
from hue_jax import hue

_SCALARS = (
  hue_jax.hue_angle,
  hue_jax.chroma,
  hue_jax.saturation,
  hue_jax.activation_strength,
)


def _turned(angle, reference):
  """Signed difference of two angles, in (−π, π]."""
  return np.angle(np.exp(1j * (np.asarray(angle, np.float64) - reference)))


def _random(shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _phase(activation):
  """arg Σ aₙ exp(2πin/N), by a loop in float64."""
  n = len(activation)
  return np.angle(sum(activation[k] * np.exp(2j * np.pi * k / n) for k in range(n)))


# --- The angle ------------------------------------------------------------------


@pytest.mark.parametrize("channels", [3, 4, 7, 64])
def test_hue_is_the_phase_of_the_first_harmonic(channels):
  activations = _random((20, channels))
  expected = [_phase(a.astype(np.float64)) for a in activations]
  found = np.asarray(hue_jax.hue_angle(activations))
  assert np.abs(_turned(found, expected)).max() < 1e-5
  assert found.min() >= 0
  assert found.max() < 2 * np.pi


@pytest.mark.parametrize("num_classes", [3, 10, 1000])
def test_class_hue_is_the_hue_of_the_one_hot_label(num_classes):
  labels = np.arange(num_classes)
  expected = 2 * np.pi * labels / num_classes
  one_hot = np.eye(num_classes, dtype=np.float32)
  assert np.abs(_turned(hue_jax.hue_angle(one_hot), expected)).max() < 1e-5
  np.testing.assert_allclose(
    hue_jax.hue_labels(labels, num_classes), expected, atol=1e-5
  )


def test_gray_and_scale_change_nothing_and_a_roll_turns():
  activations = _random((50, 9))
  angles = np.asarray(hue_jax.hue_angle(activations), np.float64)
  gray = hue_jax.hue_angle(activations + 7.5)
  scaled = [hue_jax.hue_angle(activations * s) for s in (1e-20, 3.0, 8e37)]
  rolled = hue_jax.hue_angle(np.roll(activations, 1, axis=-1))
  for same in (gray, *scaled):
    assert np.abs(_turned(same, angles)).max() < 1e-4
  assert np.abs(_turned(rolled, angles + 2 * np.pi / 9)).max() < 1e-5


def test_red_green_and_blue():
  degrees = np.degrees(hue_jax.hue_angle(np.eye(3, dtype=np.float32)))
  np.testing.assert_allclose(_turned(np.radians(degrees[0]), 0), 0, atol=1e-6)
  np.testing.assert_allclose(degrees[1:], [120, 240], atol=1e-3)


def test_hue_of_rgb_is_within_1_2_degrees_of_colorsys():
  rgb = np.random.default_rng(1).uniform(size=(5000, 3)).astype(np.float32)
  hexagonal = np.array([colorsys.rgb_to_hsv(*map(float, c))[0] for c in rgb])
  difference = np.abs(
    np.degrees(_turned(hue_jax.hue_angle(rgb), 2 * np.pi * hexagonal))
  )
  assert 1.0 < difference.max() < 1.2
  for sixth in range(6):
    color = np.float32([colorsys.hsv_to_rgb(sixth / 6, 0.8, 0.9)])
    turned = _turned(hue_jax.hue_angle(color), sixth * np.pi / 3)
    assert np.abs(np.degrees(turned)).max() < 1e-3


def test_chroma_and_saturation_split_the_norm():
  activations = _random((50, 12)).astype(np.float64)
  plane = np.asarray(hue_jax.fourier_plane(12), np.float64)
  length = np.linalg.norm(activations @ plane, axis=-1)
  departure = activations - activations.mean(-1, keepdims=True)
  a = activations.astype(np.float32)
  np.testing.assert_allclose(hue_jax.chroma(a), length, rtol=1e-5)
  np.testing.assert_allclose(
    hue_jax.saturation(a), length / np.linalg.norm(departure, axis=-1), rtol=1e-5
  )
  np.testing.assert_allclose(
    hue_jax.activation_strength(a), np.linalg.norm(activations, axis=-1), rtol=1e-5
  )
  # For N = 3 the plane is all that there is besides gray.
  np.testing.assert_allclose(hue_jax.saturation(_random((9, 3))), 1, rtol=1e-5)


def test_another_plane_turns_the_angle():
  plane = np.asarray(hue_jax.fourier_plane(6), np.float64)
  turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
  activations = _random((20, 6))
  turned = hue_jax.hue_angle(activations, np.float32(plane @ turn))
  expected = np.asarray(hue_jax.hue_angle(activations), np.float64) - 0.3
  assert np.abs(_turned(turned, expected)).max() < 1e-5
  mirrored = hue_jax.hue_angle(activations, np.float32(plane[:, ::-1]))
  original = np.asarray(hue_jax.hue_angle(activations), np.float64)
  assert np.abs(_turned(mirrored, np.pi / 2 - original)).max() < 1e-5


@pytest.mark.parametrize("function", _SCALARS)
@pytest.mark.parametrize("leading", [(), (5,), (2, 3, 4)])
def test_any_leading_shape_by_any_transformation(function, leading):
  activations = _random((*leading, 6))
  values = np.asarray(function(activations))
  assert values.shape == leading
  flat = activations.reshape(-1, 6)
  one_by_one = np.reshape([function(a) for a in flat], leading)
  np.testing.assert_allclose(values, one_by_one, rtol=1e-5)
  np.testing.assert_allclose(jax.jit(function)(activations), values, rtol=1e-5)
  mapped = jax.vmap(function)(flat).reshape(leading)
  np.testing.assert_allclose(mapped, values, rtol=1e-5)
  eight = np.resize(flat, (8, 6))
  np.testing.assert_allclose(jax.pmap(function)(eight), function(eight), rtol=1e-5)


@pytest.mark.parametrize("function", _SCALARS)
def test_gradients_are_central_differences(function):
  with jax.enable_x64(True):
    a = np.random.default_rng(3).normal(size=8)
    gradient = jax.grad(function)(jnp.asarray(a))
    step = 1e-6 * np.eye(8)
    expected = [float(function(a + s) - function(a - s)) / 2e-6 for s in step]
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


def test_bfloat16_is_computed_in_float32():
  activations = jnp.asarray(_random((30, 16)), jnp.bfloat16)
  for function in _SCALARS:
    found = function(activations)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, function(activations.astype(jnp.float32)))


_FINITE = arrays(
  np.float32,
  5,
  elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
  | st.sampled_from([0.0, 1.0, -1.0, 3e38, -3e38, 1e-38, 1e-45]),
)
_CONSTANT = st.floats(width=32, allow_nan=False, allow_infinity=False).map(
  lambda value: np.full(5, value, np.float32)
)


def assert_finite(function, vector):
  """Value and gradient are finite in float32 and bfloat16."""
  for dtype in (jnp.float32, jnp.bfloat16):
    activation = jnp.asarray(vector).astype(dtype)
    if not jnp.isfinite(activation).all():  # beyond bfloat16
      continue
    value, gradient = function(activation)
    assert jnp.isfinite(value), (dtype, vector, value)
    assert jnp.isfinite(gradient).all(), (dtype, vector, gradient)


_VALUE_AND_GRAD = {f.__name__: jax.jit(jax.value_and_grad(f)) for f in _SCALARS}


@pytest.mark.parametrize("name", _VALUE_AND_GRAD)
@settings(max_examples=60, deadline=None)
@given(vector=_FINITE | _CONSTANT)
def test_value_and_gradient_are_finite_for_every_finite_input(name, vector):
  assert_finite(_VALUE_AND_GRAD[name], vector)


def test_zero_and_gray_have_hue_0_and_no_gradient():
  for vector in (np.zeros(5), np.full(5, 3.7), np.full(5, -1e30)):
    activation = jnp.asarray(vector, jnp.float32)
    for function in (hue_jax.hue_angle, hue_jax.chroma, hue_jax.saturation):
      value, gradient = jax.value_and_grad(function)(activation)
      assert value == 0
      np.testing.assert_array_equal(gradient, 0)


def test_the_projection_asks_for_full_precision():
  text = str(jax.make_jaxpr(hue_jax.hue_angle)(jnp.ones((4, 8))))
  assert "Precision.HIGHEST" in text


# --- Labels ---------------------------------------------------------------------


def test_position_hue_goes_right_down_left_up():
  hue_ = np.asarray(hue_jax.position_hue(5, 5))
  assert hue_[2, 4] == 0
  np.testing.assert_allclose(
    [hue_[4, 2], hue_[2, 0], hue_[0, 2]], np.pi * np.array([0.5, 1, 1.5]), rtol=1e-6
  )
  np.testing.assert_allclose(hue_[4, 4], np.pi / 4, rtol=1e-6)
  weights = np.asarray(hue_jax.position_weights(5, 5))
  assert weights[2, 2] == 0
  assert weights.sum() == 24
  assert hue_[2, 2] == 0


def test_position_hue_of_a_plane_that_is_not_square():
  found = np.asarray(hue_jax.position_hue(2, 6))
  for row in range(2):
    for column in range(6):
      expected = np.arctan2(row - 0.5, column - 2.5)
      np.testing.assert_allclose(_turned(found[row, column], expected), 0, atol=1e-6)
  assert np.asarray(hue_jax.position_weights(2, 6)).all()


def test_labels_out_of_range_stay_on_the_circle():
  assert 0 <= float(hue_jax.hue_labels(-1, 10)) < 2 * np.pi


# --- Planes ---------------------------------------------------------------------


def _planes():
  activations = _random((200, 9)) * np.arange(1, 10, dtype=np.float32)
  labels = np.arange(200) % 4
  return {
    "fourier": hue_jax.fourier_plane(9),
    "random": hue_jax.random_plane(jax.random.key(0), 9),
    "principal": hue_jax.principal_plane(activations),
    "class means": hue_jax.class_mean_plane(activations, labels, 6),
    "given": hue_jax.hue_plane(_random((9, 2))),
    "nearly parallel": hue_jax.hue_plane(
      np.stack([np.eye(9)[0], np.eye(9)[0] + 1e-3 * np.eye(9)[4]], -1).astype("f")
    ),
  }


@pytest.mark.parametrize("name", _planes())
def test_planes_are_orthonormal_and_orthogonal_to_gray(name):
  plane = np.asarray(_planes()[name], np.float64)
  np.testing.assert_allclose(plane.T @ plane, np.eye(2), atol=1e-5)
  np.testing.assert_allclose(plane.sum(0), 0, atol=1e-5)


def test_principal_plane_is_that_of_numpys_svd():
  activations = _random((300, 6)) * np.float32([1, 2, 5, 1, 9, 1]) + 4
  departure = activations - activations.mean(-1, keepdims=True)
  _, _, vectors = np.linalg.svd(departure - departure.mean(0), full_matrices=False)
  plane = np.asarray(hue_jax.principal_plane(activations))
  np.testing.assert_allclose(np.abs(vectors[:2] @ plane), np.eye(2), atol=1e-4)
  assert (plane[np.abs(plane).argmax(0), [0, 1]] > 0).all()


def test_class_mean_plane_holds_the_class_means():
  # Three classes whose means lie in a plane: all their spread is in it.
  means = np.float32([[3, 0, 0, 0, 0], [0, 3, 0, 0, 0], [0, 0, 3, 0, 0]])
  labels = np.arange(600) % 3
  activations = means[labels] + 0.01 * _random((600, 5))
  plane = hue_jax.class_mean_plane(activations, labels, 3)
  centered = means - means.mean(0)
  np.testing.assert_allclose(hue_jax.saturation(centered, plane), 1, atol=1e-3)


def test_a_plane_can_be_learned():
  vectors, activation = jnp.asarray(_random((6, 2))), jnp.asarray(_random(6, seed=1))
  gradient = jax.grad(lambda v: hue_jax.chroma(activation, hue_jax.hue_plane(v)))(
    vectors
  )
  assert np.isfinite(gradient).all()
  assert np.abs(gradient).max() > 1e-3


# --- The angle in the image plane -----------------------------------------------


def test_phasor_is_the_sum_over_positions():
  layer = _random((2, 3, 4, 5))
  expected = np.zeros((2, 5), complex)
  for row in range(3):
    for column in range(4):
      angle = np.arctan2(row - 1.0, column - 1.5)
      expected += layer[:, row, column] * np.exp(1j * angle)
  np.testing.assert_allclose(hue_jax.image_plane_phasor(layer), expected, atol=1e-5)
  angles = hue_jax.image_plane_hue(layer)
  assert np.abs(_turned(angles, np.angle(expected))).max() < 1e-5


@pytest.mark.parametrize("size", [4, 5])
def test_turning_the_image_turns_every_hue(size):
  layer = _random((size, size, 3))
  before = np.asarray(hue_jax.image_plane_hue(layer), np.float64)
  # NumPy turns from the first axis to the second: right goes up, against φ.
  turned = hue_jax.image_plane_hue(np.rot90(layer))
  assert np.abs(_turned(turned, before - np.pi / 2)).max() < 1e-4


def test_a_mirror_image_conjugates():
  layer = _random((4, 6, 3))
  np.testing.assert_allclose(
    hue_jax.image_plane_phasor(layer[::-1]),
    np.conj(hue_jax.image_plane_phasor(layer)),
    atol=1e-5,
  )


# --- Errors and imports ---------------------------------------------------------


@pytest.mark.parametrize(
  ("call", "message"),
  [
    (lambda: hue_jax.hue_angle(np.ones(2, "f")), r"2 channels; .* at least 3"),
    (lambda: hue_jax.fourier_plane(2), r"2 channels; .* at least 3"),
    (lambda: hue_jax.random_plane(jax.random.key(0), 1), r"1 channels; .* at least 3"),
    (
      lambda: hue.checked_plane(np.ones((5, 2), "f"), 4),
      r"shape \(5, 2\); activations of 4 channels need \(4, 2\)",
    ),
    (lambda: hue_jax.hue_plane(np.ones((4, 2), "f")), r"span no plane besides gray"),
    (
      lambda: hue_jax.hue_plane(np.stack([np.arange(4), 2 * np.arange(4)], -1) * 1.0),
      r"span no plane",
    ),
    (
      lambda: hue_jax.class_mean_plane(_random((4, 5)), np.array([0, 0, 1, 1]), 9),
      r"examples of 2 classes; .*at least 3",
    ),
    (lambda: hue_jax.hue_labels(0, 0), r"num_classes is 0; .*at least 1"),
    (lambda: hue_jax.position_hue(0, 3), r"0 × 3; both must be at least 1"),
  ],
)
def test_errors_name_the_value_and_what_is_accepted(call, message):
  with pytest.raises(ValueError, match=message):
    call()


def test_integers_are_refused():
  hue_angle = getattr(hue_jax.hue_angle, "__wrapped__", hue_jax.hue_angle)
  with pytest.raises(TypeError, match="dtype int32; a floating-point dtype"):
    hue_angle(np.ones(4, np.int32))


def test_import_costs_jax_and_nothing_else():
  code = """
import sys, time
import jax, jax.numpy
start = time.perf_counter()
import hue_jax
seconds = time.perf_counter() - start
heavy = ("tensorflow", "tensorflow_datasets", "flax", "optax", "clu",
         "ml_collections", "orbax", "scipy.stats", "matplotlib")
print(seconds, [name for name in heavy if name in sys.modules])
"""
  out = subprocess.run(
    [sys.executable, "-c", code], capture_output=True, text=True, check=True
  ).stdout
  seconds, loaded = out.split(" ", 1)
  assert float(seconds) < 0.5
  assert loaded.strip() == "[]"
