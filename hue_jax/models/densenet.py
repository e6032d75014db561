"""DenseNet-121 and 169, and a stem for small images.

The layout is torchvision's: batch norm and ReLU before each convolution.

Source: Huang et al., "Densely Connected Convolutional Networks", CVPR 2017.
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from hue_jax.models.convolution import Conv
from hue_jax.models.image_size import check_image_size
from hue_jax.models.pooling import max_pool
from hue_jax.models.taps import sow_tap
from hue_jax.settings import check, choice, integer, number

_kernel_init = nn.initializers.variance_scaling(2.0, "fan_in", "normal")

STEMS = ("imagenet", "small")

_BOTTLENECK = 4  # channels between the convolutions of a layer, over the growth rate


class DenseLayer(nn.Module):
  """A 1×1 and a 3×3 convolution, whose result is put beside what came in."""

  growth_rate: int
  dropout_rate: float
  conv: Callable[..., nn.Module]
  norm: Callable[..., nn.Module]

  @nn.compact
  def __call__(self, x, *, train):
    new = nn.relu(self.norm(name="norm1")(x))
    new = self.conv(_BOTTLENECK * self.growth_rate, (1, 1), name="conv1")(new)
    new = nn.relu(self.norm(name="norm2")(new))
    new = self.conv(self.growth_rate, (3, 3), padding=1, name="conv2")(new)
    new = nn.Dropout(self.dropout_rate)(new, deterministic=not train)
    return jnp.concatenate([x, new], axis=-1)


class DenseNet(nn.Module):
  """A densely connected network with the taps stem, stage1 … stage4 and features.

  A stage is a dense block; the last is handed out after the final batch norm and ReLU,
  so that `features` is its mean.

  Attributes:
    num_classes: The outputs of the head.
    stage_sizes: The number of layers of each dense block.
    growth_rate: The channels that a layer adds; the stem has twice as many.
    stem: The stem: "imagenet" (7×7 convolution of stride 2 and max pooling of stride
      2), or "small" (3×3 convolution of stride 1).
    dropout_rate: The dropout of what each layer adds, in training.
    dtype: The type of the computation (bfloat16 for half precision); parameters,
      batch statistics and logits are float32.
    axis_name: The mapped axis over which batch norm takes its statistics; None for each
      device's own.
  """

  num_classes: int
  stage_sizes: Sequence[int]
  growth_rate: int = integer(32, at_least=1)
  stem: str = choice("imagenet", STEMS)
  dropout_rate: int | float = number(0.0, at_least=0, below=1)
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
    halvings = len(self.stage_sizes) - 1
    least = 2**halvings if self.stem == "small" else 2 ** (halvings + 2) - 3
    check_image_size("DenseNet", images.shape, at_least=least)
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
      x = conv(2 * self.growth_rate, (7, 7), 2, padding=3, name="stem_conv")(x)
    else:
      x = conv(2 * self.growth_rate, (3, 3), padding=1, name="stem_conv")(x)
    x = sow_tap(self, "stem", nn.relu(norm(name="stem_norm")(x)))
    if self.stem == "imagenet":
      x = max_pool(x, (3, 3), (2, 2), padding=((1, 1), (1, 1)))
    for stage, size in enumerate(self.stage_sizes, start=1):
      if stage > 1:
        x = nn.relu(norm(name=f"transition{stage - 1}_norm")(x))
        x = conv(x.shape[-1] // 2, (1, 1), name=f"transition{stage - 1}_conv")(x)
        x = nn.avg_pool(x, (2, 2), (2, 2))
      for index in range(1, size + 1):
        x = DenseLayer(
          self.growth_rate,
          self.dropout_rate,
          conv=conv,
          norm=norm,
          name=f"stage{stage}_layer{index}",
        )(x, train=train)
      if stage == len(self.stage_sizes):
        x = nn.relu(norm(name="top_norm")(x))
      x = sow_tap(self, f"stage{stage}", x)
    x = sow_tap(self, "features", jnp.mean(x, axis=(1, 2)))
    x = nn.Dense(self.num_classes, dtype=self.dtype, name="head")(x)
    return x.astype(jnp.float32)


VARIANTS = {
  "densenet121": (DenseNet, {"stage_sizes": (6, 12, 24, 16)}),
  "densenet169": (DenseNet, {"stage_sizes": (6, 12, 32, 32)}),
}
