"""How logits or features become a decision, and the loss that trains it."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from hue_jax import losses
from hue_jax.train.terms import Given, Number


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Softmax:
  """Cross entropy with smoothed labels: the one-hot loss where nothing is smoothed.

  Attributes:
    label_smoothing: ε, share of the target that is spread over classes.
    smoothing_concentration: κ of the von Mises bump over which it is spread; 0 for
      all classes alike.
    class_hues: angle of each class for it; 2πc/C if None.
  """

  label_smoothing: Number = 0.0
  smoothing_concentration: Number = 0.0
  class_hues: Any = None

  def scores(self, given: Given) -> Float[Array, "batch classes"]:
    """The logits."""
    return given.logits

  def loss(self, given: Given) -> Float[Array, "batch"]:
    """Cross entropy against the smoothed labels."""

    def loss_of(given):
      targets = losses.smoothed_labels(
        given.labels,
        given.num_classes,
        smoothing=self.label_smoothing,
        concentration=self.smoothing_concentration,
        class_hues=self.class_hues,
      )
      return optax.softmax_cross_entropy(given.logits, targets)

    return given.over_labels(loss_of)

  def describe(self) -> str:
    """As in `cross_entropy(smoothing 0.1)`."""
    if not self.label_smoothing:
      return "cross_entropy"
    bump = self.smoothing_concentration
    return f"cross_entropy(smoothing {self.label_smoothing:g}" + (
      f" by hue, κ {bump:g})" if bump else ")"
    )


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Sigmoid:
  """Every class by itself: binary cross entropy, the mean over classes.

  Of an image that is mixed both classes are there, each with the target 1.

  Source: Wightman et al., "ResNet strikes back", 2021.

  Attributes:
    least_share: of the other image, from which on its class counts as there.
  """

  least_share: Number = 0.2

  def scores(self, given: Given) -> Float[Array, "batch classes"]:
    """The logits."""
    return given.logits

  def loss(self, given: Given) -> Float[Array, "batch"]:
    """Binary cross entropy."""
    targets = jax.nn.one_hot(given.labels, given.num_classes)
    if given.mixed is not None:
      there = 1 - given.mixed.shares > self.least_share
      others = jax.nn.one_hot(given.mixed.labels, given.num_classes)
      targets = jnp.maximum(targets, others * there[:, None])
    return optax.sigmoid_binary_cross_entropy(given.logits, targets).mean(axis=-1)

  def describe(self) -> str:
    """The name."""
    return "binary_cross_entropy"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class AdditiveAngularMargin:
  """ArcFace on the features and the head's kernel; the head's bias has no part."""

  margin: Number = 0.5
  scale: Number = 64.0

  def scores(self, given: Given) -> Float[Array, "batch classes"]:
    """s · cos θ."""
    return self.scale * losses.cosine_logits(
      given.taps["features"], given.head["kernel"]
    )

  def loss(self, given: Given) -> Float[Array, "batch"]:
    """With the margin."""
    return given.over_labels(
      lambda given: losses.additive_angular_margin_loss(
        given.taps["features"],
        given.head["kernel"],
        given.labels,
        margin=self.margin,
        scale=self.scale,
      )
    )

  def describe(self) -> str:
    """As in `additive_angular_margin(0.5, 64)`."""
    return f"additive_angular_margin({self.margin:g}, {self.scale:g})"


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class HypersphericalPrototypes:
  """The logits' angle to fixed prototypes, the corners of a simplex."""

  def scores(self, given: Given) -> Float[Array, "batch classes"]:
    """Cosines to the prototypes: the nearest decides. They are not log-odds."""
    return losses.cosine_logits(
      given.logits, jnp.asarray(losses.simplex_prototypes(given.num_classes)).T
    )

  def loss(self, given: Given) -> Float[Array, "batch"]:
    """(1 − cos)²."""
    prototypes = losses.simplex_prototypes(given.num_classes)
    return given.over_labels(
      lambda given: losses.hyperspherical_prototype_loss(
        given.logits, given.labels, prototypes
      )
    )

  def describe(self) -> str:
    """The name."""
    return "hyperspherical_prototypes"


CLASSIFIERS = {
  "softmax": Softmax,
  "sigmoid": Sigmoid,
  "additive_angular_margin": AdditiveAngularMargin,
  "hyperspherical_prototypes": HypersphericalPrototypes,
}
Classifier = Softmax | Sigmoid | AdditiveAngularMargin | HypersphericalPrototypes
