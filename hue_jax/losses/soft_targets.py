"""Targets that are not one class alone, and predictions that are kept from it."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer

from hue_jax.hue import hue_labels
from hue_jax.numerics import (
  Arrays,
  as_float,
  kept,
  own_classes,
  rescale,
  scaled,
  sharded_like_the_batch,
)


@sharded_like_the_batch
def smoothed_labels(
  labels: Integer[Arrays, " batch"],
  num_classes: int,
  *,
  smoothing: Float[Arrays, ""] | float,
  concentration: Float[Arrays, ""] | float = 0.0,
  class_hues: Float[Arrays, " classes"] | None = None,
) -> Float[Array, "batch classes"]:
  """Returns (1 − ε) one-hot + ε · a von Mises bump about the class hue of the label.

  The bump over class k is ∝ exp(κ cos(h_k − h_label)): classes whose hues lie near
  each other share more of the target. κ = 0 is label smoothing as it is known, which
  spreads ε over all classes alike.

  Example:
    >>> import numpy as np
    >>> from hue_jax import losses
    >>> targets = losses.smoothed_labels(np.array([0, 3]), 4, smoothing=0.2)
    >>> print(targets)
    [[0.85 0.05 0.05 0.05]
     [0.05 0.05 0.05 0.85]]
    >>> by_hue = losses.smoothed_labels(
    ...   np.array([0]), 4, smoothing=0.2, concentration=1.0
    ... )
    >>> print(by_hue)
    [[0.91 0.04 0.01 0.04]]

  Args:
    labels: The class of each example; the targets of one outside [0, num_classes) are
      0, and so is the cross entropy.
    num_classes: The number of classes C.
    smoothing: The smoothing ε.
    concentration: The concentration κ.
    class_hues: The class hues h in radians; 2πc/C if None.

  Returns:
    The targets, which sum to 1 where there is a class; memory is batch × C.

  Raises:
    InputError: If the labels have more than one axis.
    TypeError: If the labels are not integers.

  Source: Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016, for
  κ = 0.
  """
  labels, known = own_classes(labels, num_classes)
  hues = hue_labels(np.arange(num_classes), num_classes)
  hues = hues if class_hues is None else as_float(class_hues, "class_hues")
  # By example and not by class: memory batch × C, and not C × C.
  distances = hues[labels][:, None] - hues
  bumps = jax.nn.softmax(concentration * jnp.cos(distances), axis=-1)
  one_hot = jax.nn.one_hot(labels, num_classes)
  return kept((1 - smoothing) * one_hot + smoothing * bumps, known)


def confidence_penalty(
  logits: Float[Arrays, "batch classes"],
) -> Float[Array, " batch"]:
  """Returns the negative entropy of the prediction, Σ p log p.

  Example:
    >>> import numpy as np
    >>> from hue_jax import losses
    >>> print(losses.confidence_penalty(np.float32([[0, 0], [99, 0]])))
    [-0.693  0.0   ]

  Args:
    logits: The logits of the classes.

  Returns:
    The penalty in nats, from −log C (sure of nothing) to 0 (sure of one class).

  Source: Pereyra et al., "Regularizing Neural Networks by Penalizing Confident Output
  Distributions", ICLR workshop 2017.
  """
  log_p = jax.nn.log_softmax(as_float(logits, "logits"))
  # −inf of logits that are very far from each other: 0 · log 0 is 0.
  log_p = jnp.maximum(log_p, jnp.finfo(log_p.dtype).min)
  return jnp.sum(jnp.exp(log_p) * log_p, axis=-1)


def max_suppression(
  logits: Float[Arrays, "batch classes"],
) -> Float[Array, " batch"]:
  """Returns how far the largest logit is above their mean, max z − mean z.

  Label smoothing asks, beside the cross entropy, that the logit of the label be near
  the mean; where another class has the largest, that makes the error larger. This asks
  it of the largest logit, whose class ever it is.

  Example:
    >>> import numpy as np
    >>> from hue_jax import losses
    >>> print(losses.max_suppression(np.float32([[3, 0, 0], [1, 1, 1]])))
    [2.0 0.0]

  Args:
    logits: The logits z of the classes.

  Returns:
    The penalty of each example, at least 0; the largest finite number where it is
    beyond that.

  Raises:
    TypeError: If the logits are not floating point.

  Source: Zhou et al., "MaxSup: Overcoming Representation Collapse in Label Smoothing",
  NeurIPS 2025.
  """
  logits, scale = scaled(as_float(logits, "logits"))
  excess = jnp.max(logits, axis=-1) - jnp.mean(logits, axis=-1)
  # Rounding alone makes it negative, where all are alike.
  return rescale(jnp.maximum(excess, 0), scale)
