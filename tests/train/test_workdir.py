"""The folder of a run: one configuration, one data set, one run at a time."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import jax
import pytest
from etils import epath
from jax.experimental import multihost_utils

from configs import digits_hue
from hue_jax.errors import InputError
from hue_jax.train.workdir import (
  Evaluations,
  content,
  folder_of,
  holding,
  read_config,
  record_config,
)


@pytest.fixture
def workdir(tmp_path):
  return epath.Path(tmp_path) / "run"


def _config(**settings):
  config = digits_hue.get_config("position")
  config.update_from_flattened_dict(settings)
  return config


@pytest.mark.parametrize(
  ("given", "expected"),
  [
    ("/a/b", "/a/b"),
    ("runs/../a", "{here}/a"),
    ("~/a", "{home}/a"),
    ("a:b/c", "{here}/a:b/c"),
    ("gs://bucket/a", "gs://bucket/a"),
    ("gs://bucket/a/b/", "gs://bucket/a/b"),
    (epath.Path("gs://bucket/a"), "gs://bucket/a"),
    # What nothing here can write, and what would be a local folder of that name.
    ("s3://bucket/a", None),
    ("az://bucket/a", None),
    ("file:///a", None),
    ("gs://", None),
    ("gs://bucket", None),
    ("gs://bucket/", None),
    ("gs:///a", None),
    ("GS://bucket/a", None),
    (Path("gs://bucket/a"), None),
  ],
)
def test_a_workdir_is_a_folder_or_in_a_bucket(given, expected, tmp_path, monkeypatch):
  monkeypatch.chdir(tmp_path)
  monkeypatch.setenv("HOME", str(tmp_path / "home"))
  if expected is None:
    accepted = r"workdir is '.*:/.*'; it must be a folder, or gs://BUCKET/FOLDER"
    with pytest.raises(InputError, match=accepted):
      folder_of(given)
    return
  found = folder_of(given)
  assert str(found) == expected.format(here=tmp_path, home=tmp_path / "home")
  assert isinstance(found, epath.Path)


def _record(workdir, config, data=None):
  with holding(workdir):
    record_config(workdir, config, data or {})


def test_a_workdir_holds_one_configuration(workdir):
  _record(workdir, _config())
  _record(workdir, _config())
  changed = _config(**{"learning_rate": 0.3, "hue.terms.position.weight": 0.7})
  with pytest.raises(
    InputError,
    match=r"another configuration: hue.terms.position.weight is 0.7 and was 0.1; "
    r"learning_rate is 0.3 and was ",
  ):
    _record(workdir, changed)
  _record(
    workdir, _config(log_every_steps=7, num_colored_images=0, parallel="shard_map")
  )


def test_a_run_of_an_older_version_goes_on(workdir):
  older = Path(__file__).with_name("config_of_version_0_1.json")
  workdir.mkdir()
  (workdir / "config.json").write_text(older.read_text())
  assert set(read_config(workdir)) == set(_config())
  _record(workdir, _config())
  with pytest.raises(InputError, match=r"shuffle is 'blocks' and was 'full'"):
    _record(workdir, _config(shuffle="blocks"))


def test_a_data_set_that_was_replaced_is_noticed(workdir):
  _record(workdir, _config(), {"digits": "one"})
  _record(workdir, _config(), {"digits": "one", "more": "three"})
  assert "data_identities" not in read_config(workdir)
  for data in ({"digits": "two"}, {"digits": "one", "more": "four"}):
    with pytest.raises(
      InputError, match=r"began with another data set '(digits|more)'"
    ):
      _record(workdir, _config(), data)
  # What is known of the one is not lost where the other is not there.
  _record(workdir, _config(), {"digits": "one"})
  with pytest.raises(InputError, match="began with another data set 'more'"):
    _record(workdir, _config(), {"more": "four"})


def test_a_workdir_from_before_data_sets_were_noted_takes_the_present_one(workdir):
  workdir.mkdir()
  (workdir / "config.json").write_text(_config().to_json())
  _record(workdir, _config(), {"digits": "one"})
  with pytest.raises(InputError, match="another data set"):
    _record(workdir, _config(), {"digits": "two"})


@pytest.mark.parametrize("content", ['{"seed": ', "[1, 2]", "\udcff", None])
@pytest.mark.parametrize(
  ("name", "read"), [("config.json", read_config), ("evaluations.json", Evaluations)]
)
def test_a_damaged_file_is_named(workdir, name, read, content):
  workdir.mkdir()
  if content is None:
    (workdir / name).mkdir()
  else:
    data = content.encode(errors="surrogateescape")
    (workdir / name).write_bytes(data)
  with pytest.raises(InputError, match=rf"{name} cannot be read \(.*\); restore it"):
    read(workdir)


def test_evaluations_come_back(workdir):
  workdir.mkdir()
  evaluations = Evaluations(workdir)
  evaluations.record(3, {"top1": 1 / 3, "mean_per_class": float("nan")})
  evaluations.record(12, {"top1": 0.5})
  again = Evaluations(workdir)
  assert again.of_step(3)["top1"] == 1 / 3
  assert again.of_step(12) == {"top1": 0.5}
  assert again.of_step(4) is None


def test_what_a_workdir_holds_is_told_for_processes_to_compare(workdir, tmp_path):
  assert content(workdir) == "no configuration"
  _record(workdir, _config())
  (workdir / "checkpoints" / "12").mkdir()
  (workdir / "checkpoints" / "3").mkdir()
  (workdir / "checkpoints" / "15.orbax-checkpoint-tmp").mkdir()
  told = content(workdir)
  assert told.startswith("configuration ")
  assert told.endswith(" and the checkpoints [3, 12]")
  other = epath.Path(tmp_path) / "other"
  _record(other, _config(seed=3))
  assert content(other).split()[1] != told.split()[1]


def _below_a_file(tmp_path):
  (tmp_path / "file").touch()
  return tmp_path / "file" / "run"


def _a_file(tmp_path):
  (tmp_path / "run").touch()
  return tmp_path / "run"


def _with_a_file_for_a_folder(tmp_path):
  (tmp_path / "checkpoints").touch()
  return tmp_path


def _with_a_folder_for_the_lock(tmp_path):
  (tmp_path / "lock").mkdir()
  return tmp_path


def _of_the_system(_):
  return "/proc/run"


def _too_long(tmp_path):
  return tmp_path / ("a" * 300)


@pytest.mark.parametrize(
  "make",
  [
    _below_a_file,
    _a_file,
    _with_a_file_for_a_folder,
    _with_a_folder_for_the_lock,
    _of_the_system,
    _too_long,
  ],
)
def test_a_workdir_that_cannot_be_written_is_one_line(tmp_path, make):
  workdir = folder_of(str(make(tmp_path)))
  with pytest.raises(InputError, match=r"workdir is '.*', which cannot be written: \S"):
    _record(workdir, _config())


_HOLD = """
import sys, time
from etils import epath
from hue_jax.train.workdir import holding
with holding(epath.Path(sys.argv[1])):
  print("held", flush=True)
  time.sleep(600)
"""


def test_a_second_run_is_refused_while_the_first_lives(workdir):
  first = subprocess.Popen(
    [sys.executable, "-c", _HOLD, str(workdir)],
    stdout=subprocess.PIPE,
    text=True,
    env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
  )
  try:
    assert first.stdout.readline() == "held\n"
    with pytest.raises(
      InputError, match=rf"another run is at work \(process {first.pid} on .*\); wait"
    ):
      _record(workdir, _config())
    assert not (workdir / "config.json").exists()
  finally:
    first.send_signal(signal.SIGKILL)
    first.wait()
  _record(workdir, _config())
  with holding(workdir), pytest.raises(InputError, match=f"process {os.getpid()} on"):
    _record(workdir, _config())
  _record(workdir, _config())


def test_what_the_first_process_cannot_write_ends_the_others(workdir, monkeypatch):
  """They would wait for it in the next step forever."""
  workdir.mkdir()
  evaluations = [Evaluations(workdir), Evaluations(workdir)]
  (workdir / "evaluations.json").mkdir()
  sent = []
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  monkeypatch.setattr(
    multihost_utils,
    "broadcast_one_to_all",
    lambda message: sent.append(message) or sent[0],
  )
  for number in range(2):
    monkeypatch.setattr(jax, "process_index", lambda number=number: number)
    with pytest.raises(InputError, match=r"evaluations\.json: "):
      evaluations[number].record(3, {"top1": 0.5})
