"""One loader of networks: what it loads, what it refuses, and that it needs no more."""

import dataclasses
import importlib
import json
import os
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from etils import epath
from safetensors.numpy import save_file

from hue_jax.errors import InputError
from hue_jax.models import create_model
from hue_jax.models.torch_weights import SUFFIXES, export_state_dict
from hue_jax.train.build import build
from hue_jax.train.checkpoints import Checkpoints
from hue_jax.train.networks import kind_of_source, load_network
from hue_jax.train.workdir import holding, record_config

ROOT = Path(__file__).parents[2]
OPTIONS = {"num_classes": 7, "width": 4, "stem": "small", "image_size": 16}


@pytest.fixture(scope="module")
def workdir(tmp_path_factory):
  """The folder of a run that has a checkpoint of step 3, of initial weights."""
  workdir = epath.Path(tmp_path_factory.mktemp("runs") / "digits")
  config = importlib.import_module("configs.digits_hue").get_config("position")
  config.model_options.width = 4
  with holding(workdir):
    record_config(workdir, config, {})
  state = build(config, num_train_steps=3, warmup_steps=0).initial_state
  with Checkpoints(workdir, keep=1) as checkpoints:
    checkpoints.save(state.replace(step=jnp.int32(3)))
  return str(workdir)


@pytest.fixture(scope="module")
def weights():
  """A small network, its variables, and its PyTorch weights."""
  model = create_model("resnet18", num_classes=7, width=4, stem="small")
  variables = model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), train=False)
  return model, variables, export_state_dict(model, variables)


def _save(arrays, path):
  if path.suffix == ".safetensors":
    save_file(arrays, path)
  else:
    torch.save({name: torch.tensor(array) for name, array in arrays.items()}, path)
  return str(path)


def test_a_workdir(workdir):
  network = load_network(workdir)
  assert network.name == "digits (step 3)"
  assert (network.image_size, network.channels) == (8, 1)
  assert (network.crop, network.crop_ratio) == ("pad", 0.875)
  assert network.trained
  assert network.fingerprint == load_network(f"{workdir}/").fingerprint


def test_a_workdir_says_how_its_images_are_made(tmp_path, workdir):
  usual, folder = load_network(workdir), tmp_path / "run"
  shutil.copytree(workdir, folder)
  path = folder / "config.json"
  config = json.loads(path.read_text())
  how = {
    "eval_image_size": 24,
    "crop": "random_resized",
    "eval_crop_ratio": 0.6,
    "pixel_mean": [0.1],
    "pixel_std": [0.2],
  }
  path.write_text(json.dumps(config | how))
  network = load_network(str(folder))
  assert network.image_size == 24
  assert (network.crop, network.crop_ratio) == ("random_resized", 0.6)
  assert (network.pixel_mean, network.pixel_std) == ((0.1,), (0.2,))
  whole = dataclasses.replace(network, crop_ratio=1.0)
  assert len({one.fingerprint for one in (usual, network, whole)}) == 3
  # A version that had no such setting cut out the usual square.
  path.write_text(json.dumps({k: v for k, v in config.items() if "ratio" not in k}))
  assert load_network(str(folder)).fingerprint == usual.fingerprint


@pytest.mark.slow
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_of_weights(tmp_path, weights, suffix):
  model, variables, arrays = weights
  path = _save(arrays, tmp_path / f"weights{suffix}")
  network = load_network(path, model="resnet18", options=OPTIONS)
  images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
  pixels = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
  expected = model.apply(variables, jnp.asarray(pixels, jnp.float32), train=False)
  np.testing.assert_allclose(network.logits(images), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["nothing", "no/such/file.pth", "", "weights.bin"])
@pytest.mark.parametrize("setting", ["network", "init_from", "--network"])
def test_what_is_not_there(name, setting):
  with pytest.raises(InputError) as caught:
    kind_of_source(name, setting)
  message = str(caught.value)
  assert message.startswith(f"{setting} is {name!r}; it must be one of efficientnet_")
  assert all(suffix in message for suffix in SUFFIXES)


class Code:
  """What a pickle would run."""

  def __reduce__(self):
    return os.system, ("touch /tmp/this_must_never_be_run",)


def _pickled(arrays):
  return pickle.dumps({"fc.weight": Code()} | dict.fromkeys(arrays))


_DAMAGES = {
  "empty": lambda whole, arrays: b"",
  "half": lambda whole, arrays: whole[: len(whole) // 2],
  "without its end": lambda whole, arrays: whole[:-1],
  "without its beginning": lambda whole, arrays: whole[8:],
  "all zeros": lambda whole, arrays: bytes(len(whole)),
  "noise": lambda whole, arrays: np.random.default_rng(0).bytes(len(whole)),
  "a page": lambda whole, arrays: b"<!DOCTYPE html><title>404: Not Found</title>",
  "a pointer to it": lambda whole, arrays: (
    b"version https://git-lfs.github.com/spec/v1"
  ),
  "code": lambda whole, arrays: _pickled(arrays),
}


@pytest.mark.parametrize("damage", _DAMAGES)
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_damaged_file_is_named_in_one_line(tmp_path, weights, suffix, damage):
  path = _save(weights[2], tmp_path / f"weights{suffix}")
  whole = Path(path).read_bytes()
  Path(path).write_bytes(_DAMAGES[damage](whole, weights[2]))
  with pytest.raises(InputError) as caught:
    load_network(path, model="resnet18", options=OPTIONS)
  message = str(caught.value)
  assert message.startswith(f"weights {path!r} cannot be read")
  assert "\n" not in message
  assert message.endswith(".")
  assert not os.path.exists("/tmp/this_must_never_be_run")


@pytest.mark.parametrize(
  ("content", "told"),
  [
    ([1.0, 2.0], "it holds a list"),
    (torch.zeros(2), "it holds a Tensor"),
    ({"state_dict": {}, "epoch": 3}, "hold no array"),
    (torch.nn.Linear(2, 2), "cannot be read"),
    ({"epoch": 3, "fc.weight": torch.zeros(2)}, "values that are no arrays"),
    ({1: torch.zeros(2)}, "values that are no arrays"),
    ({"fc.weight": torch.zeros(2).to_sparse()}, "cannot be read"),
    ({}, "hold no array"),
  ],
)
def test_what_is_no_state_dict(tmp_path, content, told):
  path = str(tmp_path / "weights.pth")
  torch.save(content, path)
  with pytest.raises(InputError, match=told) as caught:
    load_network(path, model="resnet18", options=OPTIONS)
  assert str(caught.value).startswith(f"weights {path!r} ")
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("change", "told"),
  [
    (lambda arrays: arrays.pop("fc.bias"), r"1 missing \(fc.bias\)"),
    (
      lambda arrays: arrays.update({"fc.bias": np.zeros(8, np.float32)}),
      r"1 of another shape \(fc.bias is \(8,\), not \(7,\)\)",
    ),
    (
      lambda arrays: arrays.update({"fc.extra": np.zeros(8, np.float32)}),
      r"1 left over \(fc.extra\)",
    ),
  ],
)
def test_weights_that_do_not_fit_are_named_with_their_file(
  tmp_path, weights, change, told
):
  arrays = dict(weights[2])
  change(arrays)
  path = _save(arrays, tmp_path / "weights.safetensors")
  with pytest.raises(InputError, match=told) as caught:
    load_network(path, model="resnet18", options=OPTIONS)
  assert str(caught.value).startswith(f"weights {path!r} do not fit ResNet with 7")


@pytest.mark.parametrize(
  ("options", "message"),
  [
    ({"width": 0}, "network_options.width is 0; it must be an integer of at least 1."),
    ({"num_classes": "x"}, "network_options.num_classes is 'x'; it must be an integer"),
    ({"image_size": 0}, "network_options.image_size is 0; it must be an integer of"),
    ({"crop": "square"}, "network_options.crop is 'square'; it must be one of random_"),
    ({"pixel_std": (0.0,)}, r"network_options.pixel_std\[0\] is 0.0; it must be"),
    ({"pixel_mean": (0.5, 0.5)}, r"network_options.pixel_mean is \(0.5, 0.5\), which"),
    (
      {"wide": 4},
      "network_options.wide is not a setting; .* takes num_classes, ",
    ),
  ],
)
def test_options_of_a_file_are_settings(tmp_path, weights, options, message):
  path = _save(weights[2], tmp_path / "weights.safetensors")
  with pytest.raises(InputError, match=message):
    load_network(path, model="resnet18", options=OPTIONS | options)
  with pytest.raises(InputError, match="network_model must name the network"):
    load_network(path)
  with pytest.raises(InputError, match="model is 'resnet19'; it must be one of"):
    load_network(path, model="resnet19")


@pytest.mark.parametrize(
  "content", ["", "{", "[]", "3", "null", "{}", '{"model": "resnet18"}', '"\\ud800"']
)
def test_a_damaged_configuration_is_named_in_one_line(tmp_path, workdir, content):
  copied = tmp_path / "run"
  shutil.copytree(workdir, copied)
  (copied / "config.json").write_text(content)
  with pytest.raises(InputError, match=r"config\.json") as caught:
    load_network(str(copied))
  assert "\n" not in str(caught.value)
  assert str(caught.value).endswith(".")


_WITHOUT_TENSORFLOW = """
import json, sys

for name in ("tensorflow", "tensorflow_datasets", "clu"):
  sys.modules[name] = None  # as if it were not installed
import hue_jax.color
from hue_jax.train.networks import load_network
from hue_jax.train.transfer import transfer

workdir, file, options = json.loads(sys.argv[1])
networks = [load_network(workdir), load_network("efficientnet_lite0")]
networks.append(load_network(file, model="resnet18", options=options))
print(json.dumps([network.fingerprint for network in networks]))
"""


@pytest.mark.slow
def test_neither_loading_nor_coloring_needs_tensorflow(tmp_path, workdir, weights):
  path = _save(weights[2], tmp_path / "weights.safetensors")
  done = subprocess.run(
    [sys.executable, "-c", _WITHOUT_TENSORFLOW, json.dumps([workdir, path, OPTIONS])],
    cwd=ROOT,
    capture_output=True,
    text=True,
    check=False,
  )
  assert done.returncode == 0, done.stderr
  ours = load_network(workdir), load_network(path, model="resnet18", options=OPTIONS)
  theirs = json.loads(done.stdout)
  assert [theirs[0], theirs[2]] == [network.fingerprint for network in ours]
