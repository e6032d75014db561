"""The table of networks, and what can be asked of one before it has weights."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp

from hue_jax.errors import InputError, check_name
from hue_jax.models import (
  convnext,
  densenet,
  efficientnet,
  inception,
  resnet,
  vgg,
  vit,
)

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
  """Names that `create_model` takes."""
  return tuple(_MODELS)


def create_model(name: str, *, num_classes: int, **options) -> nn.Module:
  """A network by name, without weights.

  Args:
    name: one of `model_names()`.
    num_classes: outputs of the head.
    **options: fields of the network's module, such as `stem`, `width`, `dtype` and
      `axis_name` of `hue_jax.models.resnet.ResNet`, or `dropout_rate` of
      `hue_jax.models.efficientnet.EfficientNet`.

  Returns:
    A Flax module: `module.apply(variables, images, train=…)` gives float32 logits
    `[batch, num_classes]`, for float images `[batch, height, width, channels]`.

  Raises:
    InputError: an unknown name, an option that the network lacks, or a value that
      it cannot take.
  """
  check_name("model", name, _MODELS)
  if num_classes < 1:
    raise InputError(f"num_classes is {num_classes}; it must be at least 1.")
  module, arguments = _MODELS[name]
  fields = {field.name for field in dataclasses.fields(module) if field.init}
  accepted = sorted(fields - {"parent", "name", "num_classes", *arguments})
  for option in options:
    if option not in accepted:
      raise InputError(
        f"model {name} has no option {option!r}; it takes {', '.join(accepted)}."
      )
  return module(num_classes=num_classes, **arguments, **options)


def tap_shapes(
  model: nn.Module, image_shape: tuple[int, int, int]
) -> dict[str, tuple[int, ...]]:
  """Shape of every tap for one image, found without computing anything.

  Args:
    model: a network of `create_model`.
    image_shape: (height, width, channels) of an image.

  Returns:
    Tap name → (height, width, channels), or (channels,) of a pooled layer, in the
    order of the network.
  """
  images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  names = []

  def forward(images):
    variables = model.clone(axis_name=None).init(jax.random.key(0), images, train=False)
    names.extend(variables["taps"])  # jax.eval_shape sorts the keys of its result
    return variables["taps"]

  shapes = jax.eval_shape(forward, images)
  return {name: shapes[name].shape[1:] for name in names}
