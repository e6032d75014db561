"""The hue loss, the losses that use the angle in the image plane, and others.

Like Optax's, a loss here is a pure function that returns one value an example,
without the mean over the batch:

    loss = cross_entropy + 0.1 * hue_loss(features, hue_labels(labels, 10)).mean()

A family of losses is a file. All keep the rule of `hue_jax.numerics`: they compute in
float32 at least, are finite for every finite input, and NaN for NaN. Sums of squares
and products take magnitudes beyond 7·10¹⁶ for that.

`where` tells the examples that count, one value an example, as bools or as 0 and 1. The
others have the loss 0 and no gradient, whatever they hold, NaN included, and no part in
the losses of others, in centers and in prototypes. Labels are class indices of any
integer dtype, one an example; an example whose label is outside [0, C), such as −1, or
below 0 where no C is given, has no class and does not count. (`hue_labels` takes it
modulo C; `hue_loss` leaves it out by `where=labels >= 0`.) The losses of an empty batch
are an empty array, and a mean of none is 0.
"""

from hue_jax.losses.angular_consistency import (
  DECAYS,
  Prototypes,
  angular_consistency_loss,
  no_prototypes,
  update_prototypes,
)
from hue_jax.losses.cells import CELLS, CENTERS, fitting_cells
from hue_jax.losses.centers import center_loss, update_centers
from hue_jax.losses.contrast import (
  MAX_ANGLE,
  angular_loss,
  cell_contrastive_loss,
  supervised_contrastive_loss,
)
from hue_jax.losses.directions import (
  additive_angular_margin_loss,
  cosine_logits,
  hyperspherical_prototype_loss,
  normalized_logits,
  simplex_prototypes,
)
from hue_jax.losses.layers import activation_l2, dense_cross_entropy
from hue_jax.losses.lengths import ring_loss, update_radius
from hue_jax.losses.soft_targets import (
  confidence_penalty,
  max_suppression,
  smoothed_labels,
)
from hue_jax.losses.target_hue import hue_loss, von_mises_loss
from hue_jax.numerics import Axes, weighted_mean

__all__ = [
  "CELLS",
  "CENTERS",
  "DECAYS",
  "MAX_ANGLE",
  "Axes",
  "Prototypes",
  "activation_l2",
  "additive_angular_margin_loss",
  "angular_consistency_loss",
  "angular_loss",
  "cell_contrastive_loss",
  "center_loss",
  "confidence_penalty",
  "cosine_logits",
  "dense_cross_entropy",
  "fitting_cells",
  "hue_loss",
  "hyperspherical_prototype_loss",
  "max_suppression",
  "no_prototypes",
  "normalized_logits",
  "ring_loss",
  "simplex_prototypes",
  "smoothed_labels",
  "supervised_contrastive_loss",
  "update_centers",
  "update_prototypes",
  "update_radius",
  "von_mises_loss",
  "weighted_mean",
]
