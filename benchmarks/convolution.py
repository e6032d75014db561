"""Times convolution and max pooling of hue_jax.models beside XLA's own.

    python benchmarks/convolution.py [--batch_sizes 32] [--layers TEXT] [--repeats 7]
      [--json FILE]

Forward, and forward and backward to the layer and the kernel, of layers as they come in
the networks: those for which a CPU has another form (depthwise; a kernel larger than
the layer that it makes; a small kernel on one channel; max pooling), and those that are
XLA's, with the rate that it reaches. On other devices both sides are XLA's. It needs
JAX, Flax, NumPy and jaxtyping.
"""

import functools
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common
from hue_jax.models.convolution import convolve
from hue_jax.models.pooling import max_pool

OURS, XLA = "hue_jax", "XLA"


class Layer(NamedTuple):
  """A layer that is convolved, or max pooled where it has no features.

  Attributes:
    side: Its rows, and its columns.
    channels: Its channels.
    features: The channels that are made; 0 to pool.
    kernel: The side of the kernel, or window.
    stride: The stride, down and right.
    groups: The groups of channels.
  """

  side: int
  channels: int
  features: int
  kernel: int
  stride: int = 1
  groups: int = 1

  def describe(self) -> str:
    """Returns the layer as a line."""
    what = "depthwise convolution" if self.groups > 1 else "convolution"
    what = what if self.features else "max pooling"
    to = f" to {self.features}" if self.features and self.groups == 1 else ""
    return (
      f"{what} {self.kernel}×{self.kernel} / {self.stride}, "
      f"{self.side}×{self.side}×{self.channels}{to}"
    )

  def work(self, batch_size: int) -> float:
    """Returns the floating point operations of the convolution; 0 of a pooling."""
    made = math.ceil(self.side / self.stride) ** 2 * self.features * batch_size
    return 2.0 * made * self.kernel**2 * self.channels / self.groups


LAYERS = (
  Layer(2, 512, 512, 3),
  Layer(4, 256, 512, 3, 2),
  Layer(4, 128, 128, 5),
  Layer(28, 1, 8, 3),
  Layer(14, 96, 96, 3, groups=96),
  Layer(32, 64, 0, 3, 2),
  Layer(64, 3, 64, 7, 2),
  Layer(16, 64, 64, 3),
  Layer(8, 128, 128, 3),
  Layer(4, 256, 256, 3),
)


def main() -> None:
  """Prints a table in Markdown."""
  arguments = _arguments()
  layers = tuple(one for one in LAYERS if arguments.layers in one.describe())
  found = [
    row
    for batch_size in arguments.batch_sizes
    for row in measure(layers, batch_size=batch_size, repeats=arguments.repeats)
  ]
  packages = ("jax", "jaxlib", "flax", "numpy")
  common.report("convolution", found, json_file=arguments.json, packages=packages)


def measure(
  layers: tuple[Layer, ...], *, batch_size: int = 32, repeats: int = 7
) -> list[dict[str, Any]]:
  """Times the layers, forward, and forward and backward.

  Args:
    layers: The layers.
    batch_size: The images of a batch.
    repeats: The rounds.

  Returns:
    The rows.
  """
  found = []
  for layer in layers:
    given = _given(layer, batch_size)
    for backward in (False, True):
      sides = {
        name: functools.partial(_call, _jitted(form, layer, backward), given)
        for name, form in {OURS: (convolve, max_pool), XLA: _XLA}.items()
      }
      seconds = common.alternate(sides, repeats, warmup=2)
      # Backward are two products as large as the first.
      work = layer.work(batch_size) * (3 if backward else 1) / 1e9
      rates = {name: work / float(np.median(s)) for name, s in seconds.items()}
      way = "forward and backward" if backward else "forward"
      found += common.rows(
        f"{layer.describe()}, batch {batch_size}, {way}",
        seconds,
        against=(XLA,),
        **({"GFLOP/s": rates} if work else {}),
      )
  return found


_XLA = (lax.conv_general_dilated, nn.max_pool)


def _given(layer, batch_size):
  rng = np.random.default_rng(0)
  images = rng.normal(size=(batch_size, layer.side, layer.side, layer.channels))
  window = (layer.kernel, layer.kernel)
  kernel = rng.normal(size=(*window, layer.channels // layer.groups, layer.features))
  return jnp.asarray(images, jnp.float32), jnp.asarray(kernel, jnp.float32)


def _jitted(form, layer, backward) -> Callable:
  conv, pool = form
  strides = (layer.stride, layer.stride)

  def forward(images, kernel):
    if not layer.features:
      return pool(images, (layer.kernel, layer.kernel), strides, "SAME")
    return conv(
      images,
      kernel,
      strides,
      "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=layer.groups,
    )

  def loss(images, kernel):
    return jnp.sum(jnp.square(forward(images, kernel)))

  return jax.jit(jax.grad(loss, argnums=(0, 1)) if backward else forward)


def _call(jitted, given):
  jax.block_until_ready(jitted(*given))


def _arguments():
  parser = common.parser(__doc__)
  parser.add_argument("--batch_sizes", type=int, nargs="+", default=[32])
  parser.add_argument("--layers", default="", help="those in whose line this stands")
  return parser.parse_args()


if __name__ == "__main__":
  main()
