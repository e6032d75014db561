"""A network comes back from the workdir that trained it."""

import importlib
import shutil

import jax
import numpy as np
import pytest

from hue_jax.data.datasets import open_dataset
from hue_jax.errors import InputError
from hue_jax.train import loop
from hue_jax.train.build import load_trained
from hue_jax.train.step import normalize


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
  """The result of a run, its workdir and its data folder."""
  data_dir = tmp_path_factory.mktemp("data")
  workdir = tmp_path_factory.mktemp("run")
  config = importlib.import_module("configs.digits_hue").get_config("position")
  config.data_dir = str(data_dir)
  config.model_options.width = 4
  config.num_train_steps = 4
  config.ema_decay = 0.5
  config.hue.terms.position.plane = "learned"
  return loop.train(config, str(workdir)), workdir, data_dir


@pytest.mark.slow
def test_the_network_is_the_one_that_was_evaluated(finished):
  result, workdir, data_dir = finished
  trained = load_trained(str(workdir))
  assert trained.step == result["step"]
  config = trained.config
  batch = next(
    open_dataset("digits", str(data_dir))
    .builder.as_dataset("test")
    .batch(360)
    .as_numpy_iterator()
  )

  @jax.jit
  def forward(images):
    mean, std = tuple(config.pixel_mean), tuple(config.pixel_std)
    pixels = normalize(images, mean, std)
    return trained.model.apply(trained.variables, pixels, train=False)

  log_p = jax.nn.log_softmax(forward(batch["image"]))
  loss = -np.mean(np.asarray(log_p)[np.arange(360), batch["label"]])
  np.testing.assert_allclose(loss, result["test_loss"], rtol=1e-5)
  assert trained.planes["position"].shape[-1] == 2


def test_its_data_set_is_not_needed(finished, tmp_path):
  _, workdir, data_dir = finished
  moved = tmp_path / "run"
  shutil.copytree(workdir, moved)
  shutil.move(data_dir / "digits", data_dir / "elsewhere")
  try:
    assert load_trained(str(moved)).step == 4
  finally:
    shutil.move(data_dir / "elsewhere", data_dir / "digits")


def test_a_folder_without_a_run(tmp_path, finished):
  with pytest.raises(InputError, match="holds no run"):
    load_trained(str(tmp_path))
  shutil.copy(finished[1] / "config.json", tmp_path)
  with pytest.raises(InputError, match="holds no checkpoint"):
    load_trained(str(tmp_path))
  (tmp_path / "config.json").write_text("{")
  with pytest.raises(InputError, match=r"config\.json"):
    load_trained(str(tmp_path))
