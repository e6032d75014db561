"""What --mode=summary tells is what the run would be; it needs no data set."""

import importlib
import io
import math

import jax
import numpy as np
import pytest

from hue_jax.errors import InputError
from hue_jax.train import loop
from hue_jax.train.summary import summarize
from hue_jax.train.terminal import plot, show_table


def _config(data_dir, **settings):
  config = importlib.import_module("configs.digits_hue").get_config("position")
  config.data_dir = str(data_dir)
  config.model_options.width = 4
  config.hue.terms.position.schedule = "linear_decay"
  config.update_from_flattened_dict(settings)
  return config


@pytest.fixture(scope="module")
def told(tmp_path_factory):
  """A configuration, what is told of it, and the numbers."""
  config, file = _config(tmp_path_factory.mktemp("data")), io.StringIO()
  result = summarize(config, file)
  return config, file.getvalue(), result


@pytest.mark.slow
def test_the_summary_is_that_of_the_run(told):
  config, text, result = told
  run = loop.set_up(config)
  params = run.initial_state.params["network"]
  assert result["parameters"] == sum(x.size for x in jax.tree.leaves(params))
  assert f"{result['parameters']:,}" in text
  assert result["num_train_steps"] == run.num_train_steps
  assert result["warmup_steps"] == run.warmup_steps
  assert result["objective"] == run.objective.describe()
  rates = [float(run.learning_rate(step)) for step in range(run.num_train_steps)]
  assert result["learning_rate"] == pytest.approx(max(rates), rel=1e-3)
  assert f"{result['num_train_steps']:,}" in text


def test_taps_terms_and_schedules_are_told(told):
  _, text, result = told
  lines = text.splitlines()
  for tap, shape in result["taps"].items():
    row = next(line for line in lines if line.startswith(f"{tap} "))
    assert " × ".join(map(str, shape)) in row
  row = next(line for line in lines if line.startswith("position "))
  assert row.split()[1:3] == ["position_hue", result["terms"]["position"]["tap"]]
  assert row.endswith("linear_decay")
  assert "λ of position, linear_decay" in text
  assert text.count("learning rate") == 1
  assert "\x1b" not in text


@pytest.mark.slow
def test_the_cost_is_that_of_a_step(told, tmp_path):
  """A batch of twice the images takes twice the operations, and the same state."""
  config, _, result = told
  assert result["flops"] > 0
  assert result["temporary_bytes"] > 0
  twice = _config(config.data_dir, batch_size=2 * config.batch_size)
  assert summarize(twice, io.StringIO())["flops"] == pytest.approx(
    2 * result["flops"], rel=0.1
  )


@pytest.mark.slow
def test_no_data_set_is_needed(tmp_path):
  config = _config(tmp_path, dataset="fashion_mnist")
  file = io.StringIO()
  result = summarize(config, file)
  assert result["num_train_steps"] is None is result["steps_per_epoch"]
  assert "data set 'fashion_mnist' is not prepared: the number of steps" in (
    file.getvalue()
  )
  assert f"{config.num_epochs:g} epochs" in file.getvalue()
  assert result["flops"] > 0


@pytest.mark.parametrize("name", ["num_classes", "channels"])
def test_what_is_left_to_a_data_set_that_is_not_there_is_refused(tmp_path, name):
  config = _config(tmp_path, dataset="fashion_mnist", **{name: 0})
  with pytest.raises(InputError, match=f"{name} is 0, which leaves it to the data set"):
    summarize(config, io.StringIO())


def test_a_plot_is_as_high_as_its_values():
  values = np.array([0.0, 0.25, 0.5, 1.0])
  *rows, axis, ends = plot(values, height=4, ends="0 to 3").splitlines()
  heights = [sum(row[3 + i : 4 + i] == "█" for row in rows) for i in range(4)]
  assert heights == [0, 1, 2, 4]
  assert rows[0].startswith("1 |")
  assert axis.endswith("+----")
  assert ends.endswith("0 to 3")
  assert "█" not in plot(np.zeros(4), ends="")


class _Terminal(io.StringIO):
  def isatty(self):
    return True


def test_a_table_is_lines_in_a_file_and_drawn_on_a_terminal():
  rows = [("[red]a", 1), ("b", 1234), ("c", math.pi)]
  file, terminal = io.StringIO(), _Terminal()
  show_table(("name", "number"), rows, file, "Title")
  show_table(("name", "number"), rows, terminal, "Title")
  assert file.getvalue().splitlines() == [
    "Title",
    "name    number",
    "------  ------",
    "[red]a       1",
    "b        1,234",
    "c        3.142",
    "",
  ]
  assert "[red]a" in terminal.getvalue()
  assert "│" in terminal.getvalue()
