"""Running statistics of batch norm for a network that has seen no batch."""

import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


def batch_statistics(
  model: nn.Module,
  variables: Mapping[str, Any],
  pixels: Float[Array, "batch height width channels"],
) -> Any:
  """Computes the statistics of one batch, whatever the momentum m of running ones.

  One training step takes statistics s to m · s + (1 − m) · batch: of s = 0 and s = 1
  follow m and, without loss of digits, batch.

  Args:
    model: The network.
    variables: The `params` and `batch_stats` of the network.
    pixels: The batch, as the network takes it.

  Returns:
    The new `batch_stats`.
  """
  of_zeros, of_ones = (
    _updated(model, dict(variables), pixels, value) for value in (0.0, 1.0)
  )
  momenta = jax.tree.map(jnp.subtract, of_ones, of_zeros)
  momentum = np.median(np.concatenate([np.ravel(m) for m in jax.tree.leaves(momenta)]))
  return jax.tree.map(lambda zero: np.asarray(zero / (1 - momentum)), of_zeros)


@functools.partial(jax.jit, static_argnums=0)
def _updated(model, variables, pixels, value):
  before = jax.tree.map(lambda s: jnp.full_like(s, value), variables["batch_stats"])
  _, updates = model.apply(
    variables | {"batch_stats": before},
    pixels,
    train=True,
    mutable=["batch_stats", "taps"],
    rngs={"dropout": jax.random.key(0)},
  )
  return updates["batch_stats"]
