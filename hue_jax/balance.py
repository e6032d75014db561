"""Draws that are balanced over the classes."""

import numpy as np
from jaxtyping import Bool, Int


def first_of_each_class(
  labels: Int[np.ndarray, " examples"], most: Int[np.ndarray, " classes"]
) -> Bool[np.ndarray, " examples"]:
  """Returns which examples are among the first of their class.

  In a random order of the examples these are a class-balanced draw.

  Args:
    labels: The classes of the examples, in their order.
    most: The number that is taken of each class; all of a class that has fewer.
  """
  by_class = np.argsort(labels, kind="stable")
  _, starts, counts = np.unique(labels[by_class], return_index=True, return_counts=True)
  rank = np.empty(len(labels), np.int64)
  rank[by_class] = np.arange(len(labels)) - np.repeat(starts, counts)
  return rank < most[labels]
