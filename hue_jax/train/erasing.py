"""Random erasing on the device: a rectangle of noise in some images."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

_AREA_RANGE = (0.02, 1 / 3)
_ASPECT_RANGE = (0.3, 10 / 3)


def erase(
  images: Float[Array, "batch height width channels"],
  probability: int | float,
  *,
  key: Key[Array, ""],
  first: Int[Array, ""] | int = 0,
) -> Float[Array, "batch height width channels"]:
  """Puts a rectangle of normal noise into some images.

  It covers 2 % to 33 % of the image at an aspect ratio of 0.3 to 3.3, and is cut to
  the image's height and width where it is larger.

  Args:
    images: Normalized images, of mean 0 and standard deviation 1, as the noise is.
    probability: The probability that an image has a rectangle.
    key: The key of the seed and the step.
    first: The place of the first image in the whole batch: what happens to an image
      depends on the key and its place.

  Returns:
    The images, of the same shape.

  Source: Zhong et al., "Random Erasing Data Augmentation", 2017; noise by pixel.
  """
  places = first + jnp.arange(images.shape[0])
  keys = jax.vmap(lambda place: jax.random.fold_in(key, place))(places)
  return jax.vmap(lambda key, image: _erase_one(key, image, probability))(keys, images)


def _erase_one(key, image, probability):
  whether, area, aspect, corner, noise = jax.random.split(key, 5)
  height, width, _ = image.shape
  area = (
    height
    * width
    * jax.random.uniform(area, minval=_AREA_RANGE[0], maxval=_AREA_RANGE[1])
  )
  low, high = map(math.log, _ASPECT_RANGE)
  ratio = jnp.exp(jax.random.uniform(aspect, minval=low, maxval=high))
  tall = jnp.clip(jnp.round(jnp.sqrt(area * ratio)), 1, height)
  wide = jnp.clip(jnp.round(jnp.sqrt(area / ratio)), 1, width)
  down, right = jax.random.uniform(corner, (2,))
  top = jnp.floor(down * (height - tall + 1))
  left = jnp.floor(right * (width - wide + 1))
  rows, columns = jnp.arange(height)[:, None], jnp.arange(width)[None]
  inside = (
    (rows >= top) & (rows < top + tall) & (columns >= left) & (columns < left + wide)
  )
  erased = inside & jax.random.bernoulli(whether, float(probability))
  return jnp.where(
    erased[..., None], jax.random.normal(noise, image.shape, image.dtype), image
  )
