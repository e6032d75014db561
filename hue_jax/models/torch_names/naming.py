"""What a file of names says of an array."""

from collections.abc import Callable
from typing import NamedTuple


class TorchArray(NamedTuple):
  """An array whose shape in PyTorch is not the permuted one of Flax.

  Attributes:
    name: The name in PyTorch.
    shape: The shape in PyTorch.
    unpacked: The shape to which it is reshaped before its axes are permuted.
    axes: PyTorch's axes, unpacked, in the order of Flax; the result is then reshaped
      to the shape in Flax.
  """

  name: str
  shape: tuple[int, ...]
  unpacked: tuple[int, ...]
  axes: tuple[int, ...]


# The path of an array in Flax ("head/kernel") to what it is in PyTorch, its whole name
# at least, or None; then it is asked for the path of the module ("head") alone.
Naming = Callable[[str], str | TorchArray | None]
