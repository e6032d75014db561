"""Arrays of picture files: what a picture shows is what a network sees.

`decode` is the definition, for `prepare`, training, evaluation, `observe` and `color`
alike: upright (EXIF), transparent parts on a ground that is said, every bit depth and
mode, the first frame of an animation. It needs Pillow and NumPy alone. What `plain_
format` names may be decoded by any other decoder of that format: there is nothing about
it that decoders see differently, but for the rounding of JPEG.
"""

import io
import mimetypes
import struct
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import ExifTags, Image, ImageCms, ImageColor, UnidentifiedImageError

from hue_jax.errors import InputError

# The one bound on what is decoded, here and elsewhere.
MAX_PIXELS = 100_000_000
WHITE = (255, 255, 255)

# Told by their first bytes. Not among them: what Pillow runs another program for, and
# what has no mark of its own, so that any file might be one.
FORMATS = (
  *("JPEG", "PNG", "GIF", "BMP", "WEBP", "TIFF", "PPM", "ICO", "AVIF", "JPEG2000"),
  *("QOI", "SGI"),
)
FORMAT_NAMES = "JPEG, PNG, GIF, BMP, WebP, TIFF, PNM, ICO, AVIF, JPEG 2000, QOI or SGI"

# Files of these names are pictures, or are refused where they cannot be read. The table
# that comes with Python, and not that of the machine.
SUFFIXES = frozenset(
  suffix
  for table in mimetypes.MimeTypes().types_map
  for suffix, kind in table.items()
  if kind.startswith("image/")
) | {".jfif", ".jp2", ".j2k", ".jxl", ".psd", ".tga", ".dng", ".cr2", ".nef", ".qoi"}

# Of 89 to 179 megapixels Pillow warns, which would say less than the bound above does:
# a picture is within it, or refused. Filters that a program has of its own come first.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning, append=True)


class PictureError(ValueError):
  """What is wrong with a picture, in words that follow its name: "is damaged (…)"."""


def decode(
  contents: bytes,
  *,
  background: Sequence[int] = WHITE,
  max_pixels: int = MAX_PIXELS,
) -> UInt8[np.ndarray, "height width channels"]:
  """Decodes a picture as a person sees it.

  It is upright, as its EXIF orientation says; of an animation, it is the first frame.
  Transparent parts show the ground: round((alpha · color + (255 − alpha) · ground) /
  255). Of 16 bits, the higher 8 are kept. Numbers of 32 bits, which have no range of
  their own, reach to the first of 1 (floating point alone), 255 and 65,535 that none
  exceeds. A palette and CMYK become RGB.

  Args:
    contents: The encoded picture, in one of `FORMATS`, whatever the name of its file.
    background: The ground, red, green and blue from 0 to 255.
    max_pixels: Pictures of more pixels are refused before they are decoded.

  Returns:
    The picture in gray, [height, width, 1], or in RGB, [height, width, 3].

  Raises:
    PictureError: If the picture is damaged, too large, or in no such format.
  """
  try:
    with Image.open(io.BytesIO(contents), formats=FORMATS) as image:
      _check_size(image, max_pixels)
      image.load()
      _check_size(image, max_pixels)  # That of an icon is known by now.
      return flatten(_upright(_channels(image, contents), image), background)
  except PictureError:
    raise
  except UnidentifiedImageError:
    raise PictureError(f"is damaged, or not a {FORMAT_NAMES} image") from None
  except (Image.DecompressionBombError, Image.DecompressionBombWarning):
    raise PictureError(_too_many(max_pixels)) from None
  # Pillow's readers of damaged files raise nearly every kind of error there is.
  except Exception as error:
    reason = " ".join(str(error).split()) or type(error).__name__
    raise PictureError(f"is damaged ({reason})") from error


def flatten(
  pixels: UInt8[np.ndarray, "*shape channels"], background: Sequence[int] = WHITE
) -> UInt8[np.ndarray, "*shape opaque"]:
  """Puts what is transparent on a ground.

  Args:
    pixels: The pixels, whose last axis is gray, gray and alpha, RGB, or RGB and alpha.
    background: The ground, red, green and blue from 0 to 255.

  Returns:
    The pixels in gray or RGB; gray with alpha on a colored ground becomes RGB.
  """
  if pixels.shape[-1] in (1, 3):
    return pixels
  color, alpha = pixels[..., :-1], pixels[..., -1:].astype(np.uint32)
  is_gray = color.shape[-1] == 1 and len(set(background)) == 1
  ground = np.array(background[:1] if is_gray else background, np.uint32)
  return ((color * alpha + ground * (255 - alpha) + 127) // 255).astype(np.uint8)


def ground_color(text: str, name: str = "--background") -> tuple[int, int, int]:
  """Returns the red, green and blue of "white", "#ffffff" or "rgb(255, 255, 255)".

  Args:
    text: The color, in the words of CSS.
    name: The name of the setting, for the error.

  Raises:
    InputError: If the text is no opaque color.
  """
  try:
    red, green, blue = ImageColor.getrgb(text)
  except ValueError:  # Also of four numbers: a ground is not transparent.
    raise InputError(
      f"{name} is {text!r}; it must be a color, such as white or #ffffff."
    ) from None
  return red, green, blue


def plain_format(contents: bytes) -> str | None:
  """Returns "JPEG" or "PNG" where every decoder of the format shows the picture alike.

  These are JPEGs of 8 bits, baseline or progressive, gray or of three channels, that
  are stored upright; and PNGs of 8 bits, gray or RGB, opaque and upright. They may be
  damaged, for only what describes the pixels is read; the pixels are not. None for
  everything else, pictures of more than `MAX_PIXELS` among them.
  """
  try:
    if contents[:3] == b"\xff\xd8\xff":
      return "JPEG" if _is_plain_jpeg(contents) else None
    if contents[:8] == _PNG_MAGIC:
      return "PNG" if _is_plain_png(contents) else None
  except (struct.error, IndexError):  # It ends within its header.
    pass
  return None


_PNG_MAGIC = b"\x89PNG\r\n\x1a\n"
_PNG_GRAY, _PNG_RGB = 0, 2
_JPEG_HUFFMAN = (0xC0, 0xC1, 0xC2)  # Baseline, extended and progressive.
_JPEG_START_OF_SCAN, _JPEG_APP1 = 0xDA, 0xE1


def _is_plain_jpeg(contents):
  position, is_plain = 2, False
  while True:
    while contents[position + 1] == 0xFF:  # Fill bytes.
      position += 1
    mark, marker, length = struct.unpack_from(">BBH", contents, position)
    if mark != 0xFF or length < 2:
      return False
    if marker == _JPEG_START_OF_SCAN:
      return is_plain
    if 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
      bits, height, width, channels = struct.unpack_from(
        ">BHHB", contents, position + 4
      )
      is_plain = marker in _JPEG_HUFFMAN and bits == 8 and channels in (1, 3)
      if not is_plain or not 0 < height * width <= MAX_PIXELS:
        return False
    elif marker == _JPEG_APP1 and not _is_upright(
      contents[position + 4 : position + 2 + length]
    ):
      return False
    position += 2 + length


def _is_upright(metadata):
  """Tells whether the data of an APP1 segment surely say nothing of a turn."""
  if not metadata.startswith(b"Exif\0\0"):
    return b"Orientation" not in metadata
  exif = Image.Exif()
  try:
    exif.load(metadata)
    return exif.get(ExifTags.Base.Orientation, 1) == 1
  except Exception:
    return False


def _is_plain_png(contents):
  if contents[12:16] != b"IHDR":
    return False
  width, height, bits, kind = struct.unpack_from(">IIBB", contents, 16)
  if bits != 8 or kind not in (_PNG_GRAY, _PNG_RGB):
    return False
  if not 0 < width * height <= MAX_PIXELS:
    return False
  position = 33
  while (kind := contents[position + 4 : position + 8]) != b"IEND":
    (length,) = struct.unpack_from(">I", contents, position)
    if kind in (b"tRNS", b"eXIf"):
      return False
    text = kind in (b"iTXt", b"tEXt", b"zTXt")
    if text and contents[position + 8 : position + 12] in (b"XML:", b"Raw "):
      return False  # EXIF or XMP as a text.
    position += 12 + length
  return True


# --- The picture's own channels --------------------------------------------------


def _channels(image, contents):
  """Returns gray or RGB, with alpha or without: uint8 [height, width, channels]."""
  mode, key = image.mode, image.info.get("transparency")
  if mode.startswith("I;16"):
    values = np.asarray(image).astype(np.uint16)
    gray = _inverted_if_so(image, (values >> (_tiff_bits(image) - 8)).astype(np.uint8))
    return _with_alpha(gray[..., np.newaxis], key, values[..., np.newaxis])
  if mode in ("I", "F"):
    return _inverted_if_so(image, _wide_to_uint8(image))[..., np.newaxis]
  if mode in ("1", "L"):
    gray = np.asarray(image.convert("L"))[..., np.newaxis]
    # A PNG of 2 or 4 bits names the number in the file, of which Pillow makes 8 bits.
    if mode == "L" and key is not None and image.format == "PNG":
      key = key * 255 // (2 ** contents[24] - 1)
    return _with_alpha(gray, key, gray)
  if mode == "RGB":
    color = np.asarray(image)
    is_wide = key is not None and image.format == "PNG" and contents[24] == 16
    values = color.astype(np.uint16) * 256 + _low_bytes(contents) if is_wide else color
    return _with_alpha(color, key, values)
  if image.has_transparency_data:
    return np.asarray(image.convert("LA" if mode in ("LA", "La") else "RGBA"))
  if mode == "LAB":
    profiles = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    transform = ImageCms.buildTransform(*profiles, "LAB", "RGB")
    return np.asarray(ImageCms.applyTransform(image, transform))
  return np.asarray(image.convert("RGB"))


def _with_alpha(pixels, key, values):
  """Adds alpha: 0 where the values of a pixel are the key, 255 elsewhere."""
  if key is None:
    return pixels
  is_key = (values == np.array(key)).all(axis=-1, keepdims=True)
  return np.concatenate([pixels, np.where(is_key, 0, 255).astype(np.uint8)], axis=-1)


def _low_bytes(contents):
  """Returns the lower 8 of the 16 bits of a PNG in RGB; Pillow gives the higher."""
  with Image.open(io.BytesIO(contents), formats=("PNG",)) as image:
    # PNG's highest byte comes first: read the other way round, its last is the highest.
    image.tile = [tile._replace(args="RGB;16L") for tile in image.tile]
    return np.asarray(image)


def _wide_to_uint8(image):
  values = np.asarray(image)
  if image.format == "PPM" and image.mode == "I":
    return (values >> 8).astype(np.uint8)  # Pillow has made 16 bits of it.
  if not np.isfinite(values).all():
    raise PictureError("has pixels that are not finite numbers")
  low, high = values.min(), values.max()
  tops = (255, 65535) if image.mode == "I" else (1, 255, 65535)
  for top in tops:
    if low >= 0 and high <= top:
      scaled = values / 256 if top == 65535 else values * (255 / top)
      return (np.floor(scaled) if top == 65535 else np.round(scaled)).astype(np.uint8)
  accepted = " or ".join(f"0 to {top}" for top in tops)
  raise PictureError(f"has pixels from {low:g} to {high:g}; accepted are {accepted}")


_TIFF_BITS, _TIFF_PHOTOMETRIC = 258, 262


def _tiff_bits(image):
  return image.tag_v2.get(_TIFF_BITS, (16,))[0] if image.format == "TIFF" else 16


def _inverted_if_so(image, gray):
  """Inverts a TIFF whose 0 is white.

  Pillow sees to it where a pixel has 8 bits or less.
  """
  is_so = image.format == "TIFF" and image.tag_v2.get(_TIFF_PHOTOMETRIC) == 0
  return 255 - gray if is_so else gray


def _upright(pixels, image):
  try:
    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
  except Exception:  # Damaged EXIF data, which say nothing then.
    return pixels
  if orientation in (5, 6, 7, 8):
    pixels = pixels.swapaxes(0, 1)
  if orientation in (2, 3, 6, 7):
    pixels = pixels[:, ::-1]
  if orientation in (3, 4, 7, 8):
    pixels = pixels[::-1]
  return np.ascontiguousarray(pixels)


def _check_size(image, max_pixels):
  if image.width * image.height > max_pixels:
    raise PictureError(_too_many(max_pixels))


def _too_many(max_pixels):
  return f"has more than {max_pixels / 1e6:g} megapixels"
