"""ResNet-18, 34, 50, 101 and 152, ResNet-8, 14 and 20, and a stem for small images.

The layout is that of torchvision ("v1.5": the 3×3 convolution of a bottleneck
carries the stride; the paper's first 1×1 does by an option), and so are the parameter
counts.

Sources: He et al., "Deep Residual Learning for Image Recognition", CVPR 2016;
the last batch norm of a block starts at zero as in Goyal et al., "Accurate, Large
Minibatch SGD", 2017.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from hue_jax.errors import refuse
from hue_jax.models.convolution import Conv
from hue_jax.models.pooling import max_pool
from hue_jax.models.taps import sow_tap
from hue_jax.settings import check, choice, flag, integer, number

# He initialization by fan-out keeps the variance of gradients over the layers.
_kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")

STEMS = ("imagenet", "small")


class BasicBlock(nn.Module):
  """Two 3×3 convolutions beside a shortcut."""

  features: int
  strides: int
  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module]
  drop_path: Callable
  expansion = 1

  @nn.compact
  def __call__(self, x):
    residual = x
    x = self.conv(self.features, (3, 3), self.strides, name="conv1")(x)
    x = nn.relu(self.norm(name="norm1")(x))
    x = self.conv(self.features, (3, 3), name="conv2")(x)
    x = self.norm(name="norm2", scale_init=nn.initializers.zeros)(x)
    return nn.relu(self.drop_path(x) + _shortcut(self, residual, x.shape))


class Bottleneck(nn.Module):
  """A 1×1, a 3×3 and a 1×1 convolution beside a shortcut."""

  features: int
  strides: int
  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module]
  drop_path: Callable
  stride_in_1x1: bool = False
  expansion = 4

  @nn.compact
  def __call__(self, x):
    residual = x
    first, second = (self.strides, 1) if self.stride_in_1x1 else (1, self.strides)
    x = self.conv(self.features, (1, 1), first, name="conv1")(x)
    x = nn.relu(self.norm(name="norm1")(x))
    x = self.conv(self.features, (3, 3), second, name="conv2")(x)
    x = nn.relu(self.norm(name="norm2")(x))
    x = self.conv(self.features * self.expansion, (1, 1), name="conv3")(x)
    x = self.norm(name="norm3", scale_init=nn.initializers.zeros)(x)
    return nn.relu(self.drop_path(x) + _shortcut(self, residual, x.shape))


def _shortcut(block, residual, shape):
  """Returns the residual, projected where the block changes its shape."""
  if residual.shape == shape:
    return residual
  residual = block.conv(shape[-1], (1, 1), block.strides, name="conv_shortcut")(
    residual
  )
  return block.norm(name="norm_shortcut")(residual)


class ResNet(nn.Module):
  """A residual network with the taps stem, stage1 … stage4 (or 3) and features.

  Attributes:
    num_classes: The outputs of the head.
    block: The kind of block, `BasicBlock` or `Bottleneck`.
    stage_sizes: The number of blocks of each stage.
    stem: The stem: "imagenet" (7×7 convolution of stride 2 and max pooling of stride
      2), or "small" (3×3 convolution of stride 1) for images of 8 to 64 pixels.
    stride_in_1x1: Whether the first convolution of a bottleneck carries the stride, as
      in the paper and in Keras.
    drop_path_rate: The largest rate at which blocks are left out, in training: block
      i = 0, 1, … of n is left out at this rate times i / (n − 1).
    width: The channels of the first stage's 3×3 convolutions; doubled at every stage.
    dtype: The type of the computation (bfloat16 for half precision); parameters,
      batch statistics and logits are float32.
    axis_name: The mapped axis over which batch norm takes its statistics, so that the
      numbers do not depend on the number of devices; None for each device's own.
  """

  num_classes: int
  block: type[nn.Module]
  stage_sizes: Sequence[int]
  stem: str = choice("imagenet", STEMS)
  stride_in_1x1: bool = flag(False)
  drop_path_rate: int | float = number(0.0, at_least=0, below=1)
  width: int = integer(64, at_least=1)
  dtype: Any = jnp.float32
  axis_name: str | None = None

  def __post_init__(self):
    check(self)
    if self.stride_in_1x1 and self.block is not Bottleneck:
      refuse("stride_in_1x1", True, "false, for the blocks are no bottlenecks")
    super().__post_init__()

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch height width channels"], *, train: bool
  ) -> Float[Array, "batch {self.num_classes}"]:
    """Returns float32 logits of images; `train` takes the batch's own statistics."""
    conv = partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=_kernel_init)
    norm = partial(
      nn.BatchNorm,
      use_running_average=not train,
      momentum=0.9,
      epsilon=1e-5,
      dtype=self.dtype,
      axis_name=self.axis_name if train else None,
    )
    x = jnp.asarray(images, self.dtype)
    if self.stem == "imagenet":
      x = conv(self.width, (7, 7), 2, padding=3, name="stem_conv")(x)
    else:
      x = conv(self.width, (3, 3), padding=1, name="stem_conv")(x)
    x = sow_tap(self, "stem", nn.relu(norm(name="stem_norm")(x)))
    if self.stem == "imagenet":
      x = max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
    block = self.block
    if self.stride_in_1x1:
      block = partial(block, stride_in_1x1=True)
    blocks_before, num_blocks = 0, sum(self.stage_sizes)
    for stage, size in enumerate(self.stage_sizes, start=1):
      for index in range(size):
        x = block(
          features=self.width * 2 ** (stage - 1),
          strides=2 if stage > 1 and index == 0 else 1,
          conv=_explicitly_padded(conv),
          norm=norm,
          drop_path=_drop_path(
            self.drop_path_rate * blocks_before / max(num_blocks - 1, 1), train
          ),
          name=f"stage{stage}_block{index + 1}",
        )(x)
        blocks_before += 1
      x = sow_tap(self, f"stage{stage}", x)
    x = sow_tap(self, "features", jnp.mean(x, axis=(1, 2)))
    x = nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x)
    return x.astype(jnp.float32)


def _drop_path(rate, train):
  """Applies stochastic depth: the branch of an image is left out whole."""
  return lambda x: nn.Dropout(rate, broadcast_dims=(1, 2, 3))(
    x, deterministic=not train
  )


def _explicitly_padded(conv):
  """Pads (k − 1) / 2 on both sides; "SAME" would shift a convolution of stride 2."""

  def padded(features, kernel_size, strides=1, **kwargs):
    padding = [((k - 1) // 2, (k - 1) // 2) for k in kernel_size]
    return conv(features, kernel_size, strides, padding=padding, **kwargs)

  return padded


VARIANTS = {
  # Of section 4.2, for small images: three stages, with the options stem="small" and
  # width=16. The shortcuts that change shape are projections.
  "resnet8": (ResNet, {"block": BasicBlock, "stage_sizes": (1, 1, 1)}),
  "resnet14": (ResNet, {"block": BasicBlock, "stage_sizes": (2, 2, 2)}),
  "resnet20": (ResNet, {"block": BasicBlock, "stage_sizes": (3, 3, 3)}),
  "resnet18": (ResNet, {"block": BasicBlock, "stage_sizes": (2, 2, 2, 2)}),
  "resnet34": (ResNet, {"block": BasicBlock, "stage_sizes": (3, 4, 6, 3)}),
  "resnet50": (ResNet, {"block": Bottleneck, "stage_sizes": (3, 4, 6, 3)}),
  "resnet101": (ResNet, {"block": Bottleneck, "stage_sizes": (3, 4, 23, 3)}),
  "resnet152": (ResNet, {"block": Bottleneck, "stage_sizes": (3, 8, 36, 3)}),
}
