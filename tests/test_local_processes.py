"""launch/local_processes.sh: it ends when its processes have, and as they did."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

_LAUNCH = Path(__file__).resolve().parents[1] / "launch" / "local_processes.sh"

# Stands for Python with main.py: the way of each process is an argument of its own.
_STAND_IN = """#!{python}
import os, signal, sys, time

if sys.argv[1] == "-c":
  exec(sys.argv[2])
  sys.exit()
number = int(os.environ["JAX_PROCESS_ID"])
way = sys.argv[2:][number]

def save(*_):
  if way == "deaf":
    return
  time.sleep(1)
  open(f"saved_{{number}}", "w").close()
  os._exit(143)

signal.signal(signal.SIGTERM, save)
open(f"started_{{number}}", "w").close()
if way == "ends":
  sys.exit(0)
if way.startswith("fails"):
  while not os.path.exists("started_0") or not os.path.exists("started_1"):
    time.sleep(0.01)
  sys.exit(int(way[5:]))
while True:
  time.sleep(0.1)
"""


@pytest.fixture
def launched(tmp_path):
  """Starts two processes; ends what is left of them."""
  stand_in = tmp_path / "python"
  stand_in.write_text(_STAND_IN.format(python=sys.executable))
  stand_in.chmod(0o755)
  started = []

  def launch(*ways):
    process = subprocess.Popen(
      [_LAUNCH, "2", *ways],
      cwd=tmp_path,
      env=os.environ | {"PYTHON": str(stand_in)},
      start_new_session=True,
    )
    started.append(process)
    _wait_for(tmp_path, "started_0", "started_1")
    return process

  yield launch
  for process in started:
    assert not _is_alive(process.pid)


def _wait_for(folder, *names):
  deadline = time.monotonic() + 30
  while not all((folder / name).exists() for name in names):
    assert time.monotonic() < deadline
    time.sleep(0.02)


def _is_alive(group):
  """Whether any process of the group is there; it is killed."""
  try:
    os.killpg(group, signal.SIGKILL)
  except ProcessLookupError:
    return False
  return True


@pytest.mark.parametrize("to_all", [False, True], ids=["one", "group"])
@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_is_passed_on_and_the_end_waited_for(
  launched, tmp_path, signum, to_all
):
  """A terminal's Ctrl-C is for all of the group, which the processes do not hear."""
  process = launched("works", "works")
  if to_all and signum == signal.SIGINT:
    os.killpg(process.pid, signum)
  else:
    process.send_signal(signum)
  assert process.wait(timeout=120) == 128 + signum
  assert (tmp_path / "saved_0").exists()
  assert (tmp_path / "saved_1").exists()


@pytest.mark.slow
def test_a_second_signal_ends_what_does_not_stop(launched):
  process = launched("works", "deaf")
  process.send_signal(signal.SIGINT)
  with pytest.raises(subprocess.TimeoutExpired):
    process.wait(timeout=3)
  process.send_signal(signal.SIGINT)
  assert process.wait(timeout=120) == 130


@pytest.mark.parametrize("ways", [("works", "fails3"), ("fails3", "works")])
def test_the_first_that_fails_ends_the_other(launched, tmp_path, ways):
  assert launched(*ways).wait(timeout=120) == 3
  assert (tmp_path / f"saved_{ways.index('works')}").exists()


def test_both_end(launched):
  assert launched("ends", "ends").wait(timeout=120) == 0


def test_a_number_is_needed():
  done = subprocess.run([_LAUNCH, "two"], capture_output=True, text=True)
  assert done.returncode == 2
  assert done.stderr.startswith("usage: ")
