"""What stops a command becomes one line and an exit status; what is a bug does not."""

import errno
import json
import math
import os
import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from hue_jax import command
from hue_jax.errors import InputError, Stopped, naming

_ROOT = Path(__file__).resolve().parents[1]
# What is called as python -m hue_jax.…, by its files.
_COMMANDS = (
  *sorted((_ROOT / "hue_jax").glob("*/__main__.py")),
  _ROOT / "hue_jax/data/check.py",
  _ROOT / "hue_jax/data/prepare.py",
)


class _Ended(Stopped):
  word = "ended"
  status = 7


def _raises(error):
  def call():
    raise error

  return call


@pytest.mark.parametrize(
  ("error", "status", "line"),
  [
    (InputError("seed is -1; it must be 0."), 2, "error: seed is -1; it must be 0."),
    (_Ended("by the test"), 7, "ended: by the test."),
    (KeyboardInterrupt(), 130, "interrupted"),
    (
      OSError(errno.ENOSPC, "No space left on device", "/disk/file"),
      2,
      "error: /disk/file cannot be used: No space left on device.",
    ),
    (
      PermissionError(errno.EACCES, "Permission denied", "/root/x"),
      2,
      "error: /root/x cannot be used: Permission denied.",
    ),
    (
      OSError(errno.EDQUOT, "Disk quota exceeded"),
      2,
      "error: a file cannot be used: Disk quota exceeded.",
    ),
  ],
)
def test_what_stops_a_command_is_one_line(capsys, error, status, line):
  assert command.run(_raises(error)) == status
  assert capsys.readouterr() == ("", f"{line}\n")


def test_what_ends_well_has_status_0(capsys):
  assert command.run(lambda: None) == 0
  assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
  "error", [ValueError("x"), ZeroDivisionError(), FileNotFoundError(errno.ENOENT, "x")]
)
def test_a_bug_keeps_its_traceback(error):
  with pytest.raises(type(error)):
    command.run(_raises(error))


def test_a_full_disk_is_told_with_the_file_that_was_written(capsys):
  """/dev/full refuses every byte, and Python's error names no file."""

  def write():
    with naming("out/page.html"), open("/dev/full", "w") as file:
      file.write("x" * 100_000)

  assert command.run(write) == 2
  told = capsys.readouterr().err
  assert told == "error: out/page.html cannot be used: No space left on device.\n"


def test_a_file_that_cannot_be_read_keeps_its_own_name(tmp_path):
  with pytest.raises(OSError, match="No such file") as caught, naming("another"):
    (tmp_path / "none").read_text()
  assert caught.value.filename == os.fspath(tmp_path / "none")


def test_an_error_goes_from_process_to_process():
  error = pickle.loads(pickle.dumps(_Ended("a: b\nc")))
  assert (type(error), str(error)) == (_Ended, "a: b c.")


def test_a_result_is_json_without_nan():
  line = command.json_line({"top1": 0.5, "loss": math.nan, "left_out": ["v2"]})
  assert json.loads(line) == {"top1": 0.5, "loss": None, "left_out": ["v2"]}


@pytest.mark.parametrize(
  "path", _COMMANDS, ids=lambda path: f"{path.parent.name}/{path.stem}"
)
def test_help_goes_to_standard_output(path):
  module = ".".join(path.relative_to(_ROOT).with_suffix("").parts)
  done = subprocess.run(
    [sys.executable, "-m", module, "--help"],
    cwd=_ROOT,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
  )
  assert module.removesuffix(".__main__") in done.stdout or "flags:" in done.stdout
  assert done.stderr == ""
