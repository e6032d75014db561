"""Encoded images to arrays, and their augmentation, as TensorFlow graphs.

What is random here is a function of the uniform numbers that are passed in.
"""

import math

import tensorflow as tf

MAX_PIXELS = 100_000_000

# "Going deeper with convolutions" (Szegedy et al., 2015), section 6.
_AREA_RANGE = (0.08, 1.0)
_ASPECT_RANGE = (3 / 4, 4 / 3)
_CROP_ATTEMPTS = 10

NUM_SHIFT_UNIFORMS = 3  # Down, right, mirrored.

# Of ImageNet's usual evaluation: the side of the crop over the shorter side.
EVAL_CROP_RATIO = 224 / 256

# libjpeg interpolates color between neighbors, which a crop cuts off. With a margin
# of a pixel or more, a decoded crop has the pixels of the decoded image.
_JPEG_MARGIN = 2

TOO_MANY_PIXELS = "image of more than 100 megapixels"
PNG_MAGIC = b"\x89PNG\r\n\x1a\n"


def train_image(contents, is_jpeg, uniforms, *, crop, size, channels, shape):
  """Decodes one image for training, at the size of the batch.

  Args:
    contents: The encoded image, a scalar string.
    is_jpeg: Whether it is a JPEG, a scalar.
    uniforms: Random numbers in [0, 1), [num_uniforms(crop)].
    crop: 'random_resized' cuts a random rectangle out of the image; 'pad' and 'none'
      take the whole image.
    size: The side of the result in pixels.
    channels: The channels of the result, 1 or 3.
    shape: The (height, width, channels) that all images have; None where they vary.

  Returns:
    uint8 [size, size, channels].
  """
  if crop == "random_resized":
    image = random_resized_crop(contents, is_jpeg, tf.reshape(uniforms, [-1, 4]), size)
    image = to_channels(image, channels, None)
  else:
    image = resize_whole(contents, is_jpeg, size, channels, shape)
  return tf.ensure_shape(image, [size, size, channels])


def num_uniforms(crop: str) -> int:
  """How many random numbers `train_image` takes."""
  return 4 * _CROP_ATTEMPTS if crop == "random_resized" else 0


def eval_image(
  contents, is_jpeg, *, crop, size, channels, shape, crop_ratio=EVAL_CROP_RATIO
):
  """Decodes one image as it is for evaluation.

  Arguments are those of `train_image`, and the `ratio` of `central_crop`.
  """
  if crop == "random_resized":
    image = to_channels(decode(contents, is_jpeg), channels, None)
    image = central_crop(image, size, crop_ratio)
  else:
    image = resize_whole(contents, is_jpeg, size, channels, shape)
  return tf.ensure_shape(image, [size, size, channels])


def shift_and_flip(image, uniforms, padding: int, flip: bool):
  """Moves an image over a frame of zeros, and mirrors it half of the time.

  Args:
    image: uint8 [height, width, channels].
    uniforms: Random numbers in [0, 1), [NUM_SHIFT_UNIFORMS].
    padding: The width of the frame; the image moves by up to this much.
    flip: Whether to mirror.

  Returns:
    uint8 [height, width, channels].
  """
  shape = image.shape
  if padding:
    corner = _integer_below(2 * padding + 1, uniforms[:2])
    padded = tf.pad(image, [[padding, padding], [padding, padding], [0, 0]])
    image = tf.slice(padded, tf.concat([corner, [0]], 0), shape)
  if flip:
    image = tf.cond(uniforms[2] < 0.5, lambda: tf.reverse(image, [1]), lambda: image)
  return tf.ensure_shape(image, shape)


def random_resized_crop(contents, is_jpeg, uniforms, size: int):
  """Cuts a random rectangle out of an image and resizes it to a square.

  The rectangle covers 8 % to 100 % of the image and has an aspect ratio of 3/4 to
  4/3. Of ten drawn, the first that fits is taken; if none does, the largest central
  square. Of a JPEG, only the part around the rectangle is decoded.

  Args:
    contents: The encoded image, a scalar string.
    is_jpeg: Whether it is a JPEG, a scalar.
    uniforms: Random numbers in [0, 1), [num_attempts, 4].
    size: The side of the result in pixels.

  Returns:
    uint8 [size, size, channels of the image].
  """

  def from_jpeg():
    whole = _jpeg_size(contents)
    return decode_jpeg_window(contents, whole, crop_window(*whole, uniforms))

  def from_other():
    image = _decode_other(contents)
    window = crop_window(tf.shape(image)[0], tf.shape(image)[1], uniforms)
    return _cut(image, window)

  return resize(tf.cond(is_jpeg, from_jpeg, from_other), size, size)


def crop_window(height, width, uniforms):
  """Chooses the rectangle of `random_resized_crop`: [top, left, height, width]."""
  num_pixels = tf.cast(height, tf.float32) * tf.cast(width, tf.float32)
  area = num_pixels * _between(*_AREA_RANGE, uniforms[:, 0])
  aspect = tf.exp(_between(*map(math.log, _ASPECT_RANGE), uniforms[:, 1]))
  heights = tf.cast(tf.round(tf.sqrt(area / aspect)), tf.int32)
  widths = tf.cast(tf.round(tf.sqrt(area * aspect)), tf.int32)
  fits = (heights > 0) & (heights <= height) & (widths > 0) & (widths <= width)
  tops = _integer_below(height - heights + 1, uniforms[:, 2])
  lefts = _integer_below(width - widths + 1, uniforms[:, 3])
  drawn = tf.stack([tops, lefts, heights, widths], axis=1)
  side = tf.minimum(height, width)
  center = tf.stack([(height - side) // 2, (width - side) // 2, side, side])
  first = tf.argmax(tf.cast(fits, tf.int32))
  return tf.where(tf.reduce_any(fits), drawn[first], center)


def decode_jpeg_window(contents, size, window):
  """Decodes a rectangle of a JPEG, and little else.

  Args:
    contents: The encoded image, a scalar string.
    size: Its (height, width).
    window: The rectangle, [top, left, height, width].

  Returns:
    uint8 [height, width, channels of the image].
  """
  height, width = size
  top = tf.maximum(window[0] - _JPEG_MARGIN, 0)
  left = tf.maximum(window[1] - _JPEG_MARGIN, 0)
  bottom = tf.minimum(window[0] + window[2] + _JPEG_MARGIN, height)
  right = tf.minimum(window[1] + window[3] + _JPEG_MARGIN, width)
  image = tf.image.decode_and_crop_jpeg(
    contents, tf.stack([top, left, bottom - top, right - left])
  )
  return _cut(image, window - tf.stack([top, left, 0, 0]))


def central_crop(image, size: int, ratio: int | float = EVAL_CROP_RATIO):
  """Resizes the shorter side to size / ratio and cuts out the central square.

  Both are one operation, which computes the pixels of the square alone.
  """
  shape = tf.cast(tf.shape(image)[:2], tf.float32)
  resized = tf.round(shape * (round(size / ratio) / tf.reduce_min(shape)))
  corner = tf.floor((resized - size) / 2)
  return _resample(image, [size, size], resized / shape, -corner)


def resize_whole(contents, is_jpeg, size: int, channels: int, shape):
  """Decodes an image and resizes it to a square, whatever its own shape."""
  image = to_channels(decode(contents, is_jpeg), channels, shape[2])
  if shape[:2] == (size, size):
    # Checked, for a record may not be what its data set says of it.
    return tf.ensure_shape(image, [size, size, channels])
  return resize(image, size, size)


def resize(image, height: int, width: int):
  """Resizes by bicubic interpolation, smoothed first where that makes it smaller."""
  shape = tf.cast(tf.shape(image)[:2], tf.float32)
  return _resample(image, [height, width], [height, width] / shape, tf.zeros([2]))


def decode(contents, is_jpeg):
  """Decodes JPEG, PNG, BMP, WebP or GIF (its first frame) in its own channels.

  16 bits a channel become the higher 8; a palette and CMYK become RGB.

  Returns:
    uint8 [height, width, 1 to 4]: gray, gray and alpha, RGB, RGB and alpha.
  """

  def from_jpeg():
    with tf.control_dependencies(_jpeg_size(contents)):
      return tf.io.decode_jpeg(contents)

  return tf.cond(is_jpeg, from_jpeg, lambda: _decode_other(contents))


def is_jpeg(contents):
  """Whether encoded images, [batch], are JPEG: bool [batch]."""
  return tf.strings.substr(contents, 0, 3) == b"\xff\xd8\xff"


def header_pixels(contents):
  """How many pixels PNG, GIF, BMP and WebP headers announce.

  Args:
    contents: Encoded images, [batch].

  Returns:
    int64 [batch]; 0 for other formats, JPEG among them.
  """
  start = tf.strings.substr(contents, 0, 30)
  head = tf.cast(tf.io.decode_raw(start, tf.uint8, fixed_length=30), tf.int64)

  def number(*positions):
    """The number whose digits to base 256 stand there, the last one first."""
    return sum(head[:, at] * 256**i for i, at in enumerate(positions))

  def has(magic, at=0):
    return tf.reduce_all(head[:, at : at + len(magic)] == list(magic), axis=1)

  bmp_height = number(22, 23, 24, 25)
  bmp_height = tf.minimum(bmp_height, 2**32 - bmp_height)  # Negative from the top.
  lossless = number(21, 22, 23, 24)
  webp = has(b"RIFF") & has(b"WEBP", 8)
  sizes = [
    (has(PNG_MAGIC), number(19, 18, 17, 16), number(23, 22, 21, 20)),
    (has(b"GIF8"), number(6, 7), number(8, 9)),
    (has(b"BM"), number(18, 19, 20, 21), bmp_height),
    (webp & has(b"VP8 ", 12), number(26, 27) % 2**14, number(28, 29) % 2**14),
    (webp & has(b"VP8L", 12), lossless % 2**14 + 1, lossless // 2**14 % 2**14 + 1),
    (webp & has(b"VP8X", 12), number(24, 25, 26) + 1, number(27, 28, 29) + 1),
  ]
  # Sides are bounded so that their product is an int64.
  return sum(
    tf.where(is_kind, tf.minimum(width, 2**31) * tf.minimum(height, 2**31), 0)
    for is_kind, width, height in sizes
  )


def to_channels(image, channels: int, known: int | None):
  """Repeats gray, converts RGB to gray, drops alpha.

  Args:
    image: uint8 [height, width, 1 to 4].
    channels: The channels of the result, 1 or 3.
    known: The channels of `image` as its data set has them, or None.
  """
  if known == channels:
    return tf.ensure_shape(image, [None, None, channels])
  is_gray = tf.shape(image)[2] <= 2
  gray = image[:, :, :1]
  color = image[:, :, :3]
  if channels == 3:
    return tf.cond(is_gray, lambda: tf.repeat(gray, 3, axis=2), lambda: color)
  return tf.cond(
    is_gray,
    lambda: gray,
    lambda: tf.image.rgb_to_grayscale(tf.ensure_shape(color, [None, None, 3])),
  )


def _decode_other(contents):
  image = tf.io.decode_image(contents, expand_animations=False)
  return tf.ensure_shape(image, [None, None, None])


def _jpeg_size(contents):
  """The height and width of a JPEG; an error if it has too many pixels."""
  shape = tf.image.extract_jpeg_shape(contents)
  num_pixels = tf.reduce_prod(tf.cast(shape[:2], tf.int64))
  limit = tf.constant(MAX_PIXELS, tf.int64)
  check = tf.debugging.assert_less_equal(num_pixels, limit, TOO_MANY_PIXELS)
  # Outside a graph there is nothing to depend on: it has raised, or not.
  with tf.control_dependencies([check] if check is not None else []):
    return tf.identity(shape[0]), tf.identity(shape[1])


def _resample(image, size, scale, translation):
  """Scales and then moves an image, as `tf.raw_ops.ScaleAndTranslate` does.

  That operation is fast down the rows of an image, where its inner loop runs over all
  of a row, and slow across, where it runs over the channels of a pixel. So it goes
  down twice, the image transposed in between: the same pixels in a third of the time.
  """
  height, width = size

  def down(pixels, length, axis):
    """From [n, across, channels] to [length, across, channels]."""
    shape = tf.shape(pixels)
    rows = tf.raw_ops.ScaleAndTranslate(
      # A whole row is one pixel of many channels.
      images=tf.reshape(pixels, [1, shape[0], 1, -1]),
      size=[length, 1],
      scale=tf.stack([scale[axis], 1.0]),
      translation=tf.stack([translation[axis], 0.0]),
      kernel_type="keyscubic",
      antialias=True,
    )
    return tf.reshape(rows, [length, shape[1], shape[2]])

  transposed = tf.transpose(down(image, height, 0), [1, 0, 2])
  # Back before it is uint8: TensorFlow transposes floats faster than bytes.
  return _to_uint8(tf.transpose(down(transposed, width, 1), [1, 0, 2]))


def _cut(image, window):
  top, left, height, width = tf.unstack(window)
  return image[top : top + height, left : left + width]


def _between(low: float, high: float, uniforms):
  return low + (high - low) * uniforms


def _integer_below(limit, uniforms):
  """Integers from 0 to `limit` - 1; float32 rounding must not reach `limit`."""
  limit = tf.convert_to_tensor(limit)
  drawn = tf.cast(uniforms * tf.cast(limit, tf.float32), tf.int32)
  return tf.minimum(drawn, limit - 1)


def _to_uint8(image):
  return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
