"""The hue loss in Keras on JAX: python examples/with_keras.py"""

import os

os.environ["KERAS_BACKEND"] = "jax"  # before Keras is imported

import digits
import jax
import keras
import optax

from hue_jax import hue_labels, hue_loss


def create_network():
  """Returns a model of logits and the last layer."""
  images = x = keras.Input((8, 8, 1))
  for channels in digits.CHANNELS:
    x = keras.layers.Conv2D(channels, 3, padding="same", activation="relu")(x)
  pooled = keras.layers.GlobalAveragePooling2D()(x)
  return keras.Model(images, [keras.layers.Dense(10)(pooled), x])


def objective(logits, layer, labels, weight):
  """Cross entropy, and the hue of each class on the mean of the layer."""
  loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
  loss += weight * hue_loss(layer.mean(axis=(1, 2)), hue_labels(labels, 10))
  return loss.mean()


def train(weight):
  """Trains with a weight of the hue loss; returns accuracy and hue loss."""
  keras.utils.set_random_seed(0)
  network = create_network()
  params = [variable.value for variable in network.trainable_variables]
  optimizer = optax.adam(1e-2)
  state = optimizer.init(params)

  def loss_of(params, images, labels):
    (logits, layer), _ = network.stateless_call(params, [], images)
    return objective(logits, layer, labels, weight)

  @jax.jit
  def step(params, state, images, labels):
    gradient = jax.grad(loss_of)(params, images, labels)
    updates, state = optimizer.update(gradient, state)
    return optax.apply_updates(params, updates), state

  for images, labels in digits.batches():
    params, state = step(params, state, images, labels)
  for variable, value in zip(network.trainable_variables, params, strict=True):
    variable.assign(value)
  return digits.judge(network)


if __name__ == "__main__":
  digits.compare(train)
