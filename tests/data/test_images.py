import math

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image, ImageFilter

from hue_jax import philox
from hue_jax.data import images
from tests.helpers.pictures import encoded

SHAPE = (173, 211)


@pytest.fixture(scope="module")
def picture():
  """Patches with sharp edges of color, which JPEG interpolates across."""
  rng = np.random.default_rng(0)
  patches = np.kron(rng.integers(0, 256, (9, 11, 3)), np.ones((20, 20, 1)))
  grain = rng.integers(0, 30, patches.shape)
  return (patches + grain).clip(0, 255).astype(np.uint8)[: SHAPE[0], : SHAPE[1]]


def decoded(contents, channels):
  image = images.decode(contents, images.decoder_of(contents))
  return images.to_channels(image, channels).numpy()


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_decoding_a_window_equals_decoding_then_cropping(
  picture, subsampling, progressive
):
  contents = encoded(
    Image.fromarray(picture), "JPEG", subsampling=subsampling, progressive=progressive
  )
  whole = tf.io.decode_jpeg(contents).numpy()
  rng = np.random.default_rng(1)
  windows = [(0, 0, *SHAPE), (SHAPE[0] - 1, SHAPE[1] - 1, 1, 1)]
  for _ in range(60):
    height, width = rng.integers(1, SHAPE[0] + 1), rng.integers(1, SHAPE[1] + 1)
    top, left = rng.integers(SHAPE[0] - height + 1), rng.integers(SHAPE[1] - width + 1)
    windows.append((top, left, height, width))
  for top, left, height, width in windows:
    window = tf.constant([top, left, height, width], tf.int32)
    np.testing.assert_array_equal(
      images.decode_jpeg_window(contents, SHAPE, window),
      whole[top : top + height, left : left + width],
    )


def test_random_resized_crop_of_jpeg_equals_that_of_its_pixels(picture):
  jpeg = encoded(Image.fromarray(picture), "JPEG", subsampling=2)
  png = encoded(Image.fromarray(tf.io.decode_jpeg(jpeg).numpy()), "PNG")
  for numbers in philox.uniforms(0, np.arange(20), 40).reshape(20, 10, 4):
    a, b = (
      images.random_resized_crop(data, images.decoder_of(data), numbers, 64).numpy()
      for data in (jpeg, png)
    )
    assert a.shape == (64, 64, 3)
    np.testing.assert_array_equal(a, b)


def test_random_resized_crop_is_that_of_pillow(picture):
  # Without sharp edges: Pillow clips what overshoots between the two directions.
  smooth = Image.fromarray(picture).filter(ImageFilter.GaussianBlur(3))
  contents = encoded(smooth, "PNG")
  for numbers in philox.uniforms(1, np.arange(10), 40).reshape(10, 10, 4):
    top, left, height, width = images.crop_window(*SHAPE, numbers).numpy().tolist()
    crop = smooth.crop((left, top, left + width, top + height))
    expected = np.asarray(crop.resize((50, 50), Image.Resampling.BICUBIC), np.int32)
    found = images.random_resized_crop(contents, images.PLAIN_PNG, numbers, 50)
    assert np.abs(found.numpy() - expected).max() <= 1


@pytest.mark.slow
@pytest.mark.parametrize("shape", [(300, 500), (64, 64), (500, 100), (1, 1), (3, 1000)])
def test_crop_windows_are_inside_and_of_the_right_distribution(shape):
  numbers = philox.uniforms(2, np.arange(2000), 40).reshape(-1, 10, 4)
  draw = tf.function(lambda u: images.crop_window(*shape, u))
  windows = tf.map_fn(draw, tf.constant(numbers), tf.int32).numpy()
  top, left, height, width = windows.T
  assert (windows >= 0).all()
  assert (height > 0).all()
  assert (width > 0).all()
  assert (top + height <= shape[0]).all()
  assert (left + width <= shape[1]).all()
  area = height * width / (shape[0] * shape[1])
  if shape == (300, 500):
    # An ideal sampler with the same rejections, in float64 and without pixels.
    ideal_area, ideal_ratio = _ideal_windows(shape, np.random.default_rng(0), 4000)
    ratio = width / height
    for found, ideal in ((area, ideal_area), (ratio, ideal_ratio)):
      quantiles = [0.1, 0.5, 0.9]
      np.testing.assert_allclose(
        np.quantile(found, quantiles), np.quantile(ideal, quantiles), atol=0.04
      )
    assert 0.72 < ratio.min() < 0.78
    assert 1.28 < ratio.max() < 1.38
    for start, size, side in ((top, height, shape[0]), (left, width, shape[1])):
      assert abs((start / (side - size).clip(1)).mean() - 0.5) < 0.05
  if shape == (3, 1000):
    # No rectangle of 8 % of it is less than 4/3 as wide as high.
    np.testing.assert_array_equal(windows, np.tile([0, 498, 3, 3], (2000, 1)))


def test_the_windows_of_numbers_do_not_change():
  numbers = philox.uniforms(7, np.arange(3), 40).reshape(3, 10, 4)
  found = [images.crop_window(*SHAPE, u).numpy().tolist() for u in numbers]
  assert found == [[6, 19, 154, 127], [9, 68, 118, 140], [88, 138, 64, 49]]


def test_color_to_gray_is_luma(picture):
  for kind in ("PNG", "BMP", "GIF", "WEBP", "JPEG"):
    contents = encoded(Image.fromarray(picture), kind)
    luma = decoded(contents, 3) @ np.array([0.299, 0.587, 0.114])
    assert np.abs(decoded(contents, 1)[..., 0] - luma).max() <= 1


def test_resize_rounds_and_clips():
  # Bicubic interpolation overshoots at the edge of white and black.
  edge = np.zeros((8, 8, 1), np.uint8)
  edge[:, 4:] = 255
  found = images.resize(tf.constant(edge), 64, 64).numpy()
  smooth = tf.image.resize(edge, [64, 64], method="bicubic", antialias=True).numpy()
  assert smooth.min() < -5
  assert smooth.max() > 260
  np.testing.assert_array_equal(found, np.clip(np.round(smooth), 0, 255))


def test_resize_to_its_own_size_changes_nothing(picture):
  np.testing.assert_array_equal(images.resize(tf.constant(picture), *SHAPE), picture)


def test_shift_and_flip_by_the_numbers():
  batch = np.random.default_rng(0).integers(0, 256, (3, 4, 4, 2), np.uint8)
  # The whole range is down to -1, not moved, and one to the right and mirrored.
  numbers = np.array([[0, 0.5, 0.9], [0.5, 0.5, 0.9], [0.5, 0.0, 0.1]], np.float32)
  expected = batch.copy()
  expected[0, 1:], expected[0, 0] = batch[0, :-1], 0
  moved = np.zeros_like(batch[2])
  moved[:, 1:] = batch[2][:, :-1]
  expected[2] = moved[:, ::-1]
  for image, uniforms, result in zip(batch, numbers, expected, strict=True):
    image = tf.constant(image)
    found = images.flip(images.shift(image, uniforms[:2], 1), uniforms[2])
    np.testing.assert_array_equal(found, result)
    unmoved = images.shift(image, uniforms[:2], 0)
    np.testing.assert_array_equal(unmoved, image)


@pytest.mark.parametrize("shape", [(97, 64, 3), (20, 131, 1), (1, 7, 3)])
@pytest.mark.parametrize("size", [(64, 64), (31, 190)])
def test_resize_has_the_bytes_of_the_operation_it_stands_for(shape, size):
  image = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
  expected = tf.image.resize(image, size, method="bicubic", antialias=True)
  found = images.resize(tf.constant(image), *size)
  np.testing.assert_array_equal(found, np.clip(np.round(expected), 0, 255))


def test_a_crop_without_antialiasing_is_bicubic_interpolation_alone(picture):
  contents = encoded(Image.fromarray(picture), "PNG")
  uniforms = np.random.default_rng(3).uniform(size=(10, 4)).astype(np.float32)
  top, left, height, width = images.crop_window(*picture.shape[:2], uniforms).numpy()
  cut = picture[top : top + height, left : left + width]
  for size in (7, 90):
    found = images.random_resized_crop(
      contents, images.PLAIN_PNG, uniforms, size, antialias=False
    ).numpy()
    expected = tf.image.resize(cut, [size, size], method="bicubic", antialias=False)
    np.testing.assert_array_equal(found, np.clip(np.round(expected), 0, 255))
    # Smoothing matters where the crop becomes smaller.
    smooth = images.random_resized_crop(
      contents, images.PLAIN_PNG, uniforms, size
    ).numpy()
    differs = np.abs(found.astype(int) - smooth).max()
    assert (differs > 8) == (size == 7)


def _ideal_windows(shape, rng, count):
  windows = []
  while len(windows) < count:
    area = rng.uniform(0.08, 1) * shape[0] * shape[1]
    ratio = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    if (area * ratio) ** 0.5 <= shape[1] and (area / ratio) ** 0.5 <= shape[0]:
      windows.append((area / (shape[0] * shape[1]), ratio))
  return np.array(windows).T
