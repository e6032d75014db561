"""Activations of one class agree at the same angle of the image plane."""

import jax
import jax.numpy as jnp

from hue_jax import losses
from hue_jax.objective.batch import Number
from hue_jax.objective.cells import CellTerm
from hue_jax.objective.term import TermValue, of_members, register_term
from hue_jax.settings import choice, number

PROTOTYPES = ("batch", "memory")


@register_term
class AngularConsistency(CellTerm):
  """The angular consistency loss, against prototypes of the batch or of earlier ones.

  Attributes:
    prototypes: One of `PROTOTYPES`: means of the batch, or moving averages of batches.
    decay: The decay of prototypes that are kept from batch to batch.
    decay_of: What the decay is of: each "batch" that has the class, or each "image".
  """

  kind = "angular_consistency"
  prototypes: str = choice("batch", PROTOTYPES)
  decay: Number = number(0.9, at_least=0, below=1)
  decay_of: str = choice("batch", losses.DECAYS)

  @property
  def compares_images(self) -> bool:
    """See `Term`."""
    return self.prototypes == "batch"

  def describe(self):
    """Returns words such as `0.3 angular_consistency(stage2, memory)`."""
    words = super().describe()
    return words if self.prototypes == "batch" else f"{words[:-1]}, memory)"

  def empty_memory(self, tap_shapes, num_classes):
    """See `Term`."""
    if self.prototypes == "batch":
      return None
    shape = tap_shapes[self.tap]
    cells = 1 if tuple(shape[:2]) == (1, 1) else self.sectors * self.rings
    return losses.no_prototypes(num_classes, cells, shape[-1])

  def measure(self, batch):
    """Returns the angular consistency loss, and the prototypes after the batch."""
    layer, cut = batch.taps[self.tap], self.cut(batch)
    known = batch.memory.get(self.name)
    loss = losses.angular_consistency_loss(
      layer,
      batch.labels,
      num_classes=batch.num_classes,
      temperature=self.temperature,
      prototypes=known,
      **cut,
    )
    loss = of_members(loss, batch)
    if known is None:
      return TermValue(loss)
    moved = losses.update_prototypes(
      known, layer, batch.labels, decay=self.decay, decay_of=self.decay_of, **cut
    )
    if batch.train:
      return TermValue(loss, memory=moved)
    # The loss is scaled to the images of the batch whose class has a prototype. Here
    # the mean is that over such images of the whole split.
    counts = batch.mask * known.known[batch.labels]
    size, counted = batch.mask.sum(), counts.sum()
    if batch.axis_name is not None:
      size, counted = jax.lax.psum((size, counted), batch.axis_name)
    return TermValue(loss * counted / jnp.maximum(size, 1), weights=counts)
