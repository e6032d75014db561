"""The configurations of studies, and the command that runs them."""

import json
import os
import subprocess
import sys

import pytest
from ml_collections import ConfigDict

from configs import (
  compare,
  compare_controls,
  compare_forms,
  compare_search,
  compare_tasks,
  compare_tuned,
  compare_tuning,
)
from hue_jax.compare.class_order import with_class_orders
from hue_jax.compare.settings import check_objectives, checked_settings
from hue_jax.errors import InputError
from tests.helpers.blank_tasks import blank_task

_TASKS = tuple(compare_tasks._TASKS)


@pytest.mark.parametrize("task", _TASKS)
@pytest.mark.parametrize("study", [compare, compare_search])
def test_every_study_can_be_run(study, task):
  settings = checked_settings(study.get_config(task).to_dict())
  blank = blank_task(settings)
  check_objectives(with_class_orders(settings, blank), blank)
  assert settings["read_test"] == (study is compare)


def test_searches_tunings_controls_forms_and_studies_share_no_seed():
  for task in _TASKS:
    configs = [compare.get_config(task), compare_search.get_config(task)]
    if task in compare_tuning.TASKS:
      configs.append(compare_controls.get_config(task))
      configs.append(compare_forms.get_config(task))
      tuning = compare_tuning.get_config(task).tuning
      num_seeds = tuning.num_seeds + tuning.more_seeds
      configs.append(ConfigDict({**tuning, "num_seeds": num_seeds}))
      tuned, first = compare_tuned.get_config(task), configs[0]
      # The study of tuned objectives is the first study again.
      assert (tuned.first_seed, first.first_seed) == (0, 0)
    seeds = [range(c.first_seed, c.first_seed + c.num_seeds) for c in configs]
    assert len(set().union(*seeds)) == sum(map(len, seeds))


def test_an_unknown_task_is_named():
  with pytest.raises(InputError, match=r"is 'cats'; it must be one of fashion_50, .*"):
    compare_tasks.get_config("cats")


@pytest.mark.slow
def test_the_command_runs_and_reports_a_study(tmp_path):
  def run(*arguments):
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "hue_jax.compare", *arguments]
    return subprocess.run(
      [*command, f"--workdir={tmp_path / 'study'}"],
      env=environment,
      capture_output=True,
      text=True,
      timeout=1500,
    )

  small = [
    f"--config.data_dir={tmp_path / 'tfds'}",
    "--config.num_seeds=2",
    "--config.num_epochs=6.0",
    "--config.measures.corrupted_images=20",
    "--config.measures.attacked_images=10",
    "--config.measures.observed_images_per_class=3",
    "--config.workers=1",
  ]
  found = run("--config=configs/compare.py:digits", *small)
  assert found.returncode == 0, found.stderr
  result = json.loads(found.stdout)
  assert result["runs"] == 8
  page = (tmp_path / "study" / "report.html").read_text().replace("<wbr>", "")
  for objective in ("hue_smoothing", "smoothing"):
    assert f"{objective} − one_hot" in page
  assert "8 of 8 runs" in found.stderr

  wrong = {
    ("--config=configs/compare.py:cats",): "'cats'; it must be one of fashion_50",
    ("--config=configs/compare.py:digits", "--config.num_seeds=1"): (
      "num_seeds is 1; it must be at least 2"
    ),
    ("--mode=report",): "--studies is empty",
    ("--mode=tune",): "dataset is ''; it must be the name of a data set",
  }
  for arguments, message in wrong.items():
    found = run(*arguments)
    assert found.returncode == 2
    assert found.stderr.startswith("error: ")
    assert message in found.stderr
    assert found.stderr.count("\n") == 1


@pytest.mark.slow
def test_the_command_of_the_costs_needs_no_data(tmp_path):
  command = [
    *(sys.executable, "-m", "hue_jax.compare", "--mode=cost"),
    *("--config=configs/compare_cost.py:3", f"--workdir={tmp_path}"),
    *("--config.cost.model=resnet8", "--config.cost.image_size=64"),
    *("--config.cost.batch_size=4", "--config.cost.repeats=6"),
  ]
  environment = os.environ | {"JAX_PLATFORMS": "cpu"}
  found = subprocess.run(command, env=environment, capture_output=True, text=True)
  assert found.returncode == 0, found.stderr
  costs = json.loads((tmp_path / "cost.json").read_text())["costs"]
  names = {"one_hot", "smoothing", "sectors", "memory", "position"}
  assert {cost["objective"] for cost in costs} == names
