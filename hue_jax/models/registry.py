"""The table of networks."""

from collections.abc import Iterable
from typing import Any

import flax.linen as nn
import jax.numpy as jnp

from hue_jax.errors import check_integer, check_name, check_not_taken
from hue_jax.models import (
  convnext,
  densenet,
  efficientnet,
  inception,
  resnet,
  vgg,
  vit,
)
from hue_jax.settings import checked

_MODELS = {
  **resnet.VARIANTS,
  **efficientnet.VARIANTS,
  **vgg.VARIANTS,
  **densenet.VARIANTS,
  **inception.VARIANTS,
  **vit.VARIANTS,
  **convnext.VARIANTS,
}


def model_names() -> tuple[str, ...]:
  """Returns the names that `create_model` takes."""
  return tuple(_MODELS)


def register_model(name: str, module: type[nn.Module], **arguments) -> None:
  """Makes a network known by a name, as a file of a configuration may do.

  Args:
    name: The name; one that is there is replaced, if it is of a module of that name.
    module: A Flax module of the fields `num_classes`, `dtype` and `axis_name`, which
      hands out its layers by `sow_tap`. Its other fields are the options that a user
      may set, as far as they are declared by `hue_jax.settings`.
    **arguments: The values of fields that the name stands for.

  Raises:
    InputError: If another module has that name.
  """
  known, _ = _MODELS.get(name, (None, {}))
  check_not_taken("name", name, known, module)
  _MODELS[name] = (module, arguments)


def create_model(
  name: str,
  *,
  num_classes: int,
  dtype: Any = jnp.float32,
  axis_name: str | None = None,
  **options,
) -> nn.Module:
  """Returns a network by name, without weights.

  Args:
    name: One of `model_names()`.
    num_classes: The outputs of the head.
    dtype: The type of the computation (bfloat16 for half precision); parameters, batch
      statistics and logits are float32.
    axis_name: The mapped axis over which batch norm takes its statistics, so that the
      numbers do not depend on the number of devices; None for each device's own.
    **options: The settings of the network's module, such as `stem` and `width` of
      `hue_jax.models.resnet.ResNet`, or `dropout_rate` of
      `hue_jax.models.efficientnet.EfficientNet`. They come before those that the name
      stands for: `depth=4` of "vit_ti16" is ViT-Ti of four blocks.

  Returns:
    A Flax module: `module.apply(variables, images, train=…)` gives float32 logits
    `[batch, num_classes]`, for float images `[batch, height, width, channels]`.

  Raises:
    InputError: If the name is unknown, the network lacks an option, or it cannot take
      a value.
  """
  options = checked_options(name, options)
  check_integer("num_classes", num_classes, at_least=1)
  module, arguments = _MODELS[name]
  arguments = {**arguments, **options}
  return module(num_classes=num_classes, dtype=dtype, axis_name=axis_name, **arguments)


def checked_options(
  name: str,
  options: Any,
  setting: str = "model_options",
  *,
  beside: Iterable[str] = (),
) -> dict[str, Any]:
  """Returns the options of a network, each checked and of its type.

  Args:
    name: One of `model_names()`.
    options: Name → value, a mapping or a `ConfigDict`.
    setting: The name of the options in errors.
    beside: The options that the caller takes itself, which the errors name, too.

  Raises:
    InputError: If the network is unknown, lacks an option, or cannot take a value.
  """
  check_name("model", name, _MODELS)
  module, _ = _MODELS[name]
  return checked(module, options, setting, beside=beside)
