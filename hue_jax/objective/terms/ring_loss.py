"""Features have one length."""

import jax.numpy as jnp

from hue_jax import losses
from hue_jax.objective.batch import Number
from hue_jax.objective.term import LayerTerm, TermValue, as_vectors, register_term, tap
from hue_jax.settings import number


@register_term
class RingLoss(LayerTerm):
  """The ring loss: features lie near a sphere, whose radius is learned.

  The radius is no parameter of the network but what the term keeps: gradient descent on
  it is a moving average of the lengths, whose rate is then the term's own, and not that
  of an optimizer with momentum and weight decay. The loss is 0 until there is one.

  Attributes:
    rate: The rate η at which the radius moves.
  """

  kind = "ring_loss"
  tap: str = tap("features")
  rate: Number = number(0.1, above=0, at_most=1)

  def empty_memory(self, tap_shapes, num_classes):
    """See `Term`."""
    return jnp.zeros(())

  def measure(self, batch):
    """Returns the ring loss, and the radius after the batch."""
    features = as_vectors(batch.taps[self.tap])
    radius = batch.memory[self.name]
    moved = losses.update_radius(
      radius,
      features,
      rate=self.rate,
      where=batch.mask > 0,
      axis_name=batch.axis_name,
    )
    loss = losses.ring_loss(features, radius)
    return TermValue(jnp.where(radius > 0, loss, 0), memory=moved)
