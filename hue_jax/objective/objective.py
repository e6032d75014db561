"""What is minimized: the classifier's loss + Σ λ_t · term t.

An objective maps what a network gives for a batch to values of its examples; the step
sums them over devices. It knows no kind of term or classifier by name.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax

from hue_jax.errors import refuse
from hue_jax.objective.balance import gradient_ratio
from hue_jax.objective.batch import Batch, Evaluated, Measured
from hue_jax.objective.class_order import check_class_order, class_order, hues_in_order
from hue_jax.objective.classifiers import CLASSIFIERS, Softmax
from hue_jax.objective.layers import TapShapes
from hue_jax.objective.schedules import relative_weight
from hue_jax.objective.term import Term
from hue_jax.objective.terms import TERMS
from hue_jax.settings import Kind, Named, Number, create, number, setting

# What a label smoothing accepts, wherever it is a setting.
LABEL_SMOOTHING = Number(at_least=0, below=1)


def _structure(default=dataclasses.MISSING):
  """Declares a field that is no number: another value is another compilation."""
  return dataclasses.field(default=default, metadata={"static": True})


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Objective:
  """The classifier's loss + Σ λ_t · term t.

  It is a JAX tree: its numbers are leaves, so that objectives that differ in numbers
  alone can share one compilation of a step that takes the objective as an argument.

  Attributes:
    num_classes: The number of classes C.
    terms: The terms; none for the one-hot twin.
    classifier: The classifier, to whose loss the terms are added.
    num_train_steps: The length of the schedules that decay.
    warmup_steps: The length of the schedule that rises.
  """

  num_classes: int = _structure()
  terms: tuple[Any, ...] = ()
  classifier: Any = dataclasses.field(default_factory=Softmax)
  num_train_steps: int = _structure(1)
  warmup_steps: int = _structure(0)

  def __call__(self, batch: Batch) -> Evaluated:
    """Measures a batch.

    In evaluation, what measures an image against the others of its batch has no part:
    the means over a split do not depend on how it is cut into batches.

    Args:
      batch: The batch: what the network gives, and what is known of the examples.

    Returns:
      The loss, its parts and the errors.
    """
    loss, scores = self.classifier.loss(batch), self.classifier.scores(batch)
    labels, mask = batch.labels, batch.mask
    measured = {}
    if self.classifier.log_odds:
      nats = optax.softmax_cross_entropy_with_integer_labels(scores, labels)
      measured["cross_entropy"] = Measured(nats, mask)
    for k in (1, 5):
      measured[f"top{k}"] = Measured(_in_top(scores, labels, k), mask)
    kept = {}
    for term in self.terms:
      if term.compares_images and not batch.train:
        continue
      value = term.measure(batch)
      loss = loss + self._weight(term, batch) * value.loss
      measured |= term.metrics(value, batch)
      if value.memory is not None:
        kept[term.name] = jax.lax.stop_gradient(value.memory)
    return Evaluated({"loss": Measured(loss, mask), **measured}, kept, scores)

  def empty_memory(self, tap_shapes: TapShapes) -> dict[str, Any]:
    """Returns what terms keep from batch to batch, before the first.

    Args:
      tap_shapes: Tap name → the shape of one example's layer.

    Returns:
      Term name → arrays; empty where no term keeps anything.
    """
    kept = {
      term.name: term.empty_memory(tap_shapes, self.num_classes) for term in self.terms
    }
    return {name: memory for name, memory in kept.items() if memory is not None}

  def describe(self) -> str:
    """Returns one line such as `cross_entropy + 0.1 position_hue(stage3)`."""
    parts = [self.classifier.describe(), *(term.describe() for term in self.terms)]
    return " + ".join(parts)

  def weights(self, step: Any) -> dict[str, Any]:
    """Returns the λ of each term at a step, counted from 0, by the term's name."""
    return {term.name: self._scheduled(term, step) for term in self.terms}

  def _scheduled(self, term, step):
    return term.weight * relative_weight(
      term.schedule,
      step,
      num_train_steps=self.num_train_steps,
      warmup_steps=self.warmup_steps,
    )

  def _weight(self, term, batch):
    weight = self._scheduled(term, batch.step)
    if term.balance == "loss":
      return weight
    # Of what evaluation measures, a ratio would depend on how a split is cut.
    return weight * gradient_ratio(term, self.classifier, batch) if batch.train else 0


def _in_top(scores, labels, k):
  """Returns 1 where the label is among the k best scores; ties go to lower classes."""
  own = jnp.take_along_axis(scores, labels[:, None], axis=-1)
  classes = jnp.arange(scores.shape[-1])
  ahead = (scores > own) | ((scores == own) & (classes < labels[:, None]))
  # A score that is not a number is no right answer.
  return ((ahead.sum(axis=-1) < k) & jnp.isfinite(own[:, 0])).astype(jnp.float32)


# --- From settings --------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class ObjectiveSettings:
  """What an objective is made of, as users say it.

  Attributes:
    classifier: The classifier, to whose loss the terms are added: `kind`, and the
      settings of that kind.
    label_smoothing: The share ε of a softmax's target that is spread over classes.
    smoothing_concentration: The κ of the bump over which it is spread.
    class_order: The classes in the order of their hues, for that bump; their own order
      if None.
    terms: Term name → `kind`, and the settings of that kind.
  """

  classifier: Any = setting(Softmax(), Kind(CLASSIFIERS, default="softmax"))
  label_smoothing: int | float = setting(0.0, LABEL_SMOOTHING)
  smoothing_concentration: int | float = number(0.0, at_least=0)
  class_order: tuple[int, ...] | None = class_order()
  terms: Mapping[str, Any] = setting({}, Named(Kind(TERMS)))

  def check(self, tap_shapes: TapShapes, *, num_classes: int, here: str = "") -> None:
    """Raises an InputError for the first setting that the network cannot bear.

    Args:
      tap_shapes: Tap name → the shape of one example's layer.
      num_classes: The number of classes C.
      here: The name of the objective in errors, such as "objectives.smoothing"; it is
        not named if empty.
    """
    path = f"{here}." if here else ""
    smoothed = {field.name for field in dataclasses.fields(self.classifier)}
    for name in ("label_smoothing", "smoothing_concentration"):
      if getattr(self, name) and name not in smoothed:
        refuse(
          path + name,
          getattr(self, name),
          f"0, since the classifier {self.classifier.kind} smooths no labels",
        )
    check_class_order(here, self.class_order or (), num_classes)
    self.classifier.check(f"{path}classifier", tap_shapes, num_classes)
    for name, term in self.terms.items():
      term.check(f"{path}terms.{name}", tap_shapes, num_classes)


def check_terms(
  terms: Mapping[str, Mapping],
  tap_shapes: TapShapes,
  *,
  num_classes: int,
  setting: str = "hue.terms",
) -> None:
  """Raises an InputError for the first setting of a term that cannot be used.

  Args:
    terms: Term name → settings: `kind`, and the fields of that kind.
    tap_shapes: Tap name → the shape of one example's layer.
    num_classes: The number of classes C.
    setting: The name of the terms in errors.
  """
  for name, term in Named(Kind(TERMS))(setting, terms).items():
    term.check(f"{setting}.{name}", tap_shapes, num_classes)


def create_objective(
  *,
  num_classes: int,
  terms: Mapping[str, Mapping],
  tap_shapes: TapShapes,
  num_train_steps: int,
  warmup_steps: int,
  seed: int,
  here: str = "",
  **settings,
) -> Objective:
  """Returns the objective of its settings.

  Args:
    num_classes: The number of classes C.
    terms: Term name → `kind`, and the settings of that kind; what is not set has its
      default.
    tap_shapes: Tap name → the shape of one example's layer.
    num_train_steps: The length of the schedules that decay.
    warmup_steps: The length of the schedule that rises.
    seed: The seed of random planes.
    here: The name of the objective in errors.
    **settings: The other settings of `ObjectiveSettings`.

  Raises:
    InputError: If a setting cannot be used.
  """
  given = create(ObjectiveSettings, {"terms": terms, **settings}, here)
  given.check(tap_shapes, num_classes=num_classes, here=here)
  smoothing = {
    "label_smoothing": given.label_smoothing,
    "smoothing_concentration": given.smoothing_concentration,
    "class_hues": hues_in_order(given.class_order),
  }
  fields = {field.name for field in dataclasses.fields(given.classifier)}
  classifier = dataclasses.replace(
    given.classifier, **{k: v for k, v in smoothing.items() if k in fields}
  )
  built: tuple[Term, ...] = tuple(
    term.ready(tap_shapes, seed=seed) for term in given.terms.values()
  )
  return Objective(num_classes, built, classifier, num_train_steps, warmup_steps)
