"""What is minimized: cross entropy + Σ λ_t · hue term t.

An objective maps what a network gives for a batch to values an example; the step
sums them over devices. Terms look at one tap each, and are of three kinds:

    class_hue            hue loss against 2πc/C of the example's label
    position_hue         hue loss against the polar angle φ of each position
    angular_consistency  activations of one class agree at the same image-plane angle
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from hue_jax import hue, losses
from hue_jax.errors import InputError, check_integer, check_number, check_one_of

KINDS = ("class_hue", "position_hue", "angular_consistency")
WEIGHTINGS = ("uniform", "activation", "chroma")
PLANES = ("fourier", "random", "learned")
SCHEDULES = ("constant", "linear_warmup", "linear_decay", "cosine_decay")


class Measured(NamedTuple):
  """A value an example, and its weight in the mean over examples."""

  values: Float[Array, "batch"]
  weights: Float[Array, "batch"]


@dataclass(frozen=True)
class HueTerm:
  """One term of the objective.

  Attributes:
    name: names the term in metrics.
    tap: the layer it looks at.
    kind: one of `KINDS`.
    weight: λ as a function of the step.
    peak_weight: the largest λ of the schedule, which names the term.
    plane: hue plane `[channels, 2]`; None for one that is learned, which the
      network's parameters then hold.
    weighting: how positions weigh in the mean over a layer, one of `WEIGHTINGS`;
      no gradient flows through weights.
    sectors: S of angular consistency.
    temperature: τ of angular consistency.
  """

  name: str
  tap: str
  kind: str
  weight: Callable[[Array], Array]
  peak_weight: float
  plane: Float[Array | np.ndarray, "channels 2"] | None = None
  weighting: str = "uniform"
  sectors: int = 8
  temperature: float = 0.1

  @property
  def learns_plane(self) -> bool:
    """Whether the plane is a parameter."""
    return self.plane is None and self.kind != "angular_consistency"


@dataclass(frozen=True)
class Objective:
  """Cross entropy + Σ λ_t · term t.

  Attributes:
    num_classes: C.
    terms: the hue terms; none for the one-hot twin.
    label_smoothing: share of the target spread over all classes.
  """

  num_classes: int
  terms: tuple[HueTerm, ...] = field(default=())
  label_smoothing: float = 0.0

  def __call__(
    self,
    logits: Float[Array, "batch classes"],
    taps: Mapping[str, Array],
    labels: Int[Array, "batch"],
    mask: Float[Array, "batch"],
    *,
    step: Int[Array, ""] | int,
    planes: Mapping[str, Array] | None = None,
    axis_name: str | None = None,
  ) -> dict[str, Measured]:
    """Measures a batch: `loss` (what is minimized), its parts, and the errors.

    Args:
      logits: of the network.
      taps: tap name → layer.
      labels: classes.
      mask: 1 for examples, 0 for padding.
      step: at which λ is taken.
      planes: term name → two vectors that span its learned plane.
      axis_name: the mapped axis over which the batch is spread.

    Returns:
      Values an example, by name: `loss`, `cross_entropy`, `top1`, `top5`, and for
      each term `hue/NAME` (nats or 1 − cos, without λ) and, where it has a target
      angle, `hue_error_degrees/NAME`.
    """
    one_hot = jax.nn.one_hot(labels, self.num_classes)
    targets = optax.smooth_labels(one_hot, self.label_smoothing)
    loss = optax.softmax_cross_entropy(logits, targets)
    measured = {
      "cross_entropy": Measured(optax.softmax_cross_entropy(logits, one_hot), mask),
      "top1": Measured(_in_top(logits, labels, 1), mask),
      "top5": Measured(_in_top(logits, labels, 5), mask),
    }
    for term in self.terms:
      term_loss, error = _measure_term(
        term, taps[term.tap], labels, mask, self.num_classes, planes or {}, axis_name
      )
      loss = loss + term.weight(step) * term_loss
      measured[f"hue/{term.name}"] = Measured(term_loss, mask)
      if error is not None:
        measured[f"hue_error_degrees/{term.name}"] = error
    return {"loss": Measured(loss, mask), **measured}

  def describe(self) -> str:
    """The objective as one line, as in `cross_entropy + 0.1 position_hue(stage3)`."""
    smoothing = f"(smoothing {self.label_smoothing:g})" if self.label_smoothing else ""
    parts = [f"cross_entropy{smoothing}"]
    for term in self.terms:
      parts.append(f"{term.peak_weight:g} {term.kind}({term.tap})")
    return " + ".join(parts)


def _measure_term(term, layer, labels, mask, num_classes, planes, axis_name):
  """Returns the term's loss an example, and its hue error or None."""
  if term.kind == "angular_consistency":
    loss = losses.angular_consistency_loss(
      layer,
      labels,
      num_classes=num_classes,
      sectors=term.sectors,
      temperature=term.temperature,
      where=mask > 0,
      axis_name=axis_name,
    )
    return loss, None
  plane = hue.hue_plane(planes[term.name]) if term.learns_plane else term.plane
  target = jnp.broadcast_to(
    _target_hue(term.kind, labels, num_classes, layer.shape), layer.shape[:-1]
  )
  weights = jnp.broadcast_to(
    jax.lax.stop_gradient(_position_weights(term, layer, plane)), layer.shape[:-1]
  )
  positions = tuple(range(1, layer.ndim - 1))
  loss = losses.hue_loss(layer, target, plane=plane, weights=weights, axis=positions)

  difference = hue.hue_angle(layer, plane) - target
  degrees = jnp.abs(jnp.rad2deg(jnp.arctan2(jnp.sin(difference), jnp.cos(difference))))
  defined = jnp.max(weights, axis=positions, initial=0) > 0
  error = losses.weighted_mean(degrees, weights, positions)
  return loss, Measured(jax.lax.stop_gradient(error), mask * defined)


def _target_hue(kind, labels, num_classes, shape):
  if kind == "position_hue":
    return hue.position_hue(*shape[1:3])
  class_hue = hue.hue_labels(labels, num_classes)
  return class_hue.reshape(class_hue.shape + (1,) * (len(shape) - 2))


def _position_weights(term, layer, plane):
  if term.weighting == "activation":
    weights = hue.activation_strength(layer)
  elif term.weighting == "chroma":
    weights = hue.chroma(layer, plane)
  else:
    weights = jnp.ones(layer.shape[:-1])
  if term.kind == "position_hue":
    weights = weights * hue.position_weights(*layer.shape[1:3])
  return weights


def _in_top(logits, labels, k):
  """1 where the label is among the k largest logits; ties go to the lower class."""
  own = jnp.take_along_axis(logits, labels[:, None], axis=-1)
  classes = jnp.arange(logits.shape[-1])
  ahead = (logits > own) | ((logits == own) & (classes < labels[:, None]))
  # A logit that is not a number is no right answer.
  return ((ahead.sum(axis=-1) < k) & jnp.isfinite(own[:, 0])).astype(jnp.float32)


# --- From settings --------------------------------------------------------------

_DEFAULTS = {
  "weight": 0.1,
  "schedule": "constant",
  "plane": "fourier",
  "weighting": "uniform",
  "sectors": 8,
  "temperature": 0.1,
}


def check_terms(
  terms: Mapping[str, Mapping], tap_shapes: Mapping[str, tuple[int, ...]]
) -> None:
  """Raises an InputError for the first setting of a term that cannot be used.

  Args:
    terms: term name → settings (`tap`, `kind`, `weight`, `schedule`, `plane`,
      `weighting`, `sectors`, `temperature`).
    tap_shapes: tap name → shape of one example's layer.
  """
  for name, settings in terms.items():
    setting = f"hue.terms.{name}"
    for key in settings:
      if key not in ("tap", "kind", *_DEFAULTS):
        raise InputError(
          f"{setting}.{key} is not a setting; a term takes "
          f"{', '.join(('tap', 'kind', *_DEFAULTS))}."
        )
    values = {**_DEFAULTS, "tap": None, "kind": None, **settings}
    check_one_of(f"{setting}.kind", values["kind"], KINDS)
    check_one_of(f"{setting}.weighting", values["weighting"], WEIGHTINGS)
    check_one_of(f"{setting}.schedule", values["schedule"], SCHEDULES)
    check_one_of(f"{setting}.tap", values["tap"], tap_shapes)
    check_number(f"{setting}.weight", values["weight"], at_least=0)
    check_number(f"{setting}.temperature", values["temperature"], above=0)
    check_integer(f"{setting}.sectors", values["sectors"], at_least=1)
    _check_tap_shape(setting, values, tap_shapes[values["tap"]])


def _check_tap_shape(setting, values, shape):
  kind, channels = values["kind"], shape[-1]
  if kind != "class_hue" and math.prod(shape[:-1]) < 2:
    raise InputError(
      f"{setting}.tap is {values['tap']!r}, whose shape is {shape}; {kind} needs a "
      "layer [height, width, channels] of more than one position."
    )
  if kind != "angular_consistency":
    if channels < 3:
      raise InputError(
        f"{setting}.tap is {values['tap']!r}, which has {channels} channels; a hue "
        "plane needs at least 3."
      )
    _named_plane(setting, values["plane"], channels, seed=0)


def _named_plane(setting, plane, channels, seed):
  """A plane by name, or from a file; None for one that is learned."""
  if plane == "learned":
    return None
  if plane == "fourier":
    return hue.fourier_plane(channels)
  if plane == "random":
    return hue.random_plane(jax.random.key(seed), channels)
  if not str(plane).endswith(".npy"):
    raise InputError(
      f"{setting}.plane is {plane!r}; it must be one of {', '.join(PLANES)}, or the "
      "path of an .npy file that holds two vectors [channels, 2]."
    )
  try:
    vectors = np.load(plane, allow_pickle=False)
    if vectors.shape != (channels, 2) or not np.isfinite(vectors).all():
      raise ValueError(f"its shape is {vectors.shape} or it is not finite")
    return hue.hue_plane(vectors.astype(np.float32))
  except (OSError, ValueError) as error:
    raise InputError(
      f"{setting}.plane is {plane!r}, which cannot be used ({error}); the file must "
      f"hold two finite, independent vectors of shape ({channels}, 2)."
    ) from None


def create_objective(
  *,
  num_classes: int,
  label_smoothing: float,
  terms: Mapping[str, Mapping],
  tap_shapes: Mapping[str, tuple[int, ...]],
  num_train_steps: int,
  warmup_steps: int,
  seed: int,
) -> Objective:
  """The objective of settings that `check_terms` has passed.

  Args:
    num_classes: C.
    label_smoothing: share of the target spread over all classes.
    terms: term name → settings; what is not set has its default.
    tap_shapes: tap name → shape of one example's layer.
    num_train_steps: length of the schedules that decay.
    warmup_steps: length of the schedule that rises.
    seed: of random planes.

  Returns:
    The objective.
  """
  built = []
  for name, settings in terms.items():
    values = {**_DEFAULTS, **settings}
    weight = float(values.pop("weight"))
    schedule = values.pop("schedule")
    plane = None
    if values["kind"] != "angular_consistency":
      channels = tap_shapes[values["tap"]][-1]
      plane = _named_plane(f"hue.terms.{name}", values["plane"], channels, seed)
    values |= {
      "name": name,
      "weight": _weight_schedule(schedule, weight, num_train_steps, warmup_steps),
      "peak_weight": weight,
      "plane": plane,
    }
    built.append(HueTerm(**values))
  return Objective(num_classes, tuple(built), label_smoothing)


def _weight_schedule(name, weight, num_train_steps, warmup_steps):
  if name == "linear_warmup":
    return optax.linear_schedule(0.0, weight, max(warmup_steps, 1))
  if name == "linear_decay":
    return optax.linear_schedule(weight, 0.0, num_train_steps)
  if name == "cosine_decay":
    return optax.cosine_decay_schedule(weight, num_train_steps)
  return optax.constant_schedule(weight)
