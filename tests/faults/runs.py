"""The runs at which faults are thrown, and what a fault may do to one."""

import dataclasses
import itertools
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp

from tests.helpers import processes

NUM_STEPS, EVERY = 60, 5


@dataclasses.dataclass
class Count:
  """What became of the faults of one kind.

  Attributes:
    fault: The kind, in words.
    tried: How many were thrown.
    lost: What went wrong, of those after which the run was not as it must be.
    notes: What else is to be told, as text → how often.
  """

  fault: str
  tried: int = 0
  lost: list[str] = dataclasses.field(default_factory=list)
  notes: dict[str, int] = dataclasses.field(default_factory=dict)

  def threw(self, note: str, wrong: str = "") -> None:
    """Counts a fault, and says so.

    Args:
      note: What it was, or how the run ended, in words.
      wrong: What is not as it must be.
    """
    self.tried += 1
    self.notes[note] = self.notes.get(note, 0) + 1
    self.lose(wrong)
    print(f"{self.fault}: {self.tried} tried, {note}", file=sys.stderr, flush=True)

  def lose(self, wrong: str, number: int = 1) -> None:
    """Counts runs that did not end as they must, if something is wrong."""
    if wrong:
      self.lost += [wrong] * number
      print(f"{self.fault}: lost {number}: {wrong}", file=sys.stderr, flush=True)

  def row(self) -> str:
    """Returns the row of a table in Markdown."""
    survived = self.tried - len(self.lost)
    notes = ", ".join(f"{number} {text}" for text, number in sorted(self.notes.items()))
    return f"| {self.fault} | {self.tried} | {survived} | {len(self.lost)} | {notes} |"


@dataclasses.dataclass
class Bench:
  """Where the runs of one objective lie, and what one that is left alone ends with."""

  folder: Path
  hue: str
  num_steps: int = NUM_STEPS

  def __post_init__(self):
    self._numbers = itertools.count()
    self._expected: dict[int, tuple] = {}

  def new_workdir(self) -> Path:
    """Returns the place of a workdir that is not there."""
    return self.folder / self.hue / f"run_{next(self._numbers)}"

  def flags(self, workdir: Path) -> list[str]:
    """Returns the flags of a small run."""
    return [
      f"--config=configs/digits_hue.py:{self.hue}",
      "--config.model=resnet8",
      "--config.model_options.width=4",
      "--config.batch_size=16",
      "--config.train_split=train[:240]",
      "--config.validation_split=train[240:400]",
      "--config.test_split=test[:64]",
      f"--config.num_train_steps={self.num_steps}",
      "--config.eval_every_epochs=1",
      f"--config.checkpoint_every_steps={EVERY}",
      "--config.log_every_steps=1",
      "--config.num_colored_images=0",
      f"--config.data_dir={self.folder / 'data'}",
      f"--workdir={workdir}",
    ]

  def start(self, workdir: Path, said: Path | None = None, **options) -> processes.Run:
    """Starts a run in one process; what it says is kept beside its workdir."""
    said = said or _said(workdir)
    return processes.start(said, self.flags(workdir), **options)

  def joined(self, workdir: Path, count: int, **options):
    """Starts a run in several processes; a context."""
    return processes.joined(_said(workdir), [self.flags(workdir)] * count, **options)

  def finish(self, workdir: Path, count: int = 1) -> str:
    """Runs a workdir to its end; returns what is wrong with how it ends, or ""."""
    if count == 1:
      runs = [self.start(workdir)]
      statuses = [runs[0].status()]
    else:
      with self.joined(workdir, count) as runs:
        statuses = [run.status() for run in runs]
    if any(statuses):
      return f"statuses {statuses}: {runs[0].errors()[-600:]}"
    ours, theirs = self._outcome(workdir, runs[0]), self.expected(count)
    return "" if _same(ours, theirs) else "its end has other bits"

  def expected(self, count: int = 1) -> tuple:
    """Returns what a run ends with that nothing disturbs."""
    if count not in self._expected:
      workdir = self.new_workdir()
      with self.joined(workdir, count) if count > 1 else _one(self, workdir) as runs:
        statuses = [run.status() for run in runs]
        if any(statuses):
          raise RuntimeError(f"a run left alone ends so: {runs[0].errors()[-3000:]}")
      self._expected[count] = self._outcome(workdir, runs[0])
    return self._expected[count]

  def _outcome(self, workdir, run):
    result = {name: value for name, value in run.result().items() if name != "seconds"}
    return result, arrays(workdir, self.num_steps)


class _one:
  """A run in one process as a context, as `Bench.joined` is."""

  def __init__(self, bench, workdir):
    self._run = bench.start(workdir)

  def __enter__(self):
    return [self._run]

  def __exit__(self, *_):
    self._run.send(9)


def _said(workdir):
  """The place of what a run says: beside its workdir, which may not be writable."""
  return workdir.with_name(f"{workdir.name}_said")


def _same(ours, theirs):
  (result, tree), (expected_result, expected_tree) = ours, theirs
  return (
    result == expected_result
    and tree.keys() == expected_tree.keys()
    and all(
      array.dtype == expected_tree[name].dtype
      and array.tobytes() == expected_tree[name].tobytes()
      for name, array in tree.items()
    )
  )


# --- What lies in a workdir -----------------------------------------------------------


def arrays(workdir: Path, step: int) -> dict[str, np.ndarray]:
  """Returns every array of a checkpoint, read without the package."""
  with ocp.StandardCheckpointer() as checkpointer:
    tree = checkpointer.restore(workdir.resolve() / "checkpoints" / str(step) / "state")
  return {
    jax.tree_util.keystr(path): np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


def steps(workdir: Path) -> list[int]:
  """Returns the steps of the checkpoints that are whole."""
  return sorted(int(name) for name in _names(workdir) if name.isdigit())


def is_writing(workdir: Path) -> bool:
  """Returns whether a checkpoint is being written."""
  return any("tmp" in name for name in _names(workdir))


def is_evaluating(workdir: Path) -> bool:
  """Returns whether a checkpoint waits for its evaluation, one being due each 15."""
  last = max(steps(workdir), default=0)
  if not last or last % (240 // 16):
    return False
  try:
    done = json.loads((workdir / "evaluations.json").read_text())
  except (OSError, ValueError):
    done = {}
  return str(last) not in done


def _names(workdir):
  try:
    return [path.name for path in (workdir / "checkpoints").iterdir()]
  except OSError:
    return []


def until(condition: Callable[[], bool], run: processes.Run) -> bool:
  """Waits for a condition, or for the end of a run; returns whether it came first."""
  while run.status(0) is None:
    if condition():
      return True
    time.sleep(0.005)
  return False


def one_line(run: processes.Run) -> str:
  """Returns what is wrong with how a run told why it ended, or ""."""
  told = run.errors()
  lines = [line for line in told.splitlines() if line.strip()]
  if "Traceback" in told:
    return f"a traceback: {told[-600:]}"
  if not lines or not lines[-1].startswith(("error: ", "not saved: ", "stopped: ")):
    return f"no line that says why: {told[-300:]}"
  return ""
