"""Depthwise convolution: each channel with a kernel of its own."""

from collections.abc import Sequence
from typing import Any

import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def depthwise_conv(
  inputs: Float[Array, "batch height width channels"],
  kernel: Float[Array, "rows columns 1 channels"],
  window_strides: Sequence[int],
  padding: str | Sequence[tuple[int, int]],
  **settings: Any,
) -> Float[Array, "batch new_height new_width channels"]:
  """Convolves each channel by itself, with zeros around the layer.

  y[b, i, j, c] = Σ x[b, i·s + m, j·s + n, c] · kernel[m, n, 0, c].

  It is for `flax.linen.Conv`'s argument `conv_general_dilated`. On a CPU, where
  XLA's convolutions of grouped channels take long, it is a sum over the kernel's
  positions of shifted layers; elsewhere it is XLA's.

  Args:
    inputs: The layer x.
    kernel: The kernel, one filter a channel.
    window_strides: The strides, down and right.
    padding: "SAME", "VALID", or pairs of pixels before and after.
    **settings: The other settings of `jax.lax.conv_general_dilated`: not dilated, one
      group a channel.

  Returns:
    The layer convolved, in the inputs' type.
  """

  def by_xla(inputs, kernel):
    return lax.conv_general_dilated(inputs, kernel, window_strides, padding, **settings)

  def by_shifts(inputs, kernel):
    return _sum_of_shifts(inputs, kernel, window_strides, padding)

  return lax.platform_dependent(inputs, kernel, cpu=by_shifts, default=by_xla)


def _sum_of_shifts(inputs, kernel, strides, padding):
  window = kernel.shape[:2]
  if isinstance(padding, str):
    padding = lax.padtype_to_pads(inputs.shape[1:3], window, strides, padding)
  padded = jnp.pad(inputs, ((0, 0), *padding, (0, 0)))
  ends = [side - size + 1 for side, size in zip(padded.shape[1:3], window, strict=True)]
  total = jnp.zeros((), jnp.float32)
  for row in range(window[0]):
    for column in range(window[1]):
      shifted = padded[
        :, row : row + ends[0] : strides[0], column : column + ends[1] : strides[1]
      ]
      total += shifted.astype(jnp.float32) * kernel[row, column, 0]
  return total.astype(inputs.dtype)
