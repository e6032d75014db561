"""One shrunk network of every kind in the registry, with random weights throughout."""

import jax
import jax.numpy as jnp
import numpy as np

from hue_jax.models import model_names
from hue_jax.models.registry import _MODELS
from hue_jax.objective.classifiers import Softmax
from hue_jax.train.networks import Network
from hue_jax.train.predictor import Predictor

# Name → side of the images, and options that make it small. Each kind of module, and
# each way in which two networks of a module differ.
SMALL = {
  "resnet8": (8, {"stem": "small", "width": 4}),
  "resnet50": (32, {"width": 4}),
  "efficientnet_b0": (32, {"depth": 0.3}),
  "efficientnet_lite0": (32, {"depth": 0.3}),
  "vgg11": (32, {"width": 4, "hidden": 16}),
  "vgg11_bn": (32, {"width": 4, "hidden": 0}),
  "densenet121": (32, {"growth_rate": 4, "stage_sizes": (2, 1, 2, 1)}),
  "inception_v3": (75, {}),
  "vit_ti16": (16, {"patch_size": 4, "width": 24, "depth": 2, "num_heads": 3}),
  "convnext_t": (32, {"width": 8, "stage_sizes": (1, 1, 2, 1), "layer_scale": 1.0}),
}


def kinds():
  """The kinds of modules in the registry."""
  return {_MODELS[name][0] for name in model_names()}


def small_predictor(name, *, classifier=None, num_classes=5, channels=3, seed=0):
  """A predictor by a small network; no two of its arrays are alike."""
  side, options = SMALL[name]
  fields = {**_MODELS[name][1], **options}
  model = _MODELS[name][0](num_classes=num_classes, **fields)
  images = jnp.zeros((1, side, side, channels))
  shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), images, train=False))
  rng = np.random.default_rng(seed)
  variables = {
    part: jax.tree.map_with_path(lambda path, x: _random(rng, path, x), shapes[part])
    for part in ("params", "batch_stats")
    if part in shapes
  }
  network = Network(
    name=f"small {name}",
    model=model,
    variables=variables,
    image_size=side,
    channels=channels,
    crop="none",
    pixel_mean=(0.4, 0.5, 0.6)[:channels],
    pixel_std=(0.2, 0.25, 0.3)[:channels],
  )
  names = tuple(f"class {i}" for i in range(num_classes))
  classifier = classifier or Softmax()
  return Predictor(network, name, options, classifier, names, "file")


def _random(rng, path, leaf):
  """Weights that keep the variance of what comes in, and statistics about 0 and 1."""
  name = path[-1].key
  if name in ("scale", "var"):
    return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
  if name == "kernel":
    spread = (2 / max(np.prod(leaf.shape[:-1]), 1)) ** 0.5
    return rng.normal(0, spread, leaf.shape).astype(np.float32)
  return rng.normal(0, 0.1, leaf.shape).astype(np.float32)
