"""Convolution that is fast on a CPU, too, where XLA's leaves out some shapes.

On a CPU XLA (of JAX 0.10.2) convolves by a matrix product, but not where each channel
is a group, where the kernel is larger than the layer that it makes, or where a small
kernel meets one channel. `benchmarks/convolution.py` measures what that takes.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Float


def convolve(
  inputs: Float[Array, "batch height width channels"],
  kernel: Float[Array, "rows columns group_channels features"],
  window_strides: Sequence[int],
  padding: str | Sequence[tuple[int, int]],
  *,
  feature_group_count: int = 1,
  precision: Any = None,
  **settings: Any,
) -> Float[Array, "batch new_height new_width features"]:
  """Convolves a layer, with zeros around it.

  y[b, i, j, f] = Σ x[b, i·s + m, j·s + n, c] · kernel[m, n, c, f],

  and of depthwise convolution, one group a channel, the term c = f alone. It is for
  `flax.linen.Conv`'s argument `conv_general_dilated`. Where XLA takes long on a CPU, it
  is there a sum over the kernel's positions of shifted layers, or one product with
  these side by side; elsewhere it is XLA's.

  Args:
    inputs: The layer x.
    kernel: The kernel.
    window_strides: The strides, down and right.
    padding: "SAME", "VALID", or pairs of pixels before and after.
    feature_group_count: The number of groups of channels.
    precision: As of `jax.lax.conv_general_dilated`.
    **settings: The other settings of `jax.lax.conv_general_dilated`: not dilated.

  Returns:
    The layer convolved, in the inputs' type.
  """

  def by_xla(inputs, kernel):
    return lax.conv_general_dilated(
      inputs,
      kernel,
      window_strides,
      padding,
      feature_group_count=feature_group_count,
      precision=precision,
      **settings,
    )

  window, size, channels = kernel.shape[:2], inputs.shape[1:3], inputs.shape[3]
  if isinstance(padding, str):
    padding = lax.padtype_to_pads(size, window, window_strides, padding)
  layout = (window, size, window_strides, padding)
  if feature_group_count == channels == kernel.shape[3]:
    form = partial(_sum_of_shifts, product=jnp.multiply)
  elif feature_group_count > 1:
    return by_xla(inputs, kernel)
  elif channels == 1 and max(window) <= 3 and max(window_strides) == 1:
    form = partial(_sum_of_shifts, product=partial(jnp.matmul, precision=precision))
  elif _is_larger(*layout):
    form = partial(_product_of_shifts, precision=precision)
  else:
    return by_xla(inputs, kernel)

  def by_shifts(inputs, kernel):
    padded = jnp.pad(inputs, ((0, 0), *padding, (0, 0)))
    return form(shifted(padded, window, window_strides), kernel)

  return lax.platform_dependent(inputs, kernel, cpu=by_shifts, default=by_xla)


def shifted(
  padded: Float[Array, "batch height width channels"],
  window: Sequence[int],
  strides: Sequence[int],
) -> list[Float[Array, "batch new_height new_width channels"]]:
  """Returns, for each position of a window, row by row, the pixels that it meets.

  Args:
    padded: The layer, with what lies around it.
    window: The sides of the window.
    strides: The strides, down and right.

  Returns:
    x[:, m + i·s, n + j·s] over i and j, for each m and n of the window.
  """
  ends = [side - size + 1 for side, size in zip(padded.shape[1:3], window, strict=True)]
  return [
    padded[:, row : row + ends[0] : strides[0], column : column + ends[1] : strides[1]]
    for row in range(window[0])
    for column in range(window[1])
  ]


Conv = partial(nn.Conv, conv_general_dilated=convolve)


def _is_larger(window, size, strides, padding) -> bool:
  """Whether windows overlap and are larger than the layer that they make."""
  return any(
    kernel > stride and kernel > (side + sum(pad) - kernel) // stride + 1
    for kernel, side, stride, pad in zip(window, size, strides, padding, strict=True)
  )


def _sum_of_shifts(layers, kernel, *, product):
  dtype = jnp.promote_types(kernel.dtype, jnp.float32)
  total = jnp.zeros((), dtype)
  for pixels, weights in zip(
    layers, kernel.reshape(-1, *kernel.shape[2:]), strict=True
  ):
    total += product(pixels.astype(dtype), weights.astype(dtype))
  return total.astype(kernel.dtype)


def _product_of_shifts(layers, kernel, *, precision):
  side_by_side = jnp.concatenate(layers, axis=-1)
  weights = kernel.reshape(-1, kernel.shape[3])
  return jnp.matmul(side_by_side, weights, precision=precision)
