"""Checkpoints by Orbax: asynchronous, the last k and the best, whole or not at all.

A checkpoint holds the arrays of the state, a digest of them, and how far the report of
the run is. Orbax renames a checkpoint into place when it is complete; the digest finds
what was damaged since. A checkpoint that cannot be read whole is passed over for the
one before it.

A state is saved first and evaluated then: what its evaluation gave lies beside the
checkpoints (`Evaluations`), and chooses the best of them.
"""

import contextlib
import logging as std_logging
import math
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
import orbax.checkpoint as ocp
from absl import logging
from etils import epath

from hue_jax.errors import InputError, Stopped
from hue_jax.train.state import TrainState
from hue_jax.train.workdir import CHECKPOINTS, Evaluations, in_first_process
from hue_jax.trees import tree_digest

# The goodness of a checkpoint that was not evaluated: below every other.
_NOT_EVALUATED = -1.0

WEIGHTS = ("step", "params", "batch_stats", "ema")


def _tell_errors_once():
  """Keeps tracebacks of what is raised besides off the terminal.

  Orbax logs them, and the arrays that were still being written when the first failed
  report, each from a thread of the storage, to an event loop that is gone.
  """
  for logger in ("absl", "asyncio", "concurrent.futures"):
    std_logging.getLogger(logger).addFilter(_is_no_error_that_is_raised)
  if not isinstance(sys.unraisablehook, _UnlessOfAClosedLoop):
    sys.unraisablehook = _UnlessOfAClosedLoop(sys.unraisablehook)


def _is_no_error_that_is_raised(record: std_logging.LogRecord) -> bool:
  if not record.exc_info:
    return True
  return not _is_of_a_closed_loop(record.exc_info[1]) and "orbax" not in record.pathname


def _is_of_a_closed_loop(error):
  return isinstance(error, RuntimeError) and str(error) == "Event loop is closed"


class _UnlessOfAClosedLoop:
  """Python's hook for errors that nothing can catch, without those of a closed loop."""

  def __init__(self, hook):
    self._hook = hook

  def __call__(self, unraisable):
    if not _is_of_a_closed_loop(unraisable.exc_value):
      self._hook(unraisable)


class NotSaved(Stopped):
  """A checkpoint that cannot be written."""

  word = "not saved"


class Restored(NamedTuple):
  """What a checkpoint gives back.

  Attributes:
    state: The state to go on from.
    progress: How far the report is, as it was saved; empty at the beginning.
  """

  state: TrainState
  progress: dict[str, Any]


class Checkpoints:
  """The checkpoints of one run.

  Use as a context manager: leaving waits for what is being written.
  """

  def __init__(
    self,
    workdir: epath.Path,
    *,
    keep: int,
    metric: str = "top1",
    read_only: bool = False,
  ):
    """Opens, or makes, the folder `checkpoints` of the workdir.

    Args:
      workdir: The folder of the run.
      keep: How many of the last to keep; the best is kept besides.
      metric: The metric by which it is the best.
      read_only: Whether the run is another's: nothing is written or put aside.
    """
    self._keep, self._metric, self._read_only = keep, metric, read_only
    _tell_errors_once()
    self._evaluations = Evaluations(workdir)
    self._manager = ocp.CheckpointManager(
      workdir / CHECKPOINTS,
      options=ocp.CheckpointManagerOptions(
        preservation_policy=_Preserved(self._preserved),
        enable_async_checkpointing=True,
        create=not read_only,
      ),
      item_handlers={
        "state": ocp.StandardCheckpointHandler(),
        "digest": ocp.JsonCheckpointHandler(),
        "progress": ocp.JsonCheckpointHandler(),
      },
    )

  def __enter__(self):
    return self

  def __exit__(self, kind, *_):
    try:
      self._wait()
    except NotSaved:
      if kind is None:
        raise
    finally:
      self._manager.close()

  def save(self, state: TrainState, progress: Mapping[str, Any] | None = None) -> None:
    """Starts to write a checkpoint of the state's step, unless there is one.

    Args:
      state: The state on this host, not replicated.
      progress: How far the report is, as JSON has it.

    Raises:
      NotSaved: If this checkpoint, or the one before it, cannot be written.
    """
    arrays = _on_host(state)
    step = int(arrays["step"])
    if step in self._manager.all_steps():
      return
    with self._writing():
      self._manager.save(
        step,
        args=ocp.args.Composite(
          state=ocp.args.StandardSave(arrays),
          digest=ocp.args.JsonSave({"sha256": tree_digest(arrays)}),
          progress=ocp.args.JsonSave(dict(progress or {})),
        ),
      )

  def record(self, step: int, means: Mapping[str, float]) -> None:
    """Adds what the evaluation of a checkpoint gave, by which the best is chosen.

    Args:
      step: The step of the checkpoint.
      means: Metric → mean over the validation split.
    """
    with self._writing():
      self._evaluations.record(step, means)

  def is_evaluated(self, step: int) -> bool:
    """Returns whether the evaluation of a checkpoint is known."""
    return self._goodness(step) != _NOT_EVALUATED

  def restore_last(self, state: TrainState) -> Restored:
    """Returns the state of the last checkpoint that is whole, or the state given.

    Args:
      state: The state at the run's beginning, whose structure a checkpoint must have.

    Returns:
      The state to go on from, and how far the report was.

    Raises:
      InputError: If there are checkpoints, and none of them can be restored.
    """
    steps = sorted(self._manager.all_steps(), reverse=True)
    return self._restore_first(steps, state, _all_that_holds_arrays(state))

  def restore_best(
    self, state: TrainState, needed: Sequence[str] | None = None
  ) -> TrainState:
    """Returns the state of the best checkpoint; of the last, where none was evaluated.

    Args:
      state: The state whose structure a checkpoint must have.
      needed: The fields of the state that the checkpoint must have, such as `WEIGHTS`;
        all that hold arrays if None.

    Returns:
      The state to evaluate.

    Raises:
      InputError: If there are checkpoints, and none of them can be restored.
    """
    self._wait()
    needed = _all_that_holds_arrays(state) if needed is None else needed
    best_first = self._best_first(self._manager.all_steps())
    return self._restore_first(best_first, state, needed).state

  def _best_first(self, steps: Iterable[int]) -> list[int]:
    """Returns the steps, the best first; of equals, the last comes first."""
    return sorted(steps, key=lambda step: (self._goodness(step), step), reverse=True)

  def _preserved(self, steps: Sequence[int]) -> set[int]:
    return {*sorted(steps)[-self._keep :], *self._best_first(steps)[:1]}

  def _goodness(self, step: int) -> float:
    means = self._evaluations.of_step(step)
    if means is None:  # Version 0.1 kept them inside the checkpoint.
      means = self._manager.metrics(step) or {}
    value = means.get(self._metric, _NOT_EVALUATED)
    return float(value) if math.isfinite(value) else _NOT_EVALUATED

  def _wait(self):
    with self._writing():
      self._manager.wait_until_finished()

  @contextlib.contextmanager
  def _writing(self):
    try:
      yield
    except Exception as error:  # whatever the storage raises
      raise NotSaved(
        f"a checkpoint cannot be written to {self._manager.directory} "
        f"({_reason(error)}); the last one that is whole is kept."
      ) from None

  def _restore_first(self, candidates, state, needed) -> Restored:
    """Returns the first candidate that is whole; those before it are put aside."""
    damaged = {}
    for step in candidates:
      try:
        restored = self._restore(step, state, needed)
      except InputError:  # whole, and of no use: those before it are alike
        raise
      except Exception as error:  # whatever the storage raises for damaged files
        damaged[step] = _reason(error)
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
    return Restored(state, {})

  def _restore(self, step, state, needed) -> Restored:
    target = jax.tree.map(_empty_like, state.arrays())
    items = self._manager.item_metadata(step)
    absent = set(target) - set(items["state"])
    for name in sorted(absent):
      self._check_harmless(name, step, needed)
      del target[name]
    json_items = [name for name in ("digest", "progress") if name in items]
    restored = self._manager.restore(
      step,
      args=ocp.args.Composite(
        state=ocp.args.StandardRestore(target),
        **{name: ocp.args.JsonRestore() for name in json_items},
      ),
    )
    arrays = restored["state"]
    if tree_digest(arrays) != restored["digest"]["sha256"]:
      raise ValueError("its digest is not that of its arrays")
    progress = restored["progress"] if "progress" in items else {}
    return Restored(state.replace(**arrays), progress)

  def _check_harmless(self, name, step, needed):
    """Warns that a checkpoint lacks a field of the state, or refuses it."""
    if name in needed:
      raise InputError(
        f"checkpoint {step} of {self._manager.directory} lacks {name}, which earlier "
        "versions did not save and this run needs; start anew in another workdir."
      )
    logging.warning(
      "checkpoint %d of %s lacks %s, which earlier versions did not save; nothing that "
      "is needed is lost.",
      step,
      self._manager.directory,
      name,
    )

  def _put_aside(self, steps):
    """Moves damaged checkpoints out of the way, so that their steps can be written."""
    if self._read_only:
      return
    # Also where this process found none: the others may wait. None looks again before
    # they are moved, so that all see the same steps.
    in_first_process(lambda: self._move(steps))
    if steps:
      self._manager.reload()

  def _move(self, steps):
    folder = epath.Path(self._manager.directory)
    aside = folder.parent / "damaged_checkpoints"
    for step in steps:
      try:
        aside.mkdir(exist_ok=True)
        (folder / str(step)).rename(aside / f"{step}-{time.time_ns()}")
      except Exception as error:  # whatever the storage raises
        raise InputError(
          f"checkpoint {step} of {folder} is damaged, and cannot be moved to {aside} "
          f"({_reason(error)}); move it by hand."
        ) from None


class _Preserved:
  """Orbax's preservation policy, by steps alone."""

  def __init__(self, of):
    self._of = of

  def should_preserve(self, checkpoints, *, context):
    del context
    preserved = self._of([info.step for info in checkpoints])
    return [info.step in preserved for info in checkpoints]


def _reason(error):
  return str(error).partition("\n")[0] or type(error).__name__


def _all_that_holds_arrays(state):
  return [name for name, tree in state.arrays().items() if jax.tree.leaves(tree)]


def _empty_like(leaf):
  return np.empty(leaf.shape, leaf.dtype)


def _on_host(state):
  """Returns copies on the host of what the state carries."""
  return jax.tree.map(np.array, state.arrays())
