"""What is known of a network's layers without weights: against the numbers it makes."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hue_jax.models import head_of, sow_tap, tap_shapes
from hue_jax.models.registry import _MODELS
from tests.helpers.small_networks import SMALL, small_predictor

_NETWORKS = {
  **{name: (name, {}) for name in SMALL},
  "vit, mean of tokens": ("vit_ti16", {"pooling": "mean"}),
}


@pytest.mark.parametrize(("name", "options"), _NETWORKS.values(), ids=_NETWORKS)
def test_layers_that_are_averaged_are_those_whose_mean_is_features(name, options):
  side, _ = SMALL[name]
  network = small_predictor(name).network
  model = network.model.clone(**options)
  images = jax.random.normal(jax.random.key(0), (2, side, side, 3))

  @jax.jit
  def layers(images):
    variables = {
      part: tree
      for part, tree in model.init(jax.random.key(1), images, train=False).items()
      if part != "taps"
    }
    # No scale is 1 and no bias 0, as they are at first.
    variables = jax.tree.map(lambda x: 0.9 * x + 0.1 if x.ndim == 1 else x, variables)
    return model.apply(variables, images, train=False, mutable=["taps"])[1]["taps"]

  taps, shapes = layers(images), tap_shapes(model, (side, side, 3))
  features = np.asarray(taps["features"])
  assert np.isfinite(features).all()
  for tap, layer in taps.items():
    mean = np.asarray(layer.mean(axis=tuple(range(1, layer.ndim - 1))))
    is_mean = mean.shape == features.shape and np.allclose(
      mean, features, rtol=1e-4, atol=1e-5 * np.abs(features).max()
    )
    assert shapes.is_averaged(tap) == is_mean, tap
  assert shapes.has_head()


class _Net(nn.Module):
  """A network with a head of some kind."""

  head: str
  num_classes: int = 3
  dtype: type = jnp.bfloat16
  axis_name: str | None = None

  @nn.compact
  def __call__(self, x, *, train):
    layer = sow_tap(self, "stage1", nn.Dense(4, dtype=self.dtype)(x))
    features = layer.mean(axis=(1, 2))
    if self.head == "scaled":
      features = features * self.param("scale", nn.initializers.ones, (4,))
    if self.head != "no features":
      features = sow_tap(self, "features", features)
    if self.head == "deep":
      features = nn.relu(nn.Dense(4)(features))
    name = None if self.head == "unnamed" else "head"
    bias = self.head != "no bias"
    logits = nn.Dense(self.num_classes, use_bias=bias, name=name)(features)
    return logits.astype(jnp.float32) * (2 if self.head == "doubled" else 1)


@pytest.mark.parametrize(
  ("head", "has_head", "is_averaged"),
  [
    ("plain", True, True),
    ("no bias", True, True),
    ("scaled", True, False),
    ("unnamed", False, True),
    ("deep", False, True),
    ("doubled", False, True),
    ("no features", False, False),
  ],
)
def test_a_head_is_the_dense_layer_from_features_to_logits(head, has_head, is_averaged):
  shapes = tap_shapes(_Net(head), (4, 4, 3))
  assert shapes.has_head() == has_head
  assert shapes.is_averaged("stage1") == is_averaged
  params = jax.eval_shape(
    lambda: _Net(head).init(jax.random.key(0), jnp.zeros((1, 4, 4, 3)), train=False)
  )["params"]
  found = {name: array.shape for name, array in head_of(params).items()}
  named = {} if head == "unnamed" else {"kernel": (4, 3), "bias": (3,)}
  assert found == named


def test_every_module_of_the_registry_is_here():
  assert {_MODELS[name][0] for name, _ in _NETWORKS.values()} == {
    module for module, _ in _MODELS.values()
  }
