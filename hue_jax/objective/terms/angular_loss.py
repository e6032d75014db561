"""Triangles of two images of a class and one of another are narrow."""

import math

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
class AngularLoss(LayerTerm):
  """The angular loss of all triangles of a batch.

  Attributes:
    angle: The angle α in radians.
  """

  kind = "angular_loss"
  tap: str = tap("features")
  angle: Number = number(math.pi / 4, above=0, at_most=losses.MAX_ANGLE)

  compares_images = True

  def measure(self, batch):
    """Returns the angular loss."""
    loss = losses.angular_loss(
      as_vectors(batch.taps[self.tap]),
      batch.labels,
      angle=self.angle,
      where=batch.mask > 0,
      axis_name=batch.axis_name,
    )
    return TermValue(of_members(loss, batch))
