"""Arrays in memory as a source of batches, augmented on the device."""

import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, UInt8

from hue_jax.compare.task import Examples


def train_batches(
  examples: Examples, *, batch_size: int, seed: int, padding: int, flip: bool
) -> Iterator[dict[str, Array]]:
  """Yields batches without end, as `hue_jax.train.step` takes them.

  Args:
    examples: The examples, which are held on the device.
    batch_size: The images of each batch; batches straddle epochs.
    seed: The seed of the order and the augmentation.
    padding: The pixels by which `shift_and_flip` moves an image at most.
    flip: Whether it mirrors.

  Yields:
    The batch `{"image": …, "label": …}`, a function of (seed, step).
  """
  images, labels = jax.device_put((examples.images, examples.labels))
  for step, indices in enumerate(_shuffled(len(examples), batch_size, seed)):
    yield _augmented(
      images, labels, indices, traceable(seed), step, padding=padding, flip=flip
    )


def traceable(seed: int) -> np.int32:
  """Returns a seed of 32 bits for a compiled function, as bits that JAX takes."""
  return np.uint32(seed).astype(np.int32)


def _shuffled(num_examples, batch_size, seed):
  """Yields indices of endless batches: one permutation of all after another."""
  rng = np.random.default_rng([seed, 1])
  rest = np.zeros(0, np.int64)
  while True:
    while len(rest) < batch_size:
      rest = np.concatenate([rest, rng.permutation(num_examples)])
    yield rest[:batch_size].astype(np.int32)
    rest = rest[batch_size:]


@functools.partial(jax.jit, static_argnames=("padding", "flip"))
def _augmented(images, labels, indices, seed, step, *, padding, flip):
  key = jax.random.fold_in(jax.random.key(seed), step)
  images = shift_and_flip(key, images[indices], padding=padding, flip=flip)
  return {"image": images, "label": labels[indices]}


def shift_and_flip(
  key: Key[Array, ""],
  images: UInt8[Array, "batch height width channels"],
  *,
  padding: int,
  flip: bool,
) -> UInt8[Array, "batch height width channels"]:
  """Moves each image over a frame of zeros, and mirrors half of them.

  Args:
    key: The key of the draws.
    images: The images to move.
    padding: The pixels by which an image moves at most, in x and in y.
    flip: Whether to mirror.

  Returns:
    The moved images.
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
