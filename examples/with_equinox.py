"""The hue loss in Equinox, of channels first: python examples/with_equinox.py"""

import digits
import equinox as eqx
import jax
import optax
from jax import numpy as jnp

from hue_jax import hue_labels, hue_loss


class Network(eqx.Module):
  """Returns logits and the last layer, of a batch in the usual order."""

  convs: list
  head: eqx.nn.Linear

  def __init__(self, key):
    keys = jax.random.split(key, 4)
    sizes = zip((1, *digits.CHANNELS), digits.CHANNELS, keys[:3], strict=False)
    self.convs = [eqx.nn.Conv2d(m, n, 3, padding=1, key=key) for m, n, key in sizes]
    self.head = eqx.nn.Linear(digits.CHANNELS[-1], 10, key=keys[3])

  def __call__(self, images):
    return jax.vmap(self.of_one)(images)

  def of_one(self, image):
    x = jnp.moveaxis(image, -1, 0)
    for conv in self.convs:
      x = jax.nn.relu(conv(x))
    # hue_jax has channels last, as Flax, Haiku and Keras do.
    return self.head(x.mean(axis=(1, 2))), jnp.moveaxis(x, 0, -1)


def objective(logits, layer, labels, weight):
  """Cross entropy, and the hue of each class on the mean of the layer."""
  loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  loss += weight * hue_loss(layer.mean(axis=(1, 2)), hue_labels(labels, 10))
  return loss.mean()


def train(weight):
  """Trains with a weight of the hue loss; returns accuracy and hue loss."""
  network = Network(jax.random.key(0))
  optimizer = optax.adam(1e-2)
  state = optimizer.init(eqx.filter(network, eqx.is_inexact_array))

  def loss_of(network, images, labels):
    logits, layer = network(images)
    return objective(logits, layer, labels, weight)

  @eqx.filter_jit
  def step(network, state, images, labels):
    gradient = eqx.filter_grad(loss_of)(network, images, labels)
    updates, state = optimizer.update(gradient, state)
    return eqx.apply_updates(network, updates), state

  for images, labels in digits.batches():
    network, state = step(network, state, images, labels)
  return digits.judge(network)


if __name__ == "__main__":
  digits.compare(train)
