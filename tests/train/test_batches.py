"""What of a configuration reaches the batches of a run."""

from unittest import mock

import jax
import numpy as np
import pytest

from configs import base
from hue_jax.data.datasets import Dataset
from hue_jax.data.input_pipeline import Share
from hue_jax.preprocessing import Augmentation, Order, RandAugment
from hue_jax.settings import fields_of
from hue_jax.train import batches
from hue_jax.train.batches import RunData
from tests.helpers.asked import asked_of, parameters_of

# Each another than that of the pipeline and that of `configs/base.py`.
_CHANGED = {
  "train_split": "train[:90%]",
  "validation_split": "train[90%:]",
  "batch_size": 48,
  "image_size": 24,
  "seed": 5,
  "crop": "none",
  "antialias": False,
  "padding": 3,
  "flip": None,
  "repeats": 3,
  "shuffle": "blocks",
  "shuffle_block_bytes": 1000,
  "shuffle_window": 77,
  "channels": 3,
  "eval_image_size": 32,
  "eval_crop_ratio": 0.9,
  "eval_batch_size": 16,
}


@pytest.fixture
def data(monkeypatch):
  monkeypatch.setattr(jax, "process_index", lambda: 2)
  monkeypatch.setattr(jax, "process_count", lambda: 4)
  config = base.get_config()
  config.update(_CHANGED | {"flip": not config.flip})
  config.randaugment.update({"num_ops": 2, "magnitude": 3.0, "magnitude_std": 0.5})
  dataset = mock.Mock(spec=Dataset)
  dataset.num_examples.return_value = 9
  return RunData(config, dataset, {})


def test_every_setting_of_the_pipeline_of_training_is_the_runs(data, monkeypatch):
  parameters = parameters_of(batches, "train_batches")
  found = asked_of(monkeypatch, batches, "train_batches", value=iter(()))
  data.train_batches(7)
  # It makes the same batches sooner or later.
  assert set(found) == parameters - {"work"}
  expected = {
    "dataset": data.dataset,
    "split": "train[:90%]",
    "start_step": 7,
    "augmentation": Augmentation(
      **_of(Augmentation, data.config),
      randaugment=RandAugment(num_ops=2, magnitude=3.0, magnitude_std=0.5),
    ),
    "order": Order(**_of(Order, data.config)),
    "indices": None,
    "share": Share(2, 4),
  }
  assert found == expected | {
    name: data.config[name] for name in set(found) - set(expected)
  }


def _of(group, config):
  return {name: config[name] for name in fields_of(group) if name in _CHANGED}


def test_every_setting_of_the_pipeline_of_evaluation_is_the_runs(data, monkeypatch):
  parameters = parameters_of(batches, "eval_batches")
  found = asked_of(monkeypatch, batches, "eval_batches", value=iter([{}]))
  expected = {
    "dataset": data.dataset,
    "split": "train[90%:]",
    "image_size": 32,
    "crop": "none",
    "crop_ratio": 0.9,
    "channels": 3,
  }
  data.eval_batches("validation")
  whole = {"batch_size": 16, "share": Share(2, 4)}
  assert found == expected | whole
  data.first_examples("validation", 20)
  np.testing.assert_array_equal(found.pop("indices"), np.arange(9))
  assert found == expected | {"batch_size": 9}
  assert set(found) | set(whole) | {"indices"} == parameters
