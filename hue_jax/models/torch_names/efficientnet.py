"""EfficientNet, and its Lite variants."""

import re

import numpy as np

from hue_jax.models.efficientnet import EfficientNet
from hue_jax.models.torch_names.naming import Naming


def lukemelas(module: EfficientNet) -> Naming:
  """Returns names such as `_blocks.0._depthwise_conv`.

  They are those of the package with the published Lite weights.
  """
  first_block = np.cumsum([0, *module.stage_sizes])
  parts = {
    "expand_conv": "_expand_conv",
    "expand_norm": "_bn0",
    "depthwise_conv": "_depthwise_conv",
    "depthwise_norm": "_bn1",
    "squeeze/reduce": "_se_reduce",
    "squeeze/expand": "_se_expand",
    "project_conv": "_project_conv",
    "project_norm": "_bn2",
  }
  outside = {
    "stem_conv": "_conv_stem",
    "stem_norm": "_bn0",
    "top_conv": "_conv_head",
    "top_norm": "_bn1",
    "head": "_fc",
  }

  def name(path):
    if block := _block(path):
      stage, index, part = block
      number = first_block[stage - 1] + index - 1
      return f"_blocks.{number}.{parts[part]}" if part in parts else None
    return outside.get(path)

  return name


def torchvision(module: EfficientNet) -> Naming:
  """Returns names such as `features.1.0.block.0.0`.

  The convolutions of torchvision are padded symmetrically.
  """
  outside = {
    "stem_conv": "features.0.0",
    "stem_norm": "features.0.1",
    "top_conv": "features.8.0",
    "top_norm": "features.8.1",
    "head": "classifier.1",
  }

  def name(path):
    if block := _block(path):
      stage, index, part = block
      parts = ["expand_", "depthwise_", "squeeze", "project_"]
      if stage == 1:  # of the first stage no block expands
        parts = parts[1:]
      if module.lite:
        parts.remove("squeeze")
      for place, start in enumerate(parts):
        if part.startswith(start):
          leaf = _TORCHVISION_LEAVES.get(part.removeprefix(start))
          return leaf and f"features.{stage}.{index - 1}.block.{place}.{leaf}"
    return outside.get(path)

  return name


_TORCHVISION_LEAVES = {"conv": "0", "norm": "1", "/reduce": "fc1", "/expand": "fc2"}


def timm(module: EfficientNet) -> Naming:
  """Returns names such as `blocks.0.0.conv_dw`.

  They are those of `efficientnet_*` and `tf_efficientnet_*`.
  """
  del module
  with_expansion = {
    "expand_conv": "conv_pw",
    "expand_norm": "bn1",
    "depthwise_conv": "conv_dw",
    "depthwise_norm": "bn2",
    "project_conv": "conv_pwl",
    "project_norm": "bn3",
  }
  without_expansion = {
    "depthwise_conv": "conv_dw",
    "depthwise_norm": "bn1",
    "project_conv": "conv_pw",
    "project_norm": "bn2",
  }
  squeeze = {
    "squeeze/reduce": "se.conv_reduce",
    "squeeze/expand": "se.conv_expand",
  }
  outside = {
    "stem_conv": "conv_stem",
    "stem_norm": "bn1",
    "top_conv": "conv_head",
    "top_norm": "bn2",
    "head": "classifier",
  }

  def name(path):
    if block := _block(path):
      stage, index, part = block
      parts = squeeze | (without_expansion if stage == 1 else with_expansion)
      return f"blocks.{stage - 1}.{index - 1}.{parts[part]}" if part in parts else None
    return outside.get(path)

  return name


def _block(path):
  """Returns stage, block (from 1 on) and part of the block; None outside of blocks."""
  match = re.fullmatch(r"stage(\d+)_block(\d+)/(.+)", path)
  return match and (int(match[1]), int(match[2]), match[3])


LIBRARIES = {"lukemelas": lukemelas, "torchvision": torchvision, "timm": timm}
