"""What terms and classifiers need of a network's layers: checked before the first step.

A mapping of shapes alone, which is not of `hue_jax.models.tap_shapes`, is taken at its
word: it cannot say which layer is averaged to the features, or whether there is a head.
"""

import math
from collections.abc import Mapping
from typing import Any

from hue_jax.errors import InputError
from hue_jax.models.taps import Taps

TapShapes = Mapping[str, tuple[int, ...]]


def check_head(name: str, value: Any, tap_shapes: TapShapes) -> None:
  """Raises an InputError unless the logits are features · kernel + bias of the head.

  Args:
    name: The name in the error of the setting that needs the head.
    value: The value of the setting.
    tap_shapes: Tap name → the shape of one example's layer.
  """
  if "features" not in tap_shapes:
    missing = f"has no layer 'features' (it has {', '.join(tap_shapes) or 'none'})"
  elif isinstance(tap_shapes, Taps) and not tap_shapes.has_head():
    missing = "has no such layer"
  else:
    return
  raise InputError(
    f"{name} is {value!r}, which needs a network whose logits are those of a dense "
    f"layer named 'head' of the layer 'features'; this one {missing}."
  )


def check_pooled(
  here: str,
  tap: str,
  tap_shapes: TapShapes,
  what: str,
  ndims: tuple[int, ...] = (3,),
) -> None:
  """Raises an InputError unless the mean over a layer's positions is the features.

  Args:
    here: The name of the term in the error.
    tap: The layer.
    tap_shapes: Tap name → the shape of one example's layer, among them that of the
      features.
    what: What needs it.
    ndims: The numbers of axes that the layer may have.
  """
  shape, features = tap_shapes[tap], tap_shapes["features"]
  fits = len(shape) in ndims and shape[-1:] == features
  if fits and isinstance(tap_shapes, Taps):
    fits = tap_shapes.is_averaged(tap)
  if not fits:
    raise InputError(
      f"{here}.tap is {tap!r}, whose shape is {shape}; {what} needs the layer whose "
      f"mean over positions is features, of {features[-1]} channels."
    )


def check_positions(here: str, tap: str, tap_shapes: TapShapes, what: str) -> None:
  """Raises an InputError unless a layer has several positions.

  Args:
    here: The name of the term in the error.
    tap: The layer.
    tap_shapes: Tap name → the shape of one example's layer.
    what: What needs them.
  """
  shape = tap_shapes[tap]
  if math.prod(shape[:-1]) < 2:
    raise InputError(
      f"{here}.tap is {tap!r}, whose shape is {shape}; {what} needs a layer [height, "
      "width, channels] of more than one position."
    )
