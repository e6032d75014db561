"""Features lie near the center of their class."""

import math

import jax.numpy as jnp

from hue_jax import losses
from hue_jax.objective.batch import Number
from hue_jax.objective.term import (
  LayerTerm,
  TermValue,
  as_vectors,
  of_members,
  register_term,
  tap,
)
from hue_jax.settings import number


@register_term
class CenterLoss(LayerTerm):
  """The center loss: features lie near the center of their class.

  Attributes:
    rate: The rate α at which centers move.
  """

  kind = "center_loss"
  tap: str = tap("features")
  rate: Number = number(0.5, above=0)

  def empty_memory(self, tap_shapes, num_classes):
    """See `Term`."""
    return jnp.zeros((num_classes, math.prod(tap_shapes[self.tap])))

  def measure(self, batch):
    """Returns the center loss, and the centers after the batch."""
    features = as_vectors(batch.taps[self.tap])
    centers = batch.memory[self.name]
    moved = losses.update_centers(
      centers,
      features,
      batch.labels,
      rate=self.rate,
      where=batch.mask > 0,
      axis_name=batch.axis_name,
    )
    loss = losses.center_loss(features, batch.labels, centers)
    return TermValue(of_members(loss, batch), memory=moved)
