import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hue_jax.data import elpv
from hue_jax.data.stratify import stratified_holdout, stratified_splits

labels_of_classes = st.lists(st.integers(0, 6), min_size=2, max_size=80).map(np.array)


@settings(deadline=None)
@given(labels_of_classes, st.floats(0, 0.8), st.integers(0, 2**63))
def test_holdout_is_proportional(labels, fraction, seed):
  classes, counts = np.unique(labels, return_counts=True)
  size = min(round(fraction * len(labels)), len(labels) - len(classes))
  rest, held_out = stratified_holdout(labels, size, seed)
  assert len(held_out) == size
  np.testing.assert_array_equal(
    np.sort(np.concatenate([rest, held_out])), np.arange(len(labels))
  )
  if (counts * size / len(labels) < counts - 1).all():
    for label, count in zip(classes, counts, strict=True):
      assert abs((labels[held_out] == label).sum() - count * size / len(labels)) < 1


@pytest.mark.parametrize(("counts", "size"), [((50, 1, 1), 10), ((10, 1), 8)])
def test_no_class_loses_its_last_example(counts, size):
  # Of the second, the share of the one is the largest fraction.
  labels = np.repeat(np.arange(len(counts)), counts)
  for seed in range(20):
    rest, _ = stratified_holdout(labels, size, seed)
    assert set(labels[rest]) == set(labels)


def test_splits_depend_on_the_seed_alone():
  labels = np.arange(1000) % 7
  one, same, other = (stratified_splits(labels, 0.2, 0.1, s) for s in (1, 1, 2))
  assert {k: len(v) for k, v in one.items()} == {
    "train": 700,
    "validation": 100,
    "test": 200,
  }
  for name in one:
    np.testing.assert_array_equal(one[name], same[name])
    assert set(one[name]) != set(other[name])
  assert list(stratified_splits(labels, 0.0, 0.0, 0)) == ["train"]


@pytest.mark.parametrize("counts", [(5,) * 200, (5,) * 100 + (15,) * 100])
def test_the_seed_draws_among_equal_classes(counts):
  """Of two hundred classes that are each too small for a whole example of their own."""
  labels = np.repeat(np.arange(200), counts)
  chosen = []
  for seed in range(8):
    splits = stratified_splits(labels, 0.1, 0.1, seed)
    chosen.append(set(labels[splits["test"][labels[splits["test"]] < 100]]))
    assert set(labels[splits["train"]]) == set(range(200))
  if len(set(counts)) > 1:  # The smaller classes come first, all of them.
    assert chosen == [set(range(100))] * 8
    return
  assert len({frozenset(classes) for classes in chosen}) == 8
  # Half of the first hundred, give or take three standard deviations of the draw.
  assert all(35 < len(classes) < 65 for classes in chosen)


def test_published_splits_stay_as_they_are():
  """By digests of the splits of the first release: of digits, and of ELPV's strata."""
  from sklearn.datasets import load_digits

  labels = load_digits(return_X_y=True)[1]
  assert _digest(stratified_holdout(labels, 360, seed=0)) == "d32ca77dad77fa7c"
  _, labels, is_mono = elpv._read_labels(elpv._package_folder())
  strata = elpv._strata(labels, is_mono)
  for seed, known in enumerate(
    ["f5c5554f28757aa8", "46de8b7762bda4e4", "2a51d50bc76de318"]
  ):
    assert _digest(stratified_splits(strata, 0.25, 0.0, seed).values()) == known


def _digest(parts) -> str:
  sha = hashlib.sha256()
  for part in parts:
    sha.update(np.asarray(part, np.int64).tobytes())
  return sha.hexdigest()[:16]
