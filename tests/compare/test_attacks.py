"""Attacks on a network whose gradient is known."""

import jax
import jax.numpy as jnp
import numpy as np

from hue_jax.compare.measures.attacks import fgsm, pgd, to_pixels

_WEIGHTS = np.random.default_rng(0).normal(size=(48, 3)).astype(np.float32)


def _linear(images):
  return images.reshape(len(images), -1) @ _WEIGHTS


def _curved(images):
  flat = images.reshape(len(images), -1)
  return jnp.sin(4 * flat) @ _WEIGHTS


def _nats(scores, images, labels):
  log_p = jax.nn.log_softmax(scores(images))
  return -np.asarray(log_p)[np.arange(len(labels)), labels]


def _images():
  rng = np.random.default_rng(1)
  images = rng.uniform(0.2, 0.8, (9, 4, 4, 3))
  return jnp.asarray(images, jnp.float32), jnp.asarray(rng.integers(0, 3, 9))


def test_fgsm_of_two_classes_goes_along_the_difference_of_their_weights():
  images, _ = _images()
  labels = jnp.zeros(9, int)

  def two(images):
    return _linear(images)[:, :2]

  found = fgsm(two, images, labels, 0.05)
  sign = np.sign(_WEIGHTS[:, 1] - _WEIGHTS[:, 0]).reshape(4, 4, 3)
  np.testing.assert_allclose(found, images + 0.05 * sign, atol=1e-6)


def test_attacks_stay_within_epsilon_and_the_range_of_pixels():
  images, labels = _images()
  for epsilon in (0.01, 0.5):
    for attacked in (
      fgsm(_curved, images, labels, epsilon),
      pgd(_curved, images, labels, epsilon, key=jax.random.key(0)),
    ):
      assert np.abs(attacked - images).max() <= epsilon + 1e-6
      assert attacked.min() >= 0
      assert attacked.max() <= 1
      assert np.abs(attacked - images).max() > 0.9 * min(epsilon, 0.2)


def test_several_steps_find_what_is_worse_than_one():
  images, labels = _images()
  before = _nats(_curved, images, labels)
  one = _nats(_curved, fgsm(_curved, images, labels, 0.2), labels)
  many = _nats(
    _curved, pgd(_curved, images, labels, 0.2, key=jax.random.key(0)), labels
  )
  assert many.mean() > one.mean() > before.mean()
  assert (many > before).all()


def test_pixels_are_stored_ones_over_255():
  stored = np.array([[0, 51, 255]], np.uint8)
  np.testing.assert_allclose(to_pixels(stored), [[0, 0.2, 1]], atol=1e-7)
