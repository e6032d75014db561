"""Every kind of network in every format, loaded by the format's own runtime."""

import dataclasses
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from flax.traverse_util import flatten_dict
from jax import export as jax_export
from PIL import Image
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch_file

from hue_jax.errors import InputError
from hue_jax.export import snippets
from hue_jax.export.export import export, loader_config
from hue_jax.export.formats import FORMATS, library_of
from hue_jax.models import create_model, model_names
from hue_jax.models.registry import _MODELS
from hue_jax.models.torch_names import names_of
from hue_jax.models.torch_weights import (
  _entries,
  export_state_dict,
  import_state_dict,
)
from hue_jax.objective.classifiers import CLASSIFIERS, Classifier
from hue_jax.pages.files import json_text
from hue_jax.picture_files import read_image_files
from hue_jax.train.networks import Network
from hue_jax.train.predictor import Predictor
from tests.helpers import torch_libraries
from tests.helpers.small_networks import SMALL, kinds, small_predictor

# Of these the programs are large: some seconds each to compile.
_LARGE = {"inception_v3", "resnet50", "efficientnet_b0", "efficientnet_lite0"}


def _each(names=SMALL, large=_LARGE):
  return [
    pytest.param(name, marks=[pytest.mark.slow] if name in large else [])
    for name in names
  ]


def _check(scores, expected):
  scale = max(np.abs(expected).max(), 1)
  np.testing.assert_allclose(scores, expected, rtol=0, atol=1e-4 * scale)


def test_every_kind_of_network_is_here():
  assert {_MODELS[name][0] for name in SMALL} == kinds()


# --- Whole functions ----------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", _each())
def test_stablehlo_computes_the_scores_of_any_batch(
  tmp_path, predictor, expected, name
):
  images, scores = expected(name)
  folder = export(predictor(name), "stablehlo", tmp_path / "exported")
  exported = jax_export.deserialize((folder / "model.stablehlo").read_bytes())
  assert exported.platforms == ("cpu", "cuda", "rocm", "tpu")
  assert exported.out_avals[0].dtype == jnp.float32
  _check(exported.call(images), scores)
  _check(exported.call(images[:1]), scores[:1])


@pytest.mark.parametrize("name", _each(large={*SMALL} - {"resnet8"}))
def test_tensorflow_computes_the_scores_of_any_batch(
  tmp_path, predictor, expected, name
):
  tf = pytest.importorskip("tensorflow")
  images, scores = expected(name)
  folder = export(predictor(name), "tf_saved_model", tmp_path / "exported")
  loaded = tf.saved_model.load(str(folder / "saved_model"))
  _check(loaded(tf.constant(images))["scores"].numpy(), scores)
  served = loaded.signatures["serving_default"](images=tf.constant(images[:1]))
  _check(served["scores"].numpy(), scores[:1])


# --- Weights ------------------------------------------------------------------------


@pytest.mark.parametrize("name", SMALL)
def test_safetensors_hold_every_array_to_the_bit(tmp_path, predictor, name):
  folder = export(predictor(name), "safetensors", tmp_path / "exported")
  arrays = load_file(folder / "model.safetensors")
  flat = flatten_dict(predictor(name).network.variables, sep="/")
  assert set(arrays) == set(flat)
  for path, array in flat.items():
    np.testing.assert_array_equal(arrays[path], array, err_msg=path)


@pytest.mark.parametrize("name", _each(torch_libraries._SMALL))
def test_torch_computes_the_logits(tmp_path, predictor, expected, name):
  images, scores = expected(name)
  folder = export(predictor(name), "torch", tmp_path / "exported")
  module = torch_libraries.small_module(name).eval()
  misfits = module.load_state_dict(
    load_torch_file(folder / "model.safetensors"), strict=False
  )
  assert not misfits.unexpected_keys
  assert all(key.endswith("num_batches_tracked") for key in misfits.missing_keys)
  network = predictor(name).network
  pixels = (images / 255 - network.pixel_mean) / network.pixel_std
  with torch.no_grad():
    logits = module(torch.tensor(pixels.transpose(0, 3, 1, 2), dtype=torch.float32))
  _check(logits.numpy(), scores)


_NARROW = {
  "ResNet": {"width": 4},
  "EfficientNet": {"width": 0.25},
  "VGG": {"width": 4, "hidden": 8},
  "DenseNet": {"growth_rate": 4},
  "InceptionV3": {},
  "ViT": {"width": 24, "num_heads": 3},
  "ConvNeXt": {"width": 8},
}


def _shapes(model, side, channels=3):
  images = jnp.zeros((1, side, side, channels))
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))
  return {part: shapes[part] for part in shapes if part != "taps"}


@pytest.mark.slow
@pytest.mark.parametrize("name", model_names())
def test_there_and_back_by_the_names_of_every_library(name):
  module, fixed = _MODELS[name]
  model = module(num_classes=7, **{**fixed, **_NARROW[module.__name__]})
  side, rng = 80, np.random.default_rng(0)
  variables = jax.tree.map(
    lambda x: rng.random(x.shape, np.float32), _shapes(model, side, channels=1)
  )
  for library in names_of(model).LIBRARIES:
    exported = export_state_dict(model, variables, library=library)
    again = import_state_dict(model, exported, image_size=side, channels=1)
    assert jax.tree.structure(again) == jax.tree.structure(variables)
    jax.tree.map(np.testing.assert_array_equal, again, variables)


@pytest.mark.slow
@pytest.mark.parametrize("name", model_names())
def test_the_card_builds_the_network_whose_weights_it_brings(name):
  """By shapes alone: no array is made of the large networks."""
  torch_libraries.timm()
  model = create_model(name, num_classes=7)
  variables = _shapes(model, 224)
  network = Network(name, model, variables, 224, 3, "none", (0.5,), (0.5,))
  whole = Predictor(network, name, {}, CLASSIFIERS["softmax"](), None, "file")
  flat = flatten_dict(variables)
  code = snippets._constructor(whole)
  assert code, name
  with torch.device("meta"):
    weights = {
      entry.name: torch.empty(entry.shape)
      for entry in _entries(model, flat, library_of(whole))
    }
    names = {"torch": torch, "weights": weights}
    exec(code, names)
  built = names["model"].state_dict()
  assert {key for key in built if not key.endswith("num_batches_tracked")} == {*weights}


# --- What the card says ------------------------------------------------------------


def _run(code, folder, monkeypatch, image):
  monkeypatch.chdir(folder)
  Image.fromarray(image).save("image.png")
  names = {}
  exec(code, names)
  return names["scores"]


@pytest.mark.parametrize("kind", CLASSIFIERS)
@pytest.mark.parametrize(
  "to",
  [
    pytest.param(to, marks=[pytest.mark.slow] if to == "tf_saved_model" else [])
    for to in FORMATS
  ],
)
def test_the_snippet_computes_what_evaluation_chooses_by(
  tmp_path, monkeypatch, predictor, expected, to, kind
):
  torch_libraries.torchvision()
  images, logits = expected("resnet8")
  classified = dataclasses.replace(predictor("resnet8"), classifier=CLASSIFIERS[kind]())
  folder = export(classified, to, tmp_path / "exported")
  scores = np.asarray(classified.predict(images[:1])[0])
  changes = kind not in ("softmax", "sigmoid")
  assert changes != np.allclose(scores, logits[:1], atol=1e-3)
  code = snippets.snippet(classified, to)
  assert f"```python\n{code}" in (folder / "README.md").read_text()
  _check(_run(code, folder, monkeypatch, images[0]), scores)


@dataclasses.dataclass(frozen=True)
class _Halves(Classifier):
  """A classifier of one's own that chooses by half the logits."""

  kind = "halves"

  def scores(self, batch):
    return batch.logits / 2


class _ToldHalves(_Halves):
  kind = "told_halves"

  def scores_in_numpy(self, features, kernel):
    return "scores = logits / 2"


@pytest.mark.parametrize("to", [to for to in FORMATS if not FORMATS[to].whole])
def test_a_classifier_of_ones_own_has_a_right_card_or_none(
  tmp_path, monkeypatch, predictor, expected, to
):
  torch_libraries.torchvision()
  images, logits = expected("resnet8")
  own, told = (
    dataclasses.replace(predictor("resnet8"), classifier=cls())
    for cls in (_Halves, _ToldHalves)
  )
  with pytest.raises(InputError, match=r"one of stablehlo, .*halves has no scores_in"):
    export(own, to, tmp_path / "own")
  assert not (tmp_path / "own").exists()
  folder = export(told, to, tmp_path / "told")
  code = snippets.snippet(told, to)
  _check(_run(code, folder, monkeypatch, images[0]), logits[:1] / 2)


@pytest.mark.parametrize(
  ("name", "channels"),
  [
    ("resnet8", 1),
    pytest.param("resnet50", 3, marks=pytest.mark.slow),
  ],
)
def test_other_resnets_are_built_from_torchvisions_class(
  tmp_path, monkeypatch, name, channels
):
  torch_libraries.torchvision()
  other = small_predictor(name, channels=channels)
  folder = export(other, "torch", tmp_path / "exported")
  side = other.network.image_size
  shape = (side, side, channels)
  image = np.random.default_rng(2).integers(0, 256, shape, dtype=np.uint8)
  scores = np.asarray(other.predict(image[None])[0])
  code = snippets.snippet(other, "torch")
  _check(_run(code, folder, monkeypatch, np.squeeze(image)), scores)


@pytest.mark.parametrize("crop", ["random_resized", "none", "pad"])
@pytest.mark.parametrize("shape", [(40, 61, 3), (30, 20, 4), (9, 8)])
def test_the_snippet_reads_pictures_as_evaluation_does(
  tmp_path, monkeypatch, predictor, crop, shape
):
  network = dataclasses.replace(predictor("resnet8").network, crop=crop, image_size=16)
  cropped = dataclasses.replace(predictor("resnet8"), network=network)
  y, x = np.mgrid[: shape[0], : shape[1]]
  pixels = 127 + 90 * np.sin(x / 5 + y / 7 + 1)
  if len(shape) == 3:
    pixels = np.stack([pixels, 255 - pixels, 0.6 * pixels, x * 4][: shape[2]], axis=-1)
  file = io.BytesIO()
  Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
  monkeypatch.chdir(tmp_path)
  (tmp_path / "image.png").write_bytes(file.getvalue())
  config = json_text(loader_config(cropped, "torch"))
  (tmp_path / "config.json").write_text(config)
  names = {}
  exec(snippets._READ_IMAGE, names)
  expected = read_image_files(["image.png"], image_size=16, crop=crop, channels=3)
  apart = np.abs(names["images"].astype(int) - expected.astype(int))
  assert apart.max() <= 3
  assert apart.mean() < 0.5
