"""Images of one class are more alike, at each place, than images of others."""

from hue_jax import losses
from hue_jax.objective.cells import CellTerm
from hue_jax.objective.term import TermValue, of_members, register_term


@register_term
class CellContrast(CellTerm):
  """The supervised contrastive loss in each cell of the image plane."""

  kind = "cell_contrast"

  compares_images = True

  def measure(self, batch):
    """Returns the mean over cells."""
    loss = losses.cell_contrastive_loss(
      batch.taps[self.tap],
      batch.labels,
      temperature=self.temperature,
      **self.cut(batch),
    )
    return TermValue(of_members(loss, batch))
