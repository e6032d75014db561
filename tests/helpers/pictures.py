"""Small pictures in every mode, depth and format, and what each of them shows.

What they show is told by NumPy, by hand, and not by the library that encodes them.
"""

import dataclasses
import io
import struct
import zlib

import numpy as np
import tifffile
from PIL import Image

HEIGHT, WIDTH = 24, 34
GROUND = (255, 255, 255)

_LOSSY = 12  # Of 255, at the most, for the smooth pictures here.


@dataclasses.dataclass(frozen=True)
class Picture:
  """A picture file, and its pixels.

  Attributes:
    name: What it is, with the ending that its format has.
    contents: The bytes of the file.
    shown: What a person sees, uint8 [height, width, 1 or 3].
    tolerance: The largest difference that its compression makes.
  """

  name: str
  contents: bytes
  shown: np.ndarray
  tolerance: int = 0

  def as_shown(self) -> bytes:
    """A plain PNG of what it shows."""
    is_gray = self.shown.shape[-1] == 1
    return encoded(self.shown[..., 0] if is_gray else self.shown, "PNG")


def pictures(ground=GROUND) -> list[Picture]:
  """All of them, on a ground."""
  return [*_pngs(ground), *_jpegs(), *_tiffs(ground), *_others(ground), *_turned()]


def encoded(image, kind, **settings) -> bytes:
  """A Pillow image, or an array, as a file."""
  image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
  file = io.BytesIO()
  image.save(file, kind, **settings)
  return file.getvalue()


def with_size(contents: bytes, width: int, height: int) -> bytes:
  """A PNG, GIF, BMP or JPEG whose header announces another size."""
  data = bytearray(contents)
  if data.startswith(b"\x89PNG"):
    data[16:24] = struct.pack(">II", width, height)
    data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
  elif data.startswith(b"GIF8"):
    data[6:10] = struct.pack("<HH", width, height)
  elif data.startswith(b"BM"):
    data[18:26] = struct.pack("<II", width, height)
  else:
    start = data.find(b"\xff\xc0") + 5
    data[start : start + 4] = struct.pack(">HH", height, width)
  return bytes(data)


def on_ground(color, alpha, ground=GROUND):
  """Composed in float64: alpha [height, width] from 0 to 255."""
  share = alpha[..., np.newaxis] / 255
  ground = np.array(ground, float)
  if color.shape[-1] == 1:
    ground = ground[:1] if len(set(ground)) == 1 else ground
  return np.round(share * color + (1 - share) * ground).astype(np.uint8)


def smooth(seed=0, height=HEIGHT, width=WIDTH):
  """RGB without sharp edges, which is no mirror image of itself."""
  rng = np.random.default_rng(seed)
  y, x = np.mgrid[:height, :width] / max(height, width)
  waves = [a * x + b * y + c for a, b, c in rng.uniform(1, 3, (3, 3))]
  pixels = 128 + 100 * np.sin(np.stack(waves, axis=-1))
  return np.round(pixels).astype(np.uint8)


_COLOR = smooth()
_GRAY = _COLOR[..., 1]
_WIDE = (
  np.random.default_rng(1).integers(0, 65536, (HEIGHT, WIDTH, 4)).astype(np.uint16)
)
# Of alpha, all numbers: a quarter is 0, a quarter 255.
_ALPHA = np.clip(np.random.default_rng(2).integers(-256, 512, (HEIGHT, WIDTH)), 0, 255)
_ALPHA = _ALPHA.astype(np.uint8)


# --- PNG --------------------------------------------------------------------------


def png(values, bits, kind, **chunks) -> bytes:
  """Writes a PNG of any depth: values [height, width, samples], and other chunks."""
  height, width = values.shape[:2]
  flat = values.reshape(height, -1).astype(np.uint16)
  digits = np.unpackbits(flat.astype(">u2").view(np.uint8), axis=1)
  digits = digits.reshape(height, -1, 16)[..., 16 - bits :].reshape(height, -1)
  rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in digits)
  header = struct.pack(">IIBBBBB", width, height, bits, kind, 0, 0, 0)
  parts = {"IHDR": header, **chunks, "IDAT": zlib.compress(rows), "IEND": b""}
  return b"\x89PNG\r\n\x1a\n" + b"".join(
    struct.pack(">I", len(data))
    + name.encode()
    + data
    + struct.pack(">I", zlib.crc32(name.encode() + data))
    for name, data in parts.items()
  )


def _pngs(ground):
  rng = np.random.default_rng(3)
  for bits in (1, 2, 4, 8, 16):
    values = rng.integers(0, 2**bits, (HEIGHT, WIDTH, 1))
    shown = values >> 8 if bits == 16 else values * 255 // (2**bits - 1)
    shown = shown.astype(np.uint8)
    yield Picture(f"gray{bits}.png", png(values, bits, 0), shown)
    key = int(values[3, 4, 0])
    clear = np.where(values[..., 0] == key, 0, 255)
    chunk = struct.pack(">H", key)
    contents = png(values, bits, 0, tRNS=chunk)
    yield Picture(f"gray{bits}-key.png", contents, on_ground(shown, clear, ground))
  for bits in (1, 2, 4, 8):
    palette = rng.integers(0, 256, (2**bits, 3), np.uint8)
    values = rng.integers(0, 2**bits, (HEIGHT, WIDTH, 1))
    shown = palette[values[..., 0]]
    chunks = {"PLTE": palette.tobytes()}
    yield Picture(f"palette{bits}.png", png(values, bits, 3, **chunks), shown)
    alpha = rng.integers(0, 256, 2**bits, np.uint8)
    alpha[0] = 0
    contents = png(values, bits, 3, **chunks, tRNS=alpha.tobytes())
    shown = on_ground(shown, alpha[values[..., 0]], ground)
    yield Picture(f"palette{bits}-alpha.png", contents, shown)
  for bits in (8, 16):
    values = _WIDE >> (16 - bits)
    shown = (values >> (bits - 8)).astype(np.uint8)
    color, alpha = shown[..., :3], shown[..., 3]
    yield Picture(f"rgb{bits}.png", png(values[..., :3], bits, 2), color)
    # One pixel is the key; where there are 16 bits, another has its higher 8 alone.
    near = values[..., :3].copy()
    near[0, 1] = near[0, 0] ^ (bits == 16)
    clear = np.where((near == near[0, 0]).all(axis=-1), 0, 255)
    chunk = struct.pack(">HHH", *near[0, 0].tolist())
    contents = png(near, bits, 2, tRNS=chunk)
    shown_near = (near >> (bits - 8)).astype(np.uint8)
    yield Picture(f"rgb{bits}-key.png", contents, on_ground(shown_near, clear, ground))
    contents = png(values, bits, 6)
    yield Picture(f"rgba{bits}.png", contents, on_ground(color, alpha, ground))
    contents = png(values[..., 2:], bits, 4)
    shown = on_ground(shown[..., 2:3], alpha, ground)
    yield Picture(f"gray-alpha{bits}.png", contents, shown)


# --- JPEG -------------------------------------------------------------------------


def _jpegs():
  best = {"quality": 98, "subsampling": 0}
  yield Picture("gray.jpg", encoded(_GRAY, "JPEG", **best), _GRAY[..., None], _LOSSY)
  for name, settings in {
    "baseline": {},
    "subsampled": {"subsampling": 2},
    "progressive": {"progressive": True},
    "rgb": {"keep_rgb": True},
    "restarts": {"restart_marker_blocks": 1},
    "icc": {"icc_profile": bytes(70_000)},
  }.items():
    contents = encoded(_COLOR, "JPEG", **(best | settings))
    yield Picture(f"{name}.jpg", contents, _COLOR, _LOSSY)
  frames = [Image.fromarray(255 - _COLOR)]
  contents = encoded(_COLOR, "MPO", save_all=True, append_images=frames, **best)
  yield Picture("two.mpo", contents, _COLOR, _LOSSY)

  inks = np.concatenate([smooth(1), smooth(2)[..., :1] // 2], axis=-1)
  contents = encoded(Image.frombytes("CMYK", (WIDTH, HEIGHT), inks.tobytes()), "JPEG")
  yield Picture("cmyk.jpg", contents, from_inks(inks), _LOSSY)
  # The same planes, said to be luma, chroma and black.
  at = contents.index(b"Adobe") + 11
  contents = contents[:at] + b"\2" + contents[at + 1 :]
  stored = 255.0 - inks
  luma, blue, red = stored[..., 0], stored[..., 1] - 128, stored[..., 2] - 128
  rgb = [luma + 1.402 * red, luma - 0.344136 * blue - 0.714136 * red]
  rgb = np.stack([*rgb, luma + 1.772 * blue], axis=-1).clip(0, 255)
  inks = np.concatenate([rgb, 255 - stored[..., 3:]], axis=-1)
  yield Picture("ycck.jpg", contents, from_inks(inks), _LOSSY)


def from_inks(inks):
  """RGB of cyan, magenta, yellow and black."""
  paper = 1 - np.asarray(inks, float) / 255
  return np.round(255 * paper[..., :3] * paper[..., 3:]).astype(np.uint8)


# --- TIFF -------------------------------------------------------------------------


def tiff(values, **settings) -> bytes:
  """An array as a TIFF."""
  file = io.BytesIO()
  tifffile.imwrite(file, values, **settings)
  return file.getvalue()


def _tiff12(values):
  """Of 12 bits a pixel: a TIFF of bytes, whose header is made to say so."""
  bits = np.unpackbits(values.astype(">u2").view(np.uint8), axis=1)
  bits = bits.reshape(len(values), -1, 16)[..., 4:].reshape(len(values), -1)
  contents = bytearray(tiff(np.packbits(bits, axis=1), photometric="minisblack"))
  (at,) = struct.unpack_from("<I", contents, 4)
  (count,) = struct.unpack_from("<H", contents, at)
  for entry in range(at + 2, at + 2 + 12 * count, 12):
    tag = struct.unpack_from("<H", contents, entry)[0]
    if tag in (256, 258):  # The width, and the bits of a sample.
      size = 2 if struct.unpack_from("<H", contents, entry + 2)[0] == 3 else 4
      number = values.shape[1] if tag == 256 else 12
      contents[entry + 8 : entry + 8 + size] = number.to_bytes(size, "little")
  return bytes(contents)


def _tiffs(ground):
  wide, gray = _WIDE[..., 0], _GRAY[..., None]
  high = (wide >> 8).astype(np.uint8)[..., None]
  black = {"photometric": "minisblack"}
  white = {"photometric": "miniswhite"}
  yield Picture("gray.tif", tiff(_GRAY, **black), gray)
  yield Picture("white-is-0.tif", tiff(255 - _GRAY, **white), gray)
  yield Picture("gray16.tif", tiff(wide, **black), high)
  yield Picture("gray16-big.tif", tiff(wide, byteorder=">", **black), high)
  yield Picture("gray16-white-is-0.tif", tiff(65535 - wide, **white), high)
  yield Picture("gray16-deflate.tif", tiff(wide, compression="deflate", **black), high)
  yield Picture("gray12.tif", _tiff12(wide >> 4), high)
  ints = wide.astype(np.int32)
  yield Picture("int32.tif", tiff(ints, **black), high)
  yield Picture("int32-of-bytes.tif", tiff(_GRAY.astype(np.int32), **black), gray)
  for top in (1, 255):
    floats = (_GRAY / 255 * top).astype(np.float32)
    yield Picture(f"float-to-{top}.tif", tiff(floats, **black), gray)
  yield Picture("rgb.tif", tiff(_COLOR, photometric="rgb"), _COLOR)
  shown = (_WIDE >> 8).astype(np.uint8)
  yield Picture("rgb16.tif", tiff(_WIDE[..., :3], photometric="rgb"), shown[..., :3])
  straight = {"photometric": "rgb", "extrasamples": ["unassalpha"]}
  clear = on_ground(shown[..., :3], shown[..., 3], ground)
  yield Picture("rgba16.tif", tiff(_WIDE, **straight), clear)
  rgba = np.dstack([_COLOR, _ALPHA])
  clear = on_ground(_COLOR, _ALPHA, ground)
  yield Picture("rgba.tif", tiff(rgba, **straight), clear)
  share = _ALPHA[..., None] / 255
  scaled = np.dstack([np.round(share * _COLOR).astype(np.uint8), _ALPHA])
  settings = straight | {"extrasamples": ["assocalpha"]}
  yield Picture("rgba-multiplied.tif", tiff(scaled, **settings), clear, 2)
  inks = np.concatenate([smooth(1), smooth(2)[..., :1] // 2], axis=-1)
  contents = tiff(inks, photometric="separated")
  yield Picture("cmyk.tif", contents, from_inks(inks), 1)
  contents = encoded(_COLOR, "TIFF", save_all=True, append_images=_negative())
  yield Picture("two-pages.tif", contents, _COLOR)
  bits = _GRAY > 128
  yield Picture(
    "bits.tif", encoded(bits, "TIFF"), 255 * bits[..., None].astype(np.uint8)
  )


def _negative():
  return [Image.fromarray(255 - _COLOR)]


# --- Other formats ----------------------------------------------------------------


def _others(ground):
  gray = _GRAY[..., None]
  rgba = np.dstack([_COLOR, _ALPHA])
  clear = on_ground(_COLOR, _ALPHA, ground)
  bits = _GRAY > 128
  shown_bits = 255 * bits[..., None].astype(np.uint8)
  palette = Image.fromarray(_COLOR).quantize(16)
  colors = np.array(palette.getpalette()).reshape(-1, 3).astype(np.uint8)
  indices = np.asarray(palette)
  few = colors[indices]
  key = int(indices[0, 0])
  keyed = on_ground(few, np.where(indices == key, 0, 255), ground)
  wide = _WIDE[..., 0]

  yield Picture("rgb.bmp", encoded(_COLOR, "BMP"), _COLOR)
  yield Picture("gray.bmp", encoded(_GRAY, "BMP"), gray)
  yield Picture("bits.bmp", encoded(bits, "BMP"), shown_bits)
  yield Picture("palette.bmp", encoded(palette, "BMP"), few)
  yield Picture("palette.gif", encoded(palette, "GIF"), few)
  yield Picture("key.gif", encoded(palette, "GIF", transparency=key), keyed)
  moving = {"save_all": True, "append_images": [palette.rotate(180)]}
  yield Picture("moving.gif", encoded(palette, "GIF", **moving), few)
  moving = {"save_all": True, "append_images": _negative()}
  yield Picture("moving.png", encoded(_COLOR, "PNG", **moving), _COLOR)
  exact = {"lossless": True, "exact": True}
  yield Picture("rgb.webp", encoded(_COLOR, "WEBP", **exact), _COLOR)
  yield Picture("rgba.webp", encoded(rgba, "WEBP", **exact), clear)
  yield Picture("lossy.webp", encoded(_COLOR, "WEBP", quality=100), _COLOR, _LOSSY)
  yield Picture("moving.webp", encoded(_COLOR, "WEBP", **exact, **moving), _COLOR)
  yield Picture("bits.pbm", encoded(bits, "PPM"), shown_bits)
  yield Picture("gray.pgm", encoded(_GRAY, "PPM"), gray)
  contents = b"P5 %d %d 65535\n" % (WIDTH, HEIGHT) + wide.astype(">u2").tobytes()
  high = (wide >> 8).astype(np.uint8)[..., None]
  yield Picture("gray16.pgm", contents, high)
  yield Picture("rgb.ppm", encoded(_COLOR, "PPM"), _COLOR)
  floats = (_GRAY[::-1] / 255).astype("<f4")
  contents = b"Pf\n%d %d\n-1.0\n" % (WIDTH, HEIGHT) + floats.tobytes()
  yield Picture("float.pfm", contents, gray)
  settings = {"sizes": [(WIDTH, HEIGHT)]}
  yield Picture("rgba.ico", encoded(rgba, "ICO", **settings), clear)
  yield Picture("rgb.jp2", encoded(_COLOR, "JPEG2000"), _COLOR)
  yield Picture("rgba.jp2", encoded(rgba, "JPEG2000"), clear)
  yield Picture("gray16.jp2", encoded(wide, "JPEG2000"), high)
  yield Picture("rgb.qoi", encoded(_COLOR, "QOI"), _COLOR)
  yield Picture("rgba.qoi", encoded(rgba, "QOI"), clear)
  yield Picture("rgb.sgi", encoded(_COLOR, "SGI"), _COLOR)
  yield Picture("rgb.avif", encoded(_COLOR, "AVIF", quality=100), _COLOR, _LOSSY)


def damaged(count, seed=0) -> list[bytes]:
  """Pictures that are cut, or have other bytes here and there."""
  rng = np.random.default_rng(seed)
  whole = [p.contents for p in pictures()]
  made = []
  for number in range(count):
    contents = bytearray(whole[number % len(whole)])
    if number // len(whole) % 2:
      del contents[rng.integers(1, len(contents)) :]
    else:
      for place in rng.integers(0, len(contents), 1 + number % 9):
        contents[place] = rng.integers(256)
    made.append(bytes(contents))
  return made


# --- Orientation ------------------------------------------------------------------


def _turned():
  for orientation in range(1, 9):
    stored = stored_as(_COLOR, orientation)
    exif = Image.Exif()
    exif[274] = orientation
    for kind, name, settings, tolerance in (
      ("JPEG", "jpg", {"quality": 98, "subsampling": 0}, _LOSSY),
      ("PNG", "png", {}, 0),
      ("WEBP", "webp", {"lossless": True}, 0),
      ("TIFF", "tif", {}, 0),
    ):
      contents = encoded(stored, kind, exif=exif, **settings)
      yield Picture(f"turned{orientation}.{name}", contents, _COLOR, tolerance)


# Where the first row and the first column of what is stored are seen.
_SIDES = {
  1: ("top", "left"),
  2: ("top", "right"),
  3: ("bottom", "right"),
  4: ("bottom", "left"),
  5: ("left", "top"),
  6: ("right", "top"),
  7: ("right", "bottom"),
  8: ("left", "bottom"),
}


def stored_as(shown, orientation):
  """The array whose EXIF orientation makes it look like `shown`."""
  row, column = _SIDES[orientation]
  height, width = shown.shape[:2]
  is_turned = row in ("left", "right")
  stored = np.empty((width, height, 3) if is_turned else shown.shape, np.uint8)
  for i, j in np.ndindex(stored.shape[:2]):
    places = {row: i, column: j}
    y = places["top"] if "top" in places else height - 1 - places["bottom"]
    x = places["left"] if "left" in places else width - 1 - places["right"]
    stored[i, j] = shown[y, x]
  return stored
