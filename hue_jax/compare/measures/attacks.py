"""Accuracy under the gradient's worst step (FGSM) and several of them (PGD)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, Key, UInt8

# Normalized images → scores of the classes.
Scores = Callable[[Float[Array, "..."]], Float[Array, "..."]]


def fgsm(
  scores: Scores,
  images: Float[Array, "batch height width channels"],
  labels: Int[Array, " batch"],
  epsilon: Float[Array, ""] | float,
) -> Float[Array, "batch height width channels"]:
  """Returns x + ε sign ∇ₓ cross entropy, within [0, 1].

  Args:
    scores: A function of pixels in [0, 1] that returns the scores.
    images: Pixels in [0, 1].
    labels: The true classes.
    epsilon: The largest change ε of a pixel.

  Returns:
    The attacked images.

  Source: Goodfellow et al., "Explaining and Harnessing Adversarial Examples", 2015.
  """
  return jnp.clip(images + epsilon * jnp.sign(_gradient(scores, images, labels)), 0, 1)


def pgd(
  scores: Scores,
  images: Float[Array, "batch height width channels"],
  labels: Int[Array, " batch"],
  epsilon: Float[Array, ""] | float,
  *,
  key: Key[Array, ""],
  steps: int = 10,
) -> Float[Array, "batch height width channels"]:
  """Takes steps of 2.5 ε / steps along the gradient's sign, within ε of the image.

  Args:
    scores: A function of pixels in [0, 1] that returns the scores.
    images: Pixels in [0, 1].
    labels: The true classes.
    epsilon: The largest change ε of a pixel.
    key: The key of the random start within ε.
    steps: The number of steps.

  Returns:
    The attacked images.

  Source: Madry et al., "Towards Deep Learning Models Resistant to Adversarial
  Attacks", ICLR 2018.
  """
  start = jax.random.uniform(key, images.shape, minval=-1, maxval=1) * epsilon
  attacked = jnp.clip(images + start, 0, 1)
  # Not a `fori_loop`: on the CPU a convolution in a loop is many times slower.
  for _ in range(steps):
    move = jnp.sign(_gradient(scores, attacked, labels)) * (2.5 * epsilon / steps)
    attacked = jnp.clip(attacked + move, images - epsilon, images + epsilon)
    attacked = jnp.clip(attacked, 0, 1)
  return attacked


def _gradient(scores, images, labels):
  def total(images):
    log_p = jax.nn.log_softmax(scores(images))
    return -jnp.take_along_axis(log_p, labels[:, None], axis=-1).sum()

  return jax.grad(total)(images)


def to_pixels(images: UInt8[np.ndarray, "*shape"]) -> Float[Array, "*shape"]:
  """Returns stored images as numbers in [0, 1]."""
  return jnp.asarray(images, jnp.float32) / 255
