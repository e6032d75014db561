"""Evaluates a state on whole splits, each example once."""

import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from hue_jax.train.parallel import Parallel
from hue_jax.train.run_report import Means
from hue_jax.train.step import CONFUSION

Batches = Iterable[Mapping[str, np.ndarray]]


def evaluate(
  eval_step: Callable,
  state: Any,
  batches: Batches,
  parallel: Parallel,
  counts: dict[str, np.ndarray] | None = None,
) -> dict[str, float]:
  """Returns the means over the examples of a split.

  Args:
    eval_step: The step of evaluation, mapped over devices.
    state: The replicated state.
    batches: The batches of this process, of equal shape, with a mask that is 0 for
      padding.
    parallel: The mapping.
    counts: Where what is counted is added, by its name.

  Returns:
    Metric name → mean over all examples of all processes.
  """
  means = Means()
  for batch in batches:
    arrays = {name: array for name, array in batch.items() if name != "index"}
    sums = dict(parallel.unreplicate(eval_step(state, parallel.shard(arrays))))
    if CONFUSION in sums:
      counted = np.asarray(sums.pop(CONFUSION)[0], np.float64)
      if counts is not None:
        counts[CONFUSION] = counts.get(CONFUSION, 0) + counted
    means.add(sums)
  return means.compute()


@dataclasses.dataclass(frozen=True)
class Evaluator:
  """What a state is evaluated on, and what of that the result of a run tells.

  Attributes:
    name: The name in reports: "validation", "test", or that of an extra test.
    batches: A function that begins the batches of the split.
    told: Metric → its name in the result; None for all that are measured.
  """

  name: str
  batches: Callable[[], Batches]
  told: Mapping[str, str] | None = None

  def results(self, means: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Yields name and value of what the result of a run tells.

    Args:
      means: Metric → mean, from `evaluate`.
    """
    told = {name: name for name in means} if self.told is None else self.told
    for metric, name in told.items():
      yield f"{self.name}_{name}", means[metric]
