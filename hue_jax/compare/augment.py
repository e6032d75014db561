"""Shifts and mirror images on the device: pure functions of (key, images)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key, UInt8


def shift_and_flip(
  key: Key[Array, ""],
  images: UInt8[Array, "batch height width channels"],
  *,
  padding: int,
  flip: bool,
) -> UInt8[Array, "batch height width channels"]:
  """Moves each image over a frame of zeros, and mirrors half of them.

  Args:
    key: of the draws.
    images: to be moved.
    padding: pixels by which an image moves at most, in x and in y.
    flip: whether to mirror.

  Returns:
    The images.
  """
  batch, height, width, channels = images.shape
  shift_key, flip_key = jax.random.split(key)
  if flip:
    mirrored = jax.random.bernoulli(flip_key, shape=(batch, 1, 1, 1))
    images = jnp.where(mirrored, images[:, :, ::-1], images)
  if not padding:
    return images
  frame = (padding, padding)
  padded = jnp.pad(images, ((0, 0), frame, frame, (0, 0)))
  corners = jax.random.randint(shift_key, (batch, 2), 0, 2 * padding + 1)

  def window(image, corner):
    return jax.lax.dynamic_slice(
      image, (corner[0], corner[1], 0), (height, width, channels)
    )

  return jax.vmap(window)(padded, corners)
