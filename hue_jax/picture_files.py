"""Picture files: found in folders, and read as evaluation reads its examples."""

import os
from collections.abc import Iterator, Sequence

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from hue_jax import pictures
from hue_jax.errors import InputError
from hue_jax.preprocessing import EVAL_CROP_RATIO


def find_pictures(paths: Sequence[str | os.PathLike[str]]) -> list[str]:
  """Lists files, and the pictures of folders at any depth, each once.

  A file that is named itself is listed whatever its name; in folders, files are
  pictures by the ending of their names, and hidden ones are passed over.

  Args:
    paths: Files and folders.

  Returns:
    The files, those of a folder in the order of their names.

  Raises:
    InputError: If a path is not there, or a folder cannot be read or holds no picture.
  """
  found: dict[str, str] = {}
  for path in map(os.path.expanduser, map(os.fspath, paths)):
    if os.path.isdir(path):
      files = list(_in_folder(path))
      if not files:
        raise InputError(f"folder {path} holds no picture.")
    elif os.path.exists(path):
      files = [path]
    else:
      raise InputError(f"image {path} is not there.")
    for file in files:
      found.setdefault(os.path.realpath(file), file)
  return list(found.values())


def _in_folder(folder: str) -> Iterator[str]:
  def refuse(error):
    raise InputError(f"folder {error.filename} cannot be read ({error.strerror}).")

  for place, folders, files in os.walk(folder, onerror=refuse):
    folders[:] = sorted(name for name in folders if name[0] != ".")
    for name in sorted(files):
      if name[0] != "." and os.path.splitext(name)[1].lower() in pictures.SUFFIXES:
        yield os.path.join(place, name)


def read_image_files(
  paths: Sequence[str | os.PathLike[str]],
  *,
  image_size: int,
  crop: str,
  crop_ratio: int | float = EVAL_CROP_RATIO,
  channels: int,
  background: Sequence[int] = pictures.WHITE,
) -> UInt8[np.ndarray, "images {image_size} {image_size} {channels}"]:
  """Reads image files in any format of `pictures.decode`.

  Args:
    paths: The files.
    image_size: The side of the result in pixels.
    crop: How an image becomes a square, as for `eval_batches`.
    crop_ratio: The side of the central square of "random_resized", over the shorter
      side of the image.
    channels: The channels of the result, 1 or 3; gray is repeated, color made gray.
    background: What transparent parts show: red, green and blue from 0 to 255.

  Returns:
    The images, in the order of the paths.

  Raises:
    InputError: If there is no path, or a file cannot be read or is no such image.
  """
  if not paths:
    raise InputError("no image is given; at least one file is needed.")
  read = (_to_channels(_read(os.fspath(path), background), channels) for path in paths)
  ratio = crop_ratio if crop == "random_resized" else None
  return np.stack([_to_square(image, image_size, ratio) for image in read])


def _read(path, background):
  if os.path.exists(path) and not os.path.isfile(path):  # A pipe would never end.
    raise InputError(f"image {path} is not a file.")
  try:
    with open(path, "rb") as file:
      contents = file.read()
  except OSError as error:
    raise InputError(f"image {path} cannot be read ({error.strerror}).") from None
  if not contents:
    raise InputError(f"image {path} is empty.")
  try:
    return pictures.decode(contents, background=background)
  except pictures.PictureError as error:
    raise InputError(f"image {path} {error}.") from None


def _to_channels(image, channels):
  if image.shape[-1] == channels:
    return image
  if channels == 3:
    return image.repeat(3, axis=-1)
  luma = image @ np.array([0.2989, 0.587, 0.114])
  return np.round(luma[..., np.newaxis]).astype(np.uint8)


def _to_square(image, size, ratio):
  """Resizes by bicubic interpolation, smoothed first where that makes it smaller.

  By Pillow, for JAX would compile a program for every size of a picture. Its weights
  are those of `jax.image` and TensorFlow; in 8 bits it would round in between.
  """
  sides = np.array(image.shape[:2])
  if ratio is not None:
    # The shorter side is resized, and the central square is cut out.
    resized = np.round(sides * (round(size / ratio) / sides.min()))
    corner = np.floor((resized - size) / 2)
  else:
    resized, corner = np.array([size, size]), np.zeros(2)
  if (resized == sides).all() and not corner.any():
    return image
  top, left = corner * sides / resized
  # A float may end just past the edge, which Pillow refuses.
  bottom, right = np.minimum((corner + size) * sides / resized, sides)
  planes = [
    Image.fromarray(plane).resize(
      (size, size), Image.Resampling.BICUBIC, box=(left, top, right, bottom)
    )
    for plane in np.moveaxis(image, -1, 0).astype(np.float32)
  ]
  squares = np.stack([np.asarray(plane) for plane in planes], axis=-1)
  return np.clip(np.round(squares), 0, 255).astype(np.uint8)
