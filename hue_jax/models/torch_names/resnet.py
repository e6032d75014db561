"""ResNet."""

import re

from hue_jax.models.resnet import ResNet
from hue_jax.models.torch_names.naming import Naming


def torchvision(module: ResNet) -> Naming:
  """Returns names such as `layer1.0.conv1`; timm's ResNets have the same."""
  del module
  return _name


def _name(path):
  if match := re.fullmatch(r"stage(\d+)_block(\d+)/(\w+)", path):
    stage, block, part = match.groups()
    part = {"conv_shortcut": "downsample.0", "norm_shortcut": "downsample.1"}.get(
      part, part.replace("norm", "bn")
    )
    return f"layer{stage}.{int(block) - 1}.{part}"
  return {"stem_conv": "conv1", "stem_norm": "bn1", "head": "fc"}.get(path)


LIBRARIES = {"torchvision": torchvision}
