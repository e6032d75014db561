"""Every position of the last layer tells the class."""

from hue_jax import losses
from hue_jax.errors import InputError
from hue_jax.objective.term import LayerTerm, TermValue, register_term


@register_term
class DenseCrossEntropy(LayerTerm):
  """The cross entropy of the classifier at every position of the last layer."""

  kind = "dense_cross_entropy"

  def check(self, here, tap_shapes, num_classes):
    """See `Term`."""
    super().check(here, tap_shapes, num_classes)
    shape, channels = tap_shapes[self.tap], tap_shapes["features"][-1]
    if len(shape) != 3 or shape[-1] != channels:
      raise InputError(
        f"{here}.tap is {self.tap!r}, whose shape is {shape}; {self.kind} needs the "
        f"layer whose mean over positions is features, of {channels} channels."
      )

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
