"""RandAugment as a TensorFlow graph: a function of the uniform numbers passed in.

Fourteen operations; each image goes through so many of them, drawn with replacement.
With the strength m = magnitude / 10 and a random sign:

    identity, autocontrast, equalize
    rotate         ± 30 m degrees about the center
    posterize      the higher 8 − ⌊4 m⌋ bits are kept
    solarize       pixels of at least 256 (1 − m) are inverted
    color, contrast, brightness, sharpness
                   by the factor 1 ± 0.9 m
    shear_x, shear_y
                   by ± 0.3 m
    translate_x, translate_y
                   by ± 0.45 m of the side

What comes in from outside of the image is gray (128).

Source: Cubuk et al., "RandAugment: Practical Automated Data Augmentation with a Reduced
Search Space", 2019; severity that grows with the magnitude for every operation and the
ranges of translation, posterize and solarize are those of "ResNet strikes back"
(Wightman et al., 2021).
"""

import math

from hue_jax.data.host_tensorflow import tf
from hue_jax.preprocessing import (
  MAX_MAGNITUDE,
  UNIFORMS_PER_OPERATION,
  RandAugment,
)

_GRAY = 128.0


def augment(settings: RandAugment, image, uniforms):
  """Augments an image.

  Args:
    settings: What is done, and how much.
    image: The image, uint8 [height, width, 1 or 3].
    uniforms: Random numbers in [0, 1), [settings.num_uniforms].

  Returns:
    The image, uint8 [height, width, channels].
  """
  shape = image.shape
  for index in range(settings.num_ops):
    first = index * UNIFORMS_PER_OPERATION
    which, sign, noise = (uniforms[first + i] for i in range(3))
    # A uniform number of 24 bits can be 0, of which the normal quantile is −∞.
    normal = tf.math.ndtri(tf.clip_by_value(noise, 2.0**-24, 1 - 2.0**-24))
    strength = (settings.magnitude + settings.magnitude_std * normal) / MAX_MAGNITUDE
    strength = tf.clip_by_value(strength, 0.0, 1.0)
    signed = tf.where(sign < 0.5, -strength, strength)
    image = _apply(image, which, strength, signed)
  return tf.ensure_shape(image, shape)


OPERATIONS = (
  "identity",
  "autocontrast",
  "equalize",
  "rotate",
  "posterize",
  "solarize",
  "color",
  "contrast",
  "brightness",
  "sharpness",
  "shear_x",
  "shear_y",
  "translate_x",
  "translate_y",
)


def operation(name: str, image, strength, signed):
  """Does one operation, by its name.

  Args:
    name: The name, one of `OPERATIONS`.
    image: The image, uint8 [height, width, 1 or 3].
    strength: The strength m, from 0 to 1.
    signed: The strength with its sign, m or −m.

  Returns:
    The image, uint8 [height, width, channels].
  """
  height, width = image.shape[:2]
  if name == "identity":
    return image
  if name == "autocontrast":
    return autocontrast(image)
  if name == "equalize":
    return equalize(image)
  if name == "posterize":
    return posterize(image, 8 - tf.cast(tf.floor(4 * strength), tf.int32))
  if name == "solarize":
    return solarize(image, 256 * (1 - strength))
  if name in _BLENDS:
    return _BLENDS[name](image, 1 + 0.9 * signed)
  if name == "rotate":
    angle = math.radians(30) * signed
    cosine, sine = tf.cos(angle), tf.sin(angle)
    return _affine(image, [cosine, -sine, sine, cosine], [0.0, 0.0])
  if name == "shear_x":
    return _affine(image, [1.0, 0.3 * signed, 0.0, 1.0], [0.0, 0.0])
  if name == "shear_y":
    return _affine(image, [1.0, 0.0, 0.3 * signed, 1.0], [0.0, 0.0])
  if name == "translate_x":
    return _affine(image, [1.0, 0.0, 0.0, 1.0], [0.45 * width * signed, 0.0])
  return _affine(image, [1.0, 0.0, 0.0, 1.0], [0.0, 0.45 * height * signed])


def autocontrast(image):
  """Stretches each channel to 0 … 255; a constant one stays."""
  pixels = tf.cast(image, tf.float32)
  low = tf.reduce_min(pixels, axis=(0, 1))
  high = tf.reduce_max(pixels, axis=(0, 1))
  # As a table of 256 entries has it: integers are cut off, not rounded.
  scale = 255 / tf.maximum(high - low, 1)
  stretched = tf.floor((pixels - low) * scale + 1e-3)
  return _to_uint8(tf.where(high > low, stretched, pixels))


def equalize(image):
  """Gives each channel a flat histogram."""
  channels = [_equalize_channel(image[..., c]) for c in range(image.shape[-1])]
  return tf.stack(channels, axis=-1)


def _equalize_channel(channel):
  pixels = tf.cast(channel, tf.int32)
  counts = tf.math.bincount(tf.reshape(pixels, [-1]), minlength=256, maxlength=256)
  present = tf.boolean_mask(counts, counts > 0)
  step = (tf.reduce_sum(present) - present[-1]) // 255
  before = tf.cumsum(counts, exclusive=True)
  table = tf.minimum((before + step // 2) // tf.maximum(step, 1), 255)
  return tf.where(step > 0, tf.cast(tf.gather(table, pixels), tf.uint8), channel)


def posterize(image, bits):
  """Keeps the higher bits of each pixel."""
  shift = tf.cast(8 - bits, tf.uint8)
  return tf.bitwise.left_shift(tf.bitwise.right_shift(image, shift), shift)


def solarize(image, threshold):
  """Inverts pixels of at least the threshold."""
  return tf.where(tf.cast(image, tf.float32) < threshold, image, 255 - image)


def color(image, factor):
  """Blends with the gray image."""
  return _blend(tf.cast(_gray(image), tf.float32), image, factor)


def contrast(image, factor):
  """Blends with the mean of the gray image."""
  mean = tf.floor(tf.reduce_mean(tf.cast(_gray(image), tf.float32)) + 0.5)
  return _blend(mean, image, factor)


def brightness(image, factor):
  """Blends with black."""
  return _blend(0.0, image, factor)


def sharpness(image, factor):
  """Blends with a smoothed image, whose edge is that of the image."""
  pixels = tf.cast(image, tf.float32)
  kernel = tf.constant([[1.0, 1, 1], [1, 5, 1], [1, 1, 1]]) / 13
  kernel = tf.tile(kernel[:, :, tf.newaxis, tf.newaxis], [1, 1, image.shape[-1], 1])
  inner = tf.nn.depthwise_conv2d(pixels[tf.newaxis], kernel, [1, 1, 1, 1], "VALID")[0]
  inner = tf.round(inner)
  middle = tf.pad(tf.ones_like(inner), [[1, 1], [1, 1], [0, 0]])
  smooth = tf.pad(inner, [[1, 1], [1, 1], [0, 0]])
  return _blend(tf.where(middle > 0, smooth, pixels), image, factor)


_BLENDS = {
  "color": color,
  "contrast": contrast,
  "brightness": brightness,
  "sharpness": sharpness,
}


def _apply(image, which, strength, signed):
  number = tf.minimum(tf.cast(which * len(OPERATIONS), tf.int32), len(OPERATIONS) - 1)
  # The branches are called while the graph is made: each has its own name.
  branches = [
    lambda name=name: operation(name, image, strength, signed) for name in OPERATIONS
  ]
  return tf.ensure_shape(tf.switch_case(number, branches), image.shape)


def _blend(other, image, factor):
  pixels = tf.cast(image, tf.float32)
  return _to_uint8(tf.floor(other + factor * (pixels - other)))


def _gray(image):
  """Returns the ITU-R 601-2 luma, in every channel."""
  if image.shape[-1] == 1:
    return image
  weights = tf.constant([19595, 38470, 7471], tf.int32)
  luma = (tf.reduce_sum(tf.cast(image, tf.int32) * weights, axis=-1) + 32768) // 65536
  return tf.repeat(tf.cast(luma, tf.uint8)[..., tf.newaxis], 3, axis=-1)


def _affine(image, matrix, shift):
  """Moves pixel p to A⁻¹-like places about the center, bilinearly.

  The pixel at output p is that of the input at A (p − center) + center + shift.
  """
  height, width = image.shape[:2]
  a, b, c, d = (tf.cast(x, tf.float32) for x in matrix)
  x, y = (width - 1) / 2, (height - 1) / 2
  transform = tf.stack(
    [
      *(a, b, x - a * x - b * y + shift[0]),
      *(c, d, y - c * x - d * y + shift[1]),
      *(0.0, 0.0),
    ]
  )
  moved = tf.raw_ops.ImageProjectiveTransformV3(
    images=tf.cast(image[tf.newaxis], tf.float32),
    transforms=transform[tf.newaxis],
    output_shape=[height, width],
    fill_value=_GRAY,
    interpolation="BILINEAR",
    fill_mode="CONSTANT",
  )
  return _to_uint8(tf.round(moved[0]))


def _to_uint8(pixels):
  return tf.cast(tf.clip_by_value(pixels, 0, 255), tf.uint8)
