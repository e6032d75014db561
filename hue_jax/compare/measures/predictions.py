"""What scores say beside how many are right: calibration, and how bad mistakes are."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from hue_jax.errors import InputError

_BINS = 15


def accuracy(
  scores: Float[np.ndarray, "examples classes"], labels: Int[np.ndarray, " examples"]
) -> float:
  """Returns the share of examples whose largest score is that of their class.

  Of scores that are not all numbers none is the largest: such an example is not right.
  """
  told = ~np.isnan(scores).any(axis=-1)
  return float(np.mean(told & (scores.argmax(axis=-1) == labels)))


def negative_log_likelihood(
  logits: Float[np.ndarray, "examples classes"], labels: Int[np.ndarray, " examples"]
) -> float:
  """Returns the mean of −log softmax(logits)[label], in nats."""
  log_p = _log_softmax(logits)
  return float(-np.mean(log_p[np.arange(len(labels)), labels]))


def expected_calibration_error(
  logits: Float[np.ndarray, "examples classes"], labels: Int[np.ndarray, " examples"]
) -> float:
  """Returns Σ (share of examples) · |accuracy − mean confidence| over confidence bins.

  Args:
    logits: The logits of the examples.
    labels: The classes of the examples.

  Returns:
    The error in [0, 1], with 15 bins of equal width; NaN if a logit is.

  Source: Guo et al., "On Calibration of Modern Neural Networks", ICML 2017.
  """
  p = np.exp(_log_softmax(logits))
  confidence, right = p.max(axis=-1), p.argmax(axis=-1) == labels
  if np.isnan(confidence).any():
    return float("nan")
  bins = np.minimum((confidence * _BINS).astype(int), _BINS - 1)
  gap = np.bincount(bins, right - confidence, minlength=_BINS)
  return float(np.abs(gap).sum() / len(labels))


def hierarchy_distances(
  hierarchy: Mapping[str, Any], class_names: tuple[str, ...]
) -> Float[np.ndarray, "classes classes"]:
  """Returns 1 − the depth of the lowest node that two classes share, over the tree's.

  In a tree whose leaves are all as deep this is that node's height over the root's.

  Args:
    hierarchy: A tree: name → subtree, or a list of class names.
    class_names: The names of the classes, in the order of the labels.

  Returns:
    The distances: 0 of a class to itself, 1 of two that share the root alone.

  Raises:
    InputError: If the tree lacks a class, has it twice, or has what is no class.

  Source: Bertinetto et al., "Making Better Mistakes", CVPR 2020.
  """
  paths = dict.fromkeys(class_names)

  def walk(node, path):
    if isinstance(node, Mapping):
      for name, child in node.items():
        walk(child, (*path, name))
      return
    for name in node:
      if name not in paths or paths[name] is not None:
        problem = "is not a class" if name not in paths else "is there twice"
        raise InputError(
          f"hierarchy has {name!r}, which {problem}; the classes are "
          f"{', '.join(class_names)}."
        )
      paths[name] = path

  walk(hierarchy, ())
  missing = [name for name, path in paths.items() if path is None]
  if missing:
    raise InputError(f"hierarchy lacks the classes {', '.join(missing)}.")
  height = max(len(path) for path in paths.values()) + 1
  distances = np.zeros((len(class_names), len(class_names)))
  for i, one in enumerate(paths.values()):
    for j, other in enumerate(paths.values()):
      if i != j:
        distances[i, j] = 1 - _shared(one, other) / height
  return distances


def _shared(one, other):
  """Counts the nodes below the root that two paths share."""
  count = 0
  for a, b in zip(one, other, strict=False):
    if a != b:
      break
    count += 1
  return count


def mistake_distance(
  scores: Float[np.ndarray, "examples classes"],
  labels: Int[np.ndarray, " examples"],
  distances: Float[np.ndarray, "classes classes"],
) -> float:
  """Returns the mean distance in a class hierarchy of predicted from true classes.

  Args:
    scores: The scores of the examples.
    labels: The classes of the examples.
    distances: The distances by `hierarchy_distances`.

  Returns:
    The mean over the examples that are not right; NaN if all are, or a score is.
  """
  if np.isnan(scores).any():
    return float("nan")
  predicted = scores.argmax(axis=-1)
  wrong = predicted != labels
  if not wrong.any():
    return float("nan")
  return float(distances[predicted[wrong], labels[wrong]].mean())


def _log_softmax(logits):
  logits = logits.astype(np.float64)
  shifted = logits - logits.max(axis=-1, keepdims=True)
  return shifted - np.log(np.exp(shifted).sum(axis=-1, keepdims=True))
