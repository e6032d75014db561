"""Networks by name; each hands out its layers as taps and knows nothing of hue.

A tap is a layer that a network sows into the collection `taps` under a name
(`stem`, `stage1`, `stage2` … `features`):

    logits, updates = model.apply(
      variables, images, train=True, mutable=["batch_stats", "taps"])
    updates["taps"]["stage4"]  # [batch, height, width, channels]

Trained weights come from `published` (by name) and `torch_weights` (files of PyTorch),
which import more than JAX.
"""

from hue_jax.models.registry import (
  checked_options,
  create_model,
  model_names,
  register_model,
)
from hue_jax.models.taps import Taps, head_of, sow_tap, tap_shapes

__all__ = [
  "Taps",
  "checked_options",
  "create_model",
  "head_of",
  "model_names",
  "register_model",
  "sow_tap",
  "tap_shapes",
]
