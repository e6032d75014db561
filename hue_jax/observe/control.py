"""The control of a trained network: the same architecture with its initial weights."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import UInt8

from hue_jax.models.batch_statistics import batch_statistics
from hue_jax.train.networks import Network
from hue_jax.train.state import quick_to_compile
from hue_jax.train.step import normalize


def untrained(
  network: Network,
  images: UInt8[np.ndarray, "batch height width channels"],
  seed: int = 0,
) -> Network:
  """Returns the network with initial weights in place of its own.

  The running statistics of batch norm are those of the images given: with the initial
  ones (mean 0, variance 1) the activations of a deep network would vanish.

  Args:
    network: The network whose architecture and images are meant.
    images: A batch of typical images.
    seed: The seed of the weights.
  """
  key = jax.random.key(seed)
  pixels = normalize(jnp.asarray(images), network.pixel_mean, network.pixel_std)
  model = network.model.clone(axis_name=None)
  initialize = jax.jit(
    lambda key, pixels: model.init(key, pixels, train=False),
    compiler_options=quick_to_compile(),
  )
  variables = jax.device_get(initialize(key, pixels[:1]))
  variables = {name: variables[name] for name in variables if name != "taps"}
  if "batch_stats" in variables:
    variables["batch_stats"] = batch_statistics(model, variables, pixels)
  return dataclasses.replace(
    network, name=f"{network.name}, untrained", variables=variables, trained=False
  )
