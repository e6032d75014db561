"""A TPU slice from asking for it to giving it back; workers are folders here."""

import json
import os
import shutil
import signal
import subprocess
import time

import pytest

from tests.launch.conftest import ROOT

_WHERE = ("--zone=us-west4-a", "--project=p", "--poll-seconds=0")
_REQUEST = (*_WHERE, "--accelerator-type=v5litepod-16", "--spot")
_MAIN = ("--", "--config=c", "--workdir=gs://b/r", "--config.x=a 'b' \"c\" $d")

# Where nothing fails: the workers are asked, installed, started and followed.
_ONCE = ("ssh", "scp", "ssh", "ssh", "ssh")

# Stands for Python with main.py on a worker: it tells what it got, and ends by
# `ends_with`, the first number of a file that is shared by all starts.
_PYTHON = """#!/usr/bin/env -S python3 -IS
import json, os, signal, sys, time

def save(*_):
  print("saved", flush=True)
  sys.exit(143)

signal.signal(signal.SIGTERM, save)
print(json.dumps([sys.argv[1:], os.environ["HUE_JAX_DISTRIBUTED"]]), flush=True)
path = os.path.join(os.environ["HOME"], "ends_with.json")
codes = json.load(open(path))
if len(codes) > 1:
  json.dump(codes[1:], open(path, "w"))
if codes[0] is None:
  time.sleep(60)
sys.exit(codes[0])
"""

# Stands for uv, which makes the environment and installs into it.
_UV = """#!/usr/bin/env bash
echo "$PWD $*" >>"$HOME/uv.log"
if [[ $1 == venv ]]; then
  mkdir -p .venv/bin
  cp "$HOME/python" .venv/bin/python
fi
"""


@pytest.fixture
def workers(stand_ins):
  """Sets the statuses with which main.py ends on the two workers, start by start."""
  uv = stand_ins.folder / "bin" / "uv"
  uv.write_text(_UV)
  uv.chmod(0o755)

  def end_with(*codes):
    for number in range(2):
      home = stand_ins.folder / f"worker{number}"
      home.mkdir(exist_ok=True)
      (home / "ends_with.json").write_text(json.dumps(codes))
      (home / "python").write_text(_PYTHON)
      (home / "python").chmod(0o755)

  return end_with


def _names(stand_ins):
  return [call[0].removeprefix("gcloud compute tpus ") for call in stand_ins.calls()]


def _in_order(stand_ins):
  """The calls without the questions for the state."""
  names = _names(stand_ins)
  return [name.split()[1] for name in names if not name.endswith("describe")]


@pytest.mark.slow
def test_a_run_is_asked_for_installed_started_and_followed(stand_ins, workers):
  workers(0)
  stand_ins.set("states", ["NOT_FOUND", "WAITING_FOR_RESOURCES", "ACTIVE"])
  done = stand_ins.run("tpu_pod.sh", "run", "res", *_REQUEST, "--delete", *_MAIN)
  assert done.returncode == 0, done.stderr
  assert "the request is WAITING_FOR_RESOURCES" in done.stderr
  assert _in_order(stand_ins) == ["create", *_ONCE, "delete"]
  create = next(call for call in stand_ins.calls() if call[0].endswith("create"))
  assert create[1] == ["res"]
  assert create[2] == {
    "--node-id": "res",
    "--zone": "us-west4-a",
    "--project": "p",
    "--accelerator-type": "v5litepod-16",
    "--runtime-version": "v2-alpha-tpuv5-lite",
    "--spot": "",
  }
  # main.py has its arguments as they were, on every worker; its log was followed.
  told = [["main.py", *_MAIN[1:]], "1"]
  for number in range(2):
    log = stand_ins.folder / f"worker{number}" / "hue_jax_run" / "log"
    _wait_for(lambda log=log: log.exists() and log.read_text())
    assert json.loads(log.read_text()) == told
  assert json.dumps(told) in done.stdout
  # What was installed is the commit, whole, by the versions of constraints.txt.
  worker = stand_ins.folder / "worker1"
  assert (worker / "hue_jax" / "main.py").exists()
  assert (worker / "hue_jax" / "launch" / "jobset.yaml").exists()
  installed = (worker / "uv.log").read_text().splitlines()[-1]
  assert installed.endswith("-c constraints.txt -e .[train,gcs,tpu]")


@pytest.mark.slow
def test_a_slice_that_is_taken_away_is_asked_for_again(stand_ins, workers):
  workers(143, 0)
  # There at the first start, and gone when main.py has saved and ended.
  stand_ins.set("states", ["ACTIVE", "ACTIVE", "SUSPENDING", "NOT_FOUND", "ACTIVE"])
  done = stand_ins.run("tpu_pod.sh", "run", "res", *_REQUEST, *_MAIN)
  assert done.returncode == 0, done.stderr
  assert _in_order(stand_ins) == [*_ONCE, "delete", "create", *_ONCE]
  assert "the slice was taken away; asking for another" in done.stderr
  delete = next(call for call in stand_ins.calls() if call[0].endswith("delete"))
  assert {"--force", "--quiet"} <= set(delete[2])


@pytest.mark.slow
def test_a_request_that_was_suspended_before_is_made_anew(stand_ins, workers):
  workers(0)
  stand_ins.set("states", ["SUSPENDED", "SUSPENDED", "ACTIVE"])
  done = stand_ins.run("tpu_pod.sh", "run", "res", *_REQUEST, *_MAIN)
  assert done.returncode == 0, done.stderr
  assert _in_order(stand_ins)[:2] == ["delete", "create"]
  stand_ins.set("states", ["SUSPENDED"])
  alone = stand_ins.run("tpu_pod.sh", "create", "res", *_REQUEST)
  assert alone.returncode == 2
  assert alone.stderr.splitlines()[-1] == (
    "error: launch/tpu_pod.sh: the request is SUSPENDED; delete it and create another"
  )


@pytest.mark.slow
@pytest.mark.parametrize("code", [1, 2, 143])
def test_a_run_that_fails_on_a_slice_that_is_there_ends_so(stand_ins, workers, code):
  workers(code)
  done = stand_ins.run("tpu_pod.sh", "run", "res", *_REQUEST, *_MAIN)
  assert done.returncode == code
  assert f"main.py has ended with status {code}; the slice is kept" in done.stderr
  assert "delete" not in _in_order(stand_ins)


@pytest.mark.slow
def test_where_main_died_on_another_worker_all_start_again(stand_ins, workers):
  workers(75, 75, 0)
  done = stand_ins.run("tpu_pod.sh", "run", "res", *_REQUEST, *_MAIN)
  assert done.returncode == 0, done.stderr
  assert done.stderr.count("main.py died on another worker; starting again") == 2
  assert "delete" not in _in_order(stand_ins)


@pytest.mark.slow
def test_a_connection_that_breaks_is_made_anew(stand_ins, workers):
  workers(0)
  stand_ins.set("breaks", [0, 0, 0, 255, 255, 0])
  done = stand_ins.run("tpu_pod.sh", "run", "res", *_REQUEST, *_MAIN)
  assert done.returncode == 0, done.stderr
  assert done.stderr.count("the connection broke; following again") == 2


@pytest.mark.parametrize(
  ("state", "questions"), [("PERMISSION_DENIED", 1), ("UNAVAILABLE", 4)]
)
def test_what_gcloud_fails_at_ends_it_with_its_words(stand_ins, state, questions):
  stand_ins.set("states", [state])
  done = stand_ins.run("tpu_pod.sh", "run", "res", *_REQUEST, *_MAIN)
  assert done.returncode == 2
  *_, words, line = done.stderr.splitlines()
  assert state in words
  assert line == "error: launch/tpu_pod.sh: gcloud does not tell the state of res"
  assert _in_order(stand_ins) == []
  assert len(stand_ins.calls()) == questions


@pytest.mark.slow
def test_a_question_that_fails_does_not_end_a_run_that_is_followed(stand_ins, workers):
  workers(143, 0)
  fails = ["UNAVAILABLE"] * 6
  stand_ins.set(
    "states", ["ACTIVE", "ACTIVE", *fails, "SUSPENDING", "NOT_FOUND", "ACTIVE"]
  )
  done = stand_ins.run("tpu_pod.sh", "run", "res", *_REQUEST, *_MAIN)
  assert done.returncode == 0, done.stderr
  assert done.stderr.count("asking again") == len(fails)
  assert _in_order(stand_ins) == [*_ONCE, "delete", "create", *_ONCE]


def test_a_request_that_fails_is_made_a_few_times_and_its_reason_told(stand_ins):
  stand_ins.set("states", ["FAILED"])
  done = stand_ins.run("tpu_pod.sh", "run", "res", *_REQUEST, *_MAIN)
  assert done.returncode == 2
  assert done.stderr.splitlines()[-1] == (
    "error: launch/tpu_pod.sh: the request is FAILED, as 3 before it: no more capacity"
  )
  assert _in_order(stand_ins) == ["delete", "create"] * 3


@pytest.mark.slow
@pytest.mark.parametrize(
  ("breaks", "what"),
  [
    ([9], "asking the workers"),
    ([0, 9], "installing"),
    ([0, 0, 9], "starting main.py"),
  ],
)
def test_what_fails_before_main_is_told_by_its_name(stand_ins, workers, breaks, what):
  workers(0)
  stand_ins.set("breaks", breaks)
  done = stand_ins.run("tpu_pod.sh", "run", "res", *_REQUEST, *_MAIN)
  assert done.returncode == 9
  told = f"{what} has failed with status 9; the slice is kept"
  assert done.stderr.splitlines()[-1].endswith(told)


@pytest.mark.slow
def test_started_twice_it_runs_once_and_stop_has_it_save(stand_ins, workers):
  workers(None)
  for command in ("install", "start"):
    main = _MAIN if command == "start" else ()
    done = stand_ins.run("tpu_pod.sh", command, "res", *_WHERE, *main)
    assert done.returncode == 0, done.stderr
  run = stand_ins.folder / "worker0" / "hue_jax_run"
  try:
    _wait_for(lambda: (run / "log").read_text())
    again = stand_ins.run("tpu_pod.sh", "start", "res", *_WHERE, *_MAIN)
    assert again.returncode == 0
    assert again.stderr.endswith("main.py is at work with these flags already\n")
    # What it works by is not replaced under it, nor its end taken for another's.
    (run.parent / "hue_jax" / "there").touch()
    for command, flags, told in (
      ("install", (), "stop it before a commit is installed"),
      ("start", (*_MAIN, "--config.y=1"), "with other flags; stop it, or give those"),
      ("run", (*_MAIN, "--config.y=1"), "with other flags; stop it, or give those"),
    ):
      where = _REQUEST if command == "run" else _WHERE
      refused = stand_ins.run("tpu_pod.sh", command, "res", *where, *flags)
      assert refused.returncode == 2
      assert refused.stderr.startswith(
        "error: launch/tpu_pod.sh: main.py is at work on res"
      )
      assert refused.stderr.endswith(f"{told}\n")
    assert (run.parent / "hue_jax" / "there").exists()
    status = stand_ins.run("tpu_pod.sh", "status", "res", *_WHERE).stdout
    assert status.startswith("res: ACTIVE\nmain.py is at work: [")
    stopped = stand_ins.run("tpu_pod.sh", "stop", "res", *_WHERE)
    assert stopped.returncode == 0, stopped.stderr
    assert stopped.stdout.splitlines() == ["saved"] * 2
    status = stand_ins.run("tpu_pod.sh", "status", "res", *_WHERE).stdout
    assert status.splitlines()[1:] == ["main.py has ended with status 143"] * 2
    logs = stand_ins.run("tpu_pod.sh", "logs", "res", *_WHERE, "--worker=1")
    assert logs.returncode == 143
    assert logs.stdout.endswith("saved\n")
  finally:
    for number in range(2):
      pid = stand_ins.folder / f"worker{number}" / "hue_jax_run" / "pid"
      if pid.exists() and _is_alive(int(pid.read_text())):
        os.killpg(int(pid.read_text()), signal.SIGKILL)


@pytest.mark.slow
def test_run_again_follows_what_is_at_work_with_the_same_flags(stand_ins, workers):
  workers(None)
  for command in ("install", "start"):
    main = _MAIN if command == "start" else ()
    assert stand_ins.run("tpu_pod.sh", command, "res", *_WHERE, *main).returncode == 0
  pids = [
    int((stand_ins.folder / f"worker{n}" / "hue_jax_run" / "pid").read_text())
    for n in range(2)
  ]
  before = len(stand_ins.calls())
  again = subprocess.Popen(
    ["bash", ROOT / "launch/tpu_pod.sh", "run", "res", *_REQUEST, *_MAIN],
    env=stand_ins.environment(),
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    _wait_for(lambda: len(stand_ins.calls()) >= before + 4)
    for pid in pids:
      os.killpg(pid, signal.SIGTERM)
    assert again.wait(timeout=300) == 143
  finally:
    for pid in pids:
      if _is_alive(pid):
        os.killpg(pid, signal.SIGKILL)
  assert "at work with these flags; following it" in again.stderr.read()
  assert "scp" not in [call[0].split()[-1] for call in stand_ins.calls()[before:]]


def test_another_commit_replaces_all_but_the_environment(stand_ins, workers):
  workers(0)
  home = stand_ins.folder / "worker0"
  for name in ("hue_jax/.venv/kept", "hue_jax/hue_jax/gone.py"):
    (home / name).parent.mkdir(parents=True, exist_ok=True)
    (home / name).touch()
  done = stand_ins.run("tpu_pod.sh", "install", "res", *_WHERE, "--ref=HEAD~1")
  assert done.returncode == 0, done.stderr
  assert (home / "hue_jax/.venv/kept").exists()
  assert not (home / "hue_jax/hue_jax/gone.py").exists()
  assert (home / "hue_jax/hue_jax/hue.py").exists()


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("gcloud"), reason="gcloud is not there")
def test_gcloud_itself_knows_the_commands_and_flags(stand_ins, workers):
  workers(0)
  flags = ("--service-account=a@b.c", "--network=n", "--subnetwork=s")
  stand_ins.set("states", ["NOT_FOUND", "ACTIVE"])
  until = "--valid-until-duration=6h"
  stand_ins.run("tpu_pod.sh", "run", "r", *_REQUEST, *flags, until, "--delete", *_MAIN)
  known = {}
  for call in stand_ins.calls():
    # A command of many lines is more than its lint reads.
    words = [word for word in call[4] if not word.startswith("--command=")]
    known[call[0]] = " ".join(words + ["--command=x"] * call[0].endswith("ssh"))
  for command in known.values():
    lint = ["gcloud", "meta", "lint-gcloud-commands", f"--command-string={command}"]
    done = subprocess.run(lint, capture_output=True, text=True, check=True)
    (found,) = json.loads(done.stdout)
    assert found["success"], found


def _wait_for(condition):
  deadline = time.monotonic() + 300
  while not condition():
    assert time.monotonic() < deadline
    time.sleep(0.05)


def _is_alive(pid):
  try:
    os.kill(pid, 0)
  except ProcessLookupError:
    return False
  return True
