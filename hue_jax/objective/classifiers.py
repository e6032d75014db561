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

from hue_jax import losses
from hue_jax.errors import InputError, check_not_taken
from hue_jax.numerics import moderate, smooth_norm, still_where_zero
from hue_jax.objective.batch import Batch, Number
from hue_jax.objective.layers import TapShapes, check_head
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

  Raises:
    InputError: If another class has that kind.
  """
  check_not_taken("kind", cls.kind, CLASSIFIERS.get(cls.kind), cls)
  cls = dataclasses.dataclass(frozen=True)(cls)
  CLASSIFIERS[cls.kind] = jax.tree_util.register_dataclass(cls)
  return cls


class Classifier:
  """What all kinds of classifiers share.

  Attributes:
    kind: The name of the kind in settings.
    log_odds: Whether the softmax of the scores are the probabilities of the classes.
      Cross entropy and calibration are measured of such scores alone.
    needs_head: Whether the scores are of the features and the head's kernel.
  """

  kind: ClassVar[str]
  log_odds: ClassVar[bool] = True
  needs_head: ClassVar[bool] = False

  def check(self, here: str, tap_shapes: TapShapes, num_classes: int) -> None:
    """Raises an InputError unless the classifier fits the network and the classes.

    Args:
      here: The name of the classifier in the error.
      tap_shapes: Tap name → the shape of one example's layer.
      num_classes: The number of classes C.
    """
    del num_classes
    if self.needs_head:
      check_head(f"{here}.kind", self.kind, tap_shapes)

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
      head: `kernel` and `bias` of the network's head, or empty; see `head_of`.
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

  def meaning(self) -> str:
    """Returns a sentence of what the scores are, for those who read them."""
    if self.log_odds:
      return "The softmax of the scores is the probability of the classes."
    return "The scores are no probabilities: the largest decides."

  def scores_in_numpy(self, features: str, kernel: str) -> str | None:
    """Returns code that makes `scores` of `logits`, for programs without hue_jax.

    Args:
      features: The expression of the features, where the classifier needs the head.
      kernel: The expression of the head's kernel, [channels, classes].

    Returns:
      Lines of NumPy; None where nobody wrote them, so that the network is exported as
      a whole function alone.
    """
    del features, kernel
    is_plain = type(self).scores is Classifier.scores
    return "scores = logits" if is_plain else None

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
  log_odds = False
  least_share: Number = number(0.2, at_least=0, below=1)

  def probabilities(self, scores):
    """Returns the probability of each class by itself; they do not add up to 1."""
    return jax.nn.sigmoid(scores)

  def meaning(self):
    """Says that each class has a probability by itself."""
    return (
      "The sigmoid of a score is the probability of its class by itself: they do not "
      "add up to 100 %."
    )

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
  needs_head = True
  margin: Number = number(0.5, at_least=0, below=np.pi)
  scale: Number = number(64.0, above=0)

  def scores(self, batch):
    """Returns s · cos θ."""
    return self.scale * losses.cosine_logits(
      batch.taps["features"], batch.head["kernel"]
    )

  def scores_in_numpy(self, features, kernel):
    """Returns the lines of s · cos θ."""
    return f"""
features, kernel = np.asarray({features}), np.asarray({kernel})
features = features / np.linalg.norm(features, axis=1, keepdims=True)
kernel = kernel / np.linalg.norm(kernel, axis=0)
scores = {self.scale!r} * features @ kernel""".strip()

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

  def scores_in_numpy(self, features, kernel):
    """Returns the lines of z / (τ ‖z‖)."""
    del features, kernel
    return (
      "lengths = np.linalg.norm(logits, axis=1, keepdims=True)\n"
      f"scores = logits / lengths / {self.temperature!r}"
    )

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

  def check(self, here, tap_shapes, num_classes):
    """See `Classifier`."""
    super().check(here, tap_shapes, num_classes)
    if num_classes < 2:
      raise InputError(
        f"{here}.kind is {self.kind!r}, which needs at least 2 classes; num_classes is "
        f"{num_classes}."
      )

  def scores(self, batch):
    """Returns the cosines to the prototypes: the nearest decides.

    They are √(C/(C − 1)) (z_c − mean of z) / ‖z‖, those of `losses.cosine_logits` with
    `losses.simplex_prototypes`, without the C × C numbers of a table.
    """
    num_classes = batch.num_classes
    logits, power = moderate(still_where_zero(batch.logits))
    stretch = np.float32(np.sqrt(num_classes / (num_classes - 1)))
    centered = logits - logits.mean(axis=-1, keepdims=True)
    return stretch * centered / smooth_norm(logits, 1e-6 * power[:, 0])[:, None]

  def meaning(self):
    """Says that scores are cosines."""
    return "The scores are cosines to the classes, and no probabilities."

  def scores_in_numpy(self, features, kernel):
    """Returns the lines of the cosines."""
    del features, kernel
    return """
# Cosines to the corners of a simplex.
classes = logits.shape[1]
centered = logits - logits.mean(axis=1, keepdims=True)
stretch = np.sqrt(classes / (classes - 1))
scores = stretch * centered / np.linalg.norm(logits, axis=1, keepdims=True)
""".strip()

  def loss(self, batch):
    """Returns (1 − cos)² of the angle to the prototype of the class.

    It is `losses.hyperspherical_prototype_loss`.
    """

    def loss_of(batch):
      own = jnp.take_along_axis(self.scores(batch), batch.labels[:, None], axis=-1)
      return jnp.minimum((1 - own[:, 0]) ** 2, 4)

    return batch.over_labels(loss_of)
