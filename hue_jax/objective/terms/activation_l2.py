"""Activations are small."""

from hue_jax import losses
from hue_jax.objective.term import LayerTerm, TermValue, register_term


@register_term
class ActivationL2(LayerTerm):
  """The mean square of a layer's activations."""

  kind = "activation_l2"

  def measure(self, batch):
    """Returns the penalty."""
    return TermValue(losses.activation_l2(batch.taps[self.tap]))
