"""Identities of the activation hue, against independent references."""

import colorsys
import functools
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings

import hue_jax
from hue_jax import hue
from tests.helpers.double_precision import double_precision
from tests.helpers.everywhere_finite import (
  CONSTANT,
  FINITE,
  assert_finite,
  assert_finite_and_alike_by_vmap_and_pmap,
  assert_full_precision,
  unchecked,
)

_SCALARS = (
  hue_jax.hue_angle,
  hue_jax.chroma,
  hue_jax.saturation,
  hue_jax.activation_strength,
)

# Much faster than one operation after another, each compiled by itself.
_hue_angle, _chroma, _saturation, _activation_strength = map(jax.jit, _SCALARS)
_image_plane_hue = jax.jit(hue_jax.image_plane_hue)
_image_plane_phasor = jax.jit(hue_jax.image_plane_phasor)


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
  found = np.asarray(_hue_angle(activations))
  assert np.abs(_turned(found, expected)).max() < 1e-5
  assert found.min() >= 0
  assert found.max() < 2 * np.pi


@pytest.mark.parametrize("num_classes", [3, 10, 1000])
def test_class_hue_is_the_hue_of_the_one_hot_label(num_classes):
  labels = np.arange(num_classes)
  expected = 2 * np.pi * labels / num_classes
  one_hot = np.eye(num_classes, dtype=np.float32)
  assert np.abs(_turned(_hue_angle(one_hot), expected)).max() < 1e-5
  np.testing.assert_allclose(
    hue_jax.hue_labels(labels, num_classes), expected, atol=1e-5
  )


def test_gray_and_scale_change_nothing_and_a_roll_turns():
  activations = _random((50, 9))
  angles = np.asarray(_hue_angle(activations), np.float64)
  gray = _hue_angle(activations + 7.5)
  scaled = [_hue_angle(activations * s) for s in (1e-20, 3.0, 8e37)]
  rolled = _hue_angle(np.roll(activations, 1, axis=-1))
  for same in (gray, *scaled):
    assert np.abs(_turned(same, angles)).max() < 1e-4
  assert np.abs(_turned(rolled, angles + 2 * np.pi / 9)).max() < 1e-5


def test_red_green_and_blue():
  degrees = np.degrees(_hue_angle(np.eye(3, dtype=np.float32)))
  np.testing.assert_allclose(_turned(np.radians(degrees[0]), 0), 0, atol=1e-6)
  np.testing.assert_allclose(degrees[1:], [120, 240], atol=1e-3)


def test_hue_of_rgb_is_within_1_2_degrees_of_colorsys():
  rgb = np.random.default_rng(1).uniform(size=(5000, 3)).astype(np.float32)
  hexagonal = np.array([colorsys.rgb_to_hsv(*map(float, c))[0] for c in rgb])
  difference = np.abs(np.degrees(_turned(_hue_angle(rgb), 2 * np.pi * hexagonal)))
  assert 1.0 < difference.max() < 1.2
  for sixth in range(6):
    color = np.float32([colorsys.hsv_to_rgb(sixth / 6, 0.8, 0.9)])
    turned = _turned(_hue_angle(color), sixth * np.pi / 3)
    assert np.abs(np.degrees(turned)).max() < 1e-3


def test_chroma_and_saturation_split_the_norm():
  activations = _random((50, 12)).astype(np.float64)
  plane = np.asarray(hue_jax.fourier_plane(12), np.float64)
  length = np.linalg.norm(activations @ plane, axis=-1)
  departure = activations - activations.mean(-1, keepdims=True)
  a = activations.astype(np.float32)
  np.testing.assert_allclose(_chroma(a), length, rtol=1e-5)
  np.testing.assert_allclose(
    _saturation(a), length / np.linalg.norm(departure, axis=-1), rtol=1e-5
  )
  np.testing.assert_allclose(
    _activation_strength(a), np.linalg.norm(activations, axis=-1), rtol=1e-5
  )
  # For N = 3 the plane is all that there is besides gray.
  np.testing.assert_allclose(_saturation(_random((9, 3))), 1, rtol=1e-5)


def test_another_plane_turns_the_angle():
  plane = np.asarray(hue_jax.fourier_plane(6), np.float64)
  turn = np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
  activations = _random((20, 6))
  turned = _hue_angle(activations, np.float32(plane @ turn))
  expected = np.asarray(_hue_angle(activations), np.float64) - 0.3
  assert np.abs(_turned(turned, expected)).max() < 1e-5
  mirrored = _hue_angle(activations, np.float32(plane[:, ::-1]))
  original = np.asarray(_hue_angle(activations), np.float64)
  assert np.abs(_turned(mirrored, np.pi / 2 - original)).max() < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize("function", _SCALARS)
@pytest.mark.parametrize("leading", [(), (1,), (2, 3, 4)])
def test_any_leading_shape_by_any_transformation(function, leading):
  activations = _random((*leading, 6))
  one = jax.jit(function)
  one_by_one = np.reshape([one(a) for a in activations.reshape(-1, 6)], leading)
  for values in (
    function(activations),
    jax.jit(function)(activations),
    jax.jit(jax.vmap(function))(activations[None])[0],
  ):
    assert values.shape == leading
    np.testing.assert_allclose(values, one_by_one, rtol=1e-5)


@pytest.mark.parametrize("function", _SCALARS)
def test_gradients_are_central_differences(function):
  with double_precision():
    a = np.random.default_rng(3).normal(size=8)
    gradient = jax.jit(jax.grad(function))(a)
    value = jax.jit(function)
    step = 1e-6 * np.eye(8)
    expected = [float(value(a + s) - value(a - s)) / 2e-6 for s in step]
    assert np.abs(expected).max() > 0.01
    np.testing.assert_allclose(gradient, expected, rtol=1e-6, atol=1e-8)


def test_bfloat16_is_computed_in_float32():
  activations = jnp.asarray(_random((30, 16)), jnp.bfloat16)
  for function in map(jax.jit, _SCALARS):
    found = function(activations)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, function(activations.astype(jnp.float32)))


def test_bfloat16_gives_nearly_float32s_values():
  exact = _random((300, 16))
  rounded = jnp.asarray(exact, jnp.bfloat16)
  norm = np.linalg.norm(exact, axis=-1)
  # Each entry moves by at most 2⁻⁹ of itself, so z moves by at most 2⁻⁹ ‖a‖.
  moved = np.asarray(_chroma(rounded) - _chroma(exact))
  assert (np.abs(moved) < 1.01 * 2**-9 * norm).all()
  turned = _turned(_hue_angle(rounded), np.asarray(_hue_angle(exact)))
  length = np.asarray(_chroma(exact))
  assert (length * np.abs(np.sin(turned)) < 1.01 * 2**-9 * norm).all()
  assert np.abs(turned).max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("function", _SCALARS)
def test_extremes_are_finite_by_vmap_of_grad_and_pmap_of_grad(function):
  assert_finite_and_alike_by_vmap_and_pmap(jax.value_and_grad(function))


_VALUE_AND_GRAD = {f.__name__: jax.jit(jax.value_and_grad(f)) for f in _SCALARS}


@pytest.mark.slow
@pytest.mark.parametrize("name", _VALUE_AND_GRAD)
@settings(max_examples=60, deadline=None)
@given(vector=FINITE | CONSTANT)
def test_value_and_gradient_are_finite_for_every_finite_input(name, vector):
  assert_finite(_VALUE_AND_GRAD[name], vector)


@settings(max_examples=60, deadline=None)
@given(vector=FINITE | CONSTANT)
def test_each_lies_in_its_range(vector):
  found = {name: call(vector)[0] for name, call in _VALUE_AND_GRAD.items()}
  assert 0 <= found["hue_angle"] < np.float32(2 * np.pi)
  assert 0 <= found["saturation"] <= 1
  assert found["chroma"] >= 0
  strength = float(found["activation_strength"])
  expected = min(np.linalg.norm(vector.astype(np.float64)), np.finfo("f").max)
  np.testing.assert_allclose(strength, expected, rtol=1e-5, atol=1e-17)
  assert found["chroma"] <= strength * (1 + 1e-5) + 1e-17


def test_zero_and_gray_have_hue_0_and_no_gradient():
  for vector in (np.zeros(5), np.full(5, 3.7), np.full(5, -1e30)):
    activation = jnp.asarray(vector, jnp.float32)
    for name in ("hue_angle", "chroma", "saturation"):
      value, gradient = _VALUE_AND_GRAD[name](activation)
      assert value == 0
      np.testing.assert_array_equal(gradient, 0)


def test_a_small_negative_angle_is_0_and_not_2_pi():
  angles = np.float32([-1e-9, -1e-30, 0, -0.1, 2 * np.pi, 7])
  wrapped = np.asarray(hue.wrap_angle(angles))
  assert (wrapped < np.float32(2 * np.pi)).all()
  assert np.abs(_turned(wrapped, angles)).max() < 1e-6
  np.testing.assert_allclose(wrapped[3], 2 * np.pi - 0.1, rtol=1e-6)


def test_the_projection_asks_for_full_precision():
  text = str(jax.make_jaxpr(hue_jax.hue_angle)(jnp.ones((4, 8))))
  assert "Precision.HIGHEST" in text
  assert_full_precision(hue_jax.hue_angle, jnp.ones((4, 8)))
  assert_full_precision(jax.grad(hue_jax.chroma), jnp.ones(8))
  assert_full_precision(hue_jax.image_plane_phasor, jnp.ones((4, 5, 8)))


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


_PLANES = (
  "fourier",
  "random",
  "principal",
  "class means",
  "given",
  "nearly parallel",
  "three channels",
  "many channels",
)


@functools.cache
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
    "three channels": hue_jax.random_plane(jax.random.key(1), 3),
    "many channels": hue_jax.fourier_plane(1000),
  }


@pytest.mark.slow
@pytest.mark.parametrize("name", _PLANES)
def test_planes_are_orthonormal_and_orthogonal_to_gray(name):
  plane = np.asarray(_planes()[name], np.float64)
  np.testing.assert_allclose(plane.T @ plane, np.eye(2), atol=1e-5)
  np.testing.assert_allclose(plane.sum(0), 0, atol=1e-5)


def test_principal_plane_is_that_of_numpys_svd():
  activations = _random((300, 6)) * np.float32([1, 2, 5, 1, 9, 1]) + 4
  departure = activations - activations.mean(-1, keepdims=True)
  _, _, vectors = np.linalg.svd(departure - departure.mean(0), full_matrices=False)
  expected = vectors[:2].T
  expected = expected * np.sign(expected[np.abs(expected).argmax(0), [0, 1]])
  plane = hue_jax.principal_plane(activations)
  np.testing.assert_allclose(plane, expected, atol=1e-4)
  # All leading axes are the sample, and neither gray nor a common scale matters.
  other = hue_jax.principal_plane(1e20 * activations.reshape(3, 20, 5, 6) + 1e20)
  np.testing.assert_allclose(other, expected, atol=1e-4)


def test_the_fourier_plane_starts_at_the_first_channel_and_turns_to_the_second():
  plane = np.asarray(hue_jax.fourier_plane(4))
  half = np.sqrt(0.5)
  np.testing.assert_allclose(
    plane, half * np.array([[1, 0], [0, 1], [-1, 0], [0, -1]]), atol=1e-6
  )


def test_hue_plane_keeps_the_first_direction_and_the_side_of_the_second():
  vectors = _random((7, 2)).astype(np.float64)
  plane = np.asarray(hue_jax.hue_plane(vectors.astype(np.float32)), np.float64)
  chromatic = vectors - vectors.mean(0)
  first = chromatic[:, 0] / np.linalg.norm(chromatic[:, 0])
  np.testing.assert_allclose(plane[:, 0], first, atol=1e-5)
  assert chromatic[:, 1] @ plane[:, 1] > 0
  rest = chromatic - plane @ (plane.T @ chromatic)
  np.testing.assert_allclose(rest, 0, atol=1e-5)


def test_random_planes_differ_by_key_alone():
  one, same, other = (hue_jax.random_plane(jax.random.key(k), 6) for k in (0, 0, 1))
  np.testing.assert_array_equal(one, same)
  assert np.abs(np.asarray(one - other)).max() > 0.1


def test_class_mean_plane_holds_the_class_means():
  # Three classes whose means lie in a plane: all their spread is in it.
  means = np.float32([[3, 0, 0, 0, 0], [0, 3, 0, 0, 0], [0, 0, 3, 0, 0]])
  labels = np.arange(600) % 3
  activations = means[labels] + 0.01 * _random((600, 5))
  plane = hue_jax.class_mean_plane(activations, labels, 3)
  centered = means - means.mean(0)
  np.testing.assert_allclose(_saturation(centered, plane), 1, atol=1e-3)


def test_a_plane_can_be_learned():
  vectors = np.random.default_rng(0).normal(size=(6, 2))
  activation = np.random.default_rng(1).normal(size=6)
  with double_precision():

    @jax.jit
    def value(vectors):
      return _chroma(activation, hue_jax.hue_plane(vectors))

    gradient = np.asarray(jax.jit(jax.grad(value))(vectors))
    expected = np.zeros((6, 2))
    for index in np.ndindex(6, 2):
      step = np.zeros((6, 2))
      step[index] = 1e-6
      expected[index] = float(value(vectors + step) - value(vectors - step)) / 2e-6
  np.testing.assert_allclose(gradient, expected, rtol=1e-5, atol=1e-8)
  assert np.abs(gradient).max() > 1e-2


# --- The angle in the image plane -----------------------------------------------


def test_phasor_is_the_sum_over_positions():
  layer = _random((2, 3, 4, 5))
  expected = np.zeros((2, 5), complex)
  for row in range(3):
    for column in range(4):
      angle = np.arctan2(row - 1.0, column - 1.5)
      expected += layer[:, row, column] * np.exp(1j * angle)
  np.testing.assert_allclose(_image_plane_phasor(layer), expected, atol=1e-5)
  angles = _image_plane_hue(layer)
  assert np.abs(_turned(angles, np.angle(expected))).max() < 1e-5


@pytest.mark.parametrize("shape", [(4, 4), (5, 5), (3, 6)])
def test_turning_the_image_turns_every_hue(shape):
  layer = _random((*shape, 3))
  before = np.asarray(_image_plane_hue(layer), np.float64)
  for quarters in (1, 2, 3):
    # NumPy turns from the first axis to the second: right goes up, against φ.
    turned = _image_plane_hue(np.rot90(layer, quarters))
    assert np.abs(_turned(turned, before - quarters * np.pi / 2)).max() < 1e-4


def test_a_mirror_image_conjugates():
  layer = _random((4, 6, 3))
  phasor = np.asarray(_image_plane_phasor(layer))
  upside_down = _image_plane_phasor(layer[::-1])
  np.testing.assert_allclose(upside_down, phasor.conj(), atol=1e-5)
  left_right = _image_plane_phasor(layer[:, ::-1])
  np.testing.assert_allclose(left_right, -phasor.conj(), atol=1e-5)


def test_a_channel_that_fires_at_one_position_has_the_hue_of_that_position():
  height, width = 3, 5
  layer = np.eye(height * width, dtype="f").reshape(height, width, -1)
  found = np.asarray(_image_plane_hue(layer)).reshape(height, width)
  expected = np.asarray(hue_jax.position_hue(height, width))
  assert np.abs(_turned(found, expected)).max() < 1e-6
  assert found.min() >= 0
  assert found.max() < 2 * np.pi
  # The center does not count, and what is nowhere has hue 0.
  phasor = np.asarray(_image_plane_phasor(layer)).reshape(height, width)
  assert phasor[1, 2] == 0
  assert found[1, 2] == 0


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


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize(
  "function",
  [
    hue_jax.hue_angle,
    hue_jax.chroma,
    hue_jax.saturation,
    hue_jax.principal_plane,
    lambda a: hue_jax.class_mean_plane(a, np.arange(4), 4),
    lambda a: hue_jax.hue_plane(a[:2].T),
    lambda a: hue_jax.fourier_plane(a.shape[-1]),
    lambda a: hue_jax.random_plane(jax.random.key(0), a.shape[-1]),
  ],
)
def test_fewer_than_3_channels_have_no_hue_plane(function, channels):
  message = rf"\b{channels} channels; a hue plane needs at least 3"
  with pytest.raises(ValueError, match=message):
    function(_random((4, channels)))


def test_vectors_that_span_no_plane_besides_gray_are_refused():
  ones, other = np.ones(5, "f"), _random(5)
  for pair in ([other, ones + other], [ones, other], [other, -3 * other]):
    with pytest.raises(ValueError, match="span no plane besides gray"):
      hue_jax.hue_plane(np.stack(pair, axis=-1))


@pytest.mark.parametrize(
  "sample",
  [
    np.zeros((9, 5), "f"),
    np.ones((9, 5), "f"),
    _random(5),
    np.outer(_random(9), _random(5, seed=1)),
    np.outer(_random(9), _random(5, seed=1)) + _random((9, 1), seed=2),
  ],
  ids=["zero", "gray", "one vector", "a line", "a line and gray"],
)
def test_a_sample_that_spans_no_plane_has_no_principal_plane(sample):
  with pytest.raises(ValueError, match="span no plane"):
    hue_jax.principal_plane(sample)


def test_a_plane_of_another_shape_is_refused():
  for function in (hue_jax.hue_angle, hue_jax.chroma, hue_jax.saturation):
    for shape in ((5, 2), (4, 3), (2, 4)):
      message = rf"plane has shape \({shape[0]}, {shape[1]}\).*need \(4, 2\)"
      with pytest.raises(ValueError, match=message):
        unchecked(function)(_random((3, 4)), _random(shape))


@pytest.mark.parametrize(
  "function", [*_SCALARS, hue_jax.principal_plane, hue_jax.image_plane_phasor]
)
def test_integers_are_refused(function):
  for dtype in (np.int32, np.uint8, np.bool_):
    message = f"dtype {np.dtype(dtype)}; a floating-point dtype"
    with pytest.raises(TypeError, match=message):
      unchecked(function)(np.ones((3, 3, 4), dtype))


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
  for _ in range(3):  # a busy machine may need another try
    out = subprocess.run(
      [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout
    seconds, loaded = out.split(" ", 1)
    assert loaded.strip() == "[]"
    if float(seconds) < 0.5:
      break
  assert float(seconds) < 0.5


@pytest.mark.parametrize("channels", [3, 4, 16, 64, 1000])
@pytest.mark.parametrize("constant", [0.1, 1.0, 3.0, 1e4])
def test_a_gray_vector_spans_no_plane(channels, constant):
  gray, other = np.full(channels, constant), _random((channels,))
  for vectors in ([gray, other], [other, gray]):
    with pytest.raises(ValueError, match="span no plane besides gray"):
      hue_jax.hue_plane(np.stack(vectors, axis=1).astype(np.float32))


@pytest.mark.parametrize("common", [1, 1e2, 1e4])
def test_a_plane_of_vectors_with_a_large_gray_part_is_orthogonal_to_gray(common):
  plane = np.asarray(hue_jax.hue_plane(_random((64, 2)) + np.float32(common)), float)
  np.testing.assert_allclose(plane.T @ plane, np.eye(2), atol=1e-5)
  np.testing.assert_allclose(plane.sum(axis=0) / 8, 0, atol=1e-5)
