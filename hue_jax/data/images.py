"""Encoded images to arrays, and their augmentation, as TensorFlow graphs.

What is random here is a function of the uniform numbers that are passed in. What an
image shows is what `hue_jax.pictures.decode` says. Plain JPEG and PNG images, which are
all that most data sets hold, TensorFlow decodes itself, for that is faster: of a JPEG,
only the part that is asked for.
"""

import math

from hue_jax import pictures
from hue_jax.data.host_tensorflow import tf
from hue_jax.preprocessing import EVAL_CROP_RATIO

ANY, PLAIN_JPEG, PLAIN_PNG = range(3)  # Who decodes it: see `decoder_of`.

# "Going deeper with convolutions" (Szegedy et al., 2015), section 6.
_AREA_RANGE = (0.08, 1.0)
_ASPECT_RANGE = (3 / 4, 4 / 3)
_CROP_ATTEMPTS = 10

# libjpeg interpolates color between neighbors, which a crop cuts off. With a margin
# of a pixel or more, a decoded crop has the pixels of the decoded image.
_JPEG_MARGIN = 2


def train_image(
  contents, decoder, uniforms, *, crop, size, channels, shape, antialias=True
):
  """Decodes one image for training, at the size of the batch.

  Args:
    contents: The encoded image, a scalar string.
    decoder: What `decoder_of` says of it, a scalar.
    uniforms: Random numbers in [0, 1), [num_uniforms(crop)].
    crop: 'random_resized' cuts a random rectangle out of the image; 'pad' and 'none'
      take the whole image.
    size: The side of the result in pixels.
    channels: The channels of the result, 1 or 3.
    shape: The (height, width, channels) that all images have; None where they vary.
    antialias: Whether a random rectangle is smoothed where it becomes smaller.

  Returns:
    The image, uint8 [size, size, channels].
  """
  if crop == "random_resized":
    uniforms = tf.reshape(uniforms, [-1, 4])
    image = random_resized_crop(contents, decoder, uniforms, size, antialias)
    image = to_channels(image, channels)
  else:
    image = resize_whole(contents, decoder, size, channels, shape)
  return tf.ensure_shape(image, [size, size, channels])


def num_uniforms(crop: str) -> int:
  """Returns how many random numbers `train_image` takes."""
  return 4 * _CROP_ATTEMPTS if crop == "random_resized" else 0


def eval_image(
  contents, decoder, *, crop, size, channels, shape, crop_ratio=EVAL_CROP_RATIO
):
  """Decodes one image for evaluation, at the size of the batch.

  The arguments are those of `train_image`, and the `ratio` of `central_crop`. What
  becomes smaller is smoothed.
  """
  if crop == "random_resized":
    image = to_channels(decode(contents, decoder), channels)
    image = central_crop(image, size, crop_ratio)
  else:
    image = resize_whole(contents, decoder, size, channels, shape)
  return tf.ensure_shape(image, [size, size, channels])


def shift(image, uniforms, padding: int):
  """Moves an image over a frame of zeros.

  Args:
    image: The image, uint8 [height, width, channels].
    uniforms: Random numbers in [0, 1), [2]: how far down, and to the right.
    padding: The width of the frame; the image moves by up to this much.

  Returns:
    The moved image, uint8 [height, width, channels].
  """
  corner = _integer_below(2 * padding + 1, uniforms)
  padded = tf.pad(image, [[padding, padding], [padding, padding], [0, 0]])
  moved = tf.slice(padded, tf.concat([corner, [0]], 0), image.shape)
  return tf.ensure_shape(moved, image.shape)


def flip(image, uniform):
  """Mirrors an image where a random number in [0, 1), a scalar, is below one half."""
  flipped = tf.cond(uniform < 0.5, lambda: tf.reverse(image, [1]), lambda: image)
  return tf.ensure_shape(flipped, image.shape)


def random_resized_crop(contents, decoder, uniforms, size: int, antialias: bool = True):
  """Cuts a random rectangle out of an image and resizes it to a square.

  The rectangle covers 8 % to 100 % of the image and has an aspect ratio of 3/4 to
  4/3. Of ten drawn, the first that fits is taken; if none does, the largest central
  square. Of a JPEG, only the part around the rectangle is decoded.

  Args:
    contents: The encoded image, a scalar string.
    decoder: What `decoder_of` says of it, a scalar.
    uniforms: Random numbers in [0, 1), [num_attempts, 4].
    size: The side of the result in pixels.
    antialias: Whether it is smoothed where it becomes smaller.

  Returns:
    The square, uint8 [size, size, channels of the image].
  """

  def from_jpeg():
    whole = tf.unstack(tf.image.extract_jpeg_shape(contents)[:2])
    return decode_jpeg_window(contents, whole, crop_window(*whole, uniforms))

  def from_other():
    image = decode(contents, decoder)
    window = crop_window(tf.shape(image)[0], tf.shape(image)[1], uniforms)
    return _cut(image, window)

  image = tf.cond(tf.equal(decoder, PLAIN_JPEG), from_jpeg, from_other)
  if antialias:
    return resize(image, size, size)
  # Of bicubic interpolation alone, TensorFlow's own operation is the fastest.
  return _to_uint8(tf.image.resize(image, [size, size], method="bicubic"))


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
    size: The (height, width) of the image.
    window: The rectangle, [top, left, height, width].

  Returns:
    The rectangle's pixels, uint8 [height, width, channels of the image].
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


def resize_whole(contents, decoder, size: int, channels: int, shape):
  """Decodes an image and resizes it to a square, whatever its own shape."""
  image = to_channels(decode(contents, decoder), channels)
  if shape[:2] == (size, size):
    # Checked, for a record may not be what its data set says of it.
    return tf.ensure_shape(image, [size, size, channels])
  return resize(image, size, size)


def resize(image, height: int, width: int):
  """Resizes an image by bicubic interpolation, smoothed where it becomes smaller."""
  shape = tf.cast(tf.shape(image)[:2], tf.float32)
  return _resample(image, [height, width], [height, width] / shape, tf.zeros([2]))


def decode(contents, decoder):
  """Decodes an image as `pictures.decode` does, on a white ground.

  Returns:
    The image, uint8 [height, width, 1 or 3].
  """
  contents = tf.convert_to_tensor(contents)  # NumPy would cut off zeros at its end.
  decoders = {
    ANY: lambda: tf.numpy_function(_decode_any, [contents], tf.uint8),
    PLAIN_JPEG: lambda: tf.io.decode_jpeg(contents),
    PLAIN_PNG: lambda: tf.io.decode_png(contents),
  }
  image = tf.switch_case(tf.convert_to_tensor(decoder), decoders)
  return tf.ensure_shape(image, [None, None, None])


def _decode_any(contents):
  # Outside of a graph, TensorFlow hands over an array without dimensions.
  return pictures.decode(contents if isinstance(contents, bytes) else contents.item())


def decoder_of(contents: bytes) -> int:
  """Returns which decoder an image needs: a plain one, or the one for any image."""
  plain = {"JPEG": PLAIN_JPEG, "PNG": PLAIN_PNG}
  return plain.get(pictures.plain_format(contents), ANY)


def to_channels(image, channels: int):
  """Repeats the channel of a gray image, or converts an RGB image to gray.

  Args:
    image: The image, uint8 [height, width, 1 or 3].
    channels: The channels of the result, 1 or 3.
  """
  is_gray = tf.equal(tf.shape(image)[2], 1)
  if channels == 3:
    repeated = tf.cond(is_gray, lambda: tf.repeat(image, 3, axis=2), lambda: image)
    return tf.ensure_shape(repeated, [None, None, 3])

  def luma():
    return tf.image.rgb_to_grayscale(tf.ensure_shape(image, [None, None, 3]))

  return tf.ensure_shape(tf.cond(is_gray, lambda: image, luma), [None, None, 1])


def _resample(image, size, scale, translation):
  """Scales and then moves an image, as `tf.raw_ops.ScaleAndTranslate` does.

  That operation is fast down the rows of an image, where its inner loop runs over all
  of a row, and slow across, where it runs over the channels of a pixel. So it goes
  down twice, the image transposed in between: the same pixels in a third of the time.
  """
  height, width = size

  def down(pixels, length, axis):
    """Resamples [n, across, channels] to [length, across, channels]."""
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
  """Returns integers from 0 to `limit` - 1; float32 rounding must not exceed it."""
  limit = tf.convert_to_tensor(limit)
  drawn = tf.cast(uniforms * tf.cast(limit, tf.float32), tf.int32)
  return tf.minimum(drawn, limit - 1)


def _to_uint8(image):
  return tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
