"""Runs whose workdir is in a bucket: the clients of all runs, against a server."""

import signal
import time

import pytest

from tests.faults.runs import Bench
from tests.helpers import google_storage, processes

BUCKET, RUN = "runs", "digits/a"
_COMMITTED = "commit_success.txt"


@pytest.fixture(scope="module")
def bench(tmp_path_factory):
  """The flags of a small run."""
  folder = tmp_path_factory.mktemp("bench")
  return Bench(folder, "position", num_steps=30)


@pytest.fixture
def served(tmp_path):
  """An empty bucket, and what tells a process where it is."""
  with google_storage.serving(tmp_path, BUCKET) as (storage, environ):
    yield storage, environ


@pytest.fixture
def run(bench, served, tmp_path):
  """Starts main.py with a workdir."""
  started = []

  def start(workdir, *flags):
    said = tmp_path / str(len(started))
    command = [*bench.flags(workdir), *flags]
    started.append(processes.start(said, command, environ=served[1]))
    return started[-1]

  yield start
  for one in started:
    one.send(signal.SIGKILL)
    one.status()


@pytest.mark.slow
def test_killed_and_stopped_it_ends_as_a_run_of_this_machine(run, served, tmp_path):
  storage, _ = served
  workdir = f"gs://{BUCKET}/{RUN}"
  local = run(tmp_path / "here")

  killed = run(workdir)
  _wait_for(lambda: _is_there(storage, 10) and not _is_there(storage, 10, _COMMITTED))
  killed.send(signal.SIGKILL)
  assert killed.status() == -signal.SIGKILL
  stopped = run(workdir)
  _wait_for(lambda: _is_there(storage, 15, _COMMITTED))
  stopped.send(signal.SIGTERM)
  assert stopped.status(300) == 143, stopped.errors()
  assert "a bucket has no locks" in stopped.errors()
  assert "going on from step 5" in stopped.errors()
  ended = run(workdir)
  assert ended.status(300) == 0, ended.errors()
  assert "going on from step" in ended.errors()

  assert local.status(300) == 0, local.errors()
  expected = _numbers(local.result())
  assert _numbers(ended.result()) == expected
  evaluated = run(workdir, "--mode=evaluate")
  assert evaluated.status(300) == 0, evaluated.errors()
  assert _numbers(evaluated.result()) == expected
  names = {name.removeprefix(f"{RUN}/") for name in storage.names(BUCKET)}
  assert {"config.json", "result.json", "end.json", "evaluations.json"} <= names
  assert any(name.startswith("events.out.tfevents.1") for name in names)
  assert not [name for name in names if name.endswith(".partial")]

  further = run(tmp_path / "further", f"--config.init_from={workdir}")
  assert further.status(300) == 0, further.errors()
  assert f"arrays of {workdir}" in further.errors()


@pytest.mark.slow
@pytest.mark.parametrize(
  ("mode", "bucket", "refused", "reason"),
  [
    ("train", "none", (), "which cannot be written: there is no such bucket."),
    (
      "train",
      BUCKET,
      ("POST", "PUT"),
      "which cannot be written: this account may not.",
    ),
    ("evaluate", BUCKET, ("GET",), "which cannot be read: this account may not."),
    ("evaluate", "none", (), "which holds no run to evaluate."),
  ],
)
def test_a_bucket_of_no_use_is_refused_first(
  run, served, mode, bucket, refused, reason
):
  served[0].refused = refused
  done = run(f"gs://{bucket}/{RUN}", f"--mode={mode}")
  assert done.status(300) == 2, done.errors()
  told = f"error: workdir is 'gs://{bucket}/{RUN}', {reason}"
  assert done.errors().splitlines()[-1] == told
  assert "step " not in done.errors()


def _is_there(storage, step, name=""):
  return bool(storage.names(BUCKET, f"{RUN}/checkpoints/{step}/{name}"))


def _numbers(result):
  return {name: value for name, value in result.items() if name != "seconds"}


def _wait_for(condition):
  deadline = time.monotonic() + 300
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.005)
