"""A study on a Dask cluster: three processes of this machine, of which some die."""

import json
import os
import re
import signal
import subprocess
import sys

import numpy as np
import pytest

from hue_jax.compare import cluster, run_records
from hue_jax.compare.addresses import address_of_workers
from hue_jax.compare.study import run_study
from hue_jax.compare.tuning import tune
from hue_jax.compare.workers import code_version
from hue_jax.errors import InputError
from tests.helpers.small_study import small_settings, small_workdir

distributed = pytest.importorskip("distributed")


@pytest.fixture(scope="module")
def three_processes():
  with (
    distributed.LocalCluster(
      n_workers=3, threads_per_worker=1, dashboard_address=None
    ) as found,
  ):
    yield found


def _numbers(records):
  """What a run is, without when and how fast it was."""
  clock = ("seconds", "train_seconds", "ended")
  return {
    (record["objective"], record["seed"]): {
      name: value for name, value in record.items() if name not in clock
    }
    for record in records
  }


@pytest.mark.slow
def test_a_worker_that_dies_has_its_runs_given_to_another(
  three_processes, tmp_path, monkeypatch
):
  settings = small_settings(num_seeds=4)
  here = small_workdir(tmp_path / "here", settings)
  there = small_workdir(tmp_path / "there", settings)
  pids = three_processes.scheduler_info["workers"]
  append, killed = run_records.append, []

  def append_and_kill(path, record):
    append(path, record)
    if not killed:  # when the first line has come, the others are at work
      with distributed.Client(three_processes.scheduler_address) as client:
        pids = client.run(os.getpid)
      killed.append(sorted(pids.values())[0])
      os.kill(killed[0], signal.SIGKILL)

  monkeypatch.setattr(run_records, "append", append_and_kill)
  run_study(settings, there, workers=three_processes.scheduler_address)
  monkeypatch.undo()
  assert killed
  assert pids
  found = run_records.read(there / run_records.FILE)
  assert len(found) == 8  # each once
  alone = run_study(settings | {"num_seeds": 2}, here)
  numbers = _numbers(found)
  for key, record in _numbers(alone).items():
    other = numbers[key]
    assert record["fingerprint"] == other["fingerprint"]
    np.testing.assert_allclose(
      record["curve"]["train_loss"], other["curve"]["train_loss"], rtol=1e-3
    )


@pytest.mark.slow
def test_a_study_begun_here_goes_on_there_and_back(three_processes, tmp_path):
  settings = small_settings(objectives={"one_hot": {}}, num_seeds=4)
  small_workdir(tmp_path, settings)
  run_study(settings | {"num_seeds": 2}, tmp_path)
  before = run_records.read(tmp_path / run_records.FILE)
  address = three_processes.scheduler_address
  run_study(settings | {"num_seeds": 3}, tmp_path, workers=address)
  run_study(settings, tmp_path)
  after = run_records.read(tmp_path / run_records.FILE)
  assert after[:2] == before
  assert [record["seed"] for record in after] == [0, 1, 2, 3]


def _dies(key, study, group):
  del key, study, group
  os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_a_run_of_which_worker_after_worker_dies_is_given_up(
  three_processes, tmp_path, monkeypatch
):
  monkeypatch.setattr(cluster, "_run", _dies)
  settings = small_settings(objectives={"one_hot": {}}, num_seeds=1)
  small_workdir(tmp_path, settings)
  told = "workers died of the run of one_hot with seed 0 .*KilledWorker"
  with pytest.raises(InputError, match=told):
    run_study(settings, tmp_path, workers=three_processes.scheduler_address)


@pytest.mark.slow
def test_an_error_of_a_run_is_that_of_the_study(three_processes, tmp_path):
  settings = small_settings(
    objectives={"one_hot": {}},
    measures=small_settings()["measures"] | {"num_seeds": 1, "transfer_to": ("/none",)},
  )
  small_workdir(tmp_path, settings)
  with pytest.raises(InputError, match="/none"):
    run_study(settings, tmp_path, workers=three_processes.scheduler_address)


def test_workers_of_other_code_are_refused(three_processes, monkeypatch):
  address = three_processes.scheduler_address
  with distributed.Client(address, set_as_default=False) as client:
    cluster._check_code(client, address)
    monkeypatch.setattr(client, "run", lambda *_, **__: {"tcp://a:1": "0.0.1+other"})
    told = re.escape(
      f"--workers is {address!r}, and its worker tcp://a:1 has hue_jax 0.0.1+other, "
      f"not hue_jax {code_version()}; all"
    )
    with pytest.raises(InputError, match=told):
      cluster._check_code(client, address)


_NO_ADDRESSES = ["", "ray://host:10001", "host:8786", "tcp://host", "2", "tcp:// h:1"]


@pytest.mark.parametrize("workers", _NO_ADDRESSES)
def test_an_address_that_is_none_is_refused(workers):
  with pytest.raises(InputError, match=re.escape(f"--workers is {workers!r}; it must")):
    address_of_workers(workers, name="--workers")


@pytest.mark.parametrize("workers", [*_NO_ADDRESSES, 0, -1])
@pytest.mark.parametrize("does", [run_study, tune])
def test_a_study_refuses_workers_that_are_none(does, workers, tmp_path):
  with pytest.raises(InputError, match=re.escape(f"workers is {workers!r}; it must")):
    does(small_settings(), tmp_path / "new", workers=workers)
  assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
  ("arguments", "told"),
  [
    (("--mode=cost", "--workers=tcp://a:1"), "--mode=cost has no runs to give them"),
    (("--mode=report", "--workers=tcp://a:1"), "--mode=report has no runs to give"),
    (("--mode=report", "--workers=a:1"), "--workers is 'a:1'; it must be local"),
    (("--mode=run", "--workers=2"), "--workers is '2'; it must be local"),
    (("--mode=tune", "--workers=2"), "--workers is '2'; it must be local"),
  ],
)
def test_the_command_refuses_workers_that_are_none(arguments, told, tmp_path):
  found = subprocess.run(
    [sys.executable, "-m", "hue_jax.compare", *arguments, f"--workdir={tmp_path}"],
    capture_output=True,
    text=True,
  )
  assert found.returncode == 2
  assert told in found.stderr
  assert found.stderr.count("\n") == 1


def test_addresses():
  assert address_of_workers("local") is None
  assert address_of_workers("tcp://10.0.0.1:8786") == "tcp://10.0.0.1:8786"
  assert address_of_workers("tls://[::1]:8786") == "tls://[::1]:8786"


@pytest.mark.slow
@pytest.mark.parametrize("there", [False, True])
def test_a_scheduler_that_is_not_there_or_has_no_workers(there, monkeypatch, tmp_path):
  monkeypatch.setattr(cluster, "PATIENCE", 1.0)
  settings = small_settings()
  small_workdir(tmp_path, settings)
  with distributed.LocalCluster(
    n_workers=0,
    processes=False,
    dashboard_address=None,
    host="127.0.0.1",
    protocol="tcp",
  ) as empty:
    address = empty.scheduler_address if there else "tcp://127.0.0.1:9"
    reason = "has no workers; start one with" if there else "no scheduler of a Dask"
    with pytest.raises(InputError, match=reason) as error:
      run_study(settings, tmp_path, workers=address)
  assert f"--workers is {address!r}" in str(error.value)


@pytest.mark.slow
def test_the_command_runs_on_a_cluster(three_processes, tmp_path):
  command = [
    *(sys.executable, "-m", "hue_jax.compare", "--config=configs/compare_base.py"),
    *("--config.dataset=digits", "--config.image_size=8", "--config.num_seeds=2"),
    *("--config.train_split=train[:80%]", "--config.validation_split=train[80%:]"),
    *("--config.train_per_class=2", "--config.num_epochs=5", "--config.batch_size=10"),
    *("--config.model_options.width=4", "--config.measures.num_seeds=0"),
    f"--workers={three_processes.scheduler_address}",
    f"--workdir={tmp_path}",
  ]
  environment = os.environ | {"JAX_PLATFORMS": "cpu"}
  found = subprocess.run(
    command, env=environment, capture_output=True, text=True, timeout=600
  )
  assert found.returncode == 0, found.stderr
  assert json.loads(found.stdout.splitlines()[-1])["runs"] == 2
