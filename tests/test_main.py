"""`main.py` as a user runs it: in processes of its own, killed, stopped and resumed."""

import json
import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import orbax.checkpoint as ocp
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

from tests.helpers.imagenet_records import write_imagenet2012

_ROOT = Path(__file__).resolve().parents[1]
_SMALL = (
  "--config=configs/digits_hue.py",
  "--config.model_options.width=4",
  "--config.log_every_steps=1",
  "--config.checkpoint_every_steps=3",
)


@pytest.fixture(scope="session")
def cache_dir(tmp_path_factory):
  """Data and compiled programs that the runs share."""
  return tmp_path_factory.mktemp("cache")


def _command(workdir, *flags):
  return [sys.executable, "main.py", f"--workdir={workdir}", *flags]


def _environment(cache_dir, devices=1):
  return os.environ | {
    "JAX_PLATFORMS": "cpu",
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices} "
    "--xla_backend_optimization_level=0",
    "TFDS_DATA_DIR": str(cache_dir),
    "JAX_COMPILATION_CACHE_DIR": str(cache_dir / "compiled"),
    "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    "PYTHON": sys.executable,
  }


def _run(command, environment):
  return subprocess.run(
    command, cwd=_ROOT, env=environment, capture_output=True, text=True, check=False
  )


def _result(done):
  assert done.returncode == 0, done.stderr[-3000:]
  lines = done.stdout.splitlines()
  assert len(lines) == 1, done.stdout
  return json.loads(lines[0])


def _losses(workdir, tag="train/loss"):
  """Step → loss, of all that the runs in the workdir have reported."""
  losses = {}
  for file in Path(workdir).glob("events.*"):
    events = EventAccumulator(str(file), size_guidance={"tensors": 0})
    events.Reload()
    if tag in events.Tags()["tensors"]:
      for event in events.Tensors(tag):
        losses[event.step] = float(make_ndarray(event.tensor_proto))
  return losses


def _arrays(workdir, step):
  """Every array of a checkpoint, read without the package."""
  path = Path(workdir).resolve() / "checkpoints" / str(step) / "state"
  with ocp.StandardCheckpointer() as checkpointer:
    tree = checkpointer.restore(path)
  return {
    jax.tree_util.keystr(path): np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree)
  }


@pytest.fixture(scope="session")
def run_left_alone(cache_dir, tmp_path_factory):
  """A run of 24 steps that nothing disturbs."""
  workdir = tmp_path_factory.mktemp("alone")
  flags = (*_SMALL, "--config.num_train_steps=24", "--config.ema_decay=0.9")
  return (
    workdir,
    flags,
    _result(_run(_command(workdir, *flags), _environment(cache_dir))),
  )


def _assert_same_bits(one, other):
  assert one.keys() == other.keys()
  for name, array in one.items():
    assert array.dtype == other[name].dtype, name
    assert array.tobytes() == other[name].tobytes(), name


def _steps_done(workdir):
  folder = Path(workdir) / "checkpoints"
  names = [path.name for path in folder.iterdir()] if folder.exists() else []
  return max((int(name) for name in names if name.isdigit()), default=0)


@pytest.mark.slow
def test_a_killed_run_ends_with_the_bits_of_one_left_alone(
  cache_dir, run_left_alone, tmp_path
):
  alone, flags, expected = run_left_alone
  delays = random.Random()
  for attempt in range(20):
    process = subprocess.Popen(
      _command(tmp_path, *flags),
      cwd=_ROOT,
      env=_environment(cache_dir),
      stdout=subprocess.PIPE,
      stderr=subprocess.DEVNULL,
      text=True,
    )
    if attempt < 2:
      # Into the steps, not into the seconds of imports before them.
      before = _steps_done(tmp_path)
      while process.poll() is None and _steps_done(tmp_path) <= before:
        time.sleep(0.005)
      time.sleep(delays.uniform(0, 0.2))
      process.send_signal(signal.SIGKILL)
    out, _ = process.communicate()
    if process.returncode == 0:
      break
    assert process.returncode == -signal.SIGKILL
  assert attempt >= 1, "the run ended before it was killed"
  result = json.loads(out.splitlines()[-1])
  _assert_same_bits(_arrays(alone, 24), _arrays(tmp_path, 24))
  for name in ("step", "test_top1", "test_loss"):
    assert result[name] == expected[name]
  theirs, ours = _losses(alone), _losses(tmp_path)
  assert {step: theirs[step] for step in ours} == ours


@pytest.mark.slow
def test_a_pre_empted_run_saves_and_goes_on(cache_dir, run_left_alone, tmp_path):
  alone, flags, expected = run_left_alone
  process = subprocess.Popen(
    _command(tmp_path, *flags, "--config.checkpoint_every_steps=1000"),
    cwd=_ROOT,
    env=_environment(cache_dir),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  for line in process.stderr:
    if line.startswith("step  2/24"):
      process.terminate()
      break
  _, rest = process.communicate()
  assert process.returncode == 143
  assert "stopped by SIGTERM after step" in rest
  stopped_at = _steps_done(tmp_path)
  assert 2 <= stopped_at < 24
  done = _run(_command(tmp_path, *flags), _environment(cache_dir))
  assert f"going on from step {stopped_at}" in done.stderr
  assert _result(done)["test_loss"] == expected["test_loss"]
  _assert_same_bits(_arrays(alone, 24), _arrays(tmp_path, 24))


def _until_step_2(workdir, flags, cache_dir):
  """A run that has taken two steps, and goes on."""
  process = subprocess.Popen(
    _command(workdir, *flags),
    cwd=_ROOT,
    env=_environment(cache_dir),
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  for line in process.stderr:
    if line.startswith("step     2/"):
      return process
  raise AssertionError("it ended before step 2")


@pytest.mark.slow
def test_a_run_holds_its_workdir_and_ctrl_c_stops_it(cache_dir, tmp_path):
  flags = (*_SMALL, "--config.num_train_steps=90000")
  process = _until_step_2(tmp_path, flags, cache_dir)
  try:
    second = _run(_command(tmp_path, *flags), _environment(cache_dir))
    assert second.returncode == 2
    assert "another run is at work" in second.stderr.splitlines()[-1]
    process.send_signal(signal.SIGINT)
    _, rest = process.communicate(timeout=300)
  finally:
    process.kill()
  assert process.returncode == 130
  assert "Traceback" not in rest
  last = rest.splitlines()[-1]
  assert last.startswith("preempted: stopped by SIGINT after step")
  assert f"after step {_steps_done(tmp_path)};" in last


@pytest.mark.slow
def test_a_disk_that_is_full_is_one_line(cache_dir, tmp_path):
  flags = (*_SMALL, "--config.num_train_steps=6", "--config.num_colored_images=0")
  done = subprocess.run(
    _command(tmp_path, *flags),
    cwd=_ROOT,
    # No file may be larger than 40 kB: that of the checkpoint's arrays is.
    preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000)),
    env=_environment(cache_dir) | {"JAX_ENABLE_COMPILATION_CACHE": "false"},
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode in (1, 2), done.stderr[-3000:]
  lines = [line for line in done.stderr.splitlines() if "step" not in line]
  assert "Traceback" not in done.stderr
  assert "cannot be written" in lines[-1]
  assert len(lines) < 6, done.stderr
  assert _steps_done(tmp_path) == 0


@pytest.mark.slow
def test_two_processes_train_to_the_losses_of_one(cache_dir, tmp_path):
  flags = (*_SMALL, "--config.num_train_steps=8")
  one = _result(
    _run(_command(tmp_path / "one", *flags), _environment(cache_dir, devices=2))
  )
  for form in ("pmap", "shard_map"):
    workdir = tmp_path / form
    launch = ["launch/local_processes.sh", "2", f"--workdir={workdir}", *flags]
    environment = _environment(cache_dir)
    two = _result(_run([*launch, f"--config.parallel={form}"], environment))
    assert two["devices"] == 2
    # Of two processes, evaluated by one of another number of devices.
    evaluate = _command(workdir, *flags, "--mode=evaluate")
    again = _result(_run(evaluate, _environment(cache_dir, devices=8)))
    np.testing.assert_allclose(again["test_loss"], two["test_loss"], rtol=1e-5)
    np.testing.assert_allclose(two["test_loss"], one["test_loss"], rtol=1e-5)
    ours, theirs = _losses(workdir), _losses(tmp_path / "one")
    assert sorted(ours) == list(range(1, 9))
    np.testing.assert_allclose(
      [ours[step] for step in ours], [theirs[step] for step in ours], rtol=1e-5
    )


@pytest.mark.slow
def test_two_processes_stop_together_and_hold_the_workdir(cache_dir, tmp_path):
  launch = ["launch/local_processes.sh", "2", f"--workdir={tmp_path}", *_SMALL]
  launch.append("--config.num_train_steps=3000")
  environment = _environment(cache_dir)
  process = subprocess.Popen(
    launch,
    cwd=_ROOT,
    env=environment,
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
    text=True,
  )
  try:
    for line in process.stderr:
      if re.match(r"step +2/3000  train", line):
        break
    second = _run(_command(tmp_path, *_SMALL), environment)
    assert second.returncode == 2
    assert second.stderr.startswith(f"error: workdir is '{tmp_path}', where another")
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text()
    os.kill(int(children.split()[1]), signal.SIGTERM)
    _, rest = process.communicate(timeout=3000)
  finally:
    process.terminate()
  assert process.returncode == 143
  (step,) = set(re.findall(r"preempted: stopped by SIGTERM after step (\d+)", rest))
  assert (tmp_path / "checkpoints" / step).exists()


@pytest.mark.slow
def test_the_imagenet_config_runs_and_resumes_on_its_own_records(tmp_path):
  data_dir = tmp_path / "data"
  write_imagenet2012(str(data_dir), 40, 13, image_size=80)
  flags = (
    "--config=configs/resnet50_hue.py",
    f"--config.data_dir={data_dir}",
    "--config.image_size=64",
    "--config.model_options.width=4",
    "--config.batch_size=8",
    "--config.train_split=train[:32]",
    "--config.validation_split=train[32:]",
    "--config.checkpoint_every_steps=1",
    "--config.log_every_steps=1",
  )
  environment = _environment(tmp_path / "cache")
  command = _command(tmp_path / "run", *flags, "--config.num_train_steps=3")
  result = _result(_run(command, environment))
  assert result["task"] == "imagenet2012:5.*.*"
  assert result["model"] == "resnet50(stem=imagenet, width=4)"
  assert result["test_examples"] == 13
  assert result["step"] == 3
  # Take the last checkpoint away: the run goes on from the one before it.
  last = tmp_path / "run" / "checkpoints" / "3"
  last.rename(tmp_path / "aside")
  again = _run(command, environment)
  assert "going on from step 2" in again.stderr
  assert _result(again)["test_loss"] == result["test_loss"]


@pytest.mark.slow
@pytest.mark.parametrize(
  ("flags", "message"),
  [
    (
      (*_SMALL, "--config.optimizer=adam"),
      "error: optimizer is 'adam'; it must be one of sgd, adamw, lamb.",
    ),
    (
      (*_SMALL, "--config.learning_rat=1"),
      "error: the configuration has no setting learning_rat; did you mean",
    ),
    (
      ("--config=configs/none.py",),
      "error: --config is 'configs/none.py', which cannot be loaded",
    ),
    ((*_SMALL, "extra"), "error: arguments ['extra'] are not flags"),
    ((*_SMALL, "--mode=evaluate"), "error: workdir is "),
  ],
)
def test_what_cannot_be_used_is_one_line(cache_dir, tmp_path, flags, message):
  done = _run(_command(tmp_path / "run", *flags), _environment(cache_dir))
  assert done.returncode == 2
  assert done.stdout == ""
  assert "Traceback" not in done.stderr
  lines = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
  assert len(lines) == 1
  assert lines[0].startswith(message)
  assert not (tmp_path / "run").exists()
