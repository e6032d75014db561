"""What is minimized: the classifier's loss + Σ λ_t · term t.

An objective maps what a network gives for a batch to values an example; the step
sums them over devices. `terms.py` has the kinds of terms, `classifiers.py` what they
are added to; cross entropy, where nothing else is said.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Int

from hue_jax import hue
from hue_jax.errors import InputError, check_integer, check_number, check_one_of
from hue_jax.losses import CENTERS
from hue_jax.train.classifiers import CLASSIFIERS, Classifier, Softmax
from hue_jax.train.terms import (
  KINDS,
  PROTOTYPES,
  SCHEDULES,
  WEIGHTINGS,
  Given,
  Measured,
  Mixed,
  Schedule,
  Term,
)

PLANES = ("fourier", "random", "learned")


class Evaluated(NamedTuple):
  """An objective's measure of a batch.

  Attributes:
    measured: name → values an example: `loss` (what is minimized), `cross_entropy`,
      `top1`, `top5`, and for each term `hue/NAME` (without λ) and, where it has a
      target angle, `hue_error_degrees/NAME`.
    memory: what terms keep from batch to batch, after this one.
    scores: by which classes are chosen: the logits, of a softmax.
  """

  measured: dict[str, Measured]
  memory: dict[str, Any]
  scores: Float[Array, "batch classes"]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Objective:
  """The classifier's loss + Σ λ_t · term t.

  It is a JAX tree: its numbers are leaves, so that objectives that differ in numbers
  alone can share one compilation of a step that takes the objective as an argument.

  Attributes:
    num_classes: C.
    terms: none for the one-hot twin.
    classifier: what the terms are added to.
  """

  num_classes: int = dataclasses.field(metadata={"static": True})
  terms: tuple[Any, ...] = ()
  classifier: Any = dataclasses.field(default_factory=Softmax)

  def __call__(
    self,
    logits: Float[Array, "batch classes"],
    taps: Mapping[str, Array],
    labels: Int[Array, "batch"],
    mask: Float[Array, "batch"],
    *,
    step: Int[Array, ""] | int,
    head: Mapping[str, Array] | None = None,
    planes: Mapping[str, Array] | None = None,
    memory: Mapping[str, Any] | None = None,
    axis_name: str | None = None,
    mixed: Mixed | None = None,
  ) -> Evaluated:
    """Measures a batch.

    Args:
      logits: of the network.
      taps: tap name → layer.
      labels: classes.
      mask: 1 for examples, 0 for padding.
      step: at which λ is taken.
      head: `kernel` and `bias` of the network's classifier.
      planes: term name → two vectors that span its learned plane.
      memory: what terms have kept, at first of `empty_memory`.
      axis_name: the mapped axis over which the batch is spread.
      mixed: what each image is mixed with. Losses against a label are then taken of
        both, by their shares s and 1 − s; for a class hue that is the loss against
        the direction s (cos θ*, sin θ*) + (1 − s) (cos θ'*, sin θ'*). Terms in which
        images stand for their class (prototypes, centers) count by 2s − 1.

    Returns:
      The loss, its parts and the errors.
    """
    given = Given(
      logits,
      taps,
      labels,
      mask,
      self.num_classes,
      step,
      head or {},
      planes or {},
      memory or {},
      axis_name,
      mixed,
    )
    loss = self.classifier.loss(given)
    scores = self.classifier.scores(given)
    cross_entropy = optax.softmax_cross_entropy_with_integer_labels(scores, labels)
    measured = {
      "cross_entropy": Measured(cross_entropy, mask),
      "top1": Measured(_in_top(scores, labels, 1), mask),
      "top5": Measured(_in_top(scores, labels, 5), mask),
    }
    kept = {}
    for term in self.terms:
      value = term.measure(given)
      loss = loss + term.weight * term.schedule(step) * value.loss
      measured[f"hue/{term.name}"] = Measured(value.loss, mask)
      if value.error is not None:
        measured[f"hue_error_degrees/{term.name}"] = value.error
      if value.memory is not None:
        kept[term.name] = jax.lax.stop_gradient(value.memory)
    return Evaluated({"loss": Measured(loss, mask), **measured}, kept, scores)

  def empty_memory(self, tap_shapes: Mapping[str, tuple[int, ...]]) -> dict[str, Any]:
    """What terms keep from batch to batch, before the first.

    Args:
      tap_shapes: tap name → shape of one example's layer.

    Returns:
      Term name → arrays; empty where no term keeps anything.
    """
    memory = {}
    for term in self.terms:
      memory |= term.empty_memory(tap_shapes.get(term.tap), self.num_classes)
    return memory

  def describe(self) -> str:
    """The objective as one line, as in `cross_entropy + 0.1 position_hue(stage3)`."""
    parts = [self.classifier.describe(), *(term.describe() for term in self.terms)]
    return " + ".join(parts)


def _in_top(scores, labels, k):
  """1 where the label is among the k largest scores; ties go to the lower class."""
  own = jnp.take_along_axis(scores, labels[:, None], axis=-1)
  classes = jnp.arange(scores.shape[-1])
  ahead = (scores > own) | ((scores == own) & (classes < labels[:, None]))
  # A score that is not a number is no right answer.
  return ((ahead.sum(axis=-1) < k) & jnp.isfinite(own[:, 0])).astype(jnp.float32)


# --- From settings --------------------------------------------------------------

_CHOICES = {
  "weighting": WEIGHTINGS,
  "schedule": SCHEDULES,
  "center": CENTERS,
  "prototypes": PROTOTYPES,
  "smooth": (False, True),
  "random_turn": (False, True),
}
_BOUNDS = {
  "weight": {"at_least": 0},
  "temperature": {"above": 0},
  "decay": {"at_least": 0, "below": 1},
  "rate": {"above": 0},
  "margin": {"at_least": 0, "below": math.pi},
  "scale": {"above": 0},
  "least_share": {"at_least": 0, "below": 1},
}


def check_terms(
  terms: Mapping[str, Mapping],
  tap_shapes: Mapping[str, tuple[int, ...]],
  *,
  num_classes: int,
  setting: str = "hue.terms",
) -> None:
  """Raises an InputError for the first setting of a term that cannot be used.

  Args:
    terms: term name → settings: `kind`, and the fields of that kind in `terms.py`.
      What a kind does not take is refused, unless another kind does.
    tap_shapes: tap name → shape of one example's layer.
    num_classes: C.
    setting: what the errors call the terms.
  """
  every = sorted({"kind"}.union(*(_settings_of(kind) for kind in KINDS)) - {"kind"})
  for name, values in terms.items():
    here = f"{setting}.{name}"
    for key in values:
      if key != "kind" and key not in every:
        raise InputError(
          f"{here}.{key} is not a setting; a term takes kind, {', '.join(every)}."
        )
    check_one_of(f"{here}.kind", values.get("kind"), KINDS)
    values = _settings_of(values["kind"]) | values
    if "tap" in _settings_of(values["kind"]):
      check_one_of(f"{here}.tap", values["tap"], tap_shapes)
      _check_tap_shape(here, values, tap_shapes)
    for key, accepted in _CHOICES.items():
      if key in values:
        check_one_of(f"{here}.{key}", values[key], accepted)
    for key in ("sectors", "rings"):
      if key in values:
        check_integer(f"{here}.{key}", values[key], at_least=1)
    for key, bounds in _BOUNDS.items():
      if key in values:
        check_number(f"{here}.{key}", values[key], **bounds)
    check_class_order(here, values.get("class_order", ()), num_classes)


def check_classifier(
  settings: Mapping[str, Any], *, setting: str = "classifier"
) -> None:
  """Raises an InputError for the first setting of a classifier that cannot be used.

  Args:
    settings: `kind`, a name of `CLASSIFIERS`, and `margin` and `scale` of
      `additive_angular_margin`, `least_share` of `sigmoid`.
    setting: what the errors call it.
  """
  check_one_of(f"{setting}.kind", settings.get("kind", "softmax"), CLASSIFIERS)
  for key, value in settings.items():
    if key not in ("kind", "margin", "scale", "least_share"):
      raise InputError(
        f"{setting}.{key} is not a setting; a classifier takes kind, margin, scale, "
        "least_share."
      )
    if key != "kind":
      check_number(f"{setting}.{key}", value, **_BOUNDS[key])


def _settings_of(kind):
  """The settings that a kind takes, and their defaults."""
  fields = {field.name: field.default for field in dataclasses.fields(KINDS[kind])}
  del fields["name"]
  fields["schedule"] = "constant"
  if fields.get("tap") is dataclasses.MISSING:
    fields["tap"] = None
  if "plane" in fields:
    fields["plane"] = "fourier"
  if "class_hues" in fields:
    del fields["class_hues"]
    fields["class_order"] = ()
  return fields


def _check_tap_shape(setting, values, tap_shapes):
  kind, tap = values["kind"], values["tap"]
  shape = tap_shapes[tap]
  *positions, channels = shape
  if kind in ("position_hue", "angular_consistency") and math.prod(positions) < 2:
    raise InputError(
      f"{setting}.tap is {tap!r}, whose shape is {shape}; {kind} needs a layer "
      "[height, width, channels] of more than one position."
    )
  if kind == "dense_cross_entropy" and (
    len(positions) != 2 or channels != tap_shapes["features"][-1]
  ):
    raise InputError(
      f"{setting}.tap is {tap!r}, whose shape is {shape}; {kind} needs the layer whose "
      f"mean over positions is features, of {tap_shapes['features'][-1]} channels."
    )
  if "plane" in values and kind in ("class_hue", "position_hue"):
    if channels < 3:
      raise InputError(
        f"{setting}.tap is {tap!r}, which has {channels} channels; a hue plane needs "
        "at least 3."
      )
    _named_plane(setting, values["plane"], channels, seed=0)


def check_class_order(setting: str, order: Sequence[int], num_classes: int) -> None:
  """Raises an InputError unless an order is empty or names every class once.

  Args:
    setting: what the error calls that which has the order.
    order: classes.
    num_classes: C.
  """
  if len(order) and sorted(order) != list(range(num_classes)):
    raise InputError(
      f"{setting}.class_order is {tuple(order)}; it must name each of the classes 0 "
      f"to {num_classes - 1} once."
    )


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
  terms: Mapping[str, Mapping],
  tap_shapes: Mapping[str, tuple[int, ...]],
  num_train_steps: int,
  warmup_steps: int,
  seed: int,
  label_smoothing: float = 0.0,
  smoothing_concentration: float = 0.0,
  class_order: tuple[int, ...] = (),
  classifier: Mapping[str, Any] | None = None,
) -> Objective:
  """The objective of settings that `check_terms` and `check_classifier` have passed.

  Args:
    num_classes: C.
    terms: term name → settings; what is not set has its default.
    tap_shapes: tap name → shape of one example's layer.
    num_train_steps: length of the schedules that decay.
    warmup_steps: length of the schedule that rises.
    seed: of random planes.
    label_smoothing: share of the target that is spread over classes, of a softmax.
    smoothing_concentration: κ of the bump over which it is spread.
    class_order: the classes in the order of their hues, for that bump; their own
      order if empty.
    classifier: `kind` and its numbers; a softmax if None.

  Returns:
    The objective.
  """
  built = []
  for name, settings in terms.items():
    kind = settings["kind"]
    values = _settings_of(kind)
    values |= {key: value for key, value in settings.items() if key in values}
    values["schedule"] = Schedule(values["schedule"], num_train_steps, warmup_steps)
    if "plane" in values:
      channels = tap_shapes[values["tap"]][-1]
      values["plane"] = _named_plane(name, values["plane"], channels, seed)
    if "class_order" in values:
      values["class_hues"] = _hues_in_order(values.pop("class_order"))
    built.append(KINDS[kind](name=name, **_with_float_numbers(values)))
  return Objective(
    num_classes,
    tuple(built),
    _create_classifier(
      dict(classifier or {}),
      label_smoothing=float(label_smoothing),
      smoothing_concentration=float(smoothing_concentration),
      class_hues=_hues_in_order(class_order),
    ),
  )


def _create_classifier(settings, **smoothing) -> Classifier:
  kind = settings.pop("kind", "softmax")
  if kind == "softmax":
    return Softmax(**smoothing)
  if kind == "hyperspherical_prototypes":
    return CLASSIFIERS[kind]()
  return CLASSIFIERS[kind](**_with_float_numbers(settings))


def _with_float_numbers(values):
  return {k: float(v) if k in _BOUNDS else v for k, v in values.items()}


def _hues_in_order(order):
  """The angle of each class that stands so in a circle; None for its own place."""
  if not len(order):
    return None
  places = np.argsort(np.asarray(order))
  return np.asarray(hue.hue_labels(places, len(order)))


__all__ = [
  "Evaluated",
  "Measured",
  "Objective",
  "Term",
  "check_class_order",
  "check_classifier",
  "check_terms",
  "create_objective",
]
