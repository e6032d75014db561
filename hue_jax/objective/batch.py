"""What an objective looks at, and what it measures of it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxtyping import Array, Float, Int

# A Python number, or what stands for one while a function is traced.
Number = Any


class Measured(NamedTuple):
  """A value of each example, and its weight in the mean over examples."""

  values: Float[Array, " batch"]
  weights: Float[Array, " batch"]


class Mixed(NamedTuple):
  """What each image is mixed with.

  Attributes:
    labels: The classes of the other images.
    shares: The share of the image itself, from ½ to 1.
  """

  labels: Int[Array, " batch"]
  shares: Float[Array, " batch"]


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class Batch:
  """A batch as an objective sees it: what the network gives, and what is known of it.

  Attributes:
    logits: The outputs of the network's head.
    taps: The layers that the network hands out, tap name → layer.
    labels: The class of each example.
    mask: 1 for examples, 0 for padding.
    step: The step of the training, at which λ is taken.
    head: `kernel` and `bias` of the network's head; empty where it has none.
    planes: Term name → the two vectors that span its learned plane.
    memory: Term name → what the term has kept from batch to batch; at first that of
      `Objective.empty_memory`.
    axis_name: The mapped axis over which the batch is spread.
    mixed: What each image is mixed with, where images are mixed. Losses against a
      label are then taken of both labels, by the shares s and 1 − s; for a class hue
      that is the loss against the direction s (cos θ*, sin θ*) + (1 − s) (cos θ'*,
      sin θ'*). The loss of terms in which images stand for their class (prototypes,
      centers, contrasts) counts by 2s − 1; in prototypes and centers themselves an
      image counts whole, for the class of its larger share.
    train: Whether the batch trains the network. What is measured of an image in
      evaluation does not depend on the images beside it.
  """

  logits: Float[Array, "batch classes"]
  taps: Mapping[str, Array]
  labels: Int[Array, " batch"]
  mask: Float[Array, " batch"]
  step: Int[Array, ""] | int
  head: Mapping[str, Array] = dataclasses.field(default_factory=dict)
  planes: Mapping[str, Array] = dataclasses.field(default_factory=dict)
  memory: Mapping[str, Any] = dataclasses.field(default_factory=dict)
  axis_name: str | None = None
  mixed: Mixed | None = None
  train: bool = True

  @property
  def num_classes(self) -> int:
    """The number of classes C."""
    return self.logits.shape[-1]

  def over_labels(self, loss: Callable[["Batch"], Any]) -> Float[Array, " batch"]:
    """Returns a loss against the labels: against both, where images are mixed.

    Args:
      loss: A function that gives the loss of each example of a batch, and may look at
        its labels.

    Returns:
      The sum s · the loss against the own label + (1 − s) · that against the other.
    """
    own = loss(self)
    if self.mixed is None:
      return own
    other = loss(dataclasses.replace(self, labels=self.mixed.labels))
    return self.mixed.shares * own + (1 - self.mixed.shares) * other


class Evaluated(NamedTuple):
  """An objective's measure of a batch.

  Attributes:
    measured: Name → values of the examples: `loss` (what is minimized),
      `cross_entropy` (where scores are log-odds), `top1`, `top5`, and what the terms
      measure (see `Term.metrics`).
    memory: What terms keep from batch to batch, after this one.
    scores: What the classes are chosen by: the logits, of a softmax.
  """

  measured: dict[str, Measured]
  memory: dict[str, Any]
  scores: Float[Array, "batch classes"]
