"""EfficientNet-Lite0, 1 and 2: EfficientNets without squeeze-and-excitation.

ReLU6 in place of swish; stem and top are not widened, first and last stage not
deepened. Padding is TensorFlow's "SAME", with which the published weights were made.

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

from hue_jax.errors import check_number
from hue_jax.models.taps import hand_out

# He initialization by fan-out keeps the variance of gradients over the layers. Flax
# takes all channels for the fan-out of a depthwise convolution, of which each kernel
# serves one: its fan-out is its fan-in.
_kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_depthwise_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")

_STEM_FEATURES = 32
_TOP_FEATURES = 1280


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


class InvertedBottleneck(nn.Module):
  """1×1 expansion, depthwise convolution, 1×1 projection; a shortcut where it fits."""

  features: int
  kernel_size: int
  strides: int
  expansion: int
  drop_path_rate: float
  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module]

  @nn.compact
  def __call__(self, x, *, train):
    residual, width = x, x.shape[-1] * self.expansion
    if self.expansion > 1:
      x = self.conv(width, (1, 1), name="expand_conv")(x)
      x = nn.relu6(self.norm(name="expand_norm")(x))
    x = self.conv(
      width,
      (self.kernel_size, self.kernel_size),
      self.strides,
      feature_group_count=width,
      kernel_init=_depthwise_init,
      name="depthwise_conv",
    )(x)
    x = nn.relu6(self.norm(name="depthwise_norm")(x))
    x = self.conv(self.features, (1, 1), name="project_conv")(x)
    x = self.norm(name="project_norm")(x)
    if x.shape != residual.shape:
      return x
    # Stochastic depth: the block of an image is left out whole.
    drop = nn.Dropout(self.drop_path_rate, broadcast_dims=(1, 2, 3))
    return residual + drop(x, deterministic=not train)


class EfficientNetLite(nn.Module):
  """EfficientNet-Lite with the taps stem, stage1 … stage7, top and features.

  `top` is the 1×1 convolution to 1280 channels, of which `features` is the mean.

  Attributes:
    num_classes: outputs of the head.
    width: factor of the channels of the stages, rounded to multiples of 8.
    depth: factor of the blocks of the stages, rounded up.
    dropout_rate: of the features, in training.
    drop_path_rate: block i = 0, 1, … of n is left out at this rate times i / n, in
      training.
    dtype: type of the computation (bfloat16 for half precision); parameters,
      batch statistics and logits are float32.
    axis_name: mapped axis over which batch norm takes its statistics; None for each
      device's own.
  """

  num_classes: int
  width: float = 1.0
  depth: float = 1.0
  dropout_rate: float = 0.0
  drop_path_rate: float = 0.0
  dtype: Any = jnp.float32
  axis_name: str | None = None

  def __post_init__(self):
    for name in ("width", "depth"):
      check_number(name, getattr(self, name), above=0)
    for name in ("dropout_rate", "drop_path_rate"):
      check_number(name, getattr(self, name), at_least=0, below=1)
    super().__post_init__()

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch height width channels"], *, train: bool
  ) -> Float[Array, "batch {self.num_classes}"]:
    """Logits of the images, in float32; `train` takes the batch's own statistics."""
    conv = partial(nn.Conv, use_bias=False, dtype=self.dtype, kernel_init=_kernel_init)
    norm = partial(
      nn.BatchNorm,
      use_running_average=not train,
      momentum=0.99,
      epsilon=1e-3,
      dtype=self.dtype,
      axis_name=self.axis_name if train else None,
    )
    x = jnp.asarray(images, self.dtype)
    x = conv(_STEM_FEATURES, (3, 3), 2, name="stem_conv")(x)
    x = hand_out(self, "stem", nn.relu6(norm(name="stem_norm")(x)))
    blocks_before, num_blocks = 0, sum(self.stage_sizes)
    for number, (stage, size) in enumerate(
      zip(STAGES, self.stage_sizes, strict=True), start=1
    ):
      for index in range(size):
        x = InvertedBottleneck(
          features=_rounded(stage.features * self.width),
          kernel_size=stage.kernel_size,
          strides=stage.strides if index == 0 else 1,
          expansion=stage.expansion,
          drop_path_rate=self.drop_path_rate * blocks_before / num_blocks,
          conv=conv,
          norm=norm,
          name=f"stage{number}_block{index + 1}",
        )(x, train=train)
        blocks_before += 1
      x = hand_out(self, f"stage{number}", x)
    x = conv(_TOP_FEATURES, (1, 1), name="top_conv")(x)
    x = hand_out(self, "top", nn.relu6(norm(name="top_norm")(x)))
    x = hand_out(self, "features", jnp.mean(x, axis=(1, 2)))
    x = nn.Dropout(self.dropout_rate)(x, deterministic=not train)
    x = nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x)
    return x.astype(jnp.float32)

  @property
  def stage_sizes(self) -> tuple[int, ...]:
    """Blocks of each stage."""
    last = len(STAGES) - 1
    return tuple(
      stage.repeats if number in (0, last) else math.ceil(stage.repeats * self.depth)
      for number, stage in enumerate(STAGES)
    )


def _rounded(features: float) -> int:
  """To a multiple of 8, and down by no more than a tenth."""
  rounded = max(8, int(features + 4) // 8 * 8)
  return rounded if rounded >= 0.9 * features else rounded + 8


VARIANTS = {
  "efficientnet_lite0": (EfficientNetLite, {"width": 1.0, "depth": 1.0}),
  "efficientnet_lite1": (EfficientNetLite, {"width": 1.0, "depth": 1.1}),
  "efficientnet_lite2": (EfficientNetLite, {"width": 1.1, "depth": 1.2}),
}
