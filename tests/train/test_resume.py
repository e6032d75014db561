"""A run that is stopped or killed anywhere, and gone on with, is one left alone.

The runs cover every kind of term with every classifier, and both with and without a
moving average, mixing and half precision; a kind that is added is among them.
"""

import dataclasses
import itertools
import shutil
import signal
from unittest import mock

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import base
from hue_jax.objective import CLASSIFIERS
from hue_jax.train import config as settings
from hue_jax.train import loop
from hue_jax.train.checkpoints import Checkpoints
from hue_jax.train.optimizer import OPTIMIZERS
from hue_jax.train.parallel import AXIS
from hue_jax.train.preemption import Preempted, Watch
from hue_jax.train.run_report import Report
from hue_jax.train.workdir import folder_of, read_result
from tests.helpers.every_term import every_term
from tests.helpers.small_training import small_model

# Each classifier with two sets of options that have nothing in common, all eight sets.
_OPTIONS = [
  (first, tuple(not option for option in first))
  for first in itertools.product((False, True), repeat=3)
  if sum(first) % 2 == 0
]
_CASES = [
  (classifier, options)
  for classifier, pair in zip(CLASSIFIERS, itertools.cycle(_OPTIONS), strict=False)
  for options in pair
]


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp("data"))


def _model(config):
  return small_model(
    AXIS,
    num_classes=config.num_classes,
    dtype=jnp.bfloat16 if config.half_precision else jnp.float32,
  )


@pytest.fixture(autouse=True)
def _small_networks():
  with mock.patch.object(settings, "build_model", _model):
    yield


def _config(data_dir, **changed):
  config = base.get_config()
  config.data_dir = data_dir
  config.train_split = "train[:64]"
  config.validation_split = "train[64:112]"
  config.test_split = "test[:32]"
  config.batch_size = 16
  config.num_train_steps = 6
  config.eval_every_epochs = 0.75
  config.checkpoint_every_steps = 4
  config.log_every_steps = 3
  config.num_colored_images = 0
  config.update_from_flattened_dict(changed)
  return config


class _Killed(BaseException):
  """Ends a run where it is."""


class _Stops:
  """Tells a run to stop, or kills it, when it has asked so many times."""

  def __init__(self, after, error=None):
    self.left, self.error = after, error

  def __call__(self):
    self.left -= 1
    if self.left < 0 and self.error:
      raise self.error
    return self.left < 0


def _train(run, workdir, stops):
  """Step → means as reported; and the result, None where the run did not end."""
  reports = {}

  def report(self, step, means, learning_rate, weights):
    del self
    reports[step] = {**means, "learning_rate": learning_rate, "weights": weights}

  with (
    mock.patch.object(Watch, "told_to_stop", side_effect=stops),
    mock.patch.object(Report, "train", report),
  ):
    try:
      return reports, loop.train_run(run, str(workdir))
    except (Preempted, _Killed):
      return reports, None


def _last(run, workdir):
  with Checkpoints(folder_of(str(workdir)), keep=2, read_only=True) as checkpoints:
    state = checkpoints.restore_last(run.initial_state).state
  return {
    jax.tree_util.keystr(path): np.asarray(leaf)
    for path, leaf in jax.tree_util.tree_leaves_with_path(state.arrays())
  }


def _without_time(result):
  return {name: value for name, value in result.items() if name != "seconds"}


def _assert_same(one, other):
  assert one.keys() == other.keys()
  for name, array in one.items():
    assert array.dtype == other[name].dtype, name
    assert array.tobytes() == other[name].tobytes(), name


@pytest.mark.slow
@pytest.mark.parametrize(("classifier", "options"), _CASES)
def test_a_run_that_was_stopped_is_one_left_alone(
  classifier, options, data_dir, tmp_path
):
  case = _CASES.index((classifier, options))
  moving_average, mixed, half_precision = options
  config = _config(
    data_dir,
    half_precision=half_precision,
    ema_decay=0.99 * moving_average,
    optimizer=OPTIMIZERS[case % len(OPTIMIZERS)],
    seed=case,
  )
  config.classifier = {"kind": classifier}
  config.mixing.mixup = 0.4 * mixed
  config.erase_probability = 0.3 * mixed
  config.terms = every_term(_model(config), config)
  run = loop.set_up(config, jax.devices()[:1])

  asked = _Stops(10**9)
  reports, expected = _train(run, tmp_path / "alone", asked)
  num_asked = 10**9 - asked.left
  assert num_asked == 6 + 3 * 2 + 2  # steps, and batches of evaluations
  state = _last(run, tmp_path / "alone")
  initial = jax.tree.leaves(run.initial_state.arrays()["memory"])
  memory = [array for name, array in state.items() if name.startswith("['memory']")]
  assert len(memory) == len(initial) >= 2
  for before, after in zip(initial, memory, strict=True):
    assert (before != after).any()

  rng = np.random.default_rng(case)
  result, starts, ours = None, 0, {}
  while result is None:
    # Several times, then it may end.
    after = int(rng.integers(1, 6)) if starts < 4 else 10**9
    stops = _Stops(after, _Killed() if rng.random() < 0.5 else None)
    told, result = _train(run, tmp_path / "stopped", stops)
    ours |= told
    starts += 1
  assert starts >= 3
  _assert_same(_last(run, tmp_path / "stopped"), state)
  assert ours == reports
  assert _without_time(result) == _without_time(expected)
  again = loop.evaluate_run(run, str(tmp_path / "stopped"))
  assert _without_time(again) == _without_time(expected)


class _Time:
  """A clock that a test moves."""

  now = 0.0

  def perf_counter(self):
    return self.now


@pytest.mark.slow
@pytest.mark.parametrize("keeps_seconds", [True, False])
def test_the_seconds_are_those_of_all_processes(
  keeps_seconds, data_dir, tmp_path, monkeypatch
):
  monkeypatch.setattr(loop, "time", clock := _Time())
  run = loop.set_up(_config(data_dir, validation_split=""), jax.devices()[:1])
  if not keeps_seconds:  # as before they were kept
    measured = loop._Measured.progress
    monkeypatch.setattr(
      loop._Measured,
      "progress",
      lambda self: {"since_last_report": measured(self)["since_last_report"]},
    )

  def go_on(seconds, stops):
    started, clock.now = clock.now, clock.now + seconds
    return _train(dataclasses.replace(run, started=started), tmp_path, stops)[1]

  assert go_on(10.0, _Stops(1)) is None
  # It is not ended: an evaluation tells nothing of its time.
  assert "seconds" not in loop.evaluate_run(run, str(tmp_path))
  assert go_on(15.0, _Stops(1)) is None
  result = go_on(20.0, _Stops(10**9))
  assert result["seconds"] == (45.0 if keeps_seconds else 20.0)
  clock.now += 1000.0
  again = loop.evaluate_run(run, str(tmp_path))
  recorded = read_result(folder_of(str(tmp_path)))
  assert again["seconds"] == recorded["seconds"] == result["seconds"]


def test_a_checkpoint_goes_on_and_is_evaluated_on_any_number_of_devices(
  data_dir, tmp_path
):
  config = _config(data_dir, ema_decay=0.9)
  # Terms of which the whole batch is the measure, and one with a learned plane.
  config.terms = {
    name: term
    for name, term in every_term(_model(config), config).items()
    if name in ("angular_consistency_memory", "center_loss", "class_hue_learned")
  }
  assert len(config.terms) == 3
  runs = {n: loop.set_up(config, jax.devices()[:n]) for n in (1, 2, 8)}
  never = _Stops(10**9)
  _, expected = _train(runs[1], tmp_path / "alone", never)
  for saved_on, saving in runs.items():
    half = tmp_path / f"half_{saved_on}"
    _train(saving, half, _Stops(3))
    evaluated = []
    for run in runs.values():
      evaluated.append(loop.evaluate_run(run, str(half))["test_loss"])
    np.testing.assert_allclose(evaluated, evaluated[0], rtol=1e-5)
    for goes_on, run in runs.items():
      folder = tmp_path / f"{saved_on}_{goes_on}"
      shutil.copytree(half, folder)
      _, result = _train(run, folder, never)
      assert result["step"] == expected["step"]
      np.testing.assert_allclose(result["test_loss"], expected["test_loss"], rtol=1e-3)


@pytest.mark.slow
def test_a_state_is_saved_before_it_is_evaluated(data_dir, tmp_path):
  run = loop.set_up(_config(data_dir), jax.devices()[:1])
  first = next(step for step in range(1, 1000) if step in run.eval_steps)
  # Told to stop in the middle of the evaluation, and again in that of the next start.
  for left in (first + 1, 1):
    _, result = _train(run, tmp_path, _Stops(left))
    assert result is None
    with Checkpoints(folder_of(str(tmp_path)), keep=2, read_only=True) as checkpoints:
      assert int(checkpoints.restore_last(run.initial_state).state.step) == first
      assert not checkpoints.is_evaluated(first)
  _train(run, tmp_path, _Stops(3))
  with Checkpoints(folder_of(str(tmp_path)), keep=2, read_only=True) as checkpoints:
    assert checkpoints.is_evaluated(first)


@pytest.mark.slow
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
  ("compiled", "where"),
  [
    ("train_step", "after step 1; the state is saved"),
    ("eval_step", "in the validation of step 3, whose state is saved"),
  ],
)
def test_a_signal_while_a_step_is_compiled_is_noticed(
  compiled, where, signum, data_dir, tmp_path
):
  """The first call compiles, and the signal is delivered when that ends."""
  run = loop.set_up(_config(data_dir), jax.devices()[:1])
  step, calls = getattr(run, compiled), []

  def first_call_is_told(*arguments):
    if not calls:
      signal.raise_signal(signum)
    calls.append(arguments)
    return step(*arguments)

  told = dataclasses.replace(run, **{compiled: first_call_is_told})
  with pytest.raises(Preempted, match=f"stopped by {signum.name} {where}") as caught:
    loop.train_run(told, str(tmp_path))
  assert caught.value.status == 128 + signum
  (saved,) = [each.name for each in (tmp_path / "checkpoints").iterdir()]
  assert saved == ("1" if compiled == "train_step" else "3")
  assert loop.train_run(run, str(tmp_path))["step"] == 6
