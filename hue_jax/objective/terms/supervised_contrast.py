"""Images of one class are more alike than images of others."""

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
class SupervisedContrast(LayerTerm):
  """The supervised contrastive loss of features.

  Attributes:
    temperature: The temperature τ.
  """

  kind = "supervised_contrast"
  tap: str = tap("features")
  temperature: Number = number(0.1, above=0)

  compares_images = True

  def measure(self, batch):
    """Returns the supervised contrastive loss."""
    loss = losses.supervised_contrastive_loss(
      as_vectors(batch.taps[self.tap]),
      batch.labels,
      temperature=self.temperature,
      where=batch.mask > 0,
      axis_name=batch.axis_name,
    )
    return TermValue(of_members(loss, batch))
