"""From a run to its export: classifier, class names and accuracy are its own."""

import functools
from unittest import mock

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs import digits_hue
from hue_jax.export.card import accuracy_of, model_card
from hue_jax.train import loop
from hue_jax.train.batches import open_data
from hue_jax.train.parallel import create_parallel
from hue_jax.train.predictor import load_predictor


@pytest.mark.slow
def test_a_run_is_loaded_as_it_was_evaluated(tmp_path):
  config = digits_hue.get_config("sectors")
  config.data_dir = str(tmp_path / "data")
  config.model, config.model_options.width = "resnet8", 4
  config.classifier = ConfigDict({"kind": "additive_angular_margin", "scale": 8.0})
  config.num_train_steps, config.num_colored_images = 8, 0
  one = functools.partial(create_parallel, devices=jax.devices()[:1])
  workdir = tmp_path / "run"
  with mock.patch.object(loop, "create_parallel", lambda form, devices: one(form)):
    result = loop.train(config, str(workdir))

  predictor = load_predictor(str(workdir))
  assert predictor.class_names == tuple("0123456789")
  assert predictor.classifier.kind == "additive_angular_margin"
  assert predictor.classifier.scale == 8
  right = count = 0
  for batch in open_data(config).eval_batches("test"):
    scores = np.asarray(predictor.predict(batch["image"])[0])
    right += int(((scores.argmax(axis=-1) == batch["label"]) * batch["mask"]).sum())
    count += int(batch["mask"].sum())
  assert count == 360
  # A tie may fall to the other side in another program.
  assert abs(right - 360 * result["test_top1"]) <= 1
  accuracy = accuracy_of(predictor)
  assert accuracy[:2] == ("test", False)
  assert accuracy.right == round(360 * result["test_top1"])
  card = model_card(predictor, "safetensors")
  assert f"({accuracy.right} of 360 images of `test`)" in card
  assert "1,797 handwritten digits" in card
  assert "catalog" not in card
