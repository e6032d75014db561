"""Progress is a bar on a terminal, and a few lines in a file or a pipe."""

import ast
import io
import os
import pty
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from hue_jax import progress

_ROOT = Path(__file__).resolve().parents[1]
_COUNTS = """
from hue_jax.progress import track
for _ in track(range(20_000), unit="images", title="reading"):
  pass
"""


class _Clock:
  """Seconds that pass as the test says."""

  def __init__(self):
    self.now = 0.0

  def monotonic(self):
    return self.now


@pytest.fixture
def clock(monkeypatch):
  clock = _Clock()
  monkeypatch.setattr(progress, "time", clock)
  return clock


def _told(capsys):
  return capsys.readouterr().err.splitlines()


def test_a_pipe_gets_a_line_now_and_then_and_one_at_the_end(clock, capsys):
  with progress.Progress(1000, unit="images", title="reading") as bar:
    for _ in range(1000):
      clock.now += 0.125
      bar.update()
  lines = _told(capsys)
  assert len(lines) < 15
  assert lines[0] == "reading: 80 of 1,000 images, 8 a second, 01:55 left"
  assert lines[-1] == "reading: 1,000 of 1,000 images in 02:05"


def test_a_week_gives_a_thousand_lines_at_most(clock, capsys):
  week = 7 * 24 * 3600
  with progress.Progress(week, unit="steps") as bar:
    for _ in range(week // 10):
      clock.now += 10
      bar.update(10)
  assert 500 < len(_told(capsys)) < 1100


def test_the_time_until_the_first_is_left_out_of_the_rate(clock, capsys):
  with progress.Progress(100, unit="images") as bar:
    clock.now += 50  # of compiling
    bar.update(10)
    for _ in range(3):
      clock.now += 5
      bar.update(10)
  assert _told(capsys)[:2] == [
    "10 of 100 images",
    "30 of 100 images, 2 a second, 00:35 left",
  ]


class _Terminal(io.StringIO):
  def isatty(self):
    return True


def test_the_bar_leaves_the_first_out_of_its_estimate(clock, monkeypatch):
  monkeypatch.setattr(sys, "stderr", _Terminal())
  monkeypatch.setattr("tqdm.std.time", clock.monotonic)
  with progress.Progress(100, unit="steps", initial=10) as bar:
    clock.now += 50  # of compiling
    bar.update(2)
    assert "?" in str(bar._bar)  # no rate yet
    assert bar.left() == "?"
    clock.now += 5
    bar.update()
    assert "13/100 [00:05<07:15,  5.00s/ steps]" in str(bar._bar)
    assert bar.left() == "07:15"


def test_the_estimate_is_stable(clock, capsys):
  """It is of all that was done: what comes now and then is a part of what is left."""
  estimates = []
  with progress.Progress(1000, unit="steps") as bar:
    clock.now += 60  # of compiling
    for step in range(1, 1001):
      clock.now += 1 + 20 * (step % 100 == 0)  # an evaluation now and then
      bar.update()
      if step in range(200, 950, 50):
        estimates.append((clock.now, bar.left()))
  for now, left in estimates:
    minutes, seconds = left.split(":")
    end = now + 60 * int(minutes) + int(seconds)
    # Steps and evaluations take 1,200 seconds.
    assert abs(end - 1260) < 0.06 * 1200, (now, left)


def test_what_went_on_counts_from_where_it_was(clock, capsys):
  with progress.Progress(100, unit="images", initial=90) as bar:
    clock.now += 1
    bar.update(10)
  assert _told(capsys) == ["100 of 100 images in 00:01"]


@pytest.mark.parametrize("quiet", [{"silent": True}, {"lines": False}])
def test_nothing_is_said_where_others_tell(clock, capsys, quiet):
  with progress.Progress(3, unit="steps", **quiet) as bar:
    for _ in range(3):
      clock.now += 100
      bar.update()
  assert _told(capsys) == []


def test_a_pipe_gets_no_bar():
  done = subprocess.run(
    [sys.executable, "-c", _COUNTS], cwd=_ROOT, capture_output=True, text=True
  )
  assert done.returncode == 0, done.stderr
  assert done.stderr.startswith("reading: 20,000 of 20,000 images in ")
  assert done.stderr.count("\n") == 1
  assert "\r" not in done.stderr


def test_a_terminal_gets_a_bar():
  ours, theirs = pty.openpty()
  termios.tcsetwinsize(theirs, (24, 80))
  process = subprocess.Popen(
    [sys.executable, "-c", _COUNTS], cwd=_ROOT, stderr=theirs, stdout=theirs
  )
  os.close(theirs)
  shown = b""
  try:
    while part := os.read(ours, 4096):
      shown += part
  except OSError:  # the terminal's other end is closed
    pass
  assert process.wait() == 0
  os.close(ours)
  text = shown.decode()
  assert "\r" in text
  assert "20000/20000" in text
  assert "reading: 100%" in text


def test_all_progress_is_told_by_this_mechanism():
  """Nothing but `progress.py` and the format of a duration knows tqdm."""
  users = set()
  for path in (_ROOT / "hue_jax").rglob("*.py"):
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Call):
        name = ast.unparse(node.func)
        if name.split(".")[0] == "tqdm" and "format" not in name:
          users.add(path.name)
  assert users == {"progress.py"}
