"""Processes that are joined: one that fails ends the others, with a line, and soon."""

import os
import re
import signal
import sys

import jax
import jax.numpy as jnp
import pytest

from hue_jax import command
from hue_jax.errors import InputError
from hue_jax.train import distributed, peers
from tests.helpers import processes


class _Fails:
  """Sums over the processes again and again, of which one fails in some way."""

  def __init__(self, how, who):
    self._how, self._who = how, who

  def __call__(self):
    sys.exit(command.run(self._run))

  def _run(self):
    with distributed.joined():
      total = jax.pmap(lambda x: jax.lax.psum(x, "i"), "i")
      for turn in range(10**6):
        total(jnp.ones(1)).block_until_ready()
        if turn == 3 and peers.number() == self._who:
          self._fail()

  def _fail(self):
    if self._how == "error":
      raise InputError("the picture is broken")
    if self._how == "bug":
      raise RuntimeError("a bug\nof two lines")
    os.kill(os.getpid(), getattr(signal, self._how))


@pytest.mark.slow
@pytest.mark.parametrize("who", [0, 1])
@pytest.mark.parametrize(
  ("how", "status", "theirs", "line"),
  [
    ("error", 2, 2, "process {} of 2 ended (error: the picture is broken.), and this"),
    ("bug", 1, 1, "process {} of 2 ended (RuntimeError: a bug of two lines), and this"),
    ("SIGKILL", -9, 75, "another process of the run "),
    # It does not answer, and its connections stand.
    ("SIGSTOP", None, 75, "another process of the run "),
  ],
)
def test_one_that_fails_ends_the_other(how, status, theirs, line, who, tmp_path):
  calls = [_Fails(how, who)] * 2
  environ = {"HUE_JAX_HEARTBEAT_SECONDS": "20"}
  with processes.joined(tmp_path, [[]] * 2, calls=calls, environ=environ) as runs:
    other = runs[1 - who]
    assert other.status(300) == theirs, other.errors()
    if status is not None:
      assert runs[who].status(300) == status, runs[who].errors()
    told = other.errors()
  said = [each for each in told.splitlines() if each.startswith("stopped: ")]
  assert len(said) == 1, told
  assert said[0].startswith(f"stopped: {line.format(who)}")
  assert "Traceback" not in told


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 1])
def test_one_that_is_alone_does_not_wait_forever(number, tmp_path):
  environ = {
    "JAX_COORDINATOR_ADDRESS": processes.free_address(),
    "JAX_NUM_PROCESSES": "2",
    "JAX_PROCESS_ID": str(number),
    "HUE_JAX_START_SECONDS": "3",
  }
  run = processes.start(tmp_path, [], environ=environ, call=_Fails("error", 0))
  assert run.status(300) == 75, run.errors()
  lines = run.errors().splitlines()
  assert sum(line.startswith("stopped: ") for line in lines) == 1, run.errors()
  assert "Traceback" not in run.errors()


@pytest.mark.parametrize(
  ("changed", "message"),
  [
    ({"JAX_COORDINATOR_ADDRESS": "a"}, "JAX_COORDINATOR_ADDRESS is 'a'; it must be ho"),
    ({"JAX_COORDINATOR_ADDRESS": ""}, "JAX_COORDINATOR_ADDRESS is ''; it must be host"),
    ({"JAX_COORDINATOR_ADDRESS": ":1"}, "JAX_COORDINATOR_ADDRESS is ':1'; it must be "),
    ({"JAX_NUM_PROCESSES": ""}, "JAX_NUM_PROCESSES is ''; it must be an integer of at"),
    ({"JAX_PROCESS_ID": "x"}, "JAX_PROCESS_ID is 'x'; it must be an integer from 0 to"),
    ({"JAX_PROCESS_ID": "2"}, "JAX_PROCESS_ID is 2; it must be an integer from 0 to 1"),
    ({"HUE_JAX_START_SECONDS": "0"}, "HUE_JAX_START_SECONDS is 0; it must be"),
    ({"HUE_JAX_HEARTBEAT_SECONDS": "1m"}, "HUE_JAX_HEARTBEAT_SECONDS is '1m'; it must"),
  ],
)
def test_an_environment_that_cannot_be_used_is_named(changed, message):
  environ = {
    "JAX_COORDINATOR_ADDRESS": "a:1",
    "JAX_NUM_PROCESSES": "2",
    "JAX_PROCESS_ID": "0",
  }
  with pytest.raises(InputError, match=f"^environment variable {message}"):
    distributed.initialize(environ | changed)


@pytest.mark.parametrize(
  ("name", "value"),
  [
    ("HUE_JAX_DISTRIBUTED", "1"),
    ("SLURM_NTASKS", "2"),
    ("OMPI_COMM_WORLD_SIZE", "16"),
  ],
)
@pytest.mark.parametrize(
  "error",
  [ValueError("coordinator_address should be defined."), KeyError("OMPI_COMM_WORLD_R")],
)
def test_processes_that_are_not_found_are_one_line(name, value, error, monkeypatch):
  # They would change this process for good.
  monkeypatch.setattr(jax.config, "update", lambda *_: None)
  monkeypatch.setattr(distributed, "_end_with_a_line_when_aborted", lambda: None)

  def initialize(**_):
    raise error

  monkeypatch.setattr(jax.distributed, "initialize", initialize)
  reason = re.escape(str(error).rstrip("."))
  match = rf"^environment variable {name} is '{value}', .*\({reason}\); start them"
  with pytest.raises(InputError, match=match):
    distributed.initialize({name: value})


def test_an_environment_of_one_process_joins_none():
  assert not distributed.initialize({})
  assert not distributed.initialize({"SLURM_NTASKS": "1"})
  with distributed.joined({}):
    assert peers.count() == 1
    peers.check_same({"seed": "0"})
