"""Runs the jobs of a study, in this process, in several, or on a cluster."""

import concurrent.futures
import dataclasses
import multiprocessing
import multiprocessing.connection
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path
from typing import Any

import jax

import hue_jax
from hue_jax.compare import run_records
from hue_jax.compare.measures.measuring import Measuring
from hue_jax.compare.run_records import Job
from hue_jax.compare.task import ArrayTask, load_task
from hue_jax.compare.trainer import Trainer
from hue_jax.compiled import keep_compiled
from hue_jax.cores import available_cores
from hue_jax.errors import InputError


def run_jobs(
  settings: Mapping[str, Any],
  workdir: Path,
  jobs: Sequence[Job],
  *,
  workers: int | str,
) -> Iterator[dict[str, Any]]:
  """Runs jobs; what it started ends when the iterator is closed.

  Args:
    settings: The settings of the study, with class orders replaced.
    workdir: The folder of the study, with its data.
    jobs: The jobs to run.
    workers: The number of processes, of which 1 is this one alone; or the address of
      a cluster, as `cluster.run_on_cluster` takes it.

  Yields:
    The record of each run, when it finishes.

  Raises:
    InputError: If a worker process ended before its run did.
  """
  at_once = settings["seeds_at_once"]
  groups = list(together(jobs, at_once or 1))
  if not groups:
    return
  if isinstance(workers, str):
    from hue_jax.compare.cluster import run_on_cluster  # of an extra

    task = load_task(settings, workdir)
    yield from run_on_cluster(workers, settings, task, groups)
  elif min(workers, len(groups)) > 1:
    yield from _run_in_processes(settings, workdir, groups, min(workers, len(groups)))
  else:
    worker = Worker(settings, load_task(settings, workdir))
    if not at_once:
      groups = together(jobs, worker.seeds_that_fit(jobs))
    for group in groups:
      yield from worker.run(group)


def together(jobs: Iterable[Job], count: int) -> Iterator[list[Job]]:
  """Yields jobs of one objective each, so many at once or what is left of them.

  Args:
    jobs: The jobs, seed by seed, so that a study that is stopped is paired.
    count: The number of seeds that are trained in one program.
  """
  waiting: dict[str, list[Job]] = {}
  for job in jobs:
    group = waiting.setdefault(job.objective, [])
    group.append(job)
    if len(group) == count:
      yield waiting.pop(job.objective)
  yield from waiting.values()


def default_workers() -> int:
  """Returns one worker for each core of a CPU; one for all accelerators."""
  if jax.default_backend() != "cpu":
    return 1
  return len(available_cores())


class Worker:
  """Runs jobs one after another; what is compiled for one serves the next.

  Args:
    settings: The settings of the study, with class orders replaced.
    task: The data of the study.
  """

  def __init__(self, settings: Mapping[str, Any], task: ArrayTask):
    self._settings = settings
    self._trainer = Trainer(settings, task)
    self._measuring = Measuring(settings, task, self._trainer)
    self._code = code_version()

  def run(self, jobs: Sequence[Job]) -> list[dict[str, Any]]:
    """Trains networks of one objective together, and measures them one by one.

    Args:
      jobs: Jobs that differ in their seed alone.

    Returns:
      The record of each run; of the time of the training, each has its share.
    """
    start = time.perf_counter()
    objective = self._trainer.objective(jobs[0].settings)
    rates = self._trainer.rates(jobs[0].settings)
    seeds = [job.seed for job in jobs]
    trainings = self._trainer.train_together(objective, seeds, rates)
    train_seconds = (time.perf_counter() - start) / len(jobs)
    return [
      self._record(job, trained, train_seconds)
      for job, trained in zip(jobs, trainings, strict=True)
    ]

  def seeds_that_fit(self, jobs: Sequence[Job]) -> int:
    """Returns of how many seeds the trainings fit this device's memory at once.

    Args:
      jobs: The jobs, of which the objective with the largest step counts.

    Returns:
      As many as fill nine tenths of what is free; 1 on a CPU, which gains nothing.
    """
    device = jax.devices()[0]
    memory = device.memory_stats() or {}
    if device.platform == "cpu" or "bytes_limit" not in memory:
      return 1
    free = memory["bytes_limit"] - memory.get("bytes_in_use", 0)
    of_each = [
      self._trainer.bytes_of_a_step(self._trainer.objective(settings))
      for settings in {job.objective: job.settings for job in jobs}.values()
    ]
    return 1 if None in of_each else max(int(0.9 * free // max(of_each)), 1)

  def _record(self, job, trained, train_seconds):
    start = time.perf_counter()
    record = {
      "objective": job.objective,
      "describe": trained.objective.describe(),
      "seed": job.seed,
      "fingerprint": run_records.fingerprint(self._settings, job),
      "code": self._code,
      "device": jax.devices()[0].device_kind,
      "settings": {
        **run_records.run_settings(self._settings),
        "objective": job.settings,
      },
      "steps": self._trainer.num_train_steps,
      "curve": dataclasses.asdict(trained.curve),
      "validation": self._measuring.validation(trained),
    }
    if self._settings["read_test"]:
      record["test"] = self._measuring.test(trained, job.seed)
    return {
      **record,
      "train_seconds": train_seconds,
      "seconds": train_seconds + time.perf_counter() - start,
      "ended": int(time.time()),
    }


def code_version() -> str:
  """Returns the package's version, and the commit where it runs from a checkout."""
  folder = Path(hue_jax.__file__).resolve().parent
  try:
    # What lies below another repository, as an environment may, is not of its commits.
    if Path(_git(folder, "rev-parse", "--show-toplevel")) == folder.parent:
      commit = _git(folder, "describe", "--always", "--dirty", "--abbrev=12")
      return f"{hue_jax.__version__}+{commit}"
  except (OSError, subprocess.CalledProcessError):
    pass
  return hue_jax.__version__


def _git(folder, *arguments):
  return subprocess.run(
    ["git", *arguments], cwd=folder, capture_output=True, text=True, check=True
  ).stdout.strip()


# --- Processes ------------------------------------------------------------------


def _run_in_processes(settings, workdir, groups, count):
  context = multiprocessing.get_context("spawn")
  cores = context.Queue()
  for core in range(count):
    cores.put(core)
  closed, ours = context.Pipe(duplex=False)
  pool = concurrent.futures.ProcessPoolExecutor(
    count, context, _start_worker, (settings, workdir, cores, closed)
  )
  try:
    futures = [pool.submit(_run_in_worker, group) for group in groups]
    for future in concurrent.futures.as_completed(futures):
      yield from future.result()
  except BrokenProcessPool:
    raise InputError(
      f"workers is {count}, and one of these processes ended before its run did; it "
      "was killed or out of memory, or the script that calls run_study lacks "
      'the `if __name__ == "__main__":` that several processes need.'
    ) from None
  finally:
    ours.close()  # ends the workers, whatever they do
    pool.shutdown(cancel_futures=True)


_worker: Worker | None = None


def _start_worker(settings, workdir, cores, closed):
  """Starts a worker on a core of its own: small networks gain nothing from two."""
  global _worker
  keep_compiled()
  threading.Thread(target=_end_with_parent, args=(closed,), daemon=True).start()
  signal.signal(signal.SIGINT, signal.SIG_IGN)  # of Ctrl-C the parent tells
  if hasattr(os, "sched_setaffinity"):
    available = available_cores()
    os.sched_setaffinity(0, {available[cores.get() % len(available)]})
  _worker = Worker(settings, load_task(settings, workdir))


def _end_with_parent(closed):
  """Ends a worker with its study, which leaves none behind when stopped or killed."""
  parent = multiprocessing.parent_process().sentinel
  multiprocessing.connection.wait([parent, closed])
  os._exit(1)


def _run_in_worker(group):
  return _worker.run(group)
