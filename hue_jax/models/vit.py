"""Vision transformers ViT-Ti, S and B, and their plain form with pooled tokens.

Sources: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021; Touvron et al.,
"Training data-efficient image transformers", ICML 2021 (the sizes Ti and S); Beyer et
al., "Better plain ViT baselines for ImageNet-1k", 2022 (`pooling="mean"` and
`position_embedding="sincos2d"`).
"""

from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from hue_jax.errors import InputError, refuse
from hue_jax.models.convolution import Conv
from hue_jax.models.image_size import check_image_size
from hue_jax.models.taps import sow_tap
from hue_jax.settings import check, choice, integer, number

POOLINGS = ("token", "mean")
POSITION_EMBEDDINGS = ("learned", "sincos2d")

_NUM_STAGES = 4
_SINCOS_TEMPERATURE = 10_000.0

_kernel_init = nn.initializers.xavier_uniform()


class Block(nn.Module):
  """Self-attention and two dense layers, each beside a shortcut."""

  num_heads: int
  hidden: int
  dropout_rate: float
  drop_path_rate: float
  dtype: Any

  @nn.compact
  def __call__(self, x, *, train):
    norm = partial(nn.LayerNorm, epsilon=1e-6, dtype=self.dtype)
    dropout = partial(nn.Dropout(self.dropout_rate), deterministic=not train)
    # Stochastic depth: the branch of an image is left out whole.
    drop_path = nn.Dropout(self.drop_path_rate, broadcast_dims=(1, 2))
    attended = dropout(self._attend(norm(name="norm1")(x)))
    x = x + drop_path(attended, deterministic=not train)
    new = self._dense(self.hidden, "hidden1")(norm(name="norm2")(x))
    new = dropout(nn.gelu(new, approximate=False))
    new = dropout(self._dense(x.shape[-1], "hidden2")(new))
    return x + drop_path(new, deterministic=not train)

  def _attend(self, x):
    batch, tokens, width = x.shape
    parts = self._dense(3 * width, "qkv")(x)
    parts = parts.reshape(batch, tokens, 3, self.num_heads, width // self.num_heads)
    query, key, value = jnp.moveaxis(parts, 2, 0)
    attended = jax.nn.dot_product_attention(query, key, value)
    return self._dense(width, "projection")(attended.reshape(x.shape))

  def _dense(self, features, name):
    return nn.Dense(features, dtype=self.dtype, kernel_init=_kernel_init, name=name)


class ViT(nn.Module):
  """A vision transformer with the taps stem, stage1 … stage4 and features.

  Tokens are handed out as a grid `[batch, height / patch_size, width / patch_size,
  width]`, without the class token: stem is what the first block sees, a stage is the
  result of each quarter of the blocks.

  Attributes:
    num_classes: The outputs of the head.
    width: The channels of a token.
    depth: The number of blocks.
    num_heads: The heads of the attention.
    patch_size: The side of the square of pixels that makes a token.
    mlp_ratio: The channels between the dense layers of a block, over the width.
    pooling: The source of the features: "token", the class token; or "mean", the mean
      of all tokens, and there is no class token.
    position_embedding: The embedding: "learned", for the number of tokens at
      initialization; or "sincos2d", which takes any.
    dropout_rate: The dropout in the blocks, in training.
    drop_path_rate: The largest rate at which blocks are left out, in training: block
      i = 0, 1, … of n is left out at this rate times i / (n − 1).
    dtype: The type of the computation (bfloat16 for half precision); parameters and
      logits are float32.
    axis_name: A name without effect, for there is no batch norm.
  """

  num_classes: int
  width: int = integer(at_least=1)
  depth: int = integer(at_least=1)
  num_heads: int = integer(at_least=1)
  patch_size: int = integer(16, at_least=1)
  mlp_ratio: int = integer(4, at_least=1)
  pooling: str = choice("token", POOLINGS)
  position_embedding: str = choice("learned", POSITION_EMBEDDINGS)
  dropout_rate: int | float = number(0.0, at_least=0, below=1)
  drop_path_rate: int | float = number(0.0, at_least=0, below=1)
  dtype: Any = jnp.float32
  axis_name: str | None = None

  def __post_init__(self):
    check(self)
    if self.width % self.num_heads or self.width % 4:
      refuse(
        "width", self.width, f"a multiple of num_heads, {self.num_heads}, and of 4"
      )
    super().__post_init__()

  @nn.compact
  def __call__(
    self, images: Float[Array, "batch height width channels"], *, train: bool
  ) -> Float[Array, "batch {self.num_classes}"]:
    """Returns float32 logits of the images."""
    patch = self.patch_size
    check_image_size("ViT", images.shape, at_least=patch, multiple_of=patch)
    x = jnp.asarray(images, self.dtype)
    x = Conv(
      self.width,
      (patch, patch),
      patch,
      padding="VALID",
      dtype=self.dtype,
      kernel_init=nn.initializers.lecun_normal(),
      name="stem_conv",
    )(x)
    grid = x.shape[1:3]
    x = self._with_positions(x.reshape(x.shape[0], -1, self.width), grid)
    sow_tap(self, "stem", self._as_grid(x, grid))
    blocks_before = 0
    for stage, size in enumerate(self.stage_sizes, start=1):
      for index in range(1, size + 1):
        x = Block(
          self.num_heads,
          self.mlp_ratio * self.width,
          self.dropout_rate,
          self.drop_path_rate * blocks_before / max(self.depth - 1, 1),
          self.dtype,
          name=f"stage{stage}_block{index}",
        )(x, train=train)
        blocks_before += 1
      sow_tap(self, f"stage{stage}", self._as_grid(x, grid))
    x = nn.LayerNorm(epsilon=1e-6, dtype=self.dtype, name="top_norm")(x)
    x = x[:, 0] if self.pooling == "token" else jnp.mean(x, axis=1)
    x = sow_tap(self, "features", x)
    x = nn.Dense(
      self.num_classes,
      dtype=self.dtype,
      kernel_init=nn.initializers.normal(0.02),
      name="head",
    )(x)
    return x.astype(jnp.float32)

  @property
  def stage_sizes(self) -> tuple[int, ...]:
    """The number of blocks of each quarter."""
    return tuple(len(part) for part in np.array_split(range(self.depth), _NUM_STAGES))

  def _with_positions(self, x, grid):
    """Returns the tokens, that of the class before them where there is one, placed."""
    has_token = self.pooling == "token"
    if has_token:
      token = self.param("class_token", nn.initializers.zeros, (1, 1, self.width))
      token = jnp.broadcast_to(token, (x.shape[0], 1, self.width)).astype(self.dtype)
      x = jnp.concatenate([token, x], axis=1)
    if self.position_embedding == "sincos2d":
      positions = jnp.asarray(_sincos2d(*grid, self.width), self.dtype)
      return x.at[:, has_token:].add(positions)
    shape = (1, x.shape[1], self.width)
    known = self.get_variable("params", "position_embedding")
    if known is not None and known.shape != shape:
      raise InputError(
        f"images of {grid[0]} × {grid[1]} patches make {shape[1]} tokens, and the "
        f"learned position embedding has {known.shape[1]}; use the image size of the "
        'training, or position_embedding="sincos2d".'
      )
    positions = self.param("position_embedding", nn.initializers.normal(0.02), shape)
    return x + positions.astype(self.dtype)

  def _as_grid(self, x, grid):
    tokens = x[:, 1:] if self.pooling == "token" else x
    return tokens.reshape(x.shape[0], *grid, self.width)


def _sincos2d(height, width, features):
  """Returns sines and cosines of x and y by frequency, [height · width, features]."""
  rows, columns = np.mgrid[:height, :width]
  quarter = features // 4
  powers = np.arange(quarter) / max(quarter - 1, 1)
  frequencies = _SINCOS_TEMPERATURE**-powers
  x = columns.reshape(-1, 1) * frequencies
  y = rows.reshape(-1, 1) * frequencies
  return np.concatenate([np.sin(x), np.cos(x), np.sin(y), np.cos(y)], axis=1)


VARIANTS = {
  "vit_ti16": (ViT, {"width": 192, "depth": 12, "num_heads": 3}),
  "vit_s16": (ViT, {"width": 384, "depth": 12, "num_heads": 6}),
  "vit_b16": (ViT, {"width": 768, "depth": 12, "num_heads": 12}),
}
