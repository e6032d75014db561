"""No class stands out."""

from hue_jax import losses
from hue_jax.objective.term import Term, TermValue, register_term


@register_term
class MaxSuppression(Term):
  """The largest logit above the mean logit."""

  kind = "max_suppression"

  def measure(self, batch):
    """Returns the penalty."""
    return TermValue(losses.max_suppression(batch.logits))
