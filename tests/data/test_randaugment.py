"""RandAugment's operations against Pillow's."""

import functools

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf
from PIL import Image, ImageEnhance, ImageOps

from hue_jax.data import randaugment
from hue_jax.data.randaugment import OPERATIONS, augment, operation
from hue_jax.errors import InputError
from hue_jax.preprocessing import RandAugment


@pytest.fixture(scope="module")
def photograph():
  """Smooth, with an edge, not using the whole range: uint8 [32, 40, 3]."""
  rows, columns = np.mgrid[:32, :40]
  channels = [30 + 3 * rows, 200 - 2 * columns, 40 + rows + 2 * columns]
  image = np.stack(channels, axis=-1).astype(np.int64)
  image[8:20, 10:30] += 37
  noise = np.random.default_rng(0).integers(0, 9, image.shape)
  return np.clip(image + noise, 0, 255).astype(np.uint8)


def _tensor(image):
  return tf.constant(image)


def _check(found, expected, most=0):
  difference = np.abs(found.numpy().astype(int) - np.asarray(expected).astype(int))
  assert difference.max() <= most, difference.max()


def test_tables_of_pixels_are_pillows(photograph):
  pillow = Image.fromarray(photograph)
  image = _tensor(photograph)
  _check(randaugment.autocontrast(image), ImageOps.autocontrast(pillow), most=1)
  _check(randaugment.equalize(image), ImageOps.equalize(pillow))
  _check(randaugment.posterize(image, 5), ImageOps.posterize(pillow, 5))
  _check(randaugment.solarize(image, 100.0), ImageOps.solarize(pillow, 100))


@pytest.mark.parametrize("factor", [0.1, 0.6, 1.0, 1.7])
@pytest.mark.parametrize("name", ["color", "contrast", "brightness", "sharpness"])
def test_blends_are_pillows(photograph, name, factor):
  enhancer = getattr(ImageEnhance, name.capitalize())(Image.fromarray(photograph))
  found = getattr(randaugment, name)(_tensor(photograph), factor)
  _check(found, enhancer.enhance(factor), most=2)


@pytest.mark.parametrize("strength", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("sign", [-1, 1])
def test_moves_are_pillows_affine_transforms(photograph, strength, sign):
  # Away from the border, where Pillow and TensorFlow fill differently.
  signed = sign * strength
  angle = np.radians(30 * signed)
  matrices = {
    "rotate": [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]],
    "shear_x": [[1, 0.3 * signed], [0, 1]],
    "shear_y": [[1, 0], [0.3 * signed, 1]],
    "translate_x": np.eye(2),
    "translate_y": np.eye(2),
  }
  shifts = {"translate_x": (0.45 * 40 * signed, 0), "translate_y": (0, 14.4 * signed)}
  # Pillow's coordinates are of the corners of pixels, ours of their centers.
  center = np.array([40, 32]) / 2
  for name, matrix in matrices.items():
    matrix = np.asarray(matrix)
    offset = center - matrix @ center + shifts.get(name, (0, 0))
    data = (*matrix[0], offset[0], *matrix[1], offset[1])
    ones = Image.new("L", (40, 32), 255).transform(
      (40, 32), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
    )
    expected = Image.fromarray(photograph).transform(
      (40, 32), Image.Transform.AFFINE, data, Image.Resampling.BILINEAR
    )
    found = operation(
      name, _tensor(photograph), tf.constant(strength), tf.constant(float(signed))
    ).numpy()
    inside = np.asarray(ones) == 255
    inside[[0, -1]] = inside[:, [0, -1]] = False
    eroded = inside.copy()
    eroded[1:-1, 1:-1] = (
      inside[:-2, 1:-1] & inside[2:, 1:-1] & inside[1:-1, :-2] & inside[1:-1, 2:]
    )
    assert eroded.sum() > 100
    difference = np.abs(found.astype(int) - np.asarray(expected).astype(int))
    assert difference[eroded].max() <= 2, name


def test_gray_images_go_through_every_operation(photograph):
  gray = _tensor(photograph[..., :1])
  for name in OPERATIONS:
    found = operation(name, gray, tf.constant(0.5), tf.constant(-0.5))
    assert found.shape == gray.shape
    assert found.dtype == tf.uint8
  _check(operation("color", gray, tf.constant(1.0), tf.constant(-1.0)), gray)


def test_constant_images_stay_finite():
  flat = tf.fill([8, 8, 3], tf.constant(7, tf.uint8))
  _check(randaugment.autocontrast(flat), flat)
  _check(randaugment.equalize(flat), flat)


def test_an_image_is_a_function_of_its_numbers(photograph):
  settings = RandAugment(num_ops=2, magnitude=7, magnitude_std=0.5)
  assert settings.num_uniforms == 6
  graph = tf.function(functools.partial(augment, settings))
  uniforms = np.random.default_rng(1).random((40, 6), np.float32)
  images = [graph(_tensor(photograph), tf.constant(u)).numpy() for u in uniforms]
  again = [graph(_tensor(photograph), tf.constant(u)).numpy() for u in uniforms]
  np.testing.assert_array_equal(images, again)
  assert len({image.tobytes() for image in images}) > 30


def test_every_operation_is_drawn_and_one_at_a_time(photograph):
  graph = tf.function(functools.partial(augment, RandAugment(num_ops=1, magnitude=10)))
  image = _tensor(photograph)
  for index, name in enumerate(OPERATIONS):
    which = (index + 0.5) / len(OPERATIONS)
    found = graph(image, tf.constant([which, 0.9, 0.5], tf.float32))
    _check(found, operation(name, image, tf.constant(1.0), tf.constant(1.0)).numpy())


@pytest.mark.parametrize("noise", [0.1, 0.5, 0.9])
def test_the_magnitude_is_normal_about_its_mean(photograph, noise):
  settings = RandAugment(num_ops=1, magnitude=6, magnitude_std=0.5)
  which = (OPERATIONS.index("rotate") + 0.5) / len(OPERATIONS)
  numbers = tf.constant([which, 0.2, noise], tf.float32)
  found = augment(settings, _tensor(photograph), numbers)
  strength = (6 + 0.5 * scipy.stats.norm.ppf(noise)) / 10
  signed = tf.constant(-strength, tf.float32)
  _check(
    found, operation("rotate", _tensor(photograph), -signed, signed).numpy(), most=1
  )
  mean = operation("rotate", _tensor(photograph), tf.constant(0.6), tf.constant(-0.6))
  apart = np.abs(found.numpy().astype(int) - mean.numpy()).max()
  assert (apart > 3) == (noise != 0.5)


def test_no_magnitude_and_no_operation_change_little(photograph):
  image = _tensor(photograph)
  _check(augment(RandAugment(), image, tf.zeros([0])), photograph)
  for name in set(OPERATIONS) - {"autocontrast", "equalize"}:
    found = operation(name, image, tf.constant(0.0), tf.constant(0.0))
    _check(found, photograph)


def test_settings_out_of_range_are_told():
  with pytest.raises(InputError, match=r"randaugment\.num_ops is -1"):
    RandAugment(num_ops=-1)
  with pytest.raises(InputError, match=r"randaugment\.magnitude is 11"):
    RandAugment(num_ops=2, magnitude=11)
