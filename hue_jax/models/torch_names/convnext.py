"""ConvNeXt."""

import re

from hue_jax.models.convnext import ConvNeXt
from hue_jax.models.torch_names.naming import Naming, TorchArray


def torchvision(module: ConvNeXt) -> Naming:
  """Returns names such as `features.1.0.block.0`."""
  parts = {"depthwise_conv": 0, "norm": 2, "hidden1": 3, "hidden2": 5}
  outside = {
    "stem_conv": "features.0.0",
    "stem_norm": "features.0.1",
    "top_norm": "classifier.0",
    "head": "classifier.2",
  }

  def name(path):
    stage, index, part = _block(path)
    block = f"features.{2 * stage - 1}.{index - 1}"
    if part == "layer_scale":
      width = module.width * 2 ** (stage - 1)
      shape = (width, 1, 1)
      return TorchArray(f"{block}.layer_scale", shape, shape, (0, 1, 2))
    if part in parts:
      return f"{block}.block.{parts[part]}"
    if match := re.fullmatch(r"transition(\d+)_(norm|conv)", path):
      return f"features.{2 * int(match[1])}.{('norm', 'conv').index(match[2])}"
    return outside.get(path)

  return name


def timm(module: ConvNeXt) -> Naming:
  """Returns names such as `stages.0.blocks.0.conv_dw`."""
  del module
  parts = {
    "depthwise_conv": "conv_dw",
    "norm": "norm",
    "hidden1": "mlp.fc1",
    "hidden2": "mlp.fc2",
    "layer_scale": "gamma",
  }
  outside = {
    "stem_conv": "stem.0",
    "stem_norm": "stem.1",
    "top_norm": "head.norm",
    "head": "head.fc",
  }

  def name(path):
    stage, index, part = _block(path)
    if part in parts:
      return f"stages.{stage - 1}.blocks.{index - 1}.{parts[part]}"
    if match := re.fullmatch(r"transition(\d+)_(norm|conv)", path):
      place = ("norm", "conv").index(match[2])
      return f"stages.{match[1]}.downsample.{place}"
    return outside.get(path)

  return name


def _block(path):
  """Returns stage, block (from 1 on) and part of the block; zeros outside of blocks."""
  match = re.fullmatch(r"stage(\d+)_block(\d+)/(.+)", path)
  return (int(match[1]), int(match[2]), match[3]) if match else (0, 0, "")


LIBRARIES = {"torchvision": torchvision, "timm": timm}
