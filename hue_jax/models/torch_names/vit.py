"""Vision transformer."""

import re

import numpy as np

from hue_jax.models.torch_names.naming import Naming, TorchArray
from hue_jax.models.vit import ViT


def timm(module: ViT) -> Naming:
  """Returns names such as `blocks.0.attn.qkv` of `vit_*_patch16_224`."""
  parts = {
    "norm1": "norm1",
    "qkv": "attn.qkv",
    "projection": "attn.proj",
    "norm2": "norm2",
    "hidden1": "mlp.fc1",
    "hidden2": "mlp.fc2",
  }
  outside = {
    "class_token": "cls_token",
    "position_embedding": "pos_embed",
    "stem_conv": "patch_embed.proj",
    "top_norm": "norm" if module.pooling == "token" else "fc_norm",
    "head": "head",
  }

  def name(path):
    number, part = _block(module, path)
    if part in parts:
      return f"blocks.{number}.{parts[part]}"
    return outside.get(path)

  return name


def torchvision(module: ViT) -> Naming:
  """Returns names such as `encoder.layers.encoder_layer_0.self_attention`.

  They are those of `vit_b_16`.
  """
  width = module.width
  parts = {
    "norm1": "ln_1",
    "projection": "self_attention.out_proj",
    "norm2": "ln_2",
    "hidden1": "mlp.0",
    "hidden2": "mlp.3",
  }
  outside = {
    "class_token": "class_token",
    "position_embedding": "encoder.pos_embedding",
    "stem_conv": "conv_proj",
    "top_norm": "encoder.ln",
    "head": "heads.head",
  }

  def name(path):
    number, part = _block(module, path)
    layer = f"encoder.layers.encoder_layer_{number}"
    if part == "qkv/kernel":
      shape = (3 * width, width)
      fused = f"{layer}.self_attention.in_proj_weight"
      return TorchArray(fused, shape, shape, (1, 0))
    if part == "qkv/bias":
      return f"{layer}.self_attention.in_proj_bias"
    if part in parts:
      return f"{layer}.{parts[part]}"
    return outside.get(path)

  return name


def _block(module, path):
  """Returns the number of a block from 0 on, and its part; None outside of blocks."""
  match = re.fullmatch(r"stage(\d+)_block(\d+)/(.+)", path)
  if not match:
    return None, None
  first = np.cumsum([0, *module.stage_sizes])
  return first[int(match[1]) - 1] + int(match[2]) - 1, match[3]


LIBRARIES = {"timm": timm, "torchvision": torchvision}
