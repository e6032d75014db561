"""What the hue losses against a target angle share."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hue_jax import hue, losses
from hue_jax.errors import InputError
from hue_jax.objective.batch import Batch, Measured
from hue_jax.objective.planes import Plane, plane_of
from hue_jax.objective.term import LayerTerm, TermValue
from hue_jax.settings import choice, setting

WEIGHTINGS = ("uniform", "activation", "chroma")


@dataclasses.dataclass(frozen=True, kw_only=True)
class TargetHue(LayerTerm):
  """A hue loss against a target angle.

  Attributes:
    plane: The hue plane, by its name or file until the term is `ready`, and then
      `[channels, 2]`, or None for one that is learned.
    weighting: How positions weigh in the mean over a layer, one of `WEIGHTINGS`; no
      gradient flows through weights.
  """

  family = "hue"
  plane: Any = setting("fourier", Plane())
  weighting: str = choice("uniform", WEIGHTINGS)

  @property
  def learns_plane(self) -> bool:
    """See `Term`."""
    return self.plane is None

  def check(self, here, tap_shapes, num_classes):
    """See `Term`."""
    super().check(here, tap_shapes, num_classes)
    channels = tap_shapes[self.tap][-1]
    if channels < 3:
      raise InputError(
        f"{here}.tap is {self.tap!r}, which has {channels} channels; a hue plane needs "
        "at least 3."
      )
    plane_of(here, self.plane, channels, seed=0)

  def ready(self, tap_shapes, *, seed):
    """See `Term`."""
    plane = plane_of(self.name, self.plane, tap_shapes[self.tap][-1], seed=seed)
    return dataclasses.replace(self, plane=plane)

  def measure(self, batch: Batch) -> TermValue:
    """Returns the weighted mean of 1 − cos(θ − θ*) over positions."""
    layer = batch.taps[self.tap]
    plane = hue.hue_plane(batch.planes[self.name]) if self.plane is None else self.plane
    target = self.target(batch, layer.shape)
    weights = jax.lax.stop_gradient(self.weights(layer, plane))
    weights = jnp.broadcast_to(weights, layer.shape[:-1])
    positions = tuple(range(1, layer.ndim - 1))

    def loss_of(batch):
      target = jnp.broadcast_to(self.target(batch, layer.shape), layer.shape[:-1])
      return losses.hue_loss(
        layer, target, plane=plane, weights=weights, axis=positions
      )

    loss = batch.over_labels(loss_of)
    difference = hue.hue_angle(layer, plane) - target
    radians = jnp.arctan2(jnp.sin(difference), jnp.cos(difference))
    defined = jnp.max(weights, axis=positions, initial=0) > 0
    error = losses.weighted_mean(jnp.abs(jnp.rad2deg(radians)), weights, positions)
    error = Measured(jax.lax.stop_gradient(error), batch.mask * defined)
    return TermValue(loss, error=error)

  def target(self, batch: Batch, shape: tuple[int, ...]) -> Float[Array, "..."]:
    """Returns θ*, which broadcasts against the positions of a layer of that shape."""
    raise NotImplementedError

  def weights(
    self, layer: Float[Array, "batch ... channels"], plane: Float[Array, "channels 2"]
  ) -> Float[Array, "batch ..."]:
    """Returns the weight of each position of a layer."""
    if self.weighting == "activation":
      return hue.activation_strength(layer)
    if self.weighting == "chroma":
      return hue.chroma(layer, plane)
    return jnp.ones(layer.shape[:-1])
