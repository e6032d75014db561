"""EfficientNet."""

import re

import numpy as np

from hue_jax.models.efficientnet_lite import EfficientNetLite
from hue_jax.models.torch_names.naming import Naming

_BLOCK_PARTS = {
  "expand_conv": "_expand_conv",
  "expand_norm": "_bn0",
  "depthwise_conv": "_depthwise_conv",
  "depthwise_norm": "_bn1",
  "project_conv": "_project_conv",
  "project_norm": "_bn2",
}
_OUTSIDE = {
  "stem_conv": "_conv_stem",
  "stem_norm": "_bn0",
  "top_conv": "_conv_head",
  "top_norm": "_bn1",
  "head": "_fc",
}


def lukemelas(module: EfficientNetLite) -> Naming:
  """`_blocks.0._depthwise_conv`, …, of the package with the published Lite weights."""
  first_block = np.cumsum([0, *module.stage_sizes])

  def name(path):
    if match := re.fullmatch(r"stage(\d+)_block(\d+)/(\w+)", path):
      stage, block, part = match.groups()
      number = first_block[int(stage) - 1] + int(block) - 1
      return f"_blocks.{number}.{_BLOCK_PARTS[part]}"
    return _OUTSIDE.get(path)

  return name


LIBRARIES = {"lukemelas": lukemelas}
