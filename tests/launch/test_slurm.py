"""The job of a Slurm cluster: what is asked for, and what a signal does in it."""

import contextlib
import json
import os
import signal
import subprocess
import time

import pytest

from tests.launch.conftest import ROOT

_MAIN = ("--", "--config=c", "--workdir=/shared/run", "--config.x=a b")

# Stands for Python with main.py: it saves and ends when it is told, or by a number.
_PYTHON = """#!/usr/bin/env -S python3 -IS
import json, os, signal, sys, time

folder = os.environ["FOLDER"]

def save(*_):
  time.sleep(0.3)
  sys.exit(int(os.environ.get("SAVED_WITH", "143")))

signal.signal(signal.SIGTERM, save)
with open(folder + "/started", "w") as file:
  names = ("SRUN_CPUS_PER_TASK", "JAX_LOCAL_DEVICE_IDS")
  json.dump([sys.argv[1:], *map(os.environ.get, names)], file)
with open(folder + "/new.pid", "w") as file:
  file.write(str(os.getpid()))
os.rename(folder + "/new.pid", folder + "/main.pid")
if "ENDS_WITH" in os.environ:
  sys.exit(int(os.environ["ENDS_WITH"]))
time.sleep(60)
"""


@pytest.fixture
def job(stand_ins):
  """Starts the script as Slurm does: a copy of it, in a job."""
  python = stand_ins.folder / "python"
  python.write_text(_PYTHON)
  python.chmod(0o755)
  copy = stand_ins.folder / "slurm_script"
  copy.write_text((ROOT / "launch/slurm.sbatch").read_text())

  def start(**environment):
    return subprocess.Popen(
      ["bash", copy, *_MAIN[1:]],
      env=stand_ins.environment(
        SLURM_JOB_ID="17",
        HUE_JAX_ROOT=str(ROOT),
        PYTHON=str(python),
        FOLDER=str(stand_ins.folder),
        **environment,
      ),
      stderr=subprocess.PIPE,
      text=True,
    )

  return start


@pytest.mark.parametrize(("processes", "tasks"), [("gpu", "8"), ("node", "1")])
def test_it_submits_itself(stand_ins, processes, tasks):
  flags = ("--nodes=4", "--gpus-per-node=8", f"--processes={processes}", "--time=2-12")
  done = stand_ins.run("slurm.sbatch", *flags, "--partition=p", *_MAIN)
  assert done.returncode == 0, done.stderr
  ((name, words, given, _, _),) = stand_ins.calls()
  assert name == "sbatch"
  assert words == [str(ROOT / "launch/slurm.sbatch"), *_MAIN[1:]]
  assert given == {
    "--nodes": "4",
    "--gpus-per-node": "8",
    "--ntasks-per-node": tasks,
    "--time": "2-12",
    "--partition": "p",
    "--export": f"ALL,HUE_JAX_ROOT={ROOT}",
  }


def test_the_job_asks_for_the_signal_and_may_go_back_to_the_queue():
  text = (ROOT / "launch/slurm.sbatch").read_text()
  options = [line.split()[1] for line in text.splitlines() if "#SBATCH" in line]
  assert {"--requeue", "--open-mode=append", "--signal=B:USR1@120"} <= set(options)


@pytest.mark.parametrize("code", [0, 1, 2, 143])
def test_the_job_ends_as_main_does(stand_ins, job, code):
  process = job(ENDS_WITH=str(code))
  assert process.wait(timeout=600) == code
  assert [call[0] for call in stand_ins.calls()] == ["srun"]


# What Slurm tells of a job's tasks, by the flags with which it was asked for.
@pytest.mark.parametrize(
  ("told", "one_a_node"),
  [
    ({"NTASKS": "8", "NTASKS_PER_NODE": "8", "JOB_NUM_NODES": "1"}, False),
    ({"NTASKS": "8", "JOB_NUM_NODES": "1"}, False),
    ({"NTASKS": "16", "JOB_NUM_NODES": "2"}, False),
    ({"NTASKS_PER_NODE": "8", "JOB_NUM_NODES": "2"}, False),
    ({"NTASKS": "1", "NTASKS_PER_NODE": "1", "JOB_NUM_NODES": "1"}, True),
    ({"NTASKS": "2", "JOB_NUM_NODES": "2"}, True),
    ({"NTASKS_PER_NODE": "1", "JOB_NUM_NODES": "2"}, True),
    ({"JOB_NUM_NODES": "2"}, True),
    ({}, True),
  ],
)
def test_a_process_of_a_node_has_all_its_gpus(stand_ins, job, told, one_a_node):
  environment = {f"SLURM_{name}": value for name, value in told.items()}
  process = job(ENDS_WITH="0", SLURM_GPUS_ON_NODE="8", **environment)
  assert process.wait(timeout=600) == 0
  words, _, devices = json.loads((stand_ins.folder / "started").read_text())
  assert devices == ("0,1,2,3,4,5,6,7" if one_a_node else None)
  assert "--config.x=a b" in words


@pytest.mark.parametrize("cpus", ["12", None])
def test_srun_is_told_the_cpus_of_a_task(stand_ins, job, cpus):
  asked = {"SLURM_CPUS_PER_TASK": cpus} if cpus else {}
  process = job(ENDS_WITH="0", **asked)
  assert process.wait(timeout=600) == 0
  assert json.loads((stand_ins.folder / "started").read_text())[1] == cpus


def _end_of_time(process, folder):
  """Tells a job that its time is nearly over; returns its status."""
  try:
    _wait_for(folder / "main.pid")
    process.send_signal(signal.SIGUSR1)
    return process.wait(timeout=600)
  finally:
    _kill(folder / "main.pid")


def test_before_the_time_is_over_main_saves_and_the_job_is_queued_again(stand_ins, job):
  process = job()
  assert _end_of_time(process, stand_ins.folder) == 143
  calls = {call[0]: call for call in stand_ins.calls()}
  assert list(calls) == ["srun", "scancel", "scontrol requeue"]
  assert calls["scancel"][1:3] == [["17"], {"--signal": "TERM"}]
  assert calls["scontrol requeue"][1] == ["17"]
  assert "status 143; back to the queue" in process.stderr.read()


def test_a_run_that_ends_before_the_time_is_over_is_not_queued_again(stand_ins, job):
  process = job(SAVED_WITH="0")
  assert _end_of_time(process, stand_ins.folder) == 0
  assert [call[0] for call in stand_ins.calls()] == ["srun", "scancel"]


def test_a_job_that_is_canceled_waits_for_main_and_is_not_queued_again(stand_ins, job):
  process = job()
  try:
    pid = _wait_for(stand_ins.folder / "main.pid")
    process.send_signal(signal.SIGTERM)
    os.kill(pid, signal.SIGTERM)
    assert process.wait(timeout=600) == 143
  finally:
    _kill(stand_ins.folder / "main.pid")
  assert [call[0] for call in stand_ins.calls()] == ["srun"]


def test_submitted_from_elsewhere_it_says_so(stand_ins):
  done = stand_ins.run("slurm.sbatch", "--help", HUE_JAX_ROOT="/nowhere")
  assert done.returncode == 2
  assert done.stderr == (
    "error: launch/slurm.sbatch: /nowhere is no checkout of hue_jax; submit from one\n"
  )


def _wait_for(path):
  deadline = time.monotonic() + 300
  while not path.exists():
    assert time.monotonic() < deadline
    time.sleep(0.02)
  return int(path.read_text())


def _kill(path):
  with contextlib.suppress(FileNotFoundError, ProcessLookupError):
    os.kill(int(path.read_text()), signal.SIGKILL)
