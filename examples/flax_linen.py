"""The hue loss in Flax Linen: python examples/flax_linen.py"""

import digits
import jax
import optax
from flax import linen as nn

from hue_jax import hue_labels, hue_loss


class Network(nn.Module):
  """Returns logits and the last layer."""

  @nn.compact
  def __call__(self, x):
    for channels in digits.CHANNELS:
      x = nn.relu(nn.Conv(channels, (3, 3))(x))
    return nn.Dense(10)(x.mean(axis=(1, 2))), x


def objective(logits, layer, labels, weight):
  """Cross entropy, and the hue of each class on the mean of the layer."""
  loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  loss += weight * hue_loss(layer.mean(axis=(1, 2)), hue_labels(labels, 10))
  return loss.mean()


def train(weight):
  """Trains with a weight of the hue loss; returns accuracy and hue loss."""
  network = Network()
  params = network.init(jax.random.key(0), jax.numpy.zeros((1, 8, 8, 1)))
  optimizer = optax.adam(1e-2)
  state = optimizer.init(params)

  def loss_of(params, images, labels):
    logits, layer = network.apply(params, images)
    return objective(logits, layer, labels, weight)

  @jax.jit
  def step(params, state, images, labels):
    gradient = jax.grad(loss_of)(params, images, labels)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, updates), state

  for images, labels in digits.batches():
    params, state = step(params, state, images, labels)
  return digits.judge(lambda images: network.apply(params, images))


if __name__ == "__main__":
  digits.compare(train)
