"""The command: a folder with its card, and one line for what cannot be exported."""

import dataclasses
import json
import os

import flax.linen as nn
import jax
import numpy as np
import pytest
import yaml
from etils import epath
from scipy.stats import binomtest

from configs import digits_hue
from hue_jax.errors import InputError
from hue_jax.export import __main__ as command
from hue_jax.export.card import accuracy_of, model_card
from hue_jax.export.export import export
from hue_jax.train import workdir as folders
from hue_jax.train.networks import Network
from hue_jax.train.predictor import Predictor
from tests.helpers.small_networks import small_predictor

_NAMES = ["naught", "one", "two", "three: drei", "four", "fünf"]


@pytest.fixture
def trained(tmp_path):
  """A predictor of a run's folder: of what it keeps, all but the checkpoints."""
  workdir = epath.Path(tmp_path / "digits")
  workdir.mkdir()
  config = digits_hue.get_config("sectors")
  config.num_classes, config.channels = len(_NAMES), 1
  config.model, config.model_options.width = "resnet8", 4
  folders.record_data_set(
    workdir,
    {
      "name": "digits/1.0.0",
      "class_names": _NAMES,
      "description": "Handwritten digits.",
      "homepage": "https://example.org/digits",
      "license": "",
      "examples": {"train[90%:]": 144, "test": 360},
    },
  )
  small = small_predictor("resnet8", num_classes=len(_NAMES), channels=1)
  return dataclasses.replace(
    small,
    network=dataclasses.replace(small.network, step=900, crop="pad"),
    class_names=tuple(_NAMES),
    source="workdir",
    workdir=workdir,
    config=config,
  )


def _result(step=900, top1=0.975):
  return {"step": step, "test_top1": top1, "test_examples": 360, "test_split": "test"}


def _header(card):
  _, header, _ = card.split("---\n", 2)
  return yaml.safe_load(header)


class TestCard:
  def test_the_header_is_what_the_hub_reads(self, trained):
    folders.record_result(trained.workdir, _result())
    header = _header(model_card(trained, "torch", license_name="mit"))
    assert header["license"] == "mit"
    assert header["library_name"] == "pytorch"
    assert header["pipeline_tag"] == "image-classification"
    assert header["datasets"] == ["digits"]
    assert header["metrics"] == ["accuracy"]
    assert {"image-classification", "activation-hue", "torchvision"} <= {
      *header["tags"]
    }
    (index,) = header["model-index"]
    (result,) = index["results"]
    assert index["name"] == "resnet8 on digits"
    assert result["task"]["type"] == "image-classification"
    assert result["dataset"]["type"] == "digits"
    assert result["dataset"]["split"] == "test"
    (metric,) = result["metrics"]
    assert (metric["type"], metric["value"]) == ("accuracy", 0.975)

  def test_the_hub_itself_reads_it(self, trained):
    hub = pytest.importorskip("huggingface_hub")
    folders.record_result(trained.workdir, _result())
    data = hub.ModelCard(model_card(trained, "torch")).data
    (result,) = data.eval_results
    assert data.model_name == "resnet8 on digits"
    assert (result.metric_type, result.metric_value) == ("accuracy", 0.975)
    assert result.dataset_split == "test"

  @pytest.mark.parametrize("path", ["/home/me/birds", "birds", "../my birds/", "."])
  @pytest.mark.parametrize("is_recorded", [True, False])
  def test_a_folder_of_pictures_is_no_data_set_of_the_hub(
    self, trained, path, is_recorded
  ):
    name = "folder_birds_0a1b2c3d" if is_recorded else "folder"
    about = folders.read_data_set(trained.workdir)
    recorded = {"name": f"{name}/1.0.0"} if is_recorded else {"name": ""}
    folders.record_data_set(trained.workdir, about | recorded)
    folders.record_result(trained.workdir, _result())
    trained.config.dataset = f"folder={path}"
    card = model_card(trained, "torch")
    header = _header(card)
    assert "datasets" not in header
    (index,) = header["model-index"]
    assert index["results"][0]["dataset"]["type"] == name
    assert f"# resnet8 on {name}\n" in card
    assert "License of the data: not known here." in card

  def test_a_file_of_weights_has_no_data_set(self):
    header = _header(model_card(small_predictor("vgg11"), "torch"))
    assert "datasets" not in header

  def test_accuracy_is_of_this_checkpoint_with_wilsons_interval(self, trained):
    assert accuracy_of(trained) is None
    assert "No evaluation" in model_card(trained, "stablehlo")
    assert "model-index" not in _header(model_card(trained, "stablehlo"))
    folders.Evaluations(trained.workdir).record(900, {"top1": 140 / 144})
    assert accuracy_of(trained)[:4] == ("train[90%:]", True, 140, 144)
    assert "upper bound" in model_card(trained, "stablehlo")
    folders.record_result(trained.workdir, _result(step=600))  # Of another one.
    assert accuracy_of(trained).chosen
    folders.record_result(trained.workdir, _result())
    accuracy = accuracy_of(trained)
    assert accuracy[:4] == ("test", False, 351, 360)
    # Wilson's formula, by hand.
    p, n, z = 351 / 360, 360, 1.959964
    center = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    np.testing.assert_allclose(
      accuracy.interval, (center - half, center + half), atol=1e-6
    )
    assert binomtest(351, 360).pvalue < 1e-9
    assert str(accuracy) == "97.50 % [95.32, 98.68] (351 of 360 images of `test`)"

  def test_it_tells_objective_recipe_images_classes_and_data(self, trained):
    card = model_card(trained, "stablehlo", license_name="cc-by-4.0")
    for told in (
      "`cross_entropy + 0.3 angular_consistency(stage3",
      "| `sectors` | 0.3 | stage3 |",
      "| length | 40 epochs, batches of 64 |",
      "| learning rate | 0.05, cosine",
      "gray, `uint8` [batch, 8, 8, 1]",
      "The normalization (pixel / 255 − [0.4]) / [0.2] is part of the file.",
      "In this order: naught, one, two, three: drei, four, fünf.",
      "Handwritten digits. Home: https://example.org/digits.",
      "License of the data: CC BY 4.0",
      "License of the weights: cc-by-4.0.",
      "at step 900 of its training",
    ):
      assert told in card, told
    assert "is for the caller" in model_card(trained, "torch")

  def test_a_form_that_no_library_builds_is_told(self):
    other = small_predictor("vgg11")
    card = model_card(other, "torch")
    assert "Neither torchvision nor timm builds this form of the network" in card
    assert 'weights = load_file("model.safetensors")' in card
    assert "best =" not in card
    assert "best =" in model_card(other, "stablehlo")

  def test_many_classes_are_folded(self, trained):
    names = tuple(f"class {i}" for i in range(60))
    many = small_predictor("resnet8", num_classes=60)
    card = model_card(dataclasses.replace(many, class_names=names), "torch")
    assert "<details><summary>60 classes, in this order</summary>" in card
    unnamed = dataclasses.replace(many, class_names=None)
    assert "60, whose names are not known" in model_card(unnamed, "torch")


def test_config_json_has_what_a_loader_needs(tmp_path, trained):
  folder = export(trained, "safetensors", tmp_path / "exported")
  assert sorted(os.listdir(folder)) == [
    "README.md",
    "config.json",
    "model.safetensors",
  ]
  config = json.loads((folder / "config.json").read_text())
  assert config["class_names"] == _NAMES
  assert (config["image_size"], config["channels"]) == (8, 1)
  assert (config["pixel_mean"], config["pixel_std"]) == ([0.4], [0.2])
  assert (config["crop"], config["crop_ratio"]) == ("pad", 0.875)
  assert config["options"] == {"stem": "small", "width": 4}
  assert config["normalizes"] is False
  assert config["classifier"]["kind"] == "softmax"


# --- The folder --------------------------------------------------------------------


def test_an_earlier_export_is_replaced_and_other_files_are_not(tmp_path, predictor):
  folder = tmp_path / "exported"
  small = predictor("resnet8")
  export(small, "torch", folder, title="first")
  export(small, "torch", folder, title="second")
  assert "# second" in (folder / "README.md").read_text()
  (folder / "notes.txt").write_text("mine")
  with pytest.raises(InputError, match="holds other files; choose another folder"):
    export(small, "torch", folder)
  assert (folder / "notes.txt").read_text() == "mine"
  with pytest.raises(InputError, match="which is a file"):
    export(small, "torch", folder / "notes.txt")


@pytest.mark.parametrize("is_there", [True, False])
def test_a_link_to_a_folder_stays(tmp_path, predictor, is_there):
  folder, link = tmp_path / "far" / "exported", tmp_path / "link"
  if is_there:
    folder.mkdir(parents=True)
  link.symlink_to(folder)
  for title in ("first", "second"):
    export(predictor("resnet8"), "torch", link, title=title)
    assert link.readlink() == folder
    assert f"# {title}" in (folder / "README.md").read_text()
  assert os.listdir(folder.parent) == ["exported"]


def test_a_mount_point_is_refused(tmp_path, predictor, monkeypatch):
  monkeypatch.setattr(os.path, "ismount", lambda path: str(path) == str(tmp_path))
  with pytest.raises(InputError, match="is a mount point; name a folder in it"):
    export(predictor("resnet8"), "torch", tmp_path)
  assert os.listdir(tmp_path) == []
  export(predictor("resnet8"), "torch", tmp_path / "exported")


def test_an_export_that_fails_leaves_what_was_there(tmp_path, predictor, monkeypatch):
  folder = tmp_path / "exported"
  small = predictor("resnet8")
  export(small, "torch", folder)
  before = (folder / "model.safetensors").read_bytes()

  def fail(*_):
    raise OSError(28, "No space left on device")

  monkeypatch.setattr("hue_jax.export.formats.save_file", fail)
  with pytest.raises(OSError, match="No space"):
    export(small, "torch", folder)
  assert (folder / "model.safetensors").read_bytes() == before
  assert os.listdir(tmp_path) == ["exported"]


class _OneLayer(nn.Module):
  num_classes: int = 3

  @nn.compact
  def __call__(self, images, *, train):
    return nn.Dense(self.num_classes, name="head")(images.mean(axis=(1, 2)))


def test_a_network_that_pytorchs_libraries_lack(tmp_path):
  model = _OneLayer()
  variables = model.init(jax.random.key(0), np.zeros((1, 4, 4, 3)), train=False)
  network = Network("one", model, variables, 4, 3, "none", (0.5,), (0.5,))
  softmax = small_predictor("resnet8").classifier
  own = Predictor(network, "one_layer", {}, softmax, None, "file")
  with pytest.raises(InputError, match=r"--to is 'torch'; networks of _OneLayer have"):
    export(own, "torch", tmp_path / "exported")
  assert not (tmp_path / "exported").exists()


# --- The command line ---------------------------------------------------------------


@pytest.fixture
def run(trained, monkeypatch, capsys):
  """Runs the command line: its status, what it wrote, and whether it loaded."""
  loaded = []

  def load_predictor(name, **_):
    loaded.append(name)
    return trained

  monkeypatch.setattr("hue_jax.train.predictor.load_predictor", load_predictor)

  def main(*arguments):
    loaded.clear()
    status = command.main([*map(str, arguments)])
    return status, *capsys.readouterr(), bool(loaded)

  return main


def test_the_command_writes_beside_the_run(run, trained):
  status, said, _, _ = run(trained.workdir, "--to=torch", "--license=mit")
  assert status == 0
  folder = trained.workdir / "export" / "torch"
  assert said == f"Wrote {folder}: README.md, config.json, model.safetensors\n"
  assert _header((folder / "README.md").read_text())["license"] == "mit"


@pytest.mark.parametrize(
  ("arguments", "told"),
  [
    (("runs", "--to=onnx"), "--to is 'onnx', for which no converter works with"),
    (("runs", "--to=tflite"), "--to is 'tflite'; it must be one of safetensors, torch"),
    (("runs",), "the following arguments are required: --to"),
    (("efficientnet_lite0", "--to=torch"), "--output is not given; it must be, for"),
    (("no_such_run", "--to=torch"), "--output is not given; it must be, for"),
    (("x", "--to=torch", "--output={folder}"), "holds other files"),
    (("x", "--to=torch", "--output={folder}/mine.txt"), "which is a file"),
    (
      ("x", "--to=torch", "--output={folder}/mine.txt/a"),
      "mine.txt/a', which cannot be written",
    ),
    (
      ("x", "--to=torch", "--output={folder}/new", "--license=MIT License"),
      "--license is 'MIT License'; it must be a name of Hugging Face's hub",
    ),
  ],
)
def test_what_cannot_be_is_told_in_one_line_before_loading(
  run, tmp_path, arguments, told
):
  folder = tmp_path / "other"
  folder.mkdir()
  (folder / "mine.txt").write_text("mine")
  status, out, err, loaded = run(*(a.format(folder=folder) for a in arguments))
  assert status == 2
  assert out == ""
  assert err.startswith("error: ")
  assert err.count("\n") == 1
  assert told in err
  assert not loaded


def test_tensorflow_that_is_missing_is_told_with_its_extra(run, trained, monkeypatch):
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  status, _, err, loaded = run(trained.workdir, "--to=tf_saved_model")
  assert status == 2
  assert err == (
    "error: --to is 'tf_saved_model', which needs TensorFlow: "
    "pip install 'hue_jax[train]'.\n"
  )
  assert not loaded


def test_a_folder_that_is_no_workdir(tmp_path, capsys):
  status = command.main([str(tmp_path), "--to=torch"])
  assert status == 2
  assert "which holds no run (config.json)" in capsys.readouterr().err
