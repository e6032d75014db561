"""DenseNet."""

import re

from hue_jax.models.densenet import DenseNet
from hue_jax.models.torch_names.naming import Naming


def torchvision(module: DenseNet) -> Naming:
  """Returns names such as `features.denseblock1.denselayer1.conv1`.

  The DenseNets of timm have the same.
  """
  outside = {
    "stem_conv": "features.conv0",
    "stem_norm": "features.norm0",
    "top_norm": f"features.norm{len(module.stage_sizes) + 1}",
    "head": "classifier",
  }

  def name(path):
    if match := re.fullmatch(r"stage(\d+)_layer(\d+)/(\w+)", path):
      return "features.denseblock{}.denselayer{}.{}".format(*match.groups())
    if match := re.fullmatch(r"transition(\d+)_(\w+)", path):
      return "features.transition{}.{}".format(*match.groups())
    return outside.get(path)

  return name


LIBRARIES = {"torchvision": torchvision}
