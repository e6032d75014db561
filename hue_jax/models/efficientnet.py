"""EfficientNet-B0 to B3, and EfficientNet-Lite0 to 2.

The Lite variants have no squeeze-and-excitation, and ReLU6 in place of swish; their
stem and top are not widened, their first and last stage not deepened. Padding is
TensorFlow's "SAME", with which the authors' weights were made, or that of PyTorch, for
weights that were trained there.

Sources: Tan and Le, "EfficientNet", ICML 2019; the Lite variants were published by
their authors in 2020 (github.com/tensorflow/tpu, efficientnet/lite).
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from hue_jax.models.convolution import Conv
from hue_jax.models.taps import sow_tap
from hue_jax.settings import check, choice, flag, integer, number

# He initialization by fan-out keeps the variance of gradients over the layers. Flax
# takes all channels for the fan-out of a depthwise convolution, of which each kernel
# serves one: its fan-out is its fan-in.
_kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_depthwise_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")

_STEM_FEATURES = 32
_TOP_FEATURES = 1280
_SQUEEZE_RATIO = 0.25  # of the channels that come into a block

PADDINGS = ("same", "symmetric")


class Stage(NamedTuple):
  """Blocks of one width and resolution, in the network of width and depth 1."""

  repeats: int
  kernel_size: int
  strides: int
  expansion: int
  features: int


STAGES = (
  Stage(1, 3, 1, 1, 16),
  Stage(2, 3, 2, 6, 24),
  Stage(2, 5, 2, 6, 40),
  Stage(3, 3, 2, 6, 80),
  Stage(3, 5, 1, 6, 112),
  Stage(4, 5, 2, 6, 192),
  Stage(1, 3, 1, 6, 320),
)


class SqueezeExcitation(nn.Module):
  """Channels weighted by what their means say."""

  features: int
  conv: Callable[..., nn.Module]
  activation: Callable

  @nn.compact
  def __call__(self, x):
    means = jnp.mean(x, axis=(1, 2), keepdims=True)
    squeezed = self.conv(self.features, (1, 1), use_bias=True, name="reduce")(means)
    weights = self.conv(x.shape[-1], (1, 1), use_bias=True, name="expand")(
      self.activation(squeezed)
    )
    return x * nn.sigmoid(weights)


class InvertedBottleneck(nn.Module):
  """1×1 expansion, depthwise convolution, 1×1 projection; a shortcut where it fits."""

  features: int
  kernel_size: int
  strides: int
  expansion: int
  drop_path_rate: float
  squeezes: bool
  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module]
  activation: Callable

  @nn.compact
  def __call__(self, x, *, train):
    residual, width = x, x.shape[-1] * self.expansion
    if self.expansion > 1:
      x = self.conv(width, (1, 1), name="expand_conv")(x)
      x = self.activation(self.norm(name="expand_norm")(x))
    x = self.conv(
      width,
      (self.kernel_size, self.kernel_size),
      self.strides,
      feature_group_count=width,
      kernel_init=_depthwise_init,
      name="depthwise_conv",
    )(x)
    x = self.activation(self.norm(name="depthwise_norm")(x))
    if self.squeezes:
      x = SqueezeExcitation(
        max(1, int(residual.shape[-1] * _SQUEEZE_RATIO)),
        conv=self.conv,
        activation=self.activation,
        name="squeeze",
      )(x)
    x = self.conv(self.features, (1, 1), name="project_conv")(x)
    x = self.norm(name="project_norm")(x)
    if x.shape != residual.shape:
      return x
    # Stochastic depth: the block of an image is left out whole.
    drop = nn.Dropout(self.drop_path_rate, broadcast_dims=(1, 2, 3))
    return residual + drop(x, deterministic=not train)


class EfficientNet(nn.Module):
  """EfficientNet with the taps stem, stage1 … stage7, top and features.

  `top` is the last 1×1 convolution, of which `features` is the mean.

  Attributes:
    num_classes: The outputs of the head.
    width: The factor of the channels, rounded to multiples of 8.
    depth: The factor of the blocks of the stages, rounded up.
    lite: Whether the network is of the Lite variants.
    padding: The padding: "same" as TensorFlow has it, or "symmetric" as PyTorch has it.
    epsilon: The ε of batch norm; PyTorch's own trainings have 1e-5.
    stem_strides: The strides of the stem; 1 keeps the resolution of small images.
    dropout_rate: The dropout of the features, in training.
    drop_path_rate: The bound of the rates at which blocks are left out, in training:
      block i = 0, 1, … of n is left out at this rate times i / n.
    dtype: The type of the computation (bfloat16 for half precision); parameters,
      batch statistics and logits are float32.
    axis_name: The mapped axis over which batch norm takes its statistics; None for each
      device's own.
  """

  num_classes: int
  width: int | float = number(1.0, above=0)
  depth: int | float = number(1.0, above=0)
  lite: bool = flag(False)
  padding: str = choice("same", PADDINGS)
  epsilon: int | float = number(1e-3, above=0)
  stem_strides: int = integer(2, at_least=1)
  dropout_rate: int | float = number(0.0, at_least=0, below=1)
  drop_path_rate: int | float = number(0.0, at_least=0, below=1)
  dtype: Any = jnp.float32
  axis_name: str | None = None

  def __post_init__(self):
    check(self)
    super().__post_init__()

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch height width channels"], *, train: bool
  ) -> Float[Array, "batch {self.num_classes}"]:
    """Returns float32 logits of images; `train` takes the batch's own statistics."""
    conv = partial(
      _symmetric_conv if self.padding == "symmetric" else Conv,
      use_bias=False,
      dtype=self.dtype,
      kernel_init=_kernel_init,
    )
    activation = nn.relu6 if self.lite else nn.swish
    norm = partial(
      nn.BatchNorm,
      use_running_average=not train,
      momentum=0.99,
      epsilon=self.epsilon,
      dtype=self.dtype,
      axis_name=self.axis_name if train else None,
    )
    x = jnp.asarray(images, self.dtype)
    x = conv(
      self._widened(_STEM_FEATURES), (3, 3), self.stem_strides, name="stem_conv"
    )(x)
    x = sow_tap(self, "stem", activation(norm(name="stem_norm")(x)))
    blocks_before, num_blocks = 0, sum(self.stage_sizes)
    for place, (stage, size) in enumerate(
      zip(STAGES, self.stage_sizes, strict=True), start=1
    ):
      for index in range(size):
        x = InvertedBottleneck(
          features=_rounded(stage.features * self.width),
          kernel_size=stage.kernel_size,
          strides=stage.strides if index == 0 else 1,
          expansion=stage.expansion,
          drop_path_rate=self.drop_path_rate * blocks_before / num_blocks,
          squeezes=not self.lite,
          conv=conv,
          norm=norm,
          activation=activation,
          name=f"stage{place}_block{index + 1}",
        )(x, train=train)
        blocks_before += 1
      x = sow_tap(self, f"stage{place}", x)
    x = conv(self._widened(_TOP_FEATURES), (1, 1), name="top_conv")(x)
    x = sow_tap(self, "top", activation(norm(name="top_norm")(x)))
    x = sow_tap(self, "features", jnp.mean(x, axis=(1, 2)))
    x = nn.Dropout(self.dropout_rate)(x, deterministic=not train)
    x = nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x)
    return x.astype(jnp.float32)

  @property
  def stage_sizes(self) -> tuple[int, ...]:
    """The number of blocks of each stage."""
    fixed = (0, len(STAGES) - 1) if self.lite else ()
    return tuple(
      stage.repeats if place in fixed else math.ceil(stage.repeats * self.depth)
      for place, stage in enumerate(STAGES)
    )

  def _widened(self, features):
    return features if self.lite else _rounded(features * self.width)


def _symmetric_conv(features, kernel_size, strides=1, **kwargs):
  """Pads (k − 1) / 2 on both sides."""
  padding = [((k - 1) // 2, (k - 1) // 2) for k in kernel_size]
  return Conv(features, kernel_size, strides, padding=padding, **kwargs)


def _rounded(features: float) -> int:
  """Rounds to a multiple of 8, and down by no more than a tenth."""
  rounded = max(8, int(features + 4) // 8 * 8)
  return rounded if rounded >= 0.9 * features else rounded + 8


VARIANTS = {
  "efficientnet_b0": (EfficientNet, {"width": 1.0, "depth": 1.0}),
  "efficientnet_b1": (EfficientNet, {"width": 1.0, "depth": 1.1}),
  "efficientnet_b2": (EfficientNet, {"width": 1.1, "depth": 1.2}),
  "efficientnet_b3": (EfficientNet, {"width": 1.2, "depth": 1.4}),
  "efficientnet_lite0": (EfficientNet, {"lite": True, "width": 1.0, "depth": 1.0}),
  "efficientnet_lite1": (EfficientNet, {"lite": True, "width": 1.0, "depth": 1.1}),
  "efficientnet_lite2": (EfficientNet, {"lite": True, "width": 1.1, "depth": 1.2}),
}
