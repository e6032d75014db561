"""Image files become what evaluation makes of the same images in a data set."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from hue_jax.errors import InputError
from hue_jax.picture_files import read_image_files
from tests.helpers.pictures import on_ground, with_size


@pytest.fixture
def save(tmp_path):
  def save(name, shape, seed=0, **options):
    pixels = np.random.default_rng(seed).integers(0, 256, shape, dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / name, **options)
    return str(tmp_path / name), pixels

  return save


def test_files_in_their_order_and_channels(save):
  rgb, color = save("a.png", (6, 6, 3))
  gray, shades = save("b.bmp", (6, 6), seed=1)
  alpha, clear = save("c.webp", (6, 6, 4), seed=2, lossless=True, exact=True)
  clear = on_ground(clear[..., :3], clear[..., 3])
  images = read_image_files([gray, rgb, alpha], image_size=6, crop="none", channels=3)
  assert images.dtype == np.uint8
  expected = [shades[..., None].repeat(3, axis=-1), color, clear]
  np.testing.assert_array_equal(images, expected)

  (image,) = read_image_files([gray], image_size=6, crop="pad", channels=1)
  np.testing.assert_array_equal(image[..., 0], shades)
  (image,) = read_image_files([rgb], image_size=6, crop="pad", channels=1)
  luma = color @ [0.299, 0.587, 0.114]
  np.testing.assert_allclose(image[..., 0], luma, atol=1)


def test_a_large_picture_is_cut_at_its_center(tmp_path):
  pixels = np.zeros((64, 128, 3), np.uint8)
  pixels[:, 32:96, 0] = 255  # the central square is red
  path = tmp_path / "wide.png"
  Image.fromarray(pixels).save(path)
  (image,) = read_image_files([path], image_size=28, crop="random_resized", channels=3)
  assert image.shape == (28, 28, 3)
  assert image[..., 0].min() > 250
  (whole,) = read_image_files([path], image_size=28, crop="none", channels=3)
  np.testing.assert_array_equal(whole[14, [0, 14, 27], 0], [0, 255, 0])


def test_what_is_refused(save, tmp_path):
  good, _ = save("good.png", (40, 40, 3))
  jpeg = io.BytesIO()
  Image.open(good).save(jpeg, "JPEG")
  huge = with_size((tmp_path / "good.png").read_bytes(), 20_000, 20_000)
  cases = {
    "empty.png": (b"", "is empty"),
    "text.png": (b"hello", "damaged, or not"),
    "cut.png": ((tmp_path / "good.png").read_bytes()[:-900], "is damaged"),
    "cut.jpg": (jpeg.getvalue()[:-600], "is damaged"),
    "huge.png": (huge, "more than 100 megapixels"),
  }
  for name, (contents, message) in cases.items():
    (tmp_path / name).write_bytes(contents)
    with pytest.raises(InputError, match=f"{name}.*{message}") as refusal:
      read_image_files(
        [good, tmp_path / name], image_size=8, crop="random_resized", channels=3
      )
    assert "\n" not in str(refusal.value)
  with pytest.raises(InputError, match=r"none\.png cannot be read \(No such file"):
    read_image_files([tmp_path / "none.png"], image_size=8, crop="none", channels=3)
  os.mkfifo(tmp_path / "pipe.png")
  for name in ("pipe.png", ""):
    with pytest.raises(InputError, match=f"{name} is not a file"):
      read_image_files([tmp_path / name], image_size=8, crop="none", channels=3)
  with pytest.raises(InputError, match="no image is given"):
    read_image_files([], image_size=8, crop="none", channels=3)
