"""Each position's hue is its polar angle."""

from hue_jax import hue
from hue_jax.objective.layers import check_positions
from hue_jax.objective.target_hue import TargetHue
from hue_jax.objective.term import register_term


@register_term
class PositionHue(TargetHue):
  """The hue loss against the polar angle φ of each position."""

  kind = "position_hue"

  def check(self, here, tap_shapes, num_classes):
    """See `Term`."""
    super().check(here, tap_shapes, num_classes)
    check_positions(here, self.tap, tap_shapes, self.kind)

  def target(self, batch, shape):
    """Returns φ."""
    del batch
    return hue.position_hue(*shape[1:3])

  def weights(self, layer, plane):
    """Returns the weights, 0 at the exact center."""
    return super().weights(layer, plane) * hue.position_weights(*layer.shape[1:3])
