"""How a network hands out its layers."""

import flax.linen as nn
from jaxtyping import Array, Float


def sow_tap(
  module: nn.Module, tap: str, layer: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
  """Sows a layer into the collection `taps`, where it replaces an earlier one.

  Args:
    module: The module that computes the layer.
    tap: The name of the tap.
    layer: The layer, any array.

  Returns:
    The layer.
  """
  module.sow("taps", tap, layer, reduce_fn=lambda _, new: new, init_fn=lambda: None)
  return layer
