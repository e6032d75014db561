"""Processes that are killed, or told to stop, at random moments."""

import random
import re
import signal
import time
from pathlib import Path

from tests.faults import runs
from tests.faults.runs import Bench, Count
from tests.helpers import processes

# A process that lost another ends within so many seconds: JAX's heartbeat and a grace.
HEARTBEAT = 40
_WITHIN = HEARTBEAT + 60


def kills(bench: Bench, number: int, seed: int) -> Count:
  """SIGKILL on one process at random moments, and the same command again.

  Args:
    bench: The runs.
    number: How many to throw.
    seed: The seed of the moments.
  """
  rng, count = random.Random(seed), Count(f"SIGKILL, `{bench.hue}`")
  bench.expected()
  while count.tried < number:
    workdir, killed = bench.new_workdir(), 0
    while count.tried < number:
      run = bench.start(workdir)
      moment = _moment(count.tried, workdir, run, rng)
      if not moment:
        break
      writing = runs.is_writing(workdir)
      run.send(signal.SIGKILL)
      if run.status() == -signal.SIGKILL:
        killed += 1
        count.threw("while a checkpoint was being written" if writing else moment)
    count.lose(bench.finish(workdir), max(1, killed))
  return count


def stops(bench: Bench, number: int, seed: int, processes_: int = 2) -> Count:
  """SIGTERM on one of several processes, each in turn, and the same command again.

  Args:
    bench: The runs.
    number: How many to throw.
    seed: The seed of the moments.
    processes_: How many processes a run has.
  """
  rng = random.Random(seed)
  count = Count(f"SIGTERM on one of {processes_}, `{bench.hue}`")
  bench.expected(processes_)
  while count.tried < number:
    workdir, stopped = bench.new_workdir(), 0
    while count.tried < number:
      with bench.joined(workdir, processes_) as started:
        moment = _moment(count.tried, workdir, started[0], rng)
        if not moment:
          break
        started[count.tried % processes_].send(signal.SIGTERM)
        statuses = [run.status(300) for run in started]
        told = [_stopped_at(run) for run in started]
      if statuses == [0] * processes_:
        break
      stopped += 1
      together = statuses == [143] * processes_ and len(set(told)) == 1 and told[0]
      wrong = "" if together else f"statuses {statuses}, stopped at {told}"
      count.threw(moment, wrong)
    count.lose(bench.finish(workdir, processes_), max(1, stopped))
  return count


def losses(bench: Bench, number: int, seed: int, processes_: int = 2) -> Count:
  """SIGKILL on one of several processes, each in turn, and the same command again.

  Args:
    bench: The runs.
    number: How many to throw.
    seed: The seed of the moments.
    processes_: How many processes a run has.
  """
  rng = random.Random(seed)
  count = Count(f"SIGKILL on one of {processes_}, `{bench.hue}`")
  bench.expected(processes_)
  environ = {"HUE_JAX_HEARTBEAT_SECONDS": str(HEARTBEAT)}
  while count.tried < number:
    workdir, killed = bench.new_workdir(), 0
    while count.tried < number:
      with bench.joined(workdir, processes_, environ=environ) as started:
        moment = _moment(count.tried, workdir, started[0], rng)
        if not moment:
          break
        victim = started[count.tried % processes_]
        victim.send(signal.SIGKILL)
        others = [run for run in started if run is not victim]
        since = time.monotonic()
        statuses = [
          run.status(max(0, since + _WITHIN - time.monotonic())) for run in others
        ]
        told = [run.errors() for run in others]
      if statuses == [0] * len(others):
        break
      killed += 1
      said = f"the others' statuses {statuses} in {_WITHIN} s: {told[0][-500:]}"
      ended = all(statuses) and all("stopped: " in each for each in told)
      count.threw(moment, "" if ended else said)
    count.lose(bench.finish(workdir, processes_), max(1, killed))
  return count


def _moment(turn: int, workdir: Path, run: processes.Run, rng: random.Random) -> str:
  """Waits for a moment of the kind whose turn it is.

  Returns:
    When it came, in words; "" where the run ended before.
  """
  first = max(runs.steps(workdir), default=0)
  kinds = {
    "in training": lambda: f"\nstep {first + rng_steps:2d}/" in run.errors(),
    "in an evaluation": lambda: runs.is_evaluating(workdir),
    "as a checkpoint was written": lambda: runs.is_writing(workdir),
  }
  rng_steps = rng.randint(1, 4)
  kind = list(kinds)[turn % len(kinds)]
  came = runs.until(kinds[kind], run)
  if came:
    time.sleep(rng.uniform(0, 0.03))
  return kind if came else ""


def _stopped_at(run):
  """Returns where a process said that it was stopped: after a step, or in what."""
  found = re.search(r"preempted: stopped by SIGTERM (.*?)[;,]", run.errors())
  return found[1] if found else None
