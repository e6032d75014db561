"""What the folders of runs hold, whether they ended, and how."""

import dataclasses
import os
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict

from hue_jax.errors import InputError
from hue_jax.runs.events import read_curves
from hue_jax.train import workdir

# What marks a folder as a run's, be it a damaged one.
_MARKS = ("config.json", "checkpoints", "evaluations.json")
_IN_WORDS = {"preempted": "stopped", "began": "killed"}


@dataclasses.dataclass(frozen=True)
class RunFolder:
  """A run, as its folder tells of it.

  Attributes:
    name: The path of the folder, below the one that was looked through.
    path: The folder.
    settings: Its settings by name, as in "hue.enabled"; empty where they cannot be
      read.
    result: The result of the run; empty where there is none.
    curves: Name → step → value.
    status: "finished", "at work", "stopped", "killed", "diverged", "failed" or
      "damaged".
    told: What it said in the end, where that was more than its result.
    step: The last step of which anything is told.
    damage: What cannot be read, a sentence each.
  """

  name: str
  path: Path
  settings: dict[str, Any]
  result: dict[str, Any]
  curves: dict[str, dict[int, float]]
  status: str
  told: str
  step: int
  damage: tuple[str, ...]


def read_runs(folder: Path) -> list[RunFolder]:
  """Reads the runs in a folder, and in folders within it.

  Args:
    folder: A folder of workdirs, or a workdir.

  Returns:
    The runs by name; what is damaged of one is said in it, and keeps no other back.
  """
  found, seen = [], set()
  for path, names, files in os.walk(folder, followlinks=True):
    if (place := os.path.realpath(path)) in seen:  # a link back, or a second to a run
      names.clear()
      continue
    seen.add(place)
    if not {*names, *files}.intersection(_MARKS):
      # A run is called by its own folder rather than by a link beside it.
      names.sort(key=lambda name: (os.path.islink(os.path.join(path, name)), name))
      continue
    names.clear()  # a run holds no other
    name = os.path.relpath(path, folder)
    label = Path(path).resolve().name if name == "." else name
    found.append(_read(label, Path(path)))
  return found


def _read(name, path):
  damage = []

  def tried(read, otherwise):
    try:
      return read(workdir.folder_of(path))
    except InputError as error:
      damage.append(str(error))
      return otherwise

  config = tried(workdir.read_config, None)
  result, end = tried(workdir.read_result, {}), tried(workdir.read_end, {})
  curves = read_curves(path)
  steps = [step for values in curves.values.values() for step in values]
  step = max([*steps, result.get("step", 0)], default=0)
  status = "damaged" if config is None else _status(path, end, result)
  return RunFolder(
    name=name,
    path=path,
    settings={} if config is None else _flat(config),
    result=result,
    curves=curves.values,
    status=status,
    told=str(end.get("told", "")),
    step=step,
    damage=(*damage, *curves.damage),
  )


def _flat(config):
  return flatten_dict(config.to_dict(), sep=".")


def _status(path, end, result):
  if workdir.is_held(workdir.folder_of(path)):
    return "at work"
  how = end.get("how") or ("finished" if result else "stopped")
  return _IN_WORDS.get(how, how)
