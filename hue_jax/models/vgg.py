"""VGG-11, 13, 16 and 19, with and without batch norm.

The layout is torchvision's: features are pooled to 7 × 7 for images of any size, and
convolutions have a bias also beside batch norm.

Source: Simonyan and Zisserman, "Very Deep Convolutional Networks for Large-Scale Image
Recognition", ICLR 2015.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hue_jax.models.convolution import Conv
from hue_jax.models.image_size import check_image_size
from hue_jax.models.pooling import max_pool
from hue_jax.models.taps import sow_tap
from hue_jax.settings import check, flag, integer, number

_kernel_init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
_dense_init = nn.initializers.normal(0.01)

_POOLED_SIDE = 7


class VGG(nn.Module):
  """VGG with the taps stage1 … stage5 and features.

  A stage is handed out before its pooling, that is at the resolution of its
  convolutions: stage1 at that of the image, stage5 at a sixteenth of it.

  Attributes:
    num_classes: The outputs of the head.
    stage_sizes: The number of convolutions of each stage.
    batch_norm: Whether each convolution is normalized.
    width: The channels of the first stage; doubled at every stage up to eight times.
    hidden: The width of the two dense layers before the head; with 0 the head looks at
      the mean over positions instead, as is usual for small images.
    dropout_rate: The dropout of these two layers, in training.
    dtype: The type of the computation (bfloat16 for half precision); parameters,
      batch statistics and logits are float32.
    axis_name: The mapped axis over which batch norm takes its statistics; None for each
      device's own.
  """

  num_classes: int
  stage_sizes: Sequence[int]
  batch_norm: bool = flag(False)
  width: int = integer(64, at_least=1)
  hidden: int = integer(4096, at_least=0)
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
    check_image_size("VGG", images.shape, at_least=2 ** len(self.stage_sizes))
    norm = partial(
      nn.BatchNorm,
      use_running_average=not train,
      momentum=0.9,
      epsilon=1e-5,
      dtype=self.dtype,
      axis_name=self.axis_name if train else None,
    )
    x = jnp.asarray(images, self.dtype)
    for stage, size in enumerate(self.stage_sizes, start=1):
      for index in range(1, size + 1):
        x = Conv(
          self.width * min(2 ** (stage - 1), 8),
          (3, 3),
          padding=1,
          dtype=self.dtype,
          kernel_init=_kernel_init,
          name=f"stage{stage}_conv{index}",
        )(x)
        if self.batch_norm:
          x = norm(name=f"stage{stage}_norm{index}")(x)
        x = nn.relu(x)
      x = max_pool(sow_tap(self, f"stage{stage}", x), (2, 2), (2, 2))
    x = sow_tap(self, "features", self._features(x, train))
    x = nn.Dense(
      self.num_classes, dtype=self.dtype, kernel_init=_dense_init, name="head"
    )(self._dropped(x, train))
    return x.astype(jnp.float32)

  def _features(self, x, train):
    if not self.hidden:
      return jnp.mean(x, axis=(1, 2))
    x = adaptive_average_pool(x, _POOLED_SIDE)
    x = x.reshape(x.shape[0], -1)
    for index in (1, 2):
      x = nn.Dense(
        self.hidden, dtype=self.dtype, kernel_init=_dense_init, name=f"hidden{index}"
      )(x)
      x = nn.relu(x)
      x = self._dropped(x, train) if index == 1 else x
    return x

  def _dropped(self, x, train):
    if not self.hidden:
      return x
    return nn.Dropout(self.dropout_rate)(x, deterministic=not train)


def adaptive_average_pool(
  x: Float[Array, "batch height width channels"], side: int
) -> Float[Array, "batch {side} {side} channels"]:
  """Takes means over `side` × `side` windows that cover the layer, as in PyTorch.

  Window i of n reaches from ⌊i · length / n⌋ to ⌈(i + 1) · length / n⌉; windows overlap
  where n does not divide the length, and repeat where it is larger.

  Args:
    x: The layer.
    side: The rows and columns of the result.

  Returns:
    The means.
  """
  rows, columns = (
    jnp.asarray(_window_means(length, side), x.dtype) for length in x.shape[1:3]
  )
  return jnp.einsum("bhwc,ih,jw->bijc", x, rows, columns)


def _window_means(length, count):
  """Returns a matrix [count, length] whose row i takes the mean over window i."""
  steps = np.arange(count)
  starts = steps * length // count
  ends = -(-(steps + 1) * length // count)
  places = np.arange(length)
  inside = (places >= starts[:, None]) & (places < ends[:, None])
  return inside / inside.sum(axis=1, keepdims=True)


_SIZES = {
  "vgg11": (1, 1, 2, 2, 2),
  "vgg13": (2, 2, 2, 2, 2),
  "vgg16": (2, 2, 3, 3, 3),
  "vgg19": (2, 2, 4, 4, 4),
}
VARIANTS = {name: (VGG, {"stage_sizes": sizes}) for name, sizes in _SIZES.items()} | {
  f"{name}_bn": (VGG, {"stage_sizes": sizes, "batch_norm": True})
  for name, sizes in _SIZES.items()
}
