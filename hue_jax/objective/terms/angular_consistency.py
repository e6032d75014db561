"""Activations of one class agree at the same angle of the image plane."""

import jax
import jax.numpy as jnp

from hue_jax import hue, losses
from hue_jax.losses import CENTERS
from hue_jax.objective.batch import Number
from hue_jax.objective.term import (
  LayerTerm,
  TermValue,
  check_positions,
  of_members,
  register_term,
)
from hue_jax.settings import choice, flag, integer, number

PROTOTYPES = ("batch", "memory")


@register_term
class AngularConsistency(LayerTerm):
  """The angular consistency loss, against prototypes of the batch or of earlier ones.

  Attributes:
    temperature: The temperature τ.
    decay: The decay of prototypes that are kept from batch to batch.
    sectors: The number S of sectors into which the image plane is cut.
    rings: The number of rings into which each sector is cut.
    smooth: Whether positions belong to the two nearest sectors in proportion.
    center: The point about which the plane is cut: "image", or "activation" for the
      center of each image's activation.
    random_turn: Whether the sectors are turned by another angle at each step.
    prototypes: One of `PROTOTYPES`: means of the batch, or moving averages of batches.
  """

  kind = "angular_consistency"
  family = "hue"
  temperature: Number = number(0.1, above=0)
  decay: Number = number(0.9, at_least=0, below=1)
  sectors: int = integer(8, at_least=1)
  rings: int = integer(1, at_least=1)
  smooth: bool = flag(False)
  center: str = choice("image", CENTERS)
  random_turn: bool = flag(False)
  prototypes: str = choice("batch", PROTOTYPES)

  @property
  def compares_images(self) -> bool:
    """See `Term`."""
    return self.prototypes == "batch"

  def check(self, here, tap_shapes, num_classes):
    """See `Term`."""
    super().check(here, tap_shapes, num_classes)
    check_positions(here, self, tap_shapes)

  def empty_memory(self, tap_shapes, num_classes):
    """See `Term`."""
    if self.prototypes == "batch":
      return None
    shape = tap_shapes[self.tap]
    cells = 1 if tuple(shape[:2]) == (1, 1) else self.sectors * self.rings
    return losses.no_prototypes(num_classes, cells, shape[-1])

  def measure(self, batch):
    """Returns the angular consistency loss, and the prototypes after the batch."""
    layer, where = batch.taps[self.tap], batch.mask > 0
    cells = {
      "sectors": self.sectors,
      "rings": self.rings,
      "smooth": self.smooth,
      "center": self.center,
      "offset": self._turn(batch.step) if self.random_turn else 0.0,
      "where": where,
      "axis_name": batch.axis_name,
    }
    known = batch.memory.get(self.name)
    loss = losses.angular_consistency_loss(
      layer,
      batch.labels,
      num_classes=batch.num_classes,
      temperature=self.temperature,
      prototypes=known,
      **cells,
    )
    loss = of_members(loss, batch)
    if known is None:
      return TermValue(loss)
    moved = losses.update_prototypes(
      known, layer, batch.labels, decay=self.decay, **cells
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

  def _turn(self, step):
    """Returns an angle that the step determines, within one sector."""
    key = jax.random.fold_in(jax.random.key(0), step)
    return jax.random.uniform(key, (), maxval=hue.TAU / self.sectors)
