"""The hue loss in Flax NNX: python examples/flax_nnx.py"""

import digits
import optax
from flax import nnx

from hue_jax import hue_labels, hue_loss


class Network(nnx.Module):
  """Returns logits and the last layer."""

  def __init__(self, rngs):
    sizes = zip((1, *digits.CHANNELS), digits.CHANNELS, strict=False)
    self.convs = nnx.List(nnx.Conv(m, n, (3, 3), rngs=rngs) for m, n in sizes)
    self.head = nnx.Linear(digits.CHANNELS[-1], 10, rngs=rngs)

  def __call__(self, x):
    for conv in self.convs:
      x = nnx.relu(conv(x))
    return self.head(x.mean(axis=(1, 2))), x


def objective(logits, layer, labels, weight):
  """Cross entropy, and the hue of each class on the mean of the layer."""
  loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  loss += weight * hue_loss(layer.mean(axis=(1, 2)), hue_labels(labels, 10))
  return loss.mean()


def train(weight):
  """Trains with a weight of the hue loss; returns accuracy and hue loss."""
  network = Network(nnx.Rngs(0))
  optimizer = nnx.Optimizer(network, optax.adam(1e-2), wrt=nnx.Param)

  def loss_of(network, images, labels):
    logits, layer = network(images)
    return objective(logits, layer, labels, weight)

  @nnx.jit
  def step(network, optimizer, images, labels):
    gradient = nnx.grad(loss_of)(network, images, labels)
    optimizer.update(network, gradient)

  for images, labels in digits.batches():
    step(network, optimizer, images, labels)
  return digits.judge(network)


if __name__ == "__main__":
  digits.compare(train)
