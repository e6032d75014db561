"""The hue is the class's."""

import dataclasses
from typing import Any

import jax.numpy as jnp

from hue_jax import hue
from hue_jax.objective.class_order import check_class_order, class_order, hues_in_order
from hue_jax.objective.target_hue import TargetHue
from hue_jax.objective.term import register_term


@register_term
class ClassHue(TargetHue):
  """The hue loss against the class hue of the example's label.

  Attributes:
    class_hues: The angle of each class; 2πc/C if None. Until the term is `ready`, the
      setting `class_order`: the classes in the order of their angles.
  """

  kind = "class_hue"
  class_hues: Any = class_order(named="class_order")

  def check(self, here, tap_shapes, num_classes):
    """See `Term`."""
    super().check(here, tap_shapes, num_classes)
    check_class_order(here, self.class_hues or (), num_classes)

  def ready(self, tap_shapes, *, seed):
    """See `Term`."""
    ready = super().ready(tap_shapes, seed=seed)
    return dataclasses.replace(ready, class_hues=hues_in_order(self.class_hues))

  def target(self, batch, shape):
    """Returns the class hues."""
    if self.class_hues is None:
      hues = hue.hue_labels(batch.labels, batch.num_classes)
    else:
      hues = jnp.asarray(self.class_hues)[batch.labels]
    return hues.reshape(hues.shape + (1,) * (len(shape) - 2))
