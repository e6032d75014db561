"""Small networks of every kind, and what evaluation computes of three images."""

import functools

import numpy as np
import pytest

from tests.helpers.small_networks import small_predictor


@functools.cache
def _predictor(name):
  return small_predictor(name)


@functools.cache
def _expected(name):
  network = _predictor(name).network
  shape = (3, network.image_size, network.image_size, network.channels)
  images = np.random.default_rng(1).integers(0, 256, shape, dtype=np.uint8)
  scores = np.asarray(_predictor(name).predict(images)[0])
  assert scores.std() > 0.05
  return images, scores


@pytest.fixture(scope="session")
def predictor():
  """A function from the name of a small network to its predictor."""
  return _predictor


@pytest.fixture(scope="session")
def expected():
  """A function from the name of a small network to images and their scores."""
  return _expected
