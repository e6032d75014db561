"""The weight of a term by its gradient: as large a share of the classifier's as λ says.

A weight that suits one task is too large or too small for another, whose classifier's
loss is learned sooner. A share of the gradient means the same on all.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from hue_jax.numerics import multipliable, psum
from hue_jax.objective.batch import Batch

BALANCES = ("loss", "gradient")

# A gradient that is no longer than this is not made longer.
_SMALLEST = 1e-12


def gradient_ratio(term, classifier, batch: Batch) -> Float[Array, ""]:
  """Returns ‖∂ classifier's loss / ∂ layer‖ / ‖∂ term / ∂ layer‖ at the term's layer.

  Both are gradients of the sum over the whole batch. The layer is the one whose mean
  over positions is the features, or these, so that the head alone is between it and the
  classifier's loss, and no second pass through the network is needed. Dropout between
  features and head (EfficientNet, VGG, Inception-v3) is left out: the classifier's
  gradient is that of all features, as evaluation has them.

  Args:
    term: The term.
    classifier: The classifier.
    batch: The batch.

  Returns:
    The ratio, through which no gradient flows, or 0 where the term has no gradient.
  """
  frozen = jax.lax.stop_gradient((batch.logits, dict(batch.taps), batch.head))
  logits, taps, head = frozen
  layer, features = taps[term.tap], taps["features"]
  batch = dataclasses.replace(batch, logits=logits, taps=taps, head=head)

  def of_term(layer):
    with_layer = dataclasses.replace(batch, taps={**taps, term.tap: layer})
    return _sum(term.measure(with_layer).loss, batch)

  def of_classifier(features):
    logits = features.astype(jnp.float32) @ head["kernel"] + head["bias"]
    with_features = dataclasses.replace(
      batch, logits=logits, taps={**taps, "features": features}
    )
    return _sum(classifier.loss(with_features), batch)

  # Each position has the same part in the mean.
  positions = math.prod(layer.shape[1:-1])
  of_others = _norm(jax.grad(of_classifier)(features), batch) / math.sqrt(positions)
  own = _norm(jax.grad(of_term)(layer), batch)
  return jnp.where(own > 0, of_others / jnp.maximum(own, _SMALLEST), 0)


def _sum(loss, batch):
  return jnp.sum(jnp.where(batch.mask > 0, loss * batch.mask, 0))


def _norm(gradient, batch):
  squares = jnp.square(multipliable(gradient.astype(jnp.float32)))
  return jnp.sqrt(psum(squares.sum(), batch.axis_name))
