"""Splits that keep the proportions of the classes."""

import numpy as np


def stratified_holdout(
  labels: np.ndarray, size: int, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Holds out `size` examples, from each class in proportion to its share.

  Each class gives the whole part of its share. The examples still missing come from
  the classes with the largest fractions, but not the last example of a class. Of equal
  fractions, the smaller class comes first, which may have given nothing yet; among
  classes of one size, the seed draws.

  Args:
    labels: The class of each example, [num_examples].
    size: The number of examples to hold out.
    seed: The seed of the choice within each class, and among equal classes.

  Returns:
    The indices that stay and the indices held out, both in ascending order.
  """
  labels = np.asarray(labels)
  classes, members = np.unique(labels, return_inverse=True)
  counts = np.bincount(members)
  # Integers: fractions that are equal must not differ in the last bit.
  quotas, fractions = np.divmod(counts * size, len(labels))
  fractions = np.where(counts > quotas + 1, fractions, -1)
  # The raw stream of a bit generator is the same in every version of NumPy.
  stream = np.random.Philox(key=seed)
  priority = stream.random_raw(len(labels))
  lots = stream.random_raw(len(classes))
  in_turn = np.lexsort([~lots, counts, -fractions])  # The largest lot comes first.
  quotas[in_turn[: size - quotas.sum()]] += 1
  # Within each class, the rank of its members by their priority.
  by_class = np.lexsort([priority, members])
  rank = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
  held_out = np.zeros(len(labels), bool)
  held_out[by_class] = rank < np.repeat(quotas, counts)
  return np.flatnonzero(~held_out), np.flatnonzero(held_out)


def stratified_splits(
  labels: np.ndarray, test_fraction: float, validation_fraction: float, seed: int
) -> dict[str, np.ndarray]:
  """Cuts examples into train, validation and test, in the proportions of the classes.

  Args:
    labels: The class of each example, [num_examples].
    test_fraction: The part of all examples for test.
    validation_fraction: The part of all examples for validation.
    seed: The seed of the choice within each class, and among equal classes.

  Returns:
    Split → ascending indices, of each split that has examples; 'train' first.
  """
  labels = np.asarray(labels)
  rest, test = stratified_holdout(labels, round(test_fraction * len(labels)), seed)
  size = round(validation_fraction * len(labels))
  train, validation = stratified_holdout(labels[rest], size, seed)
  splits = {"train": rest[train], "validation": rest[validation], "test": test}
  return {name: indices for name, indices in splits.items() if len(indices)}
