"""Runs a study: every objective with every seed, on one task and network."""

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hue_jax.compare import run_records
from hue_jax.compare.addresses import address_of_workers
from hue_jax.compare.class_order import with_class_orders
from hue_jax.compare.run_records import STUDY_FILE, missing, runs_of
from hue_jax.compare.settings import check_objectives, checked_settings
from hue_jax.compare.task import load_task
from hue_jax.compare.trainer import num_train_steps, num_warmup_steps
from hue_jax.compare.tuned import with_tuned
from hue_jax.compare.workers import run_jobs
from hue_jax.files import write_text
from hue_jax.pages.files import json_text
from hue_jax.progress import Progress
from hue_jax.settings import Integer
from hue_jax.train.optimizer import warmup_remark


def run_study(
  settings: Mapping[str, Any],
  workdir: str | os.PathLike[str],
  *,
  workers: int | str | None = None,
) -> list[dict[str, Any]]:
  """Runs what is missing of a study, and returns all its runs.

  Args:
    settings: Settings with the fields of `defaults.py`, as plain values.
    workdir: The folder of the study: `data.npz`, and `runs.jsonl` with a line for each
      finished run. A study that was stopped goes on.
    workers: The number of processes at once; None for as many as the settings ask for,
      which is this process alone where they leave it open (0). Several need
      `if __name__ == "__main__":` in the script that calls this, as all that
      `multiprocessing` starts. Or the address of the scheduler of a Dask cluster, such
      as "tcp://10.0.0.1:8786": its workers then do the runs; "local" is as None.

  Returns:
    The records of the study's runs, by objective and seed. Objectives of the same
    settings share theirs, which run once.

  Raises:
    InputError: If a setting cannot be used, the workdir is of another data set, a
      worker process ended before its time, or the cluster cannot be used.
    OSError: If the workdir cannot be written.
  """
  settings = with_tuned(checked_settings(settings))
  if isinstance(workers, str):
    workers = address_of_workers(workers)
  elif workers is not None:
    workers = Integer(at_least=1)("workers", workers)
  workdir = Path(workdir).expanduser()
  workdir.mkdir(parents=True, exist_ok=True)
  task = load_task(settings, workdir)
  # Of channels that are left to the data set, what depends on them is checked now.
  settings = checked_settings({**settings, "channels": task.channels})
  settings = with_class_orders(settings, task)
  check_objectives(settings, task)
  write_text(workdir / STUDY_FILE, json_text(settings, indent=1) + "\n")
  path = workdir / run_records.FILE
  run_records.check_writable(path)
  jobs = missing(settings, run_records.read(path))
  workers = workers or settings["workers"] or 1
  with (
    Progress(len(jobs), unit="runs", title=settings["title"]) as progress,
    contextlib.closing(run_jobs(settings, workdir, jobs, workers=workers)) as found,
  ):
    size = len(task.training_set(settings["train_per_class"], seed=0))
    remark = warmup_remark(
      num_warmup_steps(settings, size), num_train_steps(settings, size)
    )
    if jobs and remark:
      progress.note(remark)
    for record in found:
      run_records.append(path, record)
      progress.update()
  return runs_of(settings, run_records.read(path))
