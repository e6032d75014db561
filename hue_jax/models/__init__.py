"""Networks by name; each hands out its layers as taps and knows nothing of hue.

A tap is a layer that a network sows into the collection `taps` under a name
(`stem`, `stage1` … `stage4`, `features`):

    logits, updates = model.apply(
      variables, images, train=True, mutable=["batch_stats", "taps"])
    updates["taps"]["stage4"]  # [batch, height, width, channels]
"""

from hue_jax.models.registry import create_model, model_names, tap_shapes

__all__ = ["create_model", "model_names", "tap_shapes"]
