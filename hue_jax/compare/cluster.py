"""Runs the jobs of a study on the workers of a Dask cluster.

The data go to the workers over the network, and the lines come back: no folder is
shared. What a worker that dies was doing is done by another.

Source: Rocklin, "Dask: Parallel Computation with Blocked algorithms and Task
Scheduling", SciPy 2015; distributed.dask.org.
"""

import concurrent.futures
import contextlib
import threading
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import distributed

from hue_jax.compare.run_records import Job
from hue_jax.compare.task import ArrayTask
from hue_jax.compare.workers import Worker, code_version
from hue_jax.compiled import keep_compiled
from hue_jax.errors import InputError

# Seconds until a scheduler has answered, and until it has a worker.
PATIENCE = 60.0


def run_on_cluster(
  address: str,
  settings: Mapping[str, Any],
  task: ArrayTask,
  groups: Sequence[Sequence[Job]],
) -> Iterator[dict[str, Any]]:
  """Runs groups of jobs; what is not done is taken back when the iterator is closed.

  Args:
    address: The address of the scheduler, such as "tcp://10.0.0.1:8786".
    settings: The settings of the study, with class orders replaced.
    task: The data of the study.
    groups: The jobs, of one objective each, that are trained together.

  Yields:
    The record of each run, when it finishes.

  Raises:
    InputError: If no scheduler answers, it has no workers, or these have another
      version of the code; or if several workers died of the same run.
  """
  with _connected(address) as client:
    _check_code(client, address)
    with warnings.catch_warnings():
      # The scheduler keeps the data, so that they outlive every worker.
      warnings.filterwarnings("ignore", message="Sending large graph")
      study = client.submit(_given, (dict(settings), task), pure=False)
    futures = {
      # A run is not the same when it is done again: its times are new.
      client.submit(_run, study.key, study, group, pure=False): group
      for group in groups
    }
    try:
      for future in distributed.as_completed(futures, loop=client.loop):
        yield from _result(future, futures[future], address)
    finally:
      with contextlib.suppress(TimeoutError, OSError):  # a scheduler that is gone
        client.cancel(list(futures))


@contextlib.contextmanager
def _connected(address):
  try:
    client = distributed.Client(address, timeout=PATIENCE, set_as_default=False)
  except (OSError, TimeoutError, ValueError) as error:
    raise InputError(
      f"--workers is {address!r}, and no scheduler of a Dask cluster answers there "
      f"({_short(error)})."
    ) from None
  with client:
    try:
      client.wait_for_workers(1, timeout=PATIENCE)
    except TimeoutError:
      raise InputError(
        f"--workers is {address!r}, and this scheduler has no workers; start one with "
        f"dask worker {address} --nthreads=1."
      ) from None
    yield client


def _check_code(client, address):
  ours = code_version()
  theirs = client.run(code_version, on_error="return")
  for worker, found in theirs.items():
    if found != ours:
      found = _short(found) if isinstance(found, Exception) else f"hue_jax {found}"
      raise InputError(
        f"--workers is {address!r}, and its worker {worker} has {found}, not hue_jax "
        f"{ours}; all must have the same."
      )


def _result(future, group, address):
  try:
    return future.result()
  except (distributed.KilledWorker, concurrent.futures.CancelledError) as error:
    job = group[0]
    raise InputError(
      f"--workers is {address!r}, and its workers died of the run of {job.objective} "
      f"with seed {job.seed} ({_short(error)}). What is done is kept."
    ) from None


def _short(error):
  return f"{type(error).__name__}: {error}".splitlines()[0]


# --- On a worker --------------------------------------------------------------------


def _given(study):
  """Returns the settings and data of the study, on a worker."""
  return study


_lock = threading.Lock()  # A worker may have several threads.
_workers: dict[str, Worker] = {}


def _run(key, study, group):
  """Runs jobs on this worker; what is compiled for one serves the next."""
  with _lock:
    if key not in _workers:
      keep_compiled()
      _workers.clear()  # of the study before, whose data are not needed any more
      _workers[key] = Worker(*study)
    return _workers[key].run(group)
