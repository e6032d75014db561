"""The folder of a run: its lock, its configuration, and what its evaluations gave.

The checkpoints lie there, too; see `checkpoints.py`.
"""

import contextlib
import fcntl
import hashlib
import importlib
import json
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax
import numpy as np
from etils import epath
from flax.traverse_util import flatten_dict
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from hue_jax.errors import InputError, Stopped, refuse
from hue_jax.files import is_local, write_text

CHECKPOINTS = "checkpoints"
_CONFIG, _EVALUATIONS, _LOCK = "config.json", "evaluations.json", "lock"
_DATA_SET, _RESULT, _END = "data_set.json", "result.json", "end.json"
# Beside the settings in the configuration: data set → what identifies its content.
_DATA = "data_identities"

# Where a run is kept, how often it reports and by which form of the mapping: what a
# run may change in the middle without becoming another run.
_NOT_OF_THE_RUN = (
  "checkpoint_every_steps",
  "data_dir",
  "eval_batch_size",
  "keep_checkpoints",
  "log_every_steps",
  "num_colored_images",
  "num_confused_classes",
  "num_profiled_steps",
  "num_projected_images",
  "parallel",
)

# Settings that the runs of older versions lack, and what these runs did.
_BEFORE = {
  "antialias": True,
  "num_confused_classes": 0,
  "num_profiled_steps": 0,
  "num_projected_images": 0,
  "shuffle": "full",
  "shuffle_block_bytes": 4_000_000,
  "shuffle_window": 16_384,
}


# What a bucket's answer means.
_ANSWERS = {
  "401": "nobody is logged in who may",
  "403": "this account may not",
  "404": "there is no such bucket",
}


def folder_of(workdir: str | os.PathLike, setting: str = "workdir") -> epath.Path:
  """Returns the absolute path of a workdir.

  Args:
    workdir: A folder, or gs://BUCKET/FOLDER.
    setting: What has the path, for errors.

  Raises:
    InputError: If it is a URL of another kind.
    ModuleNotFoundError: If a package is not installed that a bucket needs.
  """
  path = os.fspath(workdir)
  if is_local(path):
    return epath.Path(path).expanduser().resolve()
  if not re.fullmatch(r"gs://[^/]+/+[^/].*", path):
    refuse(setting, path, "a folder, or gs://BUCKET/FOLDER")
  # TensorFlow reads and writes there, but for arrays; what deletes comes with gcsfs.
  importlib.import_module("hue_jax.data.host_tensorflow")
  importlib.import_module("gcsfs")
  return epath.Path(path)


# --- The lock -------------------------------------------------------------------


@contextlib.contextmanager
def holding(workdir: epath.Path) -> Iterator[None]:
  """Makes the workdir, and holds it against other runs until the context is left.

  The lock is the operating system's (`flock` on the file `lock`), and so ends with the
  process, however that ends. Buckets and some network file systems have none: there two
  runs in one workdir are not noticed, and in a bucket `lock` says which began last.

  Args:
    workdir: The folder of the run.

  Raises:
    InputError: If another run holds it, or it cannot be written.
  """
  with contextlib.ExitStack() as stack:
    in_first_process(lambda: _hold(workdir, stack))
    yield


def _hold(workdir, stack):
  if not is_local(workdir):
    # Not a folder: a bucket needs none, and where there is no bucket TensorFlow looks
    # for the one above without end.
    with _writing(workdir):
      (workdir / _LOCK).write_text(_holder())
    return
  with _writing(workdir):
    (workdir / CHECKPOINTS).mkdir(parents=True, exist_ok=True)
    lock = os.open(workdir / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    stack.callback(os.close, lock)
  try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
  except BlockingIOError:
    holder = os.read(lock, 200).decode(errors="replace")
    raise InputError(
      f"workdir is {str(workdir)!r}, where another run is at work ({holder}); wait for "
      "its end, or choose another workdir."
    ) from None
  except OSError:  # a file system without locks
    return
  with _writing(workdir):
    os.ftruncate(lock, 0)
    os.write(lock, _holder().encode())


def _holder():
  return f"process {os.getpid()} on {os.uname().nodename}"


@contextlib.contextmanager
def _writing(workdir):
  try:
    yield
  except Exception as error:  # of the storage, whatever it raises
    raise InputError(
      f"workdir is {str(workdir)!r}, which cannot be written: {_reason(error)}."
    ) from None


@contextlib.contextmanager
def _reading(workdir):
  try:
    yield
  except InputError:
    raise
  except Exception as error:  # of the storage, whatever it raises
    raise InputError(
      f"workdir is {str(workdir)!r}, which cannot be read: {_reason(error)}."
    ) from None


def _reason(error):
  answer = re.search(r"HTTP response code (\d+)", str(error))
  if answer and answer[1] in _ANSWERS:
    return _ANSWERS[answer[1]]
  return getattr(error, "strerror", None) or str(error).partition("\n")[0]


def in_first_process(action: Callable[[], None]) -> None:
  """Does something in the first process, for whose end all others wait.

  Every process must call it equally often, at the same places.

  Args:
    action: What is done.

  Raises:
    InputError: If the action raises one; in all processes.
  """
  message = b""
  if jax.process_index() == 0:
    try:
      action()
    except InputError as error:
      message = str(error).encode()
  if jax.process_count() > 1:
    sent = np.zeros(2048, np.uint8)
    sent[: len(message)] = np.frombuffer(message, np.uint8)[: len(sent)]
    message = np.asarray(multihost_utils.broadcast_one_to_all(sent)).tobytes()
  if message := message.rstrip(b"\0").decode(errors="replace"):
    raise InputError(message)


# --- The configuration ----------------------------------------------------------


def record_config(
  workdir: epath.Path, config: ConfigDict, data: Mapping[str, str]
) -> None:
  """Writes the configuration into the workdir, or checks that it is the one there.

  Args:
    workdir: The folder of this run.
    config: The configuration of this run.
    data: Data set → what identifies its content.

  Raises:
    InputError: If the workdir holds a run of another configuration or of other data.
  """

  def record():
    known = check_config(workdir, config, data)
    content = json.loads(config.to_json()) | {_DATA: {**known, **data}}
    with _writing(workdir):
      _write(workdir / _CONFIG, content)

  in_first_process(record)


def check_config(
  workdir: epath.Path, config: ConfigDict, data: Mapping[str, str]
) -> Mapping[str, str]:
  """Raises an InputError unless a workdir is new, or of this configuration and data.

  Args:
    workdir: The folder of a run.
    config: The configuration of this run.
    data: Data set → what identifies its content.

  Returns:
    The data with which the run in the workdir began, as far as it is known.
  """
  if not holds_run(workdir):
    return {}
  theirs = _BEFORE | _read(workdir / _CONFIG)
  known = theirs.pop(_DATA, {})
  _check_same(json.loads(config.to_json()), theirs, workdir)
  for name, identity in data.items():
    if known.get(name, identity) != identity:
      raise InputError(
        f"workdir is {str(workdir)!r}, whose run began with another data set {name!r}: "
        "it was replaced since. Bring it back, or choose another workdir."
      )
  return known


def holds_run(workdir: epath.Path) -> bool:
  """Returns whether a folder has the configuration of a run.

  Raises:
    InputError: If it is in a bucket that cannot be read.
  """
  with _reading(workdir):
    return (workdir / _CONFIG).exists()


def read_config(workdir: epath.Path) -> ConfigDict:
  """Returns the configuration that lies beside the checkpoints.

  Args:
    workdir: The folder of a run.

  Returns:
    The configuration.

  Raises:
    InputError: If the workdir holds no run, or its configuration cannot be read.
  """
  if not holds_run(workdir):
    raise InputError(f"workdir is {str(workdir)!r}, which holds no run ({_CONFIG}).")
  settings = _BEFORE | _read(workdir / _CONFIG)
  settings.pop(_DATA, None)
  return ConfigDict(settings)


def content(workdir: epath.Path) -> str:
  """Returns in a few words what a workdir holds, for processes to compare.

  Args:
    workdir: The folder of a run.

  Returns:
    The digest of its configuration, and the steps of its checkpoints.
  """
  path, folder = workdir / _CONFIG, workdir / CHECKPOINTS
  if not holds_run(workdir):
    return "no configuration"
  with _reading(workdir):
    digest = hashlib.sha256(path.read_bytes()).hexdigest()[:8]
    names = [each.name for each in folder.iterdir()] if folder.exists() else []
  steps = sorted(int(name) for name in names if name.isdigit())
  return f"configuration {digest} and the checkpoints {steps}"


def _check_same(ours, theirs, workdir):
  ours, theirs = flatten_dict(ours, sep="."), flatten_dict(theirs, sep=".")
  absent = "(not set)"
  differences = [
    f"{name} is {ours.get(name, absent)!r} and was {theirs.get(name, absent)!r}"
    for name in sorted({*ours, *theirs})
    if ours.get(name, absent) != theirs.get(name, absent)
    and name not in _NOT_OF_THE_RUN
  ]
  if differences:
    raise InputError(
      f"workdir {workdir} holds a run of another configuration: "
      f"{'; '.join(differences)}. Choose another workdir, or set these back."
    )


# --- What is known of a run -----------------------------------------------------


def record_data_set(workdir: epath.Path, about: Mapping[str, Any]) -> None:
  """Writes what is known of the data set of a run, such as the names of its classes.

  Args:
    workdir: The folder of the run.
    about: What `RunData.about` returns.

  Raises:
    InputError: If it cannot be written.
  """
  in_first_process(lambda: _record(workdir, _DATA_SET, about))


def read_data_set(workdir: epath.Path) -> dict[str, Any]:
  """Returns what `record_data_set` wrote; empty in the workdir of an older version."""
  return _read_if_there(workdir / _DATA_SET)


def record_result(workdir: epath.Path, result: Mapping[str, Any]) -> None:
  """Writes the result of a run, that of its last evaluation.

  Args:
    workdir: The folder of the run.
    result: What `train` and `evaluate_workdir` return.

  Raises:
    InputError: If it cannot be written.
  """
  in_first_process(lambda: _record(workdir, _RESULT, result))


def read_result(workdir: epath.Path) -> dict[str, Any]:
  """Returns the result of a run; empty where it was not evaluated to the end."""
  return _read_if_there(workdir / _RESULT)


@contextlib.contextmanager
def recording_end(workdir: epath.Path) -> Iterator[None]:
  """Writes how the run ends, for those who look at its folder: `read_end` returns it.

  A process that is killed leaves what was written at the beginning.

  Args:
    workdir: The folder of the run.
  """
  _record_end(workdir, "began", "")
  try:
    yield
  except Stopped as stopped:
    _record_end(workdir, stopped.word, str(stopped))
    raise
  except BaseException as error:
    _record_end(workdir, "failed", f"{type(error).__name__}: {error}")
    raise
  _record_end(workdir, "finished", "")


def _record_end(workdir, how, told):
  # No other process waits for it, and what ends the run is told in any case.
  if jax.process_index() == 0:
    with contextlib.suppress(Exception):
      _write(workdir / _END, {"how": how, "told": told, "time": time.time()})


def read_end(workdir: epath.Path) -> dict[str, Any]:
  """Returns how a run ended; empty in the workdir of an older version.

  Args:
    workdir: The folder of the run.

  Returns:
    `how`: "began", "finished", "failed", or the word of what stopped it; `told`: the
    line that was told; `time`: when, in seconds since 1970.
  """
  return _read_if_there(workdir / _END)


def is_held(workdir: epath.Path) -> bool:
  """Returns whether a run is at work in a workdir of this machine."""
  if not os.path.exists(workdir / _LOCK):
    return False
  with open(workdir / _LOCK) as lock:
    try:
      fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
      return True
    except OSError:  # a file system without locks
      return False
  return False


def _record(workdir, name, content):
  with _writing(workdir):
    _write(workdir / name, content)


# --- What evaluations gave ------------------------------------------------------


class Evaluations:
  """The validation of a run's checkpoints: step → metric → mean.

  They lie beside the checkpoints, for a state is saved before it is evaluated.
  """

  def __init__(self, workdir: epath.Path):
    """Reads what is there.

    Args:
      workdir: The folder of the run.

    Raises:
      InputError: If the file of the evaluations cannot be read.
    """
    self._path = workdir / _EVALUATIONS
    self._means: dict[str, dict[str, float]] = _read_if_there(self._path)

  def record(self, step: int, means: Mapping[str, float]) -> None:
    """Adds an evaluation; the file has all of them, or all but this.

    Args:
      step: The step of the state.
      means: Metric → mean over the validation split.

    Raises:
      InputError: If the file cannot be written; in every process, for those that go on
        would wait for the first forever.
    """
    self._means[str(step)] = dict(means)

    def write():
      try:
        _write(self._path, self._means)
      except Exception as error:  # of the storage, whatever it raises
        raise InputError(f"{self._path}: {_reason(error)}") from None

    in_first_process(write)

  def of_step(self, step: int) -> Mapping[str, float] | None:
    """Returns the means at a step; None where it was not evaluated."""
    return self._means.get(str(step))


def _read_if_there(path) -> dict[str, Any]:
  with _reading(path.parent):
    there = path.exists()
  return _read(path) if there else {}


def _read(path) -> dict[str, Any]:
  try:
    content = json.loads(path.read_text())
    if not isinstance(content, dict):
      raise ValueError("it holds no names and values")
  except Exception as error:  # of JSON, Unicode, or the storage, whatever it raises
    reason = _reason(error)
    raise InputError(
      f"{path} cannot be read ({reason}); restore it, or choose another workdir."
    ) from None
  return content


def _write(path, content) -> None:
  write_text(path, json.dumps(content, indent=2, sort_keys=True) + "\n")
