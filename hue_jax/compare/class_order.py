"""The order of classes on a circle in which like ones are neighbors."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from hue_jax.compare.task import ArrayTask


def with_class_orders(settings: Mapping[str, Any], task: ArrayTask) -> dict[str, Any]:
  """Returns the settings, with class orders "likeness" replaced by the order itself."""
  objectives = settings["objectives"]
  return {**settings, "objectives": _replaced(objectives, likeness_order(task))}


def _replaced(value, order):
  if isinstance(value, Mapping):
    return {name: _replaced(item, order) for name, item in value.items()}
  return order if value == "likeness" else value


def likeness_order(task: ArrayTask) -> list[int]:
  """Returns the classes in a circle in which like ones are neighbors.

  Args:
    task: The task whose training images say what is alike: the distance of two classes
      is that of their mean images.

  Returns:
    The shortest closed tour that 2-opt exchanges find, from class 0 on.
  """
  images, labels = task.train.images, task.train.labels
  flat = images.reshape(len(images), -1).astype(np.float64)
  means = np.stack([flat[labels == c].mean(axis=0) for c in range(task.num_classes)])
  distances = np.linalg.norm(means[:, None] - means, axis=-1)
  tour = list(range(task.num_classes))
  improved = True
  while improved:
    improved = False
    for i in range(1, len(tour) - 1):
      for j in range(i + 1, len(tour)):
        other = tour[:i] + tour[i : j + 1][::-1] + tour[j + 1 :]
        if _length(other, distances) < _length(tour, distances) - 1e-9:
          tour, improved = other, True
  return tour


def _length(tour, distances):
  return sum(distances[a, b] for a, b in zip(tour, tour[1:] + tour[:1], strict=True))
