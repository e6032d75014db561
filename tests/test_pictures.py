"""What pictures show, over modes, depths and formats; and damaged files."""

import io
import resource
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image, ImageCms

from hue_jax.errors import InputError
from hue_jax.pictures import (
  FORMATS,
  PictureError,
  decode,
  flatten,
  ground_color,
  plain_format,
)
from tests.helpers.pictures import (
  damaged,
  encoded,
  on_ground,
  pictures,
  png,
  smooth,
  tiff,
  with_size,
)

_GROUNDS = ((255, 255, 255), (0, 0, 0), (20, 190, 90))


@pytest.mark.parametrize("ground", _GROUNDS)
def test_what_is_shown(ground):
  wrong = []
  for picture in pictures(ground):
    found = decode(picture.contents, background=ground).astype(int)
    assert found.shape[:2] == picture.shown.shape[:2], picture.name
    # Some formats keep gray as three equal channels.
    largest = np.abs(found - picture.shown).max()
    if largest > picture.tolerance:
      wrong.append((picture.name, largest))
  assert not wrong


def test_gray_stays_gray():
  gray = smooth()[..., 1]
  for kind in ("JPEG", "PNG", "BMP", "TIFF", "PPM", "JPEG2000"):
    assert decode(encoded(gray, kind)).shape[-1] == 1, kind
  with_alpha = np.dstack([gray, gray])
  assert decode(encoded(with_alpha, "PNG")).shape[-1] == 1
  assert decode(encoded(with_alpha, "PNG"), background=(1, 2, 3)).shape[-1] == 3


def test_lab():
  lab = Image.fromarray(smooth()).convert("RGB")
  profiles = ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB")
  transform = ImageCms.buildTransform(*profiles, "RGB", "LAB")
  found = decode(encoded(ImageCms.applyTransform(lab, transform), "TIFF"))
  assert np.abs(found.astype(int) - smooth()).mean() < 3


def test_numbers_without_a_range():
  for values, message in (
    (np.float32([[0, 1e6]]), "has pixels from 0 to 1e"),
    (np.float32([[-0.5, 1]]), "from -0.5 to 1; accepted are 0 to 1 or 0 to 255"),
    (np.float32([[np.nan, 1]]), "not finite"),
    (np.int32([[-1, 7]]), "from -1 to 7; accepted are 0 to 255 or 0 to 65535"),
  ):
    contents = tiff(values.repeat(4, 0).repeat(4, 1), photometric="minisblack")
    with pytest.raises(PictureError, match=message):
      decode(contents)


def test_the_ground_of_arrays():
  rng = np.random.default_rng(0)
  rgba = rng.integers(0, 256, (2, 5, 7, 4), np.uint8)
  for ground in _GROUNDS:
    for pixels in (rgba, rgba[..., 2:]):
      expected = [on_ground(x[..., :-1], x[..., -1], ground) for x in pixels]
      np.testing.assert_array_equal(flatten(pixels, ground), expected)
    for pixels in (rgba[..., :1], rgba[..., :3]):
      np.testing.assert_array_equal(flatten(pixels, ground), pixels)


def test_colors_of_the_ground():
  assert ground_color("white") == (255, 255, 255)
  assert ground_color("#0a141e") == (10, 20, 30)
  assert ground_color("rgb(1, 2, 3)") == (1, 2, 3)
  for text in ("", "whitish", "#12345678", "#12", "1,2,3"):
    with pytest.raises(InputError, match=r"--background is .*; it must be a color"):
      ground_color(text)


def test_plain_pictures_are_all_that_they_are_taken_for():
  plain = {p.name for p in pictures() if plain_format(p.contents)}
  jpegs = "gray baseline subsampled progressive rgb restarts icc turned1"
  assert plain == {
    *("gray8.png", "rgb8.png", "moving.png", "two.mpo"),
    *(f"{name}.jpg" for name in jpegs.split()),
  }
  # EXIF may stand behind the pixels of a PNG, and an orientation in XMP.
  pixels = smooth()
  exif = Image.Exif()
  exif[274] = 6
  data = exif.tobytes().removeprefix(b"Exif\0\0")
  behind = encoded(pixels, "PNG")
  chunk = png(pixels, 8, 2, eXIf=data)
  start = chunk.index(b"eXIf") - 4
  behind = behind[:-12] + chunk[start : start + 12 + len(data)] + behind[-12:]
  xmp = b'<x:xmpmeta xmlns:x="adobe:ns:meta/" tiff:Orientation="6"/>'
  for contents in (behind, chunk, encoded(pixels, "JPEG", xmp=xmp)):
    assert plain_format(contents) is None
    assert decode(contents).shape == (pixels.shape[1], pixels.shape[0], 3)
  for contents in (b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"hello" * 20):
    assert plain_format(contents) is None


@pytest.mark.filterwarnings("ignore")  # Pillow's, of the EXIF data.
def test_damaged_exif_turns_nothing():
  pixels = smooth()
  contents = encoded(pixels, "PNG", exif=b"Exif\0\0MM\0*\0\0\0\x08" + b"\xff" * 30)
  np.testing.assert_array_equal(decode(contents), pixels)


def test_other_files_are_no_pictures():
  for contents in (b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"PK\3\4" + bytes(99)):
    with pytest.raises(PictureError, match=r"is damaged, or not a JPEG, PNG, .* image"):
      decode(contents)


@pytest.mark.parametrize("kind", ["PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "JPEG"])
def test_size_is_refused_from_the_header(kind):
  contents = encoded(np.zeros((60, 50), np.uint8), kind)
  assert decode(contents, max_pixels=3000).shape[:2] == (60, 50)
  with pytest.raises(PictureError, match=r"has more than 0\.002999 megapixels"):
    decode(contents, max_pixels=2999)


_AT_THE_BOUND = """
import io, sys
from PIL import Image
from hue_jax.pictures import PictureError, decode

for width in (10_000, 10_001):  # 100 megapixels, and 100.01.
  file = io.BytesIO()
  Image.new("L", (width, 10_000), 7).save(file, "PNG", compress_level=1)
  try:
    print(decode(file.getvalue()).shape)
  except PictureError as error:
    print(error)
"""


@pytest.mark.slow
def test_there_is_one_bound_and_no_warning_before_it():
  """Pillow's own bounds, at 89 and 179 megapixels, are not heard of."""
  command = [sys.executable, "-c", _AT_THE_BOUND]
  done = subprocess.run(command, capture_output=True, text=True, check=True)
  assert done.stderr == ""
  assert done.stdout == "(10000, 10000, 1)\nhas more than 100 megapixels\n"


@pytest.mark.filterwarnings("ignore")  # Pillow's own, of large pictures.
def test_bombs_take_no_memory():
  """Headers of up to 2³² pixels and more, which Pillow warns of or refuses."""
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  for side in (10_001, 13_000, 60_000, 2**31 - 1):
    bomb = with_size(encoded(smooth(), "PNG"), side, side)
    header = b"P5 %d %d 255\n" % (side, side)
    for contents in (bomb, header):
      with pytest.raises(PictureError, match=r"more than 100 megapixels|is damaged"):
        decode(contents)
  after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  assert after - before < 50_000  # Kilobytes.


@pytest.mark.filterwarnings("ignore")  # Pillow's, of damaged headers.
def test_damaged_pictures_are_read_or_named():
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  said, read = [], []
  for contents in damaged(400):
    try:
      read.append(decode(contents))
    except PictureError as error:
      said.append(str(error))
  for reason in said:
    assert "\n" not in reason
    assert reason.startswith(("is damaged", "has more than", "has pixels"))
  for pixels in read:
    assert pixels.dtype == np.uint8
    assert pixels.shape[-1] in (1, 3)
  assert min(len(said), len(read)) > 40
  after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  assert after - before < 1_000_000  # Kilobytes.


def test_every_format_is_tried():
  formats = {Image.open(io.BytesIO(p.contents)).format for p in pictures()}
  assert formats - {"MPO"} == set(FORMATS)


def test_without_tensorflow():
  code = "import sys, hue_jax.pictures; assert 'tensorflow' not in sys.modules"
  subprocess.run([sys.executable, "-c", code], check=True)
