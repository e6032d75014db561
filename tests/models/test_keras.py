"""Networks against keras.applications, with random weights copied over."""

import re

import jax
import jax.numpy as jnp
import keras
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict

from hue_jax.models import create_model

pytestmark = pytest.mark.slow

_NUM_CLASSES = 11


def _randomize(model):
  """Random numbers everywhere, the running statistics too, of a size that survives."""
  rng = np.random.default_rng(0)
  for variable in model.weights:
    shape, name = variable.shape, variable.path.rsplit("/", 1)[-1]
    if name == "kernel":
      fan_in = np.prod(shape[:-1])
      if variable.path.endswith("dwconv/kernel") or "depthwise" in variable.path:
        fan_in = np.prod(shape[:2])
      value = rng.normal(0, np.sqrt(2 / fan_in), shape)
    elif name in ("moving_variance", "variance"):
      value = rng.uniform(0.5, 2.0, shape)
    elif name == "gamma" and len(shape) == 1:
      value = rng.uniform(0.5, 1.0, shape)
    else:
      value = rng.normal(0, 0.2, shape)
    if name != "count":
      variable.assign(value)


def _weights_by_layer(model):
  """Layer name → {name of the weight → array}."""
  found = {}
  for layer in model.layers:
    if layer.weights and layer.name != "normalization":
      found[layer.name] = {
        variable.path.rsplit("/", 1)[-1]: np.asarray(variable)
        for variable in layer.weights
      }
  return found


_LEAVES = {
  "kernel": "kernel",
  "bias": "bias",
  "scale": "gamma",
  "mean": "moving_mean",
  "var": "moving_variance",
}


def _copied(ours, image_size, weights, keras_name):
  """Our variables, each array from the layer that `keras_name` names for its module."""
  shapes = jax.eval_shape(
    lambda: ours.init(
      jax.random.key(0), jnp.zeros((1, image_size, image_size, 3)), train=False
    )
  )
  flat, taken = {}, set()
  for path, leaf in flatten_dict(shapes).items():
    collection, *modules, name = path
    if collection == "taps":
      continue
    layer = keras_name("/".join(modules))
    arrays = weights[layer]
    part = "beta" if name == "bias" and "gamma" in arrays else _LEAVES[name]
    if name == "bias" and "moving_mean" in arrays:
      part = "beta"
    if part == "gamma" and "gamma" not in arrays:  # a batch norm without scale
      flat[path] = np.ones(leaf.shape, np.float32)
      continue
    flat[path] = arrays[part].reshape(leaf.shape)
    taken.add((layer, part))
  untaken = {
    (layer, part)
    for layer, arrays in weights.items()
    for part in arrays
    if (layer, part) not in taken
  }
  return unflatten_dict(flat), untaken


def _check(reference, ours, variables, image_size, pixels=lambda x: x):
  images = np.random.default_rng(1).random((1, image_size, image_size, 3), np.float32)
  expected = np.asarray(reference(pixels(images), training=False))
  logits = jax.jit(
    lambda v, x: ours.apply(v, x, train=False),
    compiler_options={"xla_backend_optimization_level": 0},
  )(variables, jnp.asarray(images))
  scale = np.abs(expected).max()
  assert expected.std() > 0.01 * scale
  np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * scale)


def _reference(build, image_size, **settings):
  model = build(
    weights=None,
    input_shape=(image_size, image_size, 3),
    classes=_NUM_CLASSES,
    classifier_activation=None,
    **settings,
  )
  _randomize(model)
  return model


def test_vgg16():
  # The dense layers of Keras look at whole 7 × 7 positions: 224 pixels.
  reference = _reference(keras.applications.VGG16, 224)
  ours = create_model("vgg16", num_classes=_NUM_CLASSES)

  def keras_name(path):
    if match := re.fullmatch(r"stage(\d)_conv(\d)", path):
      return "block{}_conv{}".format(*match.groups())
    return {"hidden1": "fc1", "hidden2": "fc2", "head": "predictions"}[path]

  variables, untaken = _copied(ours, 224, _weights_by_layer(reference), keras_name)
  assert not untaken
  _check(reference, ours, variables, 224)


def test_densenet121():
  reference = _reference(keras.applications.DenseNet121, 64)
  ours = create_model("densenet121", num_classes=_NUM_CLASSES)

  def keras_name(path):
    if match := re.fullmatch(r"stage(\d)_layer(\d+)/(norm|conv)(\d)", path):
      stage, layer, kind, index = match.groups()
      number = int(index) - 1 if kind == "norm" else int(index)
      kind = "bn" if kind == "norm" else "conv"
      return f"conv{int(stage) + 1}_block{layer}_{number}_{kind}"
    if match := re.fullmatch(r"transition(\d)_(norm|conv)", path):
      kind = {"norm": "bn", "conv": "conv"}[match[2]]
      return f"pool{int(match[1]) + 1}_{kind}"
    return {
      "stem_conv": "conv1_conv",
      "stem_norm": "conv1_bn",
      "top_norm": "bn",
      "head": "predictions",
    }[path]

  variables, untaken = _copied(ours, 64, _weights_by_layer(reference), keras_name)
  assert not untaken
  _check(reference, ours, variables, 64)


def test_inception_v3():
  reference = _reference(keras.applications.InceptionV3, 80)
  ours = create_model("inception_v3", num_classes=_NUM_CLASSES, count_padding=False)
  weights = _weights_by_layer(reference)

  # Keras numbers the layers in the order in which they are made, as we make ours.
  def number(name):
    return int(name.rpartition("_")[2]) if name[-1].isdigit() else 0

  convs = sorted((n for n in weights if n.startswith("conv2d")), key=number)
  norms = sorted((n for n in weights if n.startswith("batch_norm")), key=number)
  order = []

  def made(images):
    order.extend(ours.init(jax.random.key(0), images, train=False)["params"].items())
    return images

  jax.eval_shape(made, jnp.zeros((1, 80, 80, 3)))
  paths = [
    path.rpartition("/")[0]
    for path in flatten_dict(dict(order), sep="/")
    if path.endswith("conv/kernel")
  ]
  place = {path.rpartition("/")[0]: index for index, path in enumerate(paths)}
  assert len(place) == len(convs) == len(norms) == 94

  def keras_name(path):
    if path == "head":
      return "predictions"
    module, _, kind = path.rpartition("/")
    return (convs if kind == "conv" else norms)[place[module]]

  variables, untaken = _copied(ours, 80, weights, keras_name)
  assert not untaken
  _check(reference, ours, variables, 80)


def test_efficientnet_b0():
  reference = _reference(keras.applications.EfficientNetB0, 64)
  normalization = reference.get_layer("normalization")
  mean, variance = (np.asarray(w) for w in normalization.weights[:2])
  ours = create_model("efficientnet_b0", num_classes=_NUM_CLASSES)
  parts = {
    "expand_conv": "expand_conv",
    "expand_norm": "expand_bn",
    "depthwise_conv": "dwconv",
    "depthwise_norm": "bn",
    "squeeze/reduce": "se_reduce",
    "squeeze/expand": "se_expand",
    "project_conv": "project_conv",
    "project_norm": "project_bn",
  }

  def keras_name(path):
    if match := re.fullmatch(r"stage(\d)_block(\d)/(.+)", path):
      letter = "abcdefgh"[int(match[2]) - 1]
      return f"block{match[1]}{letter}_{parts[match[3]]}"
    return {
      "stem_conv": "stem_conv",
      "stem_norm": "stem_bn",
      "top_conv": "top_conv",
      "top_norm": "top_bn",
      "head": "predictions",
    }[path]

  variables, untaken = _copied(ours, 64, _weights_by_layer(reference), keras_name)
  assert not untaken
  # Keras scales by 1/255 and normalizes inside.
  _check(
    reference,
    ours,
    variables,
    64,
    pixels=lambda x: 255 * (x * np.sqrt(variance) + mean),
  )


def test_resnet50_with_the_stride_of_the_paper():
  reference = _reference(keras.applications.ResNet50, 64)
  ours = create_model("resnet50", num_classes=_NUM_CLASSES, stride_in_1x1=True)

  def keras_name(path):
    if match := re.fullmatch(r"stage(\d)_block(\d)/(conv|norm)(\w+)", path):
      stage, block, kind, which = match.groups()
      number = 0 if which == "_shortcut" else int(which)
      kind = {"conv": "conv", "norm": "bn"}[kind]
      return f"conv{int(stage) + 1}_block{block}_{number}_{kind}"
    return {
      "stem_conv": "conv1_conv",
      "stem_norm": "conv1_bn",
      "head": "predictions",
    }[path]

  weights = _weights_by_layer(reference)
  # Convolutions of Keras have a bias, which the mean after them takes away.
  for name in [name for name in weights if name.endswith("_conv")]:
    norm = weights[name.removesuffix("conv") + "bn"]
    norm["moving_mean"] = norm["moving_mean"] - weights[name].pop("bias")
  variables, untaken = _copied(ours, 64, weights, keras_name)
  assert not untaken
  _check(reference, ours, variables, 64)
  plain = create_model("resnet50", num_classes=_NUM_CLASSES)
  with pytest.raises(AssertionError):
    _check(reference, plain, variables, 64)
