"""Max pooling whose gradient is fast on a CPU, too."""

import functools
from collections.abc import Sequence

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float

from hue_jax.models.convolution import shifted


def max_pool(
  inputs: Float[Array, "batch height width channels"],
  window_shape: tuple[int, int],
  strides: tuple[int, int],
  padding: str | Sequence[tuple[int, int]] = "VALID",
) -> Float[Array, "batch new_height new_width channels"]:
  """Takes the largest value of each window.

  y[b, i, j, c] = max over m, n of x[b, i·s + m, j·s + n, c]. The gradient goes to the
  first of equal values. On a CPU, where XLA's gradient takes long, it is taken along
  the rows and then along the columns, by comparing shifted layers; elsewhere it is
  flax's.

  Args:
    inputs: The layer x.
    window_shape: The sides of a window.
    strides: The strides, down and right.
    padding: "SAME", "VALID", or pairs of pixels before and after, which never win.

  Returns:
    The layer pooled; NaN where a window holds one.
  """

  def by_xla(inputs):
    return nn.max_pool(inputs, window_shape, strides, padding)

  def by_comparison(inputs):
    pads = padding
    if isinstance(pads, str):
      pads = lax.padtype_to_pads(inputs.shape[1:3], window_shape, strides, pads)
    padded = jnp.pad(inputs, ((0, 0), *pads, (0, 0)), constant_values=-jnp.inf)
    (rows, columns), (down, right) = window_shape, strides
    along_rows = functools.reduce(_larger, shifted(padded, (1, columns), (1, right)))
    return functools.reduce(_larger, shifted(along_rows, (rows, 1), (down, 1)))

  return lax.platform_dependent(inputs, cpu=by_comparison, default=by_xla)


def _larger(first, second):
  """Returns the larger of each two values, of equal ones the first, of NaN NaN."""
  return jnp.where((second > first) | jnp.isnan(second), second, first)
