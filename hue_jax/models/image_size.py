"""What image sizes a network takes."""

from collections.abc import Sequence
from typing import Any

from hue_jax.errors import InputError


def check_image_size(
  network: str, shape: Sequence[Any], *, at_least: int = 1, multiple_of: int = 1
) -> None:
  """Raises an InputError unless a network takes images of this shape.

  Args:
    network: The name of the network, for the error.
    shape: (batch, height, width, channels); the batch may be symbolic.
    at_least: The least height and width.
    multiple_of: A number of which height and width must be multiples.
  """
  _, height, width, _ = shape
  if min(height, width) >= at_least and not (
    height % multiple_of or width % multiple_of
  ):
    return
  multiple = f" and multiples of {multiple_of}" if multiple_of > 1 else ""
  raise InputError(
    f"images are {height} × {width} pixels; {network} takes sides of at least "
    f"{at_least}{multiple}."
  )
