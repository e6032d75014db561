"""Colors keep the hue, and show saturation and magnitude."""

import colorsys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hue_jax.color import (
  color_layer,
  color_wheel,
  hue_to_rgb,
  plane_of,
  robust_scale,
)
from hue_jax.errors import InputError
from hue_jax.hue import (
  class_mean_plane,
  fourier_plane,
  hue_angle,
  position_hue,
  principal_plane,
  random_plane,
  saturation,
)
from tests.helpers.compiled_as_for_users import compiled_as_for_users

TAU = 2 * np.pi

_color = jax.jit(color_layer, compiler_options=compiled_as_for_users())


def _apart(one, other):
  """Angle between hues, in radians."""
  return np.abs((np.asarray(one) - np.asarray(other) + np.pi) % TAU - np.pi)


def _layer(*shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


class TestHueToRgb:
  def test_its_inverse_is_hue_saturation_and_value(self):
    rng = np.random.default_rng(0)
    hue, vivid, value = rng.uniform([[0], [0.1], [0.1]], [[TAU], [1], [1]], (3, 2000))
    rgb = np.asarray(hue_to_rgb(hue, vivid, value), np.float64)
    phasor = rgb @ np.exp(1j * TAU / 3 * np.arange(3))  # independent of hue.py
    assert _apart(np.angle(phasor), hue).max() < 1e-5
    _, s, v = np.transpose([colorsys.rgb_to_hsv(*color) for color in rgb])
    np.testing.assert_allclose(s, vivid, atol=1e-5)
    np.testing.assert_allclose(v, value, atol=1e-6)

  def test_it_is_hsv_at_multiples_of_60_degrees(self):
    for sixth in range(6):
      expected = colorsys.hsv_to_rgb(sixth / 6, 0.7, 0.9)
      got = hue_to_rgb(sixth * TAU / 6, 0.7, 0.9)
      np.testing.assert_allclose(got, expected, atol=1e-6)

  def test_on_the_circle_and_not_the_hexagon(self):
    hues = np.linspace(0, TAU, 720, endpoint=False).astype(np.float32)
    got = np.asarray(hue_to_rgb(hues, 1.0, 1.0))
    assert _apart(hue_angle(got), hues).max() < 1e-5
    hexagonal = np.array([colorsys.hsv_to_rgb(h / TAU, 1, 1) for h in hues])
    assert 0.01 < np.abs(got - hexagonal).max() < 0.04

  def test_gray_and_black(self):
    np.testing.assert_allclose(hue_to_rgb(2.0, 0.0, 0.4), [0.4] * 3, atol=1e-7)
    np.testing.assert_array_equal(hue_to_rgb(2.0, 1.0, 0.0), [0, 0, 0])

  def test_arguments_broadcast_and_half_precision_is_computed_in_single(self):
    hues = jnp.asarray([0.5, 1.5, 2.5], jnp.float16)
    rgb = hue_to_rgb(hues, np.float32([[1.0], [0.5]]), 1.0)
    assert rgb.shape == (2, 3, 3)
    assert rgb.dtype == jnp.float32
    assert _apart(hue_angle(rgb), np.asarray(hues, np.float32)).max() < 1e-5


class TestColorLayer:
  @pytest.mark.parametrize("channels", [3, 4, 7, 64, 257])
  def test_the_picture_has_the_hue_of_the_layer(self, channels):
    layer = _layer(2, 5, 4, channels)
    rgb = _color(layer)
    assert rgb.shape == (2, 5, 4, 3)
    assert _apart(hue_angle(rgb), hue_angle(layer)).max() < 1e-5
    assert 0 <= float(rgb.min()) <= float(rgb.max()) <= 1

  def test_saturation_and_value(self):
    layer = _layer(40, 16)
    rgb = np.asarray(_color(layer, scale=3.0), np.float64)
    norms = np.linalg.norm(layer.astype(np.float64), axis=-1)
    np.testing.assert_allclose(rgb.max(-1), np.minimum(norms / 3, 1), rtol=1e-5)
    assert (norms > 3).any()
    assert (norms < 3).any()
    np.testing.assert_allclose(
      1 - rgb.min(-1) / rgb.max(-1), saturation(layer), atol=1e-5
    )

  def test_another_plane(self):
    layer = _layer(30, 12)
    plane = random_plane(jax.random.key(1), 12)
    rgb = _color(layer, plane)
    assert _apart(hue_angle(rgb), hue_angle(layer, plane)).max() < 1e-5
    assert _apart(hue_angle(rgb), hue_angle(layer)).max() > 1

  def test_an_rgb_picture_keeps_hue_and_saturation(self):
    picture = np.random.default_rng(0).uniform(0.1, 1, (20, 20, 3)).astype(np.float32)
    rgb = np.asarray(_color(picture, scale=np.sqrt(3)), np.float64)
    assert _apart(hue_angle(rgb), hue_angle(picture)).max() < 1e-5
    # Each color is the pixel itself, darker or lighter.
    ratio = rgb / picture
    np.testing.assert_allclose(ratio, ratio[..., :1] * np.ones(3), rtol=1e-4)
    norms = np.linalg.norm(picture, axis=-1)
    np.testing.assert_allclose(rgb.max(-1), norms / np.sqrt(3), rtol=1e-5)

  def test_red_green_blue_white(self):
    picture = np.float32([[1, 0, 0], [0, 1, 0], [0, 0, 1]])
    np.testing.assert_allclose(_color(picture), np.eye(3), atol=1e-6)
    np.testing.assert_allclose(_color(np.ones((1, 3), np.float32)), [[1, 1, 1]])

  def test_standardized_rgb_keeps_its_hue(self):
    pixels = _layer(50, 3)
    rgb = np.asarray(_color(pixels))
    assert _apart(hue_angle(rgb), hue_angle(pixels)).max() < 1e-5
    assert rgb.min() >= 0

  @pytest.mark.parametrize("channels", [3, 8])
  def test_scaling_the_layer_changes_nothing(self, channels):
    layer = _layer(6, 6, channels)
    np.testing.assert_allclose(_color(layer), _color(layer * 1e6), atol=2e-5)

  @pytest.mark.parametrize("channels", [3, 8])
  @pytest.mark.parametrize(
    "layer",
    [
      np.zeros((4, 4)),
      np.ones((4, 4)),
      np.full((4, 4), -2.0),
      np.full((4, 4), 3e38),
      np.full((4, 4), 1e-42),
      np.diag([3e38, 0, -3e38, 1e-30]),
    ],
  )
  def test_every_finite_layer_has_finite_colors(self, layer, channels):
    layer = np.repeat(np.float32(layer)[..., None], channels, axis=-1)
    layer[..., 1] = layer[..., 0].T
    colors = _color(layer)
    assert np.isfinite(colors).all()
    assert np.min(colors) >= 0
    assert np.max(colors) <= 1 + 1e-6

  def test_a_dead_layer_is_black(self):
    np.testing.assert_array_equal(_color(np.zeros((2, 3, 5), np.float32)), 0)
    nearly = np.zeros((50, 50, 5), np.float32)
    nearly[0, 0] = [1, 2, 0, 0, 0]
    colors = np.asarray(_color(nearly))
    np.testing.assert_allclose(colors[0, 0].max(), 1)
    assert np.count_nonzero(colors.max(-1)) == 1

  @pytest.mark.parametrize("dtype", [jnp.float16, jnp.bfloat16])
  def test_half_precision_is_colored_as_single(self, dtype):
    layer = jnp.asarray(_layer(3, 4, 6), dtype)
    colors = _color(layer)
    assert colors.dtype == jnp.float32
    np.testing.assert_allclose(colors, _color(layer.astype(jnp.float32)), atol=1e-6)

  def test_jit_and_vmap(self):
    layer = _layer(3, 4, 4, 6)
    np.testing.assert_allclose(
      jax.jit(color_layer)(layer), color_layer(layer), atol=1e-5
    )
    each = jax.vmap(lambda image: color_layer(image, scale=2.0))(layer)
    np.testing.assert_allclose(each, color_layer(layer, scale=2.0), atol=1e-5)

  def test_pooled_features_are_one_color(self):
    assert _color(_layer(5, 9)).shape == (5, 3)
    assert _color(_layer(9)).shape == (3,)

  def test_two_channels_have_no_hue(self):
    with pytest.raises(ValueError, match="2 channels"):
      _color(_layer(4, 2))


def test_the_scale_withstands_outliers():
  layer = _layer(100, 100, 6)
  norms = np.linalg.norm(layer, axis=-1)
  np.testing.assert_allclose(robust_scale(layer), np.percentile(norms, 99), rtol=1e-5)
  layer[0, :10] = 1e9
  assert float(robust_scale(layer)) < 1.1 * np.percentile(norms, 99)


class TestColorWheel:
  def test_its_hue_is_the_position_hue_and_its_radius_the_saturation(self):
    wheel = np.asarray(color_wheel(101), np.float64)
    assert wheel.shape == (101, 101, 4)
    y, x = np.mgrid[-50:51, -50:51]
    radius = np.hypot(x, y)
    inside = (radius > 0) & (radius < 49)
    assert (
      _apart(hue_angle(wheel[..., :3]), position_hue(101, 101))[inside].max() < 1e-4
    )
    vivid = 1 - wheel[..., :3].min(-1)
    np.testing.assert_allclose(vivid[inside], radius[inside] / 50.5, atol=1e-5)
    np.testing.assert_array_equal(wheel[inside][:, 3], 1)
    np.testing.assert_array_equal(wheel[radius > 51.5][:, 3], 0)

  def test_right_bottom_left_and_top(self):
    wheel = np.asarray(color_wheel(201))[..., :3]
    red, cyan = wheel[100, 200], wheel[100, 0]
    assert red[0] > 0.99
    assert max(red[1:]) < 0.01
    assert cyan[0] < 0.01
    assert min(cyan[1:]) > 0.99
    below, above = wheel[200, 100], wheel[0, 100]  # 90°: chartreuse; 270°: violet
    assert below.argmax() == 1
    assert below.argmin() == 2
    assert above.argmax() == 2
    assert above.argmin() == 1

  def test_one_pixel_and_none(self):
    np.testing.assert_allclose(np.asarray(color_wheel(1))[0, 0, :3], 1)
    with pytest.raises(ValueError, match="at least 1"):
      color_wheel(0)


class TestPlaneOf:
  labels = np.arange(12) % 4

  def test_the_planes_by_name(self):
    layer = _layer(12, 3, 2, 8)
    np.testing.assert_array_equal(plane_of("fourier", layer), fourier_plane(8))
    np.testing.assert_array_equal(plane_of("principal", layer), principal_plane(layer))
    everywhere = np.repeat(self.labels, 6).reshape(12, 3, 2)
    np.testing.assert_array_equal(
      plane_of("class_means", layer, self.labels, 4),
      class_mean_plane(layer, everywhere, 4),
    )

  def test_class_means_of_pooled_features_lie_in_their_plane(self):
    corners = _layer(3, 9, seed=1)
    features = corners[self.labels % 3]
    plane = np.asarray(plane_of("class_means", features, self.labels % 3, 3))
    departure = features - features.mean(-1, keepdims=True)
    departure -= departure.mean(0)
    np.testing.assert_allclose(departure @ plane @ plane.T, departure, atol=1e-4)

  def test_what_is_refused(self):
    layer = _layer(12, 8)
    with pytest.raises(InputError, match="plane is 'hexagon'"):
      plane_of("hexagon", layer)
    with pytest.raises(InputError, match="needs labels"):
      plane_of("class_means", layer)
    with pytest.raises(ValueError, match="span no plane"):
      plane_of("principal", layer[:1])
