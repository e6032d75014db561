"""Disks that are full, folders that cannot be written or are gone, workdirs in use."""

import ctypes
import random
import resource
import shutil
import signal

from tests.faults import runs
from tests.faults.runs import Bench, Count
from tests.helpers.processes import run_main

# Of Linux's linux/capability.h.
_CAPABILITY_VERSION = 0x20080522
_MAY_READ_AND_WRITE_ALL = 1 << 1 | 1 << 2


def full_disk(bench: Bench, number: int, seed: int) -> Count:
  """No file of a run may grow beyond a bound, as on a disk without room.

  Args:
    bench: The runs.
    number: How many to throw.
    seed: The seed of the bounds.
  """
  rng, count = random.Random(seed), Count("disk full while saving")
  bench.expected()
  for _ in range(number):
    workdir = bench.new_workdir()
    if rng.random() < 0.5:
      # Some checkpoints are there before the disk is full.
      run = bench.start(workdir)
      runs.until(lambda w=workdir: len(runs.steps(w)) > 1, run)
      run.send(signal.SIGTERM)
      run.status()
    before = runs.steps(workdir)
    run = bench.start(workdir, call=_Bounded(rng.randint(3_000, 30_000)))
    status = run.status()
    wrong = "" if status == 0 else runs.one_line(run)
    if before and before[-1] not in runs.steps(workdir):
      wrong = "a checkpoint that was whole is gone"
    count.threw(f"with status {status}", wrong or bench.finish(workdir))
  return count


class _Bounded:
  """Runs main.py where no file may grow beyond a size."""

  def __init__(self, size):
    self._size = size

  def __call__(self):
    # What is compiled is kept in larger files, which are written already.
    resource.setrlimit(resource.RLIMIT_FSIZE, (self._size, self._size))
    run_main()


def read_only(bench: Bench, number: int, seed: int) -> Count:
  """A workdir that may not be written, from the beginning or from the middle on.

  Args:
    bench: The runs.
    number: How many to throw.
    seed: The seed of the moments.
  """
  rng, count = random.Random(seed), Count("workdir read-only")
  bench.expected()
  for turn in range(number):
    workdir = bench.new_workdir()
    workdir.mkdir(parents=True)
    if turn % 2 == 0:
      workdir.chmod(0o555)
    run = bench.start(workdir, call=_bound_by_permissions)
    if turn % 2:
      least = rng.randint(1, 3)
      runs.until(lambda w=workdir, n=least: len(runs.steps(w)) >= n, run)
      for folder in (workdir, workdir / "checkpoints"):
        if folder.exists():
          folder.chmod(0o555)
    status = run.status()
    wrong = runs.one_line(run) if status else ""
    for folder in (workdir, workdir / "checkpoints"):
      if folder.exists():
        folder.chmod(0o755)
    count.threw(f"with status {status}", wrong or bench.finish(workdir))
  return count


def _bound_by_permissions():
  """Runs main.py bound by the permissions of files, as others than root are."""
  libc = ctypes.CDLL(None)
  header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION, 0)
  # Effective, permitted and inheritable ones, of which there are 64.
  sets = (ctypes.c_uint32 * 6)()
  libc.capget(header, sets)
  sets[0] &= ~_MAY_READ_AND_WRITE_ALL
  libc.capset(header, sets)
  run_main()


def data_gone(bench: Bench, number: int, seed: int) -> Count:
  """The folder of the data set is taken away in the middle of a run.

  Args:
    bench: The runs.
    number: How many to throw.
    seed: The seed of the moments.
  """
  rng, count = random.Random(seed), Count("data folder gone in the middle")
  bench.expected()
  data, aside = bench.folder / "data", bench.folder / "data_aside"
  for _ in range(number):
    workdir = bench.new_workdir()
    run = bench.start(workdir)
    step = rng.randint(1, runs.NUM_STEPS // 2)
    runs.until(lambda r=run, s=step: f"\nstep {s:2d}/" in r.errors(), run)
    shutil.move(data, aside)
    status = run.status()
    shutil.rmtree(data, ignore_errors=True)
    shutil.move(aside, data)
    note = f"with status {status}" if status else "ran to the end"
    wrong = runs.one_line(run) if status else ""
    count.threw(note, wrong or bench.finish(workdir))
  return count


def two_runs(bench: Bench, number: int, seed: int) -> Count:
  """Two runs in one workdir: at once, or the second while the first is at work.

  Args:
    bench: The runs.
    number: How many to throw.
    seed: The seed of the moments.
  """
  rng, count = random.Random(seed), Count("two runs in one workdir")
  bench.expected()
  for turn in range(number):
    workdir = bench.new_workdir()
    first = bench.start(workdir)
    if turn % 2:
      least = rng.randint(1, 3)
      runs.until(lambda w=workdir, n=least: len(runs.steps(w)) >= n, first)
    second = bench.start(workdir, said=workdir.with_name(f"{workdir.name}_second"))
    statuses = [first.status(), second.status()]
    refused = [
      run.errors()
      for run, status in ((first, statuses[0]), (second, statuses[1]))
      if status
    ]
    # Where none is, the first was at its end when the second came.
    note, wrong = ("refused" if refused else "one after the other"), ""
    if any(statuses) and (
      sorted(statuses) != [0, 2] or "another run is at work" not in refused[0]
    ):
      wrong = f"statuses {statuses}: {' '.join(refused)[-400:]}"
    count.threw(note, wrong or bench.finish(workdir))
  return count


def damaged_pictures(number: int, seed: int) -> Count:
  """Damaged files of pictures: read, or named.

  Args:
    number: How many to throw.
    seed: The seed of the damages.
  """
  from hue_jax.pictures import PictureError, decode
  from tests.helpers.pictures import damaged

  count = Count("damaged image file")
  before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
  for contents in damaged(number, seed=seed):
    try:
      decode(contents)
      count.threw("read")
    except PictureError:
      count.threw("named")
    except Exception as error:
      count.threw("lost", repr(error))
  grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024
  count.lose(f"{grown} MiB of memory" if grown > 2048 else "")
  return count
