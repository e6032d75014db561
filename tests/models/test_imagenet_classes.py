"""ImageNet's class names, from the packages that have them."""

import importlib.util

import pytest

from hue_jax.models import imagenet_classes


@pytest.fixture
def names_without(monkeypatch):
  """A function that finds the names where some packages are not installed."""

  def names(*missing):
    find = importlib.util.find_spec
    monkeypatch.setattr(
      importlib.util, "find_spec", lambda name: None if name in missing else find(name)
    )
    imagenet_classes.imagenet_class_names.cache_clear()
    found = imagenet_classes.imagenet_class_names()
    monkeypatch.undo()
    imagenet_classes.imagenet_class_names.cache_clear()
    return found

  return names


def test_words_of_torchvision(names_without):
  if importlib.util.find_spec("torchvision") is None:
    pytest.skip("torchvision is not installed")
  names = names_without()
  assert len(names) == 1000
  assert (names[0], names[281], names[999]) == ("tench", "tabby", "toilet tissue")


def test_synsets_of_tfds_in_the_same_order(names_without):
  names = names_without("torchvision")
  assert len(names) == 1000
  assert (names[0], names[281], names[999]) == ("n01440764", "n02123045", "n15075141")


def test_none_without_both(names_without):
  assert names_without("torchvision", "tensorflow_datasets") is None
