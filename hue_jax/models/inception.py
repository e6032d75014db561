"""Inception-v3, without its auxiliary head.

The layout is torchvision's. The auxiliary head of a published state dict, which only
training looks at, is passed over.

Source: Szegedy et al., "Rethinking the Inception Architecture for Computer Vision",
CVPR 2016.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from hue_jax.models.convolution import Conv
from hue_jax.models.image_size import check_image_size
from hue_jax.models.pooling import max_pool
from hue_jax.models.taps import sow_tap
from hue_jax.settings import check, flag, number

_kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")

_LEAST_IMAGE_SIZE = 75


class ConvNorm(nn.Module):
  """A convolution, batch norm and ReLU."""

  features: int
  kernel_size: tuple[int, int]
  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module]
  strides: int = 1
  padded: bool = True

  @nn.compact
  def __call__(self, x):
    padding = [
      ((k - 1) // 2, (k - 1) // 2) if self.padded else (0, 0) for k in self.kernel_size
    ]
    x = self.conv(
      self.features, self.kernel_size, self.strides, padding=padding, name="conv"
    )(x)
    return nn.relu(self.norm(name="norm")(x))


class Block(nn.Module):
  """What the five kinds of blocks share: branches beside each other."""

  layer: Callable[..., nn.Module]
  average: Callable

  def chain(self, x, name, *layers, first=1):
    """Applies layers (features, height, width of the kernel) one after the other."""
    for index, (features, *kernel_size) in enumerate(layers, start=first):
      x = self.layer(features, tuple(kernel_size), name=f"{name}_{index}")(x)
    return x

  def single(self, x, name, features):
    """Applies one 1×1 convolution."""
    return self.layer(features, (1, 1), name=name)(x)


class BlockA(Block):
  """Branches of 1×1, 5×5 and twice 3×3."""

  pooled_features: int = 64

  @nn.compact
  def __call__(self, x):
    branches = [
      self.single(x, "branch1x1", 64),
      self.chain(x, "branch5x5", (48, 1, 1), (64, 5, 5)),
      self.chain(x, "branch3x3dbl", (64, 1, 1), (96, 3, 3), (96, 3, 3)),
      self.single(self.average(x), "branch_pool", self.pooled_features),
    ]
    return jnp.concatenate(branches, axis=-1)


class BlockB(Block):
  """Halves the resolution, by 3×3, twice 3×3, and max pooling."""

  @nn.compact
  def __call__(self, x):
    halved = {"strides": 2, "padded": False}
    single = self.layer(384, (3, 3), name="branch3x3", **halved)(x)
    double = self.chain(x, "branch3x3dbl", (64, 1, 1), (96, 3, 3))
    double = self.layer(96, (3, 3), name="branch3x3dbl_3", **halved)(double)
    pooled = max_pool(x, (3, 3), (2, 2))
    return jnp.concatenate([single, double, pooled], axis=-1)


class BlockC(Block):
  """Branches of 1×1, and of 7×7 once and twice, each as 1×7 and 7×1."""

  inner_features: int = 128

  @nn.compact
  def __call__(self, x):
    inner = self.inner_features
    branches = [
      self.single(x, "branch1x1", 192),
      self.chain(x, "branch7x7", (inner, 1, 1), (inner, 1, 7), (192, 7, 1)),
      self.chain(
        x,
        "branch7x7dbl",
        (inner, 1, 1),
        (inner, 7, 1),
        (inner, 1, 7),
        (inner, 7, 1),
        (192, 1, 7),
      ),
      self.single(self.average(x), "branch_pool", 192),
    ]
    return jnp.concatenate(branches, axis=-1)


class BlockD(Block):
  """Halves the resolution, by 3×3, 7×7 and 3×3, and max pooling."""

  @nn.compact
  def __call__(self, x):
    halved = {"strides": 2, "padded": False}
    three = self.chain(x, "branch3x3", (192, 1, 1))
    three = self.layer(320, (3, 3), name="branch3x3_2", **halved)(three)
    seven = self.chain(x, "branch7x7x3", (192, 1, 1), (192, 1, 7), (192, 7, 1))
    seven = self.layer(192, (3, 3), name="branch7x7x3_4", **halved)(seven)
    pooled = max_pool(x, (3, 3), (2, 2))
    return jnp.concatenate([three, seven, pooled], axis=-1)


class BlockE(Block):
  """Branches of 1×1 and of 3×3, these split into 1×3 beside 3×1."""

  @nn.compact
  def __call__(self, x):
    branches = [self.single(x, "branch1x1", 320)]
    single = self.chain(x, "branch3x3", (384, 1, 1))
    branches += self._split(single, "branch3x3_2")
    double = self.chain(x, "branch3x3dbl", (448, 1, 1), (384, 3, 3))
    branches += self._split(double, "branch3x3dbl_3")
    branches.append(self.single(self.average(x), "branch_pool", 192))
    return jnp.concatenate(branches, axis=-1)

  def _split(self, x, name):
    return [
      self.layer(384, (1, 3), name=f"{name}a")(x),
      self.layer(384, (3, 1), name=f"{name}b")(x),
    ]


class InceptionV3(nn.Module):
  """Inception-v3 with the taps stem, stage1, stage2, stage3 and features.

  At 299 pixels the stem has 35 × 35 positions, and so has stage1; stage2 has 17 × 17
  and stage3 8 × 8.

  Attributes:
    num_classes: The outputs of the head.
    count_padding: Whether zeros beyond the edge count in the blocks' average pooling,
      as in PyTorch; TensorFlow leaves them out.
    dropout_rate: The dropout of the features, in training.
    dtype: The type of the computation (bfloat16 for half precision); parameters,
      batch statistics and logits are float32.
    axis_name: The mapped axis over which batch norm takes its statistics; None for each
      device's own.
  """

  num_classes: int
  count_padding: bool = flag(True)
  dropout_rate: int | float = number(0.5, at_least=0, below=1)
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
    check_image_size("inception_v3", images.shape, at_least=_LEAST_IMAGE_SIZE)
    norm = partial(
      nn.BatchNorm,
      use_running_average=not train,
      momentum=0.9,
      epsilon=1e-3,
      dtype=self.dtype,
      axis_name=self.axis_name if train else None,
    )
    conv = partial(Conv, use_bias=False, dtype=self.dtype, kernel_init=_kernel_init)
    layer = partial(ConvNorm, conv=conv, norm=norm)
    average = partial(
      nn.avg_pool,
      window_shape=(3, 3),
      padding=((1, 1), (1, 1)),
      count_include_pad=self.count_padding,
    )
    x = jnp.asarray(images, self.dtype)
    x = layer(32, (3, 3), strides=2, padded=False, name="stem_1a")(x)
    x = layer(32, (3, 3), padded=False, name="stem_2a")(x)
    x = layer(64, (3, 3), name="stem_2b")(x)
    x = max_pool(x, (3, 3), (2, 2))
    x = layer(80, (1, 1), name="stem_3b")(x)
    x = layer(192, (3, 3), padded=False, name="stem_4a")(x)
    x = sow_tap(self, "stem", max_pool(x, (3, 3), (2, 2)))
    for stage, blocks in enumerate(_STAGES, start=1):
      for index, (block, fields) in enumerate(blocks, start=1):
        name = f"stage{stage}_block{index}"
        x = block(layer=layer, average=average, name=name, **fields)(x)
      x = sow_tap(self, f"stage{stage}", x)
    x = sow_tap(self, "features", jnp.mean(x, axis=(1, 2)))
    x = nn.Dropout(self.dropout_rate)(x, deterministic=not train)
    x = nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x)
    return x.astype(jnp.float32)


_STAGES = (
  (
    (BlockA, {"pooled_features": 32}),
    (BlockA, {"pooled_features": 64}),
    (BlockA, {"pooled_features": 64}),
  ),
  (
    (BlockB, {}),
    (BlockC, {"inner_features": 128}),
    (BlockC, {"inner_features": 160}),
    (BlockC, {"inner_features": 160}),
    (BlockC, {"inner_features": 192}),
  ),
  ((BlockD, {}), (BlockE, {}), (BlockE, {})),
)

VARIANTS = {"inception_v3": (InceptionV3, {})}
