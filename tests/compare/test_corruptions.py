"""Images made worse: by how much, and that a severer one is worse."""

import numpy as np
import pytest
from scipy import ndimage

from hue_jax.compare.measures.corruptions import CORRUPTIONS, SEVERITIES, corrupt


@pytest.fixture
def images():
  smooth = ndimage.gaussian_filter(
    np.random.default_rng(0).normal(size=(6, 24, 20, 3)), (0, 2, 2, 0)
  )
  smooth = smooth / np.abs(smooth).max() / 2 + 0.4
  return np.round(255 * smooth.clip(0, 1)).astype(np.uint8)


def _distance(one, other):
  return np.sqrt(np.mean((one.astype(float) - other) ** 2))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_severer_is_worse_and_a_seed_decides(kind, images):
  worse = [corrupt(images, kind, severity) for severity in SEVERITIES]
  distances = [_distance(w, images) for w in worse]
  assert all(w.shape == images.shape and w.dtype == np.uint8 for w in worse)
  assert distances[0] > 0
  assert distances[-1] > 1.3 * distances[0]
  assert np.all(np.diff(distances) > -0.1 * distances[-1])
  np.testing.assert_array_equal(corrupt(images, kind, 3), worse[2])
  other = corrupt(images, kind, 3, seed=1)
  assert np.array_equal(other, worse[2]) == (kind not in ("noise", "translation"))


def test_noise_has_its_deviation():
  gray = np.full((4, 32, 32, 1), 128, np.uint8)
  found = corrupt(gray, "noise", 5).astype(float) - 128
  assert found.std() == pytest.approx(0.1 * 255, rel=0.05)
  assert abs(found.mean()) < 1


def test_contrast_and_brightness_are_linear(images):
  mean = images.mean(axis=(1, 2), keepdims=True)
  expected = (images - mean) * 0.4 + mean
  np.testing.assert_allclose(corrupt(images, "contrast", 3), expected, atol=0.51)
  brighter = np.minimum(images + 0.15 * 255, 255)
  np.testing.assert_allclose(corrupt(images, "brightness", 3), brighter, atol=0.51)


def test_pixelation_keeps_the_mean_of_a_block():
  image = np.random.default_rng(0).integers(0, 256, (1, 20, 20, 1), np.uint8)
  found = corrupt(image, "pixelation", 5)  # 13 cells a side
  assert len(np.unique(found)) <= 13 * 13
  flat = np.full((1, 20, 20, 1), 77, np.uint8)
  np.testing.assert_array_equal(corrupt(flat, "pixelation", 5), flat)


def test_translation_moves_a_spot_by_its_length():
  image = np.zeros((40, 50, 50, 1), np.uint8)
  image[:, 24:27, 24:27] = 255
  moved = corrupt(image, "translation", 4)  # 4 × 4 % of 50 pixels
  for one in moved:
    center = np.array(ndimage.center_of_mass(one[:, :, 0].astype(float)))
    assert np.linalg.norm(center - 25) == pytest.approx(8, abs=0.1)


@pytest.mark.parametrize("severity", SEVERITIES)
def test_blur_is_a_gaussian_in_rows_and_columns(severity):
  image = np.zeros((1, 21, 21, 1), np.uint8)
  image[0, 10, 10] = 255
  found = corrupt(image, "blur", severity)[0, :, :, 0]
  deviation = (0.4, 0.6, 0.7, 0.8, 1.0)[severity - 1]
  line = np.exp(-(np.arange(-10, 11) ** 2) / (2 * deviation**2))
  line /= line.sum()
  np.testing.assert_allclose(found, 255 * np.outer(line, line), atol=1)
