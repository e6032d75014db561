"""ConvNeXt-T.

Source: Liu et al., "A ConvNet for the 2020s", CVPR 2022.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from hue_jax.models.convolution import Conv
from hue_jax.models.image_size import check_image_size
from hue_jax.models.taps import sow_tap
from hue_jax.settings import check, integer, number

_kernel_init = nn.initializers.truncated_normal(0.02)


class Block(nn.Module):
  """A depthwise 7×7 convolution and two dense layers beside a shortcut."""

  drop_path_rate: float
  layer_scale: float
  dtype: Any

  @nn.compact
  def __call__(self, x, *, train):
    width = x.shape[-1]
    new = Conv(
      width,
      (7, 7),
      padding=3,
      feature_group_count=width,
      dtype=self.dtype,
      kernel_init=_kernel_init,
      name="depthwise_conv",
    )(x)
    new = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="norm")(new)
    dense = partial(nn.Dense, dtype=self.dtype, kernel_init=_kernel_init)
    new = nn.gelu(dense(4 * width, name="hidden1")(new), approximate=False)
    new = dense(width, name="hidden2")(new)
    scale = self.param(
      "layer_scale", nn.initializers.constant(self.layer_scale), (width,)
    )
    # Stochastic depth: the block of an image is left out whole.
    drop = nn.Dropout(self.drop_path_rate, broadcast_dims=(1, 2, 3))
    return x + drop(scale.astype(self.dtype) * new, deterministic=not train)


class ConvNeXt(nn.Module):
  """ConvNeXt with the taps stem, stage1 … stage4 and features.

  `features` is the mean over the positions of stage4 after a layer norm.

  Attributes:
    num_classes: The outputs of the head.
    stage_sizes: The number of blocks of each stage.
    width: The channels of the first stage; doubled at every stage.
    patch_size: The side of the squares of pixels that the stem makes positions of; 1
      or 2 for small images.
    layer_scale: The initial factor of each block's channels.
    drop_path_rate: The largest rate at which blocks are left out, in training: block
      i = 0, 1, … of n is left out at this rate times i / (n − 1).
    dtype: The type of the computation (bfloat16 for half precision); parameters and
      logits are float32.
    axis_name: A name without effect, for there is no batch norm.
  """

  num_classes: int
  stage_sizes: Sequence[int]
  width: int = integer(at_least=1)
  patch_size: int = integer(4, at_least=1)
  layer_scale: int | float = number(1e-6)
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
    """Returns float32 logits of the images."""
    patch, num_stages = self.patch_size, len(self.stage_sizes)
    check_image_size("ConvNeXt", images.shape, at_least=patch * 2 ** (num_stages - 1))
    norm = partial(nn.LayerNorm, epsilon=1e-6, dtype=self.dtype)
    conv = partial(Conv, padding="VALID", dtype=self.dtype, kernel_init=_kernel_init)
    x = jnp.asarray(images, self.dtype)
    x = conv(self.width, (patch, patch), patch, name="stem_conv")(x)
    x = sow_tap(self, "stem", norm(name="stem_norm")(x))
    blocks_before, num_blocks = 0, sum(self.stage_sizes)
    for stage, size in enumerate(self.stage_sizes, start=1):
      if stage > 1:
        x = norm(name=f"transition{stage - 1}_norm")(x)
        width = self.width * 2 ** (stage - 1)
        x = conv(width, (2, 2), 2, name=f"transition{stage - 1}_conv")(x)
      for index in range(1, size + 1):
        x = Block(
          self.drop_path_rate * blocks_before / max(num_blocks - 1, 1),
          self.layer_scale,
          self.dtype,
          name=f"stage{stage}_block{index}",
        )(x, train=train)
        blocks_before += 1
      x = sow_tap(self, f"stage{stage}", x)
    x = norm(name="top_norm")(jnp.mean(x, axis=(1, 2)))
    x = sow_tap(self, "features", x)
    x = nn.Dense(
      self.num_classes, dtype=self.dtype, kernel_init=_kernel_init, name="head"
    )(x)
    return x.astype(jnp.float32)


VARIANTS = {
  "convnext_t": (ConvNeXt, {"stage_sizes": (3, 3, 9, 3), "width": 96}),
}
