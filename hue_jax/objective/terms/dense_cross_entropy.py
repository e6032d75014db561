"""Every position of the last layer tells the class."""

from hue_jax import losses
from hue_jax.objective.layers import check_head, check_pooled
from hue_jax.objective.term import LayerTerm, TermValue, register_term


@register_term
class DenseCrossEntropy(LayerTerm):
  """The cross entropy of the classifier at every position of the last layer."""

  kind = "dense_cross_entropy"

  def check(self, here, tap_shapes, num_classes):
    """See `Term`."""
    super().check(here, tap_shapes, num_classes)
    check_head(f"{here}.kind", self.kind, tap_shapes)
    check_pooled(here, self.tap, tap_shapes, self.kind)

  def measure(self, batch):
    """Returns the mean over positions."""
    return TermValue(
      batch.over_labels(
        lambda batch: losses.dense_cross_entropy(
          batch.taps[self.tap],
          batch.labels,
          kernel=batch.head["kernel"],
          bias=batch.head["bias"],
        )
      )
    )
