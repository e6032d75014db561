"""Predictions are not too sure."""

from hue_jax import losses
from hue_jax.objective.term import Term, TermValue, register_term


@register_term
class ConfidencePenalty(Term):
  """The negative entropy of the prediction."""

  kind = "confidence_penalty"

  def measure(self, batch):
    """Returns the penalty."""
    return TermValue(losses.confidence_penalty(batch.logits))
