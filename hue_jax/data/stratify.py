"""Splits that keep the proportions of the classes."""

import numpy as np


def stratified_holdout(
  labels: np.ndarray, size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Holds out `size` examples, from each class in proportion to its share.

  Each class gives the whole part of its share. The examples still missing come from
  the classes with the largest fractions, but not the last example of a class.

  Args:
    labels: The class of each example, [num_examples].
    size: How many examples to hold out.
    seed: Chooses the examples within each class.

  Returns:
    The indices that stay and the indices held out, both in ascending order.
  """
  labels = np.asarray(labels)
  classes, counts = np.unique(labels, return_counts=True)
  shares = counts * size / len(labels)
  quotas = np.floor(shares).astype(np.int64)
  fractions = np.where(counts > quotas + 1, shares - quotas, -1)
  in_turn = np.argsort(-fractions, kind="stable")
  quotas[in_turn[: size - quotas.sum()]] += 1
  # The raw stream of a bit generator is the same in every version of NumPy.
  priority = np.random.Philox(key=seed).random_raw(len(labels))
  held_out = np.zeros(len(labels), bool)
  for label, quota in zip(classes, quotas, strict=True):
    members = np.flatnonzero(labels == label)
    held_out[members[np.argsort(priority[members], kind="stable")[:quota]]] = True
  return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def stratified_splits(
  labels: np.ndarray, test_fraction: float, validation_fraction: float, seed: int
) -> dict[str, np.ndarray]:
  """Cuts examples into train, validation and test, in the proportions of the classes.

  Args:
    labels: The class of each example, [num_examples].
    test_fraction: The part of all examples for test.
    validation_fraction: The part of all examples for validation.
    seed: Chooses the examples within each class.

  Returns:
    Ascending indices for each split that has examples; 'train' first.
  """
  labels = np.asarray(labels)
  rest, test = stratified_holdout(labels, round(test_fraction * len(labels)), seed)
  size = round(validation_fraction * len(labels))
  train, validation = stratified_holdout(labels[rest], size, seed)
  splits = {"train": rest[train], "validation": rest[validation], "test": test}
  return {name: indices for name, indices in splits.items() if len(indices)}
