"""Runs a study: every objective with every seed, on one task and network."""

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

import hue_jax
from hue_jax.compare import records
from hue_jax.compare.measures.measuring import Measuring
from hue_jax.compare.records import Job
from hue_jax.compare.settings import check_objectives, check_settings
from hue_jax.compare.task import Task, load_task
from hue_jax.compare.training import Trainer
from hue_jax.pages.files import json_text, write_text
from hue_jax.progress import Progress

STUDY_FILE = "study.json"


def run_study(
  settings: Mapping[str, Any], workdir: str | os.PathLike[str]
) -> list[dict[str, Any]]:
  """Runs what is missing of a study, and returns all its runs.

  Args:
    settings: of the fields of `configs/compare_base.py`, as plain values.
    workdir: of the study: `data.npz`, and `runs.jsonl` with a line for each finished
      run. A study that was stopped goes on.

  Returns:
    The records of the study's runs, by objective and seed.

  Raises:
    InputError: a setting that cannot be used, or a workdir of another data set.
  """
  check_settings(settings)
  workdir = Path(workdir).expanduser()
  workdir.mkdir(parents=True, exist_ok=True)
  task = load_task(settings, workdir)
  settings = with_class_orders(settings, task)
  check_objectives(settings, task)
  write_text(workdir / STUDY_FILE, json_text(settings, indent=1) + "\n")
  path = workdir / records.FILE
  jobs = missing(settings, records.read(path))
  with (
    Progress(len(jobs), unit="runs", title=settings["title"]) as progress,
    _runner(settings, workdir, len(jobs)) as run,
  ):
    for record in run(jobs):
      records.append(path, record)
      progress.update()
  return runs_of(settings, records.read(path))


def jobs_of(settings: Mapping[str, Any]) -> list[Job]:
  """All runs of a study, seed by seed, so that a stopped one is paired."""
  seeds = range(settings["first_seed"], settings["first_seed"] + settings["num_seeds"])
  return [
    Job(name, objective, seed)
    for seed in seeds
    for name, objective in settings["objectives"].items()
  ]


def missing(settings: Mapping[str, Any], found: list[dict[str, Any]]) -> list[Job]:
  """Runs of a study that are not among the records."""
  there = {records.key(r["objective"], r["fingerprint"]) for r in found}
  return [
    job
    for job in jobs_of(settings)
    if records.key(job.objective, records.fingerprint(settings, job)) not in there
  ]


def runs_of(
  settings: Mapping[str, Any], found: list[dict[str, Any]]
) -> list[dict[str, Any]]:
  """The records that are of a study, in its order, each once."""
  there = {records.key(r["objective"], r["fingerprint"]): r for r in found}
  keys = (
    records.key(job.objective, records.fingerprint(settings, job))
    for job in jobs_of(settings)
  )
  return [there[key] for key in keys if key in there]


def with_class_orders(settings: Mapping[str, Any], task: Task) -> dict[str, Any]:
  """The settings, with class orders "likeness" replaced by the order itself."""

  def replaced(value):
    if isinstance(value, Mapping):
      return {name: replaced(item) for name, item in value.items()}
    return order if value == "likeness" else value

  order = likeness_order(task)
  return {**settings, "objectives": replaced(settings["objectives"])}


def likeness_order(task: Task) -> list[int]:
  """The classes in a circle in which like ones are neighbors.

  Args:
    task: whose training images say what is alike: the distance of two classes is that
      of their mean images.

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


# --- One run --------------------------------------------------------------------


class Worker:
  """Runs jobs one after another; what is compiled for one serves the next.

  Args:
    settings: of the study, with class orders replaced.
    workdir: of the study, with its data.
  """

  def __init__(self, settings: Mapping[str, Any], workdir: Path):
    self._settings = settings
    task = load_task(settings, workdir)
    self._trainer = Trainer(settings, task)
    self._measuring = Measuring(settings, task, self._trainer)
    self._code = code_version()

  def run(self, job: Job) -> dict[str, Any]:
    """Trains and measures a network."""
    start = time.perf_counter()
    objective = self._trainer.objective(job.settings)
    trained = self._trainer.train(objective, job.seed)
    train_seconds = time.perf_counter() - start
    record = {
      "objective": job.objective,
      "describe": objective.describe(),
      "seed": job.seed,
      "fingerprint": records.fingerprint(self._settings, job),
      "code": self._code,
      "device": jax.devices()[0].device_kind,
      "settings": {**records.run_settings(self._settings), "objective": job.settings},
      "steps": self._trainer.num_train_steps,
      "curve": dataclasses.asdict(trained.curve),
      "validation": self._measuring.validation(trained),
    }
    if self._settings["read_test"]:
      record["test"] = self._measuring.test(trained, job.seed)
    seconds = time.perf_counter() - start
    return {
      **record,
      "train_seconds": train_seconds,
      "seconds": seconds,
      "ended": int(time.time()),
    }


def code_version() -> str:
  """The package's version, and the commit where it is run from a checkout."""
  folder = Path(hue_jax.__file__).parent
  try:
    found = subprocess.run(
      ["git", "describe", "--always", "--dirty", "--abbrev=12"],
      cwd=folder,
      capture_output=True,
      text=True,
      check=True,
    ).stdout.strip()
  except (OSError, subprocess.CalledProcessError):
    return hue_jax.__version__
  return f"{hue_jax.__version__}+{found}"


# --- Several at once ------------------------------------------------------------


@contextlib.contextmanager
def _runner(settings, workdir, num_jobs) -> Iterator[Any]:
  """A function jobs → records, as they finish."""
  count = min(settings["workers"] or _default_workers(), max(num_jobs, 1))
  if count == 1:
    worker = None

    def run_here(jobs):
      nonlocal worker
      for job in jobs:
        worker = worker or Worker(settings, workdir)
        yield worker.run(job)

    yield run_here
    return
  context = multiprocessing.get_context("spawn")
  cores = context.Queue()
  for core in range(count):
    cores.put(core)
  pool = concurrent.futures.ProcessPoolExecutor(
    count, context, _start_worker, (settings, workdir, cores)
  )

  def run_there(jobs):
    futures = [pool.submit(_run_in_worker, job) for job in jobs]
    for future in concurrent.futures.as_completed(futures):
      yield future.result()

  try:
    yield run_there
  finally:
    pool.shutdown(cancel_futures=True)


def _default_workers() -> int:
  """One for each core of a CPU; one for all accelerators."""
  if jax.default_backend() != "cpu":
    return 1
  return len(_cores()) or 1


def _cores() -> list[int]:
  if hasattr(os, "sched_getaffinity"):
    return sorted(os.sched_getaffinity(0))
  return list(range(os.cpu_count() or 1))


_worker: Worker | None = None


def _start_worker(settings, workdir, cores):
  """Each worker keeps to a core of its own: small networks gain nothing from two."""
  global _worker
  threading.Thread(target=_end_with_parent, daemon=True).start()
  if hasattr(os, "sched_setaffinity"):
    available = _cores()
    os.sched_setaffinity(0, {available[cores.get() % len(available)]})
  _worker = Worker(settings, workdir)


def _end_with_parent():
  """A study that is killed leaves no worker behind."""
  multiprocessing.connection.wait([multiprocessing.parent_process().sentinel])
  os._exit(1)


def _run_in_worker(job):
  return _worker.run(job)
