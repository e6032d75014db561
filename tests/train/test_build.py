"""A network comes back from the workdir that trained it."""

import contextlib
import importlib
import shutil
from unittest import mock

import jax
import numpy as np
import pytest

from configs import base, benchmark
from hue_jax.data.datasets import open_dataset
from hue_jax.errors import InputError
from hue_jax.models import tap_shapes
from hue_jax.objective import TERMS, check_terms
from hue_jax.train import build as build_module
from hue_jax.train import config as settings
from hue_jax.train import loop
from hue_jax.train.build import build, check_eval_image_size, load_trained
from hue_jax.train.mixing import Mixing
from hue_jax.train.parallel import AXIS
from hue_jax.train.step import normalize
from tests.helpers.asked import asked_of, parameters_of
from tests.helpers.every_term import every_term
from tests.helpers.small_networks import SMALL, small_predictor


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
  np.testing.assert_allclose(loss, result["test_cross_entropy"], rtol=1e-5)
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


def test_every_setting_of_optimizer_and_steps_is_the_runs(monkeypatch):
  changed = {
    "schedule": "linear",
    "learning_rate": 0.3,
    "batch_size": 64,
    "optimizer": "adamw",
    "weight_decay": 0.02,
    "momentum": 0.5,
    "gradient_clip_norm": 2.0,
    "layer_decay": 0.7,
    "seed": 5,
    "ema_decay": 0.9,
    "erase_probability": 0.25,
    "pixel_mean": (0.4,),
    "pixel_std": (0.2,),
    "num_confused_classes": 7,
  }
  config = base.get_config()
  assert all(config[name] != value for name, value in changed.items())
  config.update(changed | {"model": "resnet8"})
  config.mixing.update({"mixup": 0.2, "cutmix": 0.4, "probability": 0.6})
  pixels = {"pixel_mean": (0.4,), "pixel_std": (0.2,), "axis_name": AXIS}
  expected = {
    "learning_rate_schedule": {
      "name": "linear",
      "peak": 0.3 * 64 / 256,
      "num_train_steps": 10,
      "warmup_steps": 2,
    },
    "create_optimizer": {
      "name": "adamw",
      "weight_decay": 0.02,
      "momentum": 0.5,
      "gradient_clip_norm": 2.0,
      "layer_decay": 0.7,
    },
    "create_state": {
      "image_shape": (8, 8, 1),
      "seed": 5,
      "ema": True,
      "abstract": True,
    },
    "make_train_step": {
      "seed": 5,
      "ema_decay": 0.9,
      "mixing": Mixing(mixup=0.2, cutmix=0.4, probability=0.6),
      "erase_probability": 0.25,
      **pixels,
    },
    "make_eval_step": {"most_confused": 7, **pixels},
  }
  made_before = {
    "create_optimizer": {"learning_rate"},
    "create_state": {"model", "objective", "optimizer"},
    "make_train_step": {"objective"},
    "make_eval_step": {"objective"},
  }
  parameters = {name: parameters_of(build_module, name) for name in expected}
  found = {name: asked_of(monkeypatch, build_module, name) for name in expected}
  built = build_module.build(config, num_train_steps=10, warmup_steps=2, abstract=True)
  build_module.train_step(config, built.objective)
  build_module.eval_step(config, built.objective)
  for name, arguments in expected.items():
    assert set(found[name]) == parameters[name], name
    for before in made_before.get(name, ()):
      del found[name][before]
    assert found[name] == arguments, name


# --- Another size in evaluation -------------------------------------------------------


def _config_of(term, **changed):
  """A run at 8 pixels that is evaluated at 16, with one term."""
  config = base.get_config()
  config.model, config.model_options.width = "resnet8", 4
  config.image_size, config.eval_image_size = 8, 16
  config.terms = {"any": term} if term else {}
  config.update_from_flattened_dict(changed)
  return config


def _check(config):
  settings.check_settings(config)
  built = build(config, num_train_steps=10, warmup_steps=0, abstract=True)
  check_eval_image_size(config, built)


def _every_term():
  """Every kind with every choice, also at a layer whose size the images determine."""
  config = _config_of(None)
  model = settings.build_model(config)
  shapes = tap_shapes(model, settings.image_shape(config))
  for name, term in every_term(model, config).items():
    yield name, term
    changes = {}
    if "tap" in term:
      changes["large"] = {"tap": "stage2"}
    if "prototypes" in term:
      changes["shuffled"] = {"tap": "stage2", "cells": "shuffled"}
    for word, change in changes.items():
      with contextlib.suppress(InputError):  # of a term that takes no such layer
        changed = {**term, **change}
        check_terms({"any": changed}, shapes, num_classes=config.num_classes)
        yield f"{name}_{word}", changed


_EVERY_TERM = dict(_every_term())
# They keep something of each position.
_OF_ONE_SIZE = {"center_loss_large", "angular_consistency_memory_shuffled"}


def test_every_kind_of_term_is_tried_at_another_size():
  assert {term["kind"] for term in _EVERY_TERM.values()} == set(TERMS)
  assert set(_EVERY_TERM) > _OF_ONE_SIZE


@pytest.mark.parametrize("name", _EVERY_TERM)
def test_a_term_is_evaluated_at_another_size_or_refused_before_a_step(name):
  config = _config_of(_EVERY_TERM[name])
  if name not in _OF_ONE_SIZE:
    _check(config)
    return
  with pytest.raises(InputError, match=r"^eval_image_size is 16, .* at 8 ") as caught:
    _check(config)
  assert "\n" not in str(caught.value)
  config.eval_image_size = 8
  _check(config)


@pytest.mark.parametrize("name", SMALL)
def test_a_network_is_evaluated_at_another_size_or_refused_before_a_step(name):
  side, _ = SMALL[name]
  config = _config_of(None, image_size=side, eval_image_size=2 * side)
  model = small_predictor(name, num_classes=config.num_classes).network.model
  if name.startswith("vit"):
    with (
      mock.patch.object(settings, "build_model", return_value=model),
      pytest.raises(InputError, match=r"^eval_image_size is 32, .*sincos2d"),
    ):
      _check(config)
    model = model.clone(position_embedding="sincos2d")
  with mock.patch.object(settings, "build_model", return_value=model):
    _check(config)


@pytest.mark.parametrize("objective", ["one_hot", "hue"])
def test_a_recipe_of_two_sizes_refuses_a_network_of_one(objective):
  config = benchmark.get_config(f"imagenet,vit_ti16,{objective},rsb_a3")
  with pytest.raises(InputError, match=r"^eval_image_size is 224, .*160 .*sincos2d"):
    _check(config)


def test_a_run_of_another_size_is_refused_when_it_is_set_up(tmp_path):
  config = _config_of({"kind": "center_loss", "tap": "stage2"}, data_dir=str(tmp_path))
  with pytest.raises(InputError, match=r"^eval_image_size is 16"):
    loop.set_up(config)
