"""What every kind of term has, and the table of kinds.

A term is one class in one file of `terms/`, under the decorator `register_term`. Its
fields are its settings, which say what they accept (see `hue_jax.settings`). Its
numbers are leaves of a JAX tree and its choices are the tree's structure, so that terms
that differ in numbers alone share one compilation.
"""

import dataclasses
from typing import Any, ClassVar, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hue_jax.errors import check_not_taken, check_one_of
from hue_jax.objective.balance import BALANCES
from hue_jax.objective.batch import Batch, Measured, Number
from hue_jax.objective.layers import TapShapes, check_head, check_pooled
from hue_jax.objective.schedules import SCHEDULES
from hue_jax.settings import Text, choice, number, setting

T = TypeVar("T")

# Kind → class, in the order in which they are declared.
TERMS: dict[str, type["Term"]] = {}


class TermValue(NamedTuple):
  """What a term measures of a batch.

  Attributes:
    loss: The loss of each example, without λ.
    weights: The weights of the examples in the mean that is reported; the mask if None.
    error: The error of the hue in degrees, where there is a target angle.
    memory: What the term keeps, after the batch, where it keeps anything.
  """

  loss: Float[Array, " batch"]
  weights: Float[Array, " batch"] | None = None
  error: Measured | None = None
  memory: Any = None


def register_term(cls: type[T]) -> type[T]:
  """Makes a class a frozen dataclass and JAX tree, which settings name by its `kind`.

  Args:
    cls: A subclass of `Term`.

  Returns:
    The class.

  Raises:
    InputError: If another class has that kind.
  """
  check_not_taken("kind", cls.kind, TERMS.get(cls.kind), cls)
  cls = dataclasses.dataclass(frozen=True, kw_only=True)(cls)
  TERMS[cls.kind] = jax.tree_util.register_dataclass(cls)
  return cls


@dataclasses.dataclass(frozen=True, kw_only=True)
class Term:
  """What all kinds of terms share.

  Attributes:
    kind: The name of the kind in settings.
    family: The word before the term's name in its metric: "hue" where the term looks
      at an angle.
    tap: The layer that the term looks at; None where it looks at the logits.
    balance: What the weight weighs, one of `BALANCES`.
    name: The name of the term, in metrics.
    weight: The weight λ, the largest of the schedule.
    schedule: The course of λ from step to step.
  """

  kind: ClassVar[str]
  family: ClassVar[str] = "term"
  tap: ClassVar[str | None] = None
  balance: ClassVar[str] = "loss"

  name: str = dataclasses.field(metadata={"static": True})
  weight: Number = number(0.1, at_least=0)
  schedule: str = choice("constant", SCHEDULES)

  @property
  def learns_plane(self) -> bool:
    """Whether a hue plane is among the parameters that it trains."""
    return False

  @property
  def compares_images(self) -> bool:
    """Whether an image is measured against the others of its batch.

    Such a measure depends on how a split is cut into batches, so that evaluation
    leaves it out.
    """
    return False

  def check(self, here: str, tap_shapes: TapShapes, num_classes: int) -> None:
    """Raises an InputError unless the term fits the network and the classes.

    Args:
      here: The name of the term in the error, such as "hue.terms.sectors".
      tap_shapes: Tap name → the shape of one example's layer.
      num_classes: The number of classes C.
    """

  def ready(self: T, tap_shapes: TapShapes, *, seed: int) -> T:
    """Returns the term with arrays in place of the settings that name them.

    Args:
      tap_shapes: Tap name → the shape of one example's layer, which `check` has passed.
      seed: The seed of what is random.
    """
    del tap_shapes, seed
    return self

  def empty_memory(self, tap_shapes: TapShapes, num_classes: int) -> Any:
    """Returns what the term keeps from batch to batch, before the first, or None.

    Args:
      tap_shapes: Tap name → the shape of one example's layer.
      num_classes: The number of classes C.
    """
    del tap_shapes, num_classes
    return None

  def measure(self, batch: Batch) -> TermValue:
    """Returns the term's loss without λ, and what it keeps."""
    raise NotImplementedError

  def metrics(self, value: TermValue, batch: Batch) -> dict[str, Measured]:
    """Returns what is reported of what the term measures.

    Args:
      value: The value that `measure` gives.
      batch: The batch that was measured.

    Returns:
      The metrics: `hue/NAME` or `term/NAME`, the loss without λ, and where there is a
      target angle `hue_error_degrees/NAME`.
    """
    loss = Measured(value.loss, batch.mask if value.weights is None else value.weights)
    # In version 0.1 every term was called hue/NAME; that key stays for one more.
    found = {f"{family}/{self.name}": loss for family in (self.family, "hue")}
    if value.error is not None:
      found[f"hue_error_degrees/{self.name}"] = value.error
    return found

  def describe(self) -> str:
    """Returns words such as `0.1 position_hue(stage3)`."""
    of = "" if self.balance == "loss" else f" of the {self.balance}"
    return f"{self.weight:g}{of} {self.kind}({self.tap or 'logits'})"


class _Tap(Text):
  """The name of a layer; the network says which there are, see `LayerTerm.check`."""

  def __str__(self):
    """Returns the words, with examples of names."""
    return "a layer: stem, stage1 … stage4, features"


def tap(default: str | None = None) -> Any:
  """Declares a setting that names a layer."""
  return setting(default, _Tap(empty=False))


@dataclasses.dataclass(frozen=True, kw_only=True)
class LayerTerm(Term):
  """A term that looks at a layer.

  Attributes:
    tap: The name of the layer.
    balance: "loss" where the weight multiplies the term; "gradient" where it is the
      share that the term's gradient by the layer has of the classifier's, in the whole
      batch. The layer is then the one whose mean over positions is the features, or
      these, and the network has a head (see `head_of`). Evaluation leaves the term out
      of the loss.
  """

  tap: str | None = tap()
  balance: str = choice("loss", BALANCES)

  def check(self, here: str, tap_shapes: TapShapes, num_classes: int) -> None:
    """See `Term`."""
    del num_classes
    check_one_of(f"{here}.tap", self.tap, tap_shapes)
    if self.balance != "loss":
      check_head(f"{here}.balance", self.balance, tap_shapes)
      what = f"balance {self.balance!r}"
      check_pooled(here, self.tap, tap_shapes, what, ndims=(1, 3))


def as_vectors(layer: Float[Array, "batch ..."]) -> Float[Array, "batch channels"]:
  """Returns features as they are, and of a layer all channels of all positions."""
  return layer.reshape(layer.shape[0], -1).astype(jnp.float32)


def of_members(loss: Float[Array, " batch"], batch: Batch) -> Float[Array, " batch"]:
  """Returns a loss of images that stand for their class, the less the more mixed.

  An image of shares s and 1 − s stands for the class of s by 2s − 1: wholly where it
  is not mixed, not at all where neither class has more of it.

  Args:
    loss: The loss of each image against its own label.
    batch: The batch of the images."""
  if batch.mixed is None:
    return loss
  return (2 * batch.mixed.shares - 1) * loss
