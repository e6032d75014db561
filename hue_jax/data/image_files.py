"""Image files to arrays, as evaluation makes them of a data set's examples."""

import os
from collections.abc import Sequence

import numpy as np
import tensorflow as tf
from jaxtyping import UInt8

from hue_jax.data import images
from hue_jax.errors import InputError


def read_image_files(
  paths: Sequence[str | os.PathLike[str]],
  *,
  image_size: int,
  crop: str,
  channels: int,
) -> UInt8[np.ndarray, "images {image_size} {image_size} {channels}"]:
  """Reads JPEG, PNG, BMP, GIF or WebP files.

  Args:
    paths: of the files.
    image_size: side of the result in pixels.
    crop: how an image becomes a square, as for `eval_batches`.
    channels: of the result, 1 or 3; gray is repeated, color made gray, alpha dropped.

  Returns:
    The images, in the order of the paths.

  Raises:
    InputError: no path, or a file that cannot be read or is no such image.
  """
  if not paths:
    raise InputError("no image is given; at least one file is needed.")
  return np.stack([_read(os.fspath(p), crop, image_size, channels) for p in paths])


def _read(path, crop, size, channels):
  try:
    with open(path, "rb") as file:
      contents = file.read()
  except OSError as error:
    raise InputError(f"image {path} cannot be read ({error.strerror}).") from None
  if not contents:
    raise InputError(f"image {path} is empty.")
  if images.header_pixels([contents])[0] > images.MAX_PIXELS:
    raise InputError(f"image {path}: {images.TOO_MANY_PIXELS}.")
  try:
    return images.eval_image(
      contents,
      images.is_jpeg([contents])[0],
      crop=crop,
      size=size,
      channels=channels,
      shape=(None, None, None),
    ).numpy()
  except tf.errors.OpError as error:
    if images.TOO_MANY_PIXELS in str(error):
      raise InputError(f"image {path}: {images.TOO_MANY_PIXELS}.") from None
    raise InputError(
      f"image {path} is damaged, or not a JPEG, PNG, BMP, GIF or WebP image."
    ) from None
