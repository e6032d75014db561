"""Layers and matches with a structure that is known because it was put there."""

import numpy as np

from hue_jax.observe.matches import Matches
from hue_jax.observe.vector_store import Layer


def planted_layer(
  vectors, labels, height=6, width=6, positions=None, tap="stage1"
) -> Layer:
  """A layer of [images, positions, channels]; all positions, unless some are given."""
  vectors = np.asarray(vectors, np.float32)
  num_images, per_image, channels = vectors.shape
  if positions is None:
    positions = np.tile(np.arange(per_image), (num_images, 1))
  return Layer(
    tap=tap,
    shape=(height, width, channels),
    vectors=vectors.reshape(-1, channels),
    image=np.repeat(np.arange(num_images), per_image),
    label=np.repeat(labels, per_image),
    x=positions.ravel() % width,
    y=positions.ravel() // width,
  )


def planted_matches(layer: Layer, neighbors=None, images=None) -> Matches:
  """Matches of a layer; without neighbors, of statistics that do not look at them."""
  num_images = layer.image[-1] + 1
  per_image = len(layer.image) // num_images
  images = np.arange(num_images) if images is None else images
  rows = images[:, None] * per_image + np.arange(per_image)
  if neighbors is None:
    neighbors = np.zeros((*rows.shape, 1), int)
  return Matches(layer, images, rows, np.asarray(neighbors))


def colored(hue, strength=1.0, gray=3.0, channels=8, noise=0.0, seed=0):
  """Vectors of given hues in the Fourier plane, [..., channels]."""
  hue = np.asarray(hue)[..., None]
  n = 2 * np.pi * np.arange(channels) / channels
  vectors = gray + strength * (np.cos(hue) * np.cos(n) + np.sin(hue) * np.sin(n))
  return vectors + noise * np.random.default_rng(seed).normal(size=vectors.shape)
