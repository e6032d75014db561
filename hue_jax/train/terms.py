"""The terms that an objective adds to its classifier's loss, each of one kind.

A term's numbers are leaves of a JAX tree and its choices are the tree's structure, so
that terms that differ in numbers alone share one compilation.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from hue_jax import hue, losses

WEIGHTINGS = ("uniform", "activation", "chroma")
SCHEDULES = ("constant", "linear_warmup", "linear_decay", "cosine_decay")
PROTOTYPES = ("batch", "memory")

# A Python number, or what stands for one while a function is traced.
Number = Any


class Measured(NamedTuple):
  """A value an example, and its weight in the mean over examples."""

  values: Float[Array, "batch"]
  weights: Float[Array, "batch"]


class Mixed(NamedTuple):
  """What an image is mixed with.

  Attributes:
    labels: of the other image.
    shares: of its own image, ½ to 1.
  """

  labels: Int[Array, "batch"]
  shares: Float[Array, "batch"]


class Given(NamedTuple):
  """What a term may look at.

  Attributes:
    logits: of the network.
    taps: tap name → layer.
    labels: classes.
    mask: 1 for examples, 0 for padding.
    num_classes: C.
    step: of the training.
    head: `kernel` and `bias` of the classifier.
    planes: term name → two vectors that span its learned plane.
    memory: term name → what it keeps from batch to batch.
    axis_name: the mapped axis over which the batch is spread.
    mixed: what each image is mixed with, if images are mixed.
  """

  logits: Float[Array, "batch classes"]
  taps: Mapping[str, Array]
  labels: Int[Array, "batch"]
  mask: Float[Array, "batch"]
  num_classes: int
  step: Any
  head: Mapping[str, Array]
  planes: Mapping[str, Array]
  memory: Mapping[str, Any]
  axis_name: str | None
  mixed: Mixed | None = None

  def over_labels(self, loss: Callable[["Given"], Any]) -> Float[Array, "batch"]:
    """A loss of the labels: of both labels by their shares, where images are mixed.

    Args:
      loss: of what is given, an example; it may look at the labels.

    Returns:
      s · loss of the own label + (1 − s) · loss of the other.
    """
    own = loss(self)
    if self.mixed is None:
      return own
    other = loss(self._replace(labels=self.mixed.labels))
    return self.mixed.shares * own + (1 - self.mixed.shares) * other


class TermValue(NamedTuple):
  """What a term measures.

  Attributes:
    loss: without λ, an example.
    error: of the hue in degrees, where there is a target angle.
    memory: after the batch, where the term keeps one.
  """

  loss: Float[Array, "batch"]
  error: Measured | None = None
  memory: Any = None


@dataclasses.dataclass(frozen=True)
class Schedule:
  """The course of λ from step to step, relative to its largest value.

  Attributes:
    name: one of `SCHEDULES`.
    num_train_steps: length of the schedules that decay.
    warmup_steps: length of the schedule that rises.
  """

  name: str = "constant"
  num_train_steps: int = 1
  warmup_steps: int = 0

  def __call__(self, step: Int[Array, ""] | int) -> Float[Array, ""]:
    """λ at a step over its largest value."""
    if self.name == "linear_warmup":
      schedule = optax.linear_schedule(0.0, 1.0, max(self.warmup_steps, 1))
    elif self.name == "linear_decay":
      schedule = optax.linear_schedule(1.0, 0.0, self.num_train_steps)
    elif self.name == "cosine_decay":
      schedule = optax.cosine_decay_schedule(1.0, self.num_train_steps)
    else:
      schedule = optax.constant_schedule(1.0)
    return jnp.asarray(schedule(step), jnp.float32)


def _structure(default=dataclasses.MISSING):
  """A field that is no number: another value is another compilation."""
  return dataclasses.field(default=default, metadata={"static": True})


def _of_a_kind(cls):
  return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True)(cls))


class Term:
  """What all kinds share.

  Attributes:
    kind: its name in settings.
    name: names the term in metrics.
    weight: λ, the largest of the schedule.
    schedule: the course of λ.
    tap: the layer that it looks at; none of a term that looks at the logits.
  """

  kind: ClassVar[str]
  name: str
  weight: Number
  schedule: Schedule
  tap: str | None = None

  @property
  def learns_plane(self) -> bool:
    """Whether a hue plane is among the parameters that it trains."""
    return False

  def empty_memory(
    self, shape: tuple[int, ...] | None, num_classes: int
  ) -> dict[str, Any]:
    """What it keeps from batch to batch, before the first; empty for most kinds.

    Args:
      shape: of one example's layer.
      num_classes: C.

    Returns:
      Name of the term → arrays.
    """
    del shape, num_classes
    return {}

  def measure(self, given: Given) -> TermValue:
    """The term's loss without λ."""
    raise NotImplementedError

  def describe(self) -> str:
    """As in `0.1 position_hue(stage3)`."""
    return f"{self.weight:g} {self.kind}({self.tap or 'logits'})"


class _TargetHue(Term):
  """A hue loss against a target angle."""

  @property
  def learns_plane(self):
    """See `Term`."""
    return self.plane is None

  def measure(self, given):
    """The weighted mean of 1 − cos(θ − θ*) over positions."""
    layer = given.taps[self.tap]
    plane = hue.hue_plane(given.planes[self.name]) if self.plane is None else self.plane
    target = self._target(given, layer.shape)
    weights = jax.lax.stop_gradient(self._weights(layer, plane))
    weights = jnp.broadcast_to(weights, layer.shape[:-1])
    positions = tuple(range(1, layer.ndim - 1))

    def loss_of(given):
      target = jnp.broadcast_to(self._target(given, layer.shape), layer.shape[:-1])
      return losses.hue_loss(
        layer, target, plane=plane, weights=weights, axis=positions
      )

    loss = given.over_labels(loss_of)
    difference = hue.hue_angle(layer, plane) - target
    radians = jnp.arctan2(jnp.sin(difference), jnp.cos(difference))
    defined = jnp.max(weights, axis=positions, initial=0) > 0
    error = losses.weighted_mean(jnp.abs(jnp.rad2deg(radians)), weights, positions)
    return TermValue(loss, Measured(jax.lax.stop_gradient(error), given.mask * defined))

  def _weights(self, layer, plane):
    if self.weighting == "activation":
      return hue.activation_strength(layer)
    if self.weighting == "chroma":
      return hue.chroma(layer, plane)
    return jnp.ones(layer.shape[:-1])


@_of_a_kind
class ClassHue(_TargetHue):
  """Hue loss against the class hue of the example's label.

  Attributes:
    plane: hue plane `[channels, 2]`; None for one that is learned.
    class_hues: angle of each class; 2πc/C if None.
    weighting: how positions weigh in the mean over a layer, one of `WEIGHTINGS`; no
      gradient flows through weights.
  """

  kind = "class_hue"
  name: str = _structure()
  tap: str = _structure()
  weight: Number = 0.1
  schedule: Schedule = _structure(Schedule())
  plane: Any = None
  class_hues: Any = None
  weighting: str = _structure("uniform")

  def _target(self, given, shape):
    if self.class_hues is None:
      hues = hue.hue_labels(given.labels, given.num_classes)
    else:
      hues = jnp.asarray(self.class_hues)[given.labels]
    return hues.reshape(hues.shape + (1,) * (len(shape) - 2))


@_of_a_kind
class PositionHue(_TargetHue):
  """Hue loss against the polar angle φ of each position.

  Attributes:
    plane: as in `ClassHue`.
    weighting: as in `ClassHue`.
  """

  kind = "position_hue"
  name: str = _structure()
  tap: str = _structure()
  weight: Number = 0.1
  schedule: Schedule = _structure(Schedule())
  plane: Any = None
  weighting: str = _structure("uniform")

  def _target(self, given, shape):
    del given
    return hue.position_hue(*shape[1:3])

  def _weights(self, layer, plane):
    return super()._weights(layer, plane) * hue.position_weights(*layer.shape[1:3])


@_of_a_kind
class AngularConsistency(Term):
  """Activations of one class agree at the same image-plane angle.

  Attributes:
    temperature: τ.
    decay: of prototypes that are kept from batch to batch.
    sectors: S.
    rings: as in `angular_consistency_loss`, and so are smooth and center.
    random_turn: whether the sectors are turned by another angle at each step.
    prototypes: one of `PROTOTYPES`: of the batch, or a moving average of batches.
  """

  kind = "angular_consistency"
  name: str = _structure()
  tap: str = _structure()
  weight: Number = 0.1
  schedule: Schedule = _structure(Schedule())
  temperature: Number = 0.1
  decay: Number = 0.9
  sectors: int = _structure(8)
  rings: int = _structure(1)
  smooth: bool = _structure(False)
  center: str = _structure("image")
  random_turn: bool = _structure(False)
  prototypes: str = _structure("batch")

  def empty_memory(self, shape, num_classes):
    """See `Term`."""
    if self.prototypes == "batch":
      return {}
    cells = 1 if tuple(shape[:2]) == (1, 1) else self.sectors * self.rings
    return {self.name: losses.no_prototypes(num_classes, cells, shape[-1])}

  def measure(self, given):
    """The angular consistency loss, and the prototypes after the batch."""
    layer, where = given.taps[self.tap], given.mask > 0
    cells = {
      "sectors": self.sectors,
      "rings": self.rings,
      "smooth": self.smooth,
      "center": self.center,
      "offset": self._turn(given.step) if self.random_turn else 0.0,
      "where": where,
      "axis_name": given.axis_name,
    }
    known = given.memory.get(self.name)
    loss = losses.angular_consistency_loss(
      layer,
      given.labels,
      num_classes=given.num_classes,
      temperature=self.temperature,
      prototypes=known,
      **cells,
    )
    loss = _by_membership(loss, given)
    if known is None:
      return TermValue(loss)
    moved = losses.update_prototypes(
      known, layer, given.labels, decay=self.decay, **cells
    )
    return TermValue(loss, memory=moved)

  def _turn(self, step):
    """An angle that the step determines, within one sector."""
    key = jax.random.fold_in(jax.random.key(0), step)
    return jax.random.uniform(key, (), maxval=hue.TAU / self.sectors)


@_of_a_kind
class CenterLoss(Term):
  """Features lie near the center of their class; α is `rate`."""

  kind = "center_loss"
  name: str = _structure()
  tap: str = _structure("features")
  weight: Number = 0.1
  schedule: Schedule = _structure(Schedule())
  rate: Number = 0.5

  def empty_memory(self, shape, num_classes):
    """See `Term`."""
    return {self.name: jnp.zeros((num_classes, shape[-1]))}

  def measure(self, given):
    """The center loss, and the centers after the batch."""
    features, centers = given.taps[self.tap], given.memory[self.name]
    features = features.reshape(features.shape[0], -1).astype(jnp.float32)
    moved = losses.update_centers(
      centers,
      features,
      given.labels,
      rate=self.rate,
      where=given.mask > 0,
      axis_name=given.axis_name,
    )
    loss = losses.center_loss(features, given.labels, centers)
    return TermValue(_by_membership(loss, given), memory=moved)


@_of_a_kind
class DenseCrossEntropy(Term):
  """Cross entropy of the classifier at every position of the last layer."""

  kind = "dense_cross_entropy"
  name: str = _structure()
  tap: str = _structure()
  weight: Number = 0.1
  schedule: Schedule = _structure(Schedule())

  def measure(self, given):
    """The mean over positions."""
    return TermValue(
      given.over_labels(
        lambda given: losses.dense_cross_entropy(
          given.taps[self.tap],
          given.labels,
          kernel=given.head["kernel"],
          bias=given.head["bias"],
        )
      )
    )


@_of_a_kind
class ActivationL2(Term):
  """Mean square of a layer's activations."""

  kind = "activation_l2"
  name: str = _structure()
  tap: str = _structure()
  weight: Number = 0.1
  schedule: Schedule = _structure(Schedule())

  def measure(self, given):
    """The penalty."""
    return TermValue(losses.activation_l2(given.taps[self.tap]))


@_of_a_kind
class ConfidencePenalty(Term):
  """Negative entropy of the prediction."""

  kind = "confidence_penalty"
  name: str = _structure()
  weight: Number = 0.1
  schedule: Schedule = _structure(Schedule())

  def measure(self, given):
    """The penalty."""
    return TermValue(losses.confidence_penalty(given.logits))


def _by_membership(loss, given):
  """The loss of images that stand for their class: the less, the more they are mixed.

  An image of shares s and 1 − s stands for the class of s by 2s − 1: wholly where it
  is not mixed, not at all where neither class has more of it.
  """
  if given.mixed is None:
    return loss
  return (2 * given.mixed.shares - 1) * loss


KINDS = {
  kind.kind: kind
  for kind in (
    ClassHue,
    PositionHue,
    AngularConsistency,
    CenterLoss,
    DenseCrossEntropy,
    ActivationL2,
    ConfidencePenalty,
  )
}
