"""Evaluates a state on a whole split, each example once."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np

from hue_jax.train.parallel import Parallel
from hue_jax.train.report import Means


def evaluate(
  eval_step: Callable,
  state,
  batches: Iterable[Mapping[str, np.ndarray]],
  parallel: Parallel,
) -> dict[str, float]:
  """Means over the examples of a split.

  Args:
    eval_step: mapped over devices.
    state: replicated.
    batches: of this process, of equal shape, with a mask that is 0 for padding.
    parallel: the mapping.

  Returns:
    Metric name → mean over all examples of all processes.
  """
  means = Means()
  for batch in batches:
    arrays = {name: array for name, array in batch.items() if name != "index"}
    means.add(parallel.first(eval_step(state, parallel.shard(arrays))))
  return means.compute()
