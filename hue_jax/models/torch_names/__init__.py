"""How PyTorch's libraries name the arrays of each network, one file an architecture.

Each file has `LIBRARIES`: library → a function of the Flax module that returns its
`Naming`, and may have `IGNORED`: prefixes of arrays for which Flax has no place.
"""

from types import ModuleType

import flax.linen as nn

from hue_jax.errors import InputError
from hue_jax.models.convnext import ConvNeXt
from hue_jax.models.densenet import DenseNet
from hue_jax.models.efficientnet import EfficientNet
from hue_jax.models.inception import InceptionV3
from hue_jax.models.resnet import ResNet
from hue_jax.models.torch_names import (
  convnext,
  densenet,
  efficientnet,
  inception,
  resnet,
  vgg,
  vit,
)
from hue_jax.models.vgg import VGG
from hue_jax.models.vit import ViT

_TABLES = {
  ResNet: resnet,
  EfficientNet: efficientnet,
  VGG: vgg,
  DenseNet: densenet,
  InceptionV3: inception,
  ViT: vit,
  ConvNeXt: convnext,
}


def names_of(module: nn.Module) -> ModuleType:
  """Returns the names of a network's architecture.

  Args:
    module: A network of `create_model`.

  Returns:
    The module of the names, one of the files beside this.

  Raises:
    InputError: If the architecture is not in PyTorch's libraries.
  """
  if type(module) not in _TABLES:
    known = ", ".join(kind.__name__ for kind in _TABLES)
    raise InputError(
      f"networks of {type(module).__name__} have no PyTorch names here; those of "
      f"{known} have."
    )
  return _TABLES[type(module)]
