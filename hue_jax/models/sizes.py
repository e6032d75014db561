"""What a network needs for images of a size, and which of its layers keeps a plane."""

from collections.abc import Mapping
from typing import Any

from hue_jax.errors import InputError

# Of a layer that the hue loss looks at; less only of images that are small themselves.
_LEAST_SIDE = 7


def options_for_size(name: str, image_size: int) -> dict[str, Any]:
  """Returns options with which a network keeps layers of some size for small images.

  Args:
    name: One of `hue_jax.models.model_names()`; of another network nothing is known.
    image_size: The side of the images in pixels.

  Returns:
    Options of `hue_jax.models.create_model`.
  """
  small = image_size < 64
  if name in ("resnet8", "resnet14", "resnet20"):
    return {"stem": "small", "width": 16}
  if name.startswith(("resnet", "densenet")):
    return {"stem": "small" if small else "imagenet"}
  if name.startswith("efficientnet_b"):
    return {"stem_strides": 1 if small else 2}
  if name.startswith("vgg"):
    return {"hidden": 0 if small else 4096}
  if name.startswith("vit"):
    # At least 14 × 14 patches, or as many as there are pixels.
    return {"patch_size": 16 if image_size >= 224 else max(1, image_size // 14)}
  if name.startswith("convnext"):
    return {"patch_size": 1 if small else 4}
  return {}


def last_plane(
  name: str,
  tap_shapes: Mapping[str, tuple[int, ...]],
  image_size: int,
  *,
  part: int = 4,
) -> str:
  """Returns the last layer whose sides are at least min(7, image_size // part).

  Args:
    name: The name of the network, for the error.
    tap_shapes: Tap name → shape for one image, in the order of the network, as
      `hue_jax.models.tap_shapes` returns it.
    image_size: The side of the images in pixels.
    part: What the side of small images is divided by.

  Raises:
    InputError: If there is none.
  """
  least = min(_LEAST_SIDE, max(image_size // part, 1))
  planes = [
    tap
    for tap, layer in tap_shapes.items()
    if len(layer) == 3 and min(layer[:2]) >= least
  ]
  if not planes:
    raise InputError(
      f"network is {name!r}, which has no layer of {least} × {least} positions "
      f"for images of {image_size} pixels; the hue term needs one."
    )
  return planes[-1]
