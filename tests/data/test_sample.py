"""A sample has the same number of every class, and is that of its seed."""

import numpy as np
import pytest

from hue_jax.data.datasets import open_dataset
from hue_jax.data.sample import class_balanced_sample
from hue_jax.errors import InputError
from tests.helpers.data_sets import image_features, write_images


def test_every_class_has_its_number(digits, reference):
  indices, labels = class_balanced_sample(digits, "train", per_class=7, seed=0)
  np.testing.assert_array_equal(np.bincount(labels), np.full(10, 7))
  assert (np.diff(indices) > 0).all()
  examples = reference(digits, "train")
  np.testing.assert_array_equal(labels, [examples[i]["label"] for i in indices])


def test_a_larger_sample_adds_to_a_smaller(digits):
  small, _ = class_balanced_sample(digits, "train", per_class=3, seed=5)
  large, _ = class_balanced_sample(digits, "train", per_class=9, seed=5)
  other, _ = class_balanced_sample(digits, "train", per_class=3, seed=6)
  assert set(small) < set(large)
  assert len(set(small) & set(other)) < 10


def test_all_are_taken_of_a_class_that_has_fewer(digits):
  indices, labels = class_balanced_sample(digits, "test", per_class=1000, seed=0)
  np.testing.assert_array_equal(indices, np.arange(360))
  assert np.bincount(labels).max() < 1000


def test_a_sample_over_many_blocks_is_that_of_one(digits, monkeypatch):
  expected = class_balanced_sample(digits, "train", per_class=20, seed=1)
  monkeypatch.setattr("hue_jax.data.sample._BLOCK", 33)
  found = class_balanced_sample(digits, "train", per_class=20, seed=1)
  np.testing.assert_array_equal(found, expected)


def test_what_cannot_be_sampled_is_named(digits, tmp_path):
  with pytest.raises(InputError, match="per_class is 0"):
    class_balanced_sample(digits, "train", per_class=0, seed=0)
  with pytest.raises(InputError, match=r"split 'train\[:0\]' has no examples"):
    class_balanced_sample(digits, "train[:0]", per_class=1, seed=0)
  with pytest.raises(InputError, match="has no split 'dev'"):
    class_balanced_sample(digits, "dev", per_class=1, seed=0)


def test_a_split_without_labels_is_named(tmp_path):
  features = image_features((4, 4, 1), 3)
  pictures = np.zeros((5, 4, 4, 1), np.uint8)
  labels = {"test": np.full(5, -1)}
  write_images(str(tmp_path), "unlabeled", features, {"test": pictures}, labels)
  with pytest.raises(InputError, match="label -1 is not among 0 to 2"):
    class_balanced_sample(
      open_dataset("unlabeled", str(tmp_path)), "test", per_class=1, seed=0
    )
