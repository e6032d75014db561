"""Inception-v3."""

import re

from hue_jax.models.inception import InceptionV3
from hue_jax.models.torch_names.naming import Naming

IGNORED = ("AuxLogits.",)  # the head that only training looks at

_BLOCKS = {
  "1": ("5b", "5c", "5d"),
  "2": ("6a", "6b", "6c", "6d", "6e"),
  "3": ("7a", "7b", "7c"),
}


def torchvision(module: InceptionV3) -> Naming:
  """Returns names such as `Mixed_5b.branch1x1.conv`."""
  del module
  return _name


def _name(path):
  if path == "head":
    return "fc"
  if match := re.fullmatch(r"stem_(\w\w)/(conv|norm)", path):
    size = "1x1" if match[1] == "3b" else "3x3"
    return f"Conv2d_{match[1]}_{size}.{_LEAF[match[2]]}"
  if match := re.fullmatch(r"stage(\d)_block(\d)/(\w+)/(conv|norm)", path):
    block = _BLOCKS[match[1]][int(match[2]) - 1]
    return f"Mixed_{block}.{match[3]}.{_LEAF[match[4]]}"
  return None


_LEAF = {"conv": "conv", "norm": "bn"}

LIBRARIES = {"torchvision": torchvision}
