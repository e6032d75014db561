"""Processes of one run: they find out that they differ, and agree on what they made."""

import hashlib
import json
import shutil
from pathlib import Path
from unittest import mock

import jax
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

import hue_jax
from configs import base
from hue_jax.train import config as settings
from hue_jax.train import distributed, loop
from hue_jax.train.checkpoints import Checkpoints
from hue_jax.train.parallel import AXIS
from hue_jax.train.peers import differences
from hue_jax.train.preemption import Watch
from hue_jax.train.run_report import Report
from tests.helpers import processes
from tests.helpers.every_term import every_term
from tests.helpers.small_training import small_model


def test_who_has_what_is_one_line():
  same = {"seed": "0", "commit": "ab", "data set 'digits'": "1f"}
  assert differences([same] * 5) == ""
  other = {**same, "seed": "3"}
  assert (
    differences([same, other, same, same, same])
    == "seed is 3 in process 1 and 0 in processes 0, 2 to 4"
  )
  # What is not known agrees with everything; what is not there does not.
  assert differences([same, {**same, "commit": None}]) == ""
  del other["commit"]
  assert differences([same, other]) == (
    "commit is ab in process 0 and not set in process 1; "
    "seed is 0 in process 0 and 3 in process 1"
  )
  many = [{f"name{i:02d}": str(process) for i in range(20)} for process in range(2)]
  assert differences(many).endswith("; and 12 more")


_SMALL = (
  "--config=configs/digits_hue.py:memory",
  "--config.model=resnet8",
  "--config.model_options.width=4",
  "--config.train_split=train[:160]",
  "--config.validation_split=train[160:240]",
  "--config.test_split=test[:50]",
  "--config.batch_size=16",
  "--config.num_train_steps=12",
  "--config.warmup_epochs=0.2",
  "--config.eval_every_epochs=0.5",
  "--config.log_every_steps=1",
  "--config.num_colored_images=0",
)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return tmp_path_factory.mktemp("data")


class _OfAnotherVersion:
  """main.py as it was."""

  def __call__(self):
    hue_jax.__version__ = "0.0.1"
    processes.run_main()


@pytest.mark.slow
def test_processes_that_were_given_different_things_say_so(data_dir, tmp_path):
  """A setting, the code and the data differ, each in another process."""
  loop.open_data(_config(data_dir))  # prepares the data
  other_data = tmp_path / "other_data"
  shutil.copytree(data_dir, other_data)
  (about,) = other_data.rglob("metadata.json")
  about.write_text(json.dumps(json.loads(about.read_text()) | {"contents": "other"}))
  # Three devices divide a batch of 15.
  flags = [*_SMALL, "--config.batch_size=15", f"--workdir={tmp_path / 'run'}"]
  given = [
    [*flags, f"--config.data_dir={data_dir}"],
    [*flags, f"--config.data_dir={data_dir}", "--config.learning_rate=0.3"],
    [*flags, f"--config.data_dir={other_data}"],
  ]
  calls = [processes.run_main, processes.run_main, _OfAnotherVersion()]
  with processes.joined(tmp_path / "said", given, calls=calls) as runs:
    statuses = [run.status(300) for run in runs]
    told = [run.errors() for run in runs]
  assert statuses == [2, 2, 2]
  for each in told:
    (line,) = [line for line in each.splitlines() if line.startswith("error: ")]
    assert line.startswith("error: the 3 processes of this run differ: data set 'digit")
    for part in (
      "learning_rate is 0.3 in process 1 and 0.2 in processes 0, 2",
      f"hue_jax is 0.0.1 in process 2 and {hue_jax.__version__} in processes 0 to 1",
    ):
      assert part in line
    assert "Traceback" not in each
  assert not (tmp_path / "run").exists()


class _StopsAfter:
  """main.py that is told to stop, in every process, after some steps."""

  def __init__(self, num_steps):
    self.left = num_steps

  def __call__(self):
    def told(watch):
      self.left -= 1
      return self.left == 0

    with mock.patch.object(Watch, "told_to_stop", told):
      processes.run_main()


def _losses(workdir):
  """Step → loss, of all that the runs in the workdir have reported."""
  losses = {}
  for file in Path(workdir).glob("events.*"):
    events = EventAccumulator(str(file), size_guidance={"tensors": 0})
    events.Reload()
    for tag in ("train/loss", "validation/loss", "test/loss"):
      if tag in events.Tags()["tensors"]:
        for event in events.Tensors(tag):
          losses[tag, event.step] = float(make_ndarray(event.tensor_proto))
  return losses


@pytest.mark.slow
def test_a_run_goes_on_in_one_two_four_processes_and_back(data_dir, tmp_path):
  """The prototypes of earlier batches and what evaluation gives go with it."""
  flags = [*_SMALL, f"--config.data_dir={data_dir}"]
  alone = [*flags, f"--workdir={tmp_path / 'alone'}"]
  moved = [*flags, f"--workdir={tmp_path / 'moved'}"]
  run = processes.start(tmp_path / "alone_said", alone)
  assert run.status(600) == 0, run.errors()
  for number, (count, steps) in enumerate([(1, 2), (2, 2), (4, 2), (2, 2), (1, 10**6)]):
    said = tmp_path / f"said_{number}"
    calls = [_StopsAfter(steps)] * count
    with processes.joined(said, [moved] * count, calls=calls) as runs:
      statuses = {run.status(600) for run in runs}
      told = runs[0].errors()
    assert statuses == {0 if steps == 10**6 else 143}, told
    assert f"on {count} cpu device(s)" in told
  theirs, ours = _losses(tmp_path / "alone"), _losses(tmp_path / "moved")
  assert ours.keys() == theirs.keys()
  assert sum(tag == "train/loss" for tag, _ in ours) == 12
  names = sorted(ours)
  np.testing.assert_allclose(
    [ours[name] for name in names], [theirs[name] for name in names], rtol=1e-4
  )


def _config(data_dir):
  config = base.get_config()
  config.data_dir = str(data_dir)
  config.train_split = "train[:64]"
  config.validation_split = "train[64:101]"
  config.test_split = "test[:29]"
  config.batch_size = 16
  config.num_train_steps = 4
  config.warmup_epochs = 0.5
  config.log_every_steps = 4
  config.num_colored_images = 0
  return config


class _TrainsEveryTerm:
  """A run of every kind of term, which prints what the process ends with."""

  def __init__(self, data_dir, workdir):
    self._data_dir, self._workdir = data_dir, workdir

  def __call__(self):
    config = _config(self._data_dir)
    reports, states, really_save = {}, {}, Checkpoints.save

    def evaluation(report, step, split, means):
      reports[f"{split} {step}"] = means

    def save(checkpoints, state, progress):
      states[int(state.step)] = jax.tree.map(np.array, state.arrays())
      really_save(checkpoints, state, progress)

    def model(config):
      return small_model(AXIS, num_classes=config.num_classes)

    with (
      distributed.joined(),
      mock.patch.object(settings, "build_model", model),
      mock.patch.object(Report, "evaluation", evaluation),
      mock.patch.object(Checkpoints, "save", save),
    ):
      config.terms = every_term(model(config), config)
      result = loop.train(config, str(self._workdir))
    leaves = jax.tree.leaves_with_path(states[4])
    told = {
      "arrays": {
        jax.tree_util.keystr(path): hashlib.sha256(leaf.tobytes()).hexdigest()
        for path, leaf in leaves
      },
      "memory": [float(np.sum(leaf)) for leaf in jax.tree.leaves(states[4]["memory"])],
      "reports": reports,
      "result": {name: result[name] for name in result if name != "seconds"},
    }
    print(json.dumps(told))


@pytest.mark.slow
def test_what_every_term_makes_agrees_over_processes(data_dir, tmp_path):
  """Splits of 37 and 29 examples, which no number of processes divides."""
  call = _TrainsEveryTerm(data_dir, tmp_path / "two")
  with processes.joined(tmp_path / "said", [[]] * 2, calls=[call] * 2) as runs:
    assert [run.status(600) for run in runs] == [0, 0], runs[0].errors()
    first, second = (run.result() for run in runs)
  assert first == second
  alone = processes.start(
    tmp_path / "alone_said", [], call=_TrainsEveryTerm(data_dir, tmp_path / "alone")
  )
  assert alone.status(600) == 0, alone.errors()
  expected = alone.result()
  assert len(first["memory"]) == len(expected["memory"]) >= 2
  np.testing.assert_allclose(first["memory"], expected["memory"], rtol=1e-3)
  assert first["reports"].keys() == expected["reports"].keys()
  for name, means in expected["reports"].items():
    for metric, value in means.items():
      np.testing.assert_allclose(
        first["reports"][name][metric], value, rtol=2e-3, err_msg=f"{name} {metric}"
      )
