"""Hue planes as a user names them."""

import jax
import numpy as np
from jaxtyping import Array, Float

from hue_jax import hue
from hue_jax.errors import InputError, shown
from hue_jax.settings import Accepts

PLANES = ("fourier", "random", "learned")


class Plane(Accepts):
  """The name of a plane, or the path of a file; an array in a JAX tree, when ready."""

  static = False

  def __call__(self, name, value):
    """Returns the name or path."""
    if value not in PLANES and not str(value).endswith(".npy"):
      raise InputError(f"{name} is {shown(value)}; it must be {self}.")
    return str(value)

  def __str__(self):
    """Returns the names of planes, and that a file will do."""
    return (
      f"one of {', '.join(PLANES)}, or the path of an .npy file that holds two vectors "
      "[channels, 2]"
    )


def plane_of(
  here: str, name: str, channels: int, *, seed: int
) -> Float[Array, "channels 2"] | None:
  """Returns a plane by name or from a file; None for one that is learned.

  Args:
    here: The name in errors of that which has the setting `plane`.
    name: One of `PLANES`, or the path of an .npy file.
    channels: The number of channels N.
    seed: The seed of a random plane.

  Raises:
    InputError: If the file cannot be used.
  """
  if name == "learned":
    return None
  if name == "fourier":
    return hue.fourier_plane(channels)
  if name == "random":
    return hue.random_plane(jax.random.key(seed), channels)
  try:
    vectors = np.load(name, allow_pickle=False)
    if vectors.shape != (channels, 2) or not np.isfinite(vectors).all():
      raise ValueError(f"its shape is {vectors.shape} or it is not finite")
    return hue.hue_plane(vectors.astype(np.float32))
  except (OSError, ValueError, TypeError) as error:
    raise InputError(
      f"{here}.plane is {name!r}, which cannot be used ({error}); the file must hold "
      f"two finite, independent vectors of shape ({channels}, 2)."
    ) from None
