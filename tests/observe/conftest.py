"""The embedded digits, a network trained on them for a moment, and its report."""

import importlib

import pytest

from hue_jax.data.datasets import open_dataset
from hue_jax.observe import run as observing
from hue_jax.observe.observation_report import write_report
from hue_jax.train import loop


@pytest.fixture(scope="session")
def digits_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def digits(digits_dir):
  return open_dataset("digits", digits_dir)


@pytest.fixture(scope="session")
def trained_workdir(digits_dir, tmp_path_factory):
  """Of a short run of the main job."""
  workdir = tmp_path_factory.mktemp("run") / "digits"
  config = importlib.import_module("configs.digits_hue").get_config()
  config.data_dir = digits_dir
  config.model_options.width = 4
  config.num_train_steps = 60
  config.num_colored_images = 0
  config.model = "resnet18"
  loop.train(config, str(workdir))
  return str(workdir)


@pytest.fixture
def observe_config(digits_dir, trained_workdir):
  return small_config(digits_dir, trained_workdir)


def small_config(digits_dir, network):
  """An observation of a few digits."""
  config = importlib.import_module("configs.observe_base").get_config()
  config.network = network
  config.dataset = "digits"
  config.data_dir = digits_dir
  config.images_per_class = 8
  config.positions_per_image = 4
  config.batch_size = 16
  config.num_bootstrap = 100
  config.num_permutations = 100
  config.viewer.num_images = 12
  config.viewer.grid = 4
  config.viewer.num_neighbors = 3
  return config


@pytest.fixture(scope="session")
def observed(digits_dir, trained_workdir, tmp_path_factory):
  """Folder, summary, results and viewer of an observation of the trained network."""
  folder = tmp_path_factory.mktemp("observed")
  kept = {}

  def keep(results, viewer, folder):
    kept.update(results=results, viewer=viewer)
    write_report(results, viewer, folder)

  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(observing, "write_report", keep)
    summary = observing.observe(small_config(digits_dir, trained_workdir), str(folder))
  return {"folder": folder, "summary": summary, **kept}
