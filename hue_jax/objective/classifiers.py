"""How logits or features become a decision, and the loss that trains it.

A classifier is one class under the decorator `register_classifier`. Its fields are its
settings, as those of a term are.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any, ClassVar, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float

from hue_jax import hue, losses
from hue_jax.errors import InputError
from hue_jax.objective.batch import Batch, Number
from hue_jax.settings import number

T = TypeVar("T")

# Kind → class, in the order in which they are declared.
CLASSIFIERS: dict[str, type["Classifier"]] = {}


def register_classifier(cls: type[T]) -> type[T]:
  """Makes a class a frozen dataclass and JAX tree, which settings name by its `kind`.

  Args:
    cls: A subclass of `Classifier`.

  Returns:
    The class.
  """
  cls = dataclasses.dataclass(frozen=True)(cls)
  CLASSIFIERS[cls.kind] = jax.tree_util.register_dataclass(cls)
  return cls


class Classifier:
  """What all kinds of classifiers share.

  Attributes:
    kind: The name of the kind in settings.
    log_odds: Whether the softmax of the scores are the probabilities of the classes.
  """

  kind: ClassVar[str]
  log_odds: ClassVar[bool] = True

  def check(self, here: str, num_classes: int) -> None:
    """Raises an InputError unless the classifier fits the classes.

    Args:
      here: The name of the classifier in the error.
      num_classes: The number of classes C.
    """

  def scores(self, batch: Batch) -> Float[Array, "batch classes"]:
    """Returns what the classes are chosen by: the logits, of most kinds."""
    return batch.logits

  def decide(
    self,
    logits: Float[Array, "batch classes"],
    taps: Mapping[str, Array],
    head: Mapping[str, Array],
  ) -> Float[Array, "batch classes"]:
    """Returns the `scores` of images whose labels are not known.

    Args:
      logits: The outputs of the network's head.
      taps: Tap name → layer.
      head: `kernel` and `bias` of the network's head, or empty.
    """
    batch = Batch(
      logits=logits,
      taps=taps,
      labels=jnp.zeros(logits.shape[:1], jnp.int32),
      mask=jnp.ones(logits.shape[:1]),
      step=0,
      head=head,
      train=False,
    )
    return self.scores(batch)

  def probabilities(
    self, scores: Float[Array, "batch classes"]
  ) -> Float[Array, "batch classes"] | None:
    """Returns the probabilities of the classes; None where scores say nothing of them.

    Args:
      scores: What `scores` returns.
    """
    return jax.nn.softmax(scores, axis=-1) if self.log_odds else None

  def loss(self, batch: Batch) -> Float[Array, " batch"]:
    """Returns the loss of each example."""
    raise NotImplementedError

  def describe(self) -> str:
    """Returns the classifier in words."""
    return self.kind


@register_classifier
class Softmax(Classifier):
  """Cross entropy with smoothed labels: the one-hot loss where nothing is smoothed.

  Its fields are settings of the objective, beside the classifier.

  Attributes:
    label_smoothing: The share ε of the target that is spread over classes.
    smoothing_concentration: The κ of the von Mises bump over which it is spread; 0 for
      all classes alike.
    class_hues: The angle of each class for the bump; 2πc/C if None.
  """

  kind = "softmax"
  label_smoothing: Number = 0.0
  smoothing_concentration: Number = 0.0
  class_hues: Any = None

  def loss(self, batch):
    """Returns the cross entropy against the smoothed labels."""

    def loss_of(batch):
      targets = losses.smoothed_labels(
        batch.labels,
        batch.num_classes,
        smoothing=self.label_smoothing,
        concentration=self.smoothing_concentration,
        class_hues=self.class_hues,
      )
      return optax.softmax_cross_entropy(batch.logits, targets)

    return batch.over_labels(loss_of)

  def describe(self):
    """Returns words such as `cross_entropy(smoothing 0.1)`."""
    if not self.label_smoothing:
      return "cross_entropy"
    bump = self.smoothing_concentration
    return f"cross_entropy(smoothing {self.label_smoothing:g}" + (
      f" by hue, κ {bump:g})" if bump else ")"
    )


@register_classifier
class Sigmoid(Classifier):
  """Every class by itself: binary cross entropy, the mean over classes.

  Both classes of an image that is mixed are there, each with the target 1.

  Source: Wightman et al., "ResNet strikes back", 2021.

  Attributes:
    least_share: The share of the other image from which on its class counts as there.
  """

  kind = "sigmoid"
  least_share: Number = number(0.2, at_least=0, below=1)

  def probabilities(self, scores):
    """Returns the probability of each class by itself; they do not add up to 1."""
    return jax.nn.sigmoid(scores)

  def loss(self, batch):
    """Returns the binary cross entropy."""
    targets = jax.nn.one_hot(batch.labels, batch.num_classes)
    if batch.mixed is not None:
      there = 1 - batch.mixed.shares > self.least_share
      others = jax.nn.one_hot(batch.mixed.labels, batch.num_classes)
      targets = jnp.maximum(targets, others * there[:, None])
    return optax.sigmoid_binary_cross_entropy(batch.logits, targets).mean(axis=-1)

  def describe(self):
    """Returns the name of the loss."""
    return "binary_cross_entropy"


@register_classifier
class AdditiveAngularMargin(Classifier):
  """ArcFace on the features and the head's kernel; the head's bias has no part.

  Attributes:
    margin: The margin m in radians.
    scale: The scale s.
  """

  kind = "additive_angular_margin"
  margin: Number = number(0.5, at_least=0, below=np.pi)
  scale: Number = number(64.0, above=0)

  def scores(self, batch):
    """Returns s · cos θ."""
    return self.scale * losses.cosine_logits(
      batch.taps["features"], batch.head["kernel"]
    )

  def loss(self, batch):
    """Returns the cross entropy with the margin."""
    return batch.over_labels(
      lambda batch: losses.additive_angular_margin_loss(
        batch.taps["features"],
        batch.labels,
        kernel=batch.head["kernel"],
        margin=self.margin,
        scale=self.scale,
      )
    )

  def describe(self):
    """Returns words such as `additive_angular_margin(0.5, 64)`."""
    return f"{self.kind}({self.margin:g}, {self.scale:g})"


@register_classifier
class LogitNormalization(Classifier):
  """Cross entropy of logits that have all the same length.

  Attributes:
    temperature: The temperature τ; the length is 1/τ.
  """

  kind = "logit_normalization"
  temperature: Number = number(0.04, above=0)

  def scores(self, batch):
    """Returns z / (τ ‖z‖)."""
    return losses.normalized_logits(batch.logits, temperature=self.temperature)

  def loss(self, batch):
    """Returns the cross entropy of the normalized logits."""
    scores = self.scores(batch)
    return batch.over_labels(
      lambda batch: optax.softmax_cross_entropy_with_integer_labels(
        scores, batch.labels
      )
    )

  def describe(self):
    """Returns words such as `logit_normalization(0.04)`."""
    return f"{self.kind}({self.temperature:g})"


@register_classifier
class HypersphericalPrototypes(Classifier):
  """The logits' angle to fixed prototypes, the corners of a simplex."""

  kind = "hyperspherical_prototypes"
  log_odds = False

  def check(self, here, num_classes):
    """See `Classifier`."""
    if num_classes < 2:
      raise InputError(
        f"{here}.kind is {self.kind!r}, which needs at least 2 classes; num_classes is "
        f"{num_classes}."
      )

  def scores(self, batch):
    """Returns the cosines to the prototypes: the nearest decides."""
    num_classes = batch.num_classes
    if num_classes <= _TABLE_OF_PROTOTYPES:
      prototypes = jnp.asarray(losses.simplex_prototypes(num_classes))
      return losses.cosine_logits(batch.logits, prototypes.T)
    # √(C/(C − 1)) (x_c − mean of x) / ‖x‖, without the C × C numbers of the table.
    logits = batch.logits
    stretch = np.float32(np.sqrt(num_classes / (num_classes - 1)))
    centered = logits - logits.mean(axis=-1, keepdims=True)
    return stretch * centered / hue.smooth_norm(logits, 1e-6)[:, None]

  def loss(self, batch):
    """Returns (1 − cos)² of the angle to the prototype of the class."""

    def loss_of(batch):
      own = jnp.take_along_axis(self.scores(batch), batch.labels[:, None], axis=-1)
      return (1 - own[:, 0]) ** 2

    return batch.over_labels(loss_of)


# Up to so many classes their prototypes are a table [C, C], as in the recorded studies:
# the same numbers to the last bit.
_TABLE_OF_PROTOTYPES = 1024
