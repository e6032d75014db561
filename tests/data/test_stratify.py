import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

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


def test_no_class_loses_its_last_example():
  labels = np.array([0] * 50 + [1] + [2])
  for seed in range(20):
    rest, _ = stratified_holdout(labels, 10, seed)
    assert set(labels[rest]) == {0, 1, 2}


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
