"""Checkpoints by Orbax: asynchronous, the last k and the best, whole or not at all.

A checkpoint holds the arrays of the state and a digest of them. Orbax renames a
checkpoint into place when it is complete; the digest finds what was damaged since.
A checkpoint that cannot be read whole is passed over for the one before it.
"""

import time
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath
from orbax.checkpoint.checkpoint_managers import (
  AnyPreservationPolicy,
  BestN,
  LatestN,
)

from hue_jax.errors import InputError
from hue_jax.train.state import TrainState
from hue_jax.trees import tree_digest

# The metric of a checkpoint that was not evaluated: below every other.
_NOT_EVALUATED = -1.0


class Checkpoints:
  """The checkpoints of one run.

  Use as a context manager: leaving waits for what is being written.
  """

  def __init__(self, workdir: epath.Path, *, keep: int, metric: str = "top1"):
    """Opens, or makes, the folder `checkpoints` of the workdir.

    Args:
      workdir: of the run.
      keep: how many of the last to keep; the best is kept besides.
      metric: by which it is the best.
    """
    self._metric = metric
    best = BestN(get_metric_fn=self._goodness, n=1)
    self._manager = ocp.CheckpointManager(
      workdir / "checkpoints",
      options=ocp.CheckpointManagerOptions(
        preservation_policy=AnyPreservationPolicy([LatestN(keep), best]),
        best_fn=self._goodness,
        enable_async_checkpointing=True,
      ),
      item_names=("state", "digest"),
    )

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self._manager.wait_until_finished()
    self._manager.close()

  def save(self, state: TrainState, metrics: dict[str, float] | None = None) -> None:
    """Starts to write a checkpoint of the state's step, unless there is one.

    Args:
      state: of this host, not replicated.
      metrics: of the validation split, by which the best is chosen.
    """
    arrays = _arrays(state)
    step = int(arrays["step"])
    if step in self._manager.all_steps():
      return
    self._manager.save(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardSave(arrays),
        digest=ocp.args.JsonSave({"sha256": tree_digest(arrays)}),
      ),
      metrics=metrics or {self._metric: _NOT_EVALUATED},
    )

  def restore_last(self, state: TrainState) -> TrainState:
    """The state of the last checkpoint that is whole, or the state given.

    Args:
      state: of the run's beginning, whose structure a checkpoint must have.

    Returns:
      The state to go on from.

    Raises:
      InputError: there are checkpoints, and none of them can be restored.
    """
    return self._restore_first(sorted(self._manager.all_steps(), reverse=True), state)

  def restore_best(self, state: TrainState) -> TrainState:
    """The state of the best checkpoint; of the last, where none has metrics.

    Args:
      state: whose structure a checkpoint must have.

    Returns:
      The state to evaluate.

    Raises:
      InputError: there are checkpoints, and none of them can be restored.
    """
    self._manager.wait_until_finished()
    steps = sorted(self._manager.all_steps(), reverse=True)
    # A stable sort: of equals the last comes first.
    steps.sort(key=lambda step: -self._goodness(self._manager.metrics(step)))
    return self._restore_first(steps, state)

  def _goodness(self, metrics: dict[str, Any]) -> float:
    return float(metrics[self._metric])

  def _restore_first(self, candidates, state):
    """The first candidate that is whole; those before it are put aside."""
    damaged = {}
    for step in candidates:
      try:
        restored = self._restore(step, state)
      except Exception as error:  # whatever the storage raises for damaged files
        damaged[step] = str(error).split("\n")[0] or type(error).__name__
        logging.warning(
          "checkpoint %d of %s is damaged and passed over: %s",
          step,
          self._manager.directory,
          damaged[step],
        )
        continue
      self._put_aside(damaged)
      return restored
    if damaged:
      step, reason = next(iter(damaged.items()))
      raise InputError(
        f"{self._manager.directory} holds {len(damaged)} checkpoints of which none can "
        f"be restored (step {step}: {reason}); move it away to start anew."
      )
    return state

  def _restore(self, step, state):
    target = jax.tree.map(np.empty_like, _arrays(state))
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(target), digest=ocp.args.JsonRestore()
      ),
    )
    arrays = restored["state"]
    if tree_digest(arrays) != restored["digest"]["sha256"]:
      raise ValueError("its digest is not that of its arrays")
    return state.replace(**arrays)

  def _put_aside(self, steps):
    """Moves damaged checkpoints out of the way, so that their steps can be written."""
    if jax.process_index() == 0:
      for step in steps:
        folder = epath.Path(self._manager.directory) / str(step)
        aside = (
          folder.parent.parent / "damaged_checkpoints" / f"{step}-{time.time_ns()}"
        )
        aside.parent.mkdir(exist_ok=True)
        folder.rename(aside)
    if steps:
      self._manager.reload()


def _arrays(state):
  """Copies on the host of the fields of the state that are data."""
  fields = ("step", "params", "opt_state", "batch_stats", "ema")
  return jax.tree.map(np.array, {name: getattr(state, name) for name in fields})
