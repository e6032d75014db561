"""Image files become what evaluation makes of the same images in a data set."""

import io
import os

import jax
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


def _by_jax(pixels, size, cut_from):
  """The central square of `size`, of a picture of which the shorter side is resized.

  Args:
    pixels: The picture.
    size: The side of the square.
    cut_from: What the shorter side is resized to; the whole is the square if None.
  """
  sides = np.array(pixels.shape[:2])
  whole = [size, size]
  resized = np.round(sides * (cut_from / sides.min())) if cut_from else whole
  square = jax.image.scale_and_translate(
    pixels.astype(np.float32),
    (size, size, pixels.shape[-1]),
    (0, 1),
    scale=np.float32(resized / sides),
    translation=np.float32(-np.floor((np.array(resized) - size) / 2)),
    method="cubic",
    antialias=True,
    precision=jax.lax.Precision.HIGHEST,
  )
  return np.clip(np.round(square), 0, 255)


@pytest.mark.parametrize(
  ("shape", "size"),
  [
    ((60, 80, 3), 28),  # smaller
    ((20, 17, 3), 28),  # larger
    ((25, 90), 28),  # one of both, gray
    ((1, 3, 3), 5),
    ((301, 7, 3), 9),
    ((33, 32, 3), 28),  # for the central square, hardly resized at all
  ],
)
def test_it_is_resized_as_jax_does(save, shape, size):
  path, pixels = save("picture.png", shape)
  pixels = pixels.reshape(*shape[:2], -1)
  for crop, cut_from in (("none", None), ("random_resized", round(size / 0.875))):
    (image,) = read_image_files(
      [path], image_size=size, crop=crop, channels=pixels.shape[-1]
    )
    expected = _by_jax(pixels, size, cut_from)
    np.testing.assert_allclose(image, expected, atol=1)
    # What differs at all is a half that is rounded to another side.
    assert np.mean(image != expected) < 0.01


def test_pictures_of_any_size_compile_nothing(save):
  """A program for every size would fill memory where all pictures differ."""
  compiled = []

  def listen(event, *_, **__):
    compiled.extend([event] if "compile" in event else [])

  paths = [save(f"{i}.png", (20 + i, 50 - i, 3))[0] for i in range(30)]
  jax.monitoring.register_event_duration_secs_listener(listen)
  try:
    for crop in ("none", "random_resized"):
      read_image_files(paths, image_size=24, crop=crop, channels=3)
  finally:
    jax.monitoring.unregister_event_duration_listener(listen)
  assert compiled == []


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
