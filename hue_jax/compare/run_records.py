"""Finished runs as lines of JSON: appended one by one, and read again."""

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from hue_jax.errors import InputError

FILE = "runs.jsonl"
STUDY_FILE = "study.json"
_DIGITS = 6  # of a recorded number

# What says where and how much is run, and not what a run is.
_NOT_OF_A_RUN = (
  "baseline",
  "contrasts",
  "cost",
  "data_dir",
  "first_seed",
  "num_seeds",
  "objectives",
  "seeds_at_once",
  "title",
  "tuned",
  "tuning",
  "workers",
)


@dataclasses.dataclass(frozen=True)
class Job:
  """A run that a study asks for.

  Attributes:
    objective: The name of the objective in the study.
    settings: The settings of the objective.
    seed: The seed of the run.
  """

  objective: str
  settings: Mapping[str, Any]
  seed: int


def run_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
  """Returns those of a study's settings that determine each of its runs."""
  found = {k: v for k, v in settings.items() if k not in _NOT_OF_A_RUN}
  if not found.get("measures", {}).get("transfer_to", True):
    # A run that asks for none is one of the time before there was such a measure.
    measures = found["measures"].items()
    found["measures"] = {k: v for k, v in measures if k != "transfer_to"}
  return found


def fingerprint(settings: Mapping[str, Any], job: Job) -> str:
  """Returns a digest, equal for equal settings, objective (its name aside) and seed."""
  return _digest([run_settings(settings), job.settings, job.seed])


def fingerprint_of_objective(settings: Mapping[str, Any]) -> str:
  """Returns a digest, equal for equal settings of an objective."""
  return _digest(settings)


def jobs_of(settings: Mapping[str, Any]) -> list[Job]:
  """Returns all runs of a study, seed by seed, so that a stopped one is paired."""
  seeds = range(settings["first_seed"], settings["first_seed"] + settings["num_seeds"])
  return [
    Job(name, objective, seed)
    for seed in seeds
    for name, objective in settings["objectives"].items()
  ]


def runs_of(
  settings: Mapping[str, Any], found: list[dict[str, Any]]
) -> list[dict[str, Any]]:
  """Returns the records that are of a study, in its order, each once.

  A run is what its settings and its seed are: it is of every objective of the study
  that has these settings, under whichever name it ran.
  """
  there = {record["fingerprint"]: record for record in found}
  wanted = ((job.objective, fingerprint(settings, job)) for job in jobs_of(settings))
  return [{**there[one], "objective": name} for name, one in wanted if one in there]


def missing(settings: Mapping[str, Any], found: list[dict[str, Any]]) -> list[Job]:
  """Returns the runs of a study that are not among the records, each once."""
  there = {record["fingerprint"] for record in found}
  wanted = {}
  for job in jobs_of(settings):
    wanted.setdefault(fingerprint(settings, job), job)
  return [job for one, job in wanted.items() if one not in there]


def check_writable(path: str | os.PathLike[str]) -> None:
  """Raises an OSError, which names the file, unless lines can be added to it."""
  with Path(path).open("ab"):
    pass


def append(path: str | os.PathLike[str], record: Mapping[str, Any]) -> None:
  """Adds a line and has it written to the disk.

  Args:
    path: The file, which need not be there.
    record: Numbers, texts, lists and mappings; what is not finite becomes null.

  Raises:
    OSError: If the line cannot be written; it names the file.
  """
  line = json.dumps(_plain(record), allow_nan=False) + "\n"
  try:
    with Path(path).open("r+b" if Path(path).exists() else "w+b") as file:
      # A line that a killed process left half-written is cut off.
      data = file.read()
      file.seek(data.rfind(b"\n") + 1)
      file.truncate()
      file.write(line.encode())
      file.flush()
      os.fsync(file.fileno())
  except OSError as error:  # of a full disk, it names no file
    error.filename = str(path)
    raise


def read(path: str | os.PathLike[str]) -> list[dict[str, Any]]:
  """Returns the finished runs, in the order in which they finished.

  Args:
    path: The file; there are no runs if it is not there.

  Returns:
    The records. What a killed process left of a last line is passed over.

  Raises:
    InputError: If a line is not of a run.
  """
  path = Path(path)
  if not path.exists():
    return []
  *lines, _ = path.read_text(encoding="utf-8").split("\n")
  records = []
  for number, line in enumerate(lines, start=1):
    try:
      record = json.loads(line)
      if not {"objective", "seed", "fingerprint", "settings"} <= record.keys():
        raise ValueError("a run has objective, seed, fingerprint and settings")
    except (ValueError, AttributeError) as error:
      raise InputError(f"{path} line {number} is not a run ({error}).") from None
    records.append(record)
  return records


def rounding(values: Float[np.ndarray, " values"]) -> float:
  """Returns how far recorded values of this size may lie from what was measured."""
  largest = np.abs(values).max()
  return (
    float(0.5 * 10.0 ** (np.floor(np.log10(largest)) + 1 - _DIGITS)) if largest else 0.0
  )


def _digest(value):
  text = json.dumps(value, sort_keys=True, default=list)
  return hashlib.sha256(text.encode()).hexdigest()[:16]


def _plain(value):
  if isinstance(value, Mapping):
    return {str(name): _plain(item) for name, item in value.items()}
  if isinstance(value, (list, tuple)):
    return [_plain(item) for item in value]
  if isinstance(value, float):
    return float(f"{value:.{_DIGITS}g}") if math.isfinite(value) else None
  return value
