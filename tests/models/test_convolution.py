"""Convolution against XLA's, on whose numbers the networks were built."""

import sys
from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from hue_jax.models import create_model, model_names, pooling
from hue_jax.models.convolution import Conv, convolve

# (channels, layer), features, groups, kernel, strides, padding.
_DEPTHWISE = [
  ((6, (7, 10)), 6, 6, *kernel)
  for kernel in (
    ((3, 3), (1, 1), "SAME"),
    ((3, 3), (2, 2), "SAME"),
    ((5, 5), (2, 2), "SAME"),
    ((5, 3), (1, 2), "VALID"),
    ((7, 7), (1, 1), 3),
    ((3, 3), (2, 2), ((1, 1), (0, 2))),
    ((7, 7), (1, 1), "SAME"),
  )
]
_LARGER_THAN_THE_LAYER = [
  ((5, (2, 2)), 4, 1, (3, 3), (1, 1), "SAME"),
  ((5, (2, 9)), 4, 1, (3, 3), (1, 1), 1),
  ((5, (1, 1)), 4, 1, (3, 3), (1, 1), 1),
  ((5, (4, 4)), 4, 1, (3, 3), (2, 2), 1),
  ((5, (4, 3)), 4, 1, (5, 5), (1, 1), "SAME"),
  ((5, (7, 7)), 4, 1, (7, 7), (1, 1), "VALID"),
  ((5, (6, 4)), 4, 1, (7, 3), (2, 1), ((3, 3), (1, 1))),
  ((1, (2, 2)), 4, 1, (5, 5), (1, 1), "SAME"),
]
_ONE_CHANNEL = [
  ((1, (8, 9)), 4, 1, (3, 3), (1, 1), "SAME"),
  ((1, (8, 9)), 1, 1, (3, 2), (1, 1), "VALID"),
]
_AS_XLA_DOES = [
  ((6, (7, 10)), 4, 1, (3, 3), (1, 1), "SAME"),
  ((6, (7, 10)), 4, 2, (3, 3), (1, 1), "SAME"),
  ((6, (7, 10)), 12, 6, (3, 3), (1, 1), "SAME"),
  ((1, (16, 16)), 4, 1, (7, 7), (2, 2), "SAME"),
  ((3, (8, 8)), 4, 1, (4, 4), (4, 4), "VALID"),  # patches, which do not overlap
  ((3, (8, 8)), 4, 1, (1, 1), (2, 2), "VALID"),
]


def _module(layer, features, groups, kernel, strides, padding, **settings):
  return nn.Conv(
    features,
    kernel,
    strides,
    padding=padding,
    feature_group_count=groups,
    **settings,
  )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
  "case", _DEPTHWISE + _LARGER_THAN_THE_LAYER + _ONE_CHANNEL + _AS_XLA_DOES
)
def test_it_is_xlas_convolution_and_so_are_its_gradients(case, dtype):
  (channels, size), *_ = case
  images = jax.random.normal(jax.random.key(0), (2, *size, channels))
  ours, theirs = (
    _module(*case, dtype=dtype, conv_general_dilated=conv)
    for conv in (convolve, lax.conv_general_dilated)
  )
  params = theirs.init(jax.random.key(1), images)
  assert jax.tree.map(jnp.shape, params) == jax.tree.map(
    jnp.shape, jax.eval_shape(ours.init, jax.random.key(1), images)
  )

  def found(module):
    def loss(params, images):
      y = module.apply(params, images)
      return jnp.sum(jnp.sin(y.astype(jnp.float32))), y

    grads, y = jax.jit(jax.grad(loss, argnums=(0, 1), has_aux=True))(params, images)
    return y, grads

  y, _ = found(ours)
  assert y.dtype == dtype
  tolerance = 1e-5 if dtype == jnp.float32 else 0.05
  jax.tree.map(
    lambda one, other: np.testing.assert_allclose(
      np.float32(one), np.float32(other), rtol=tolerance, atol=tolerance
    ),
    found(ours),
    found(theirs),
  )


@pytest.mark.parametrize(
  "case", _DEPTHWISE[:1] + _LARGER_THAN_THE_LAYER[:1] + _ONE_CHANNEL[:1]
)
def test_it_keeps_float64(case):
  (channels, size), *_ = case
  with jax.enable_x64(True):
    images = jax.random.normal(jax.random.key(0), (2, *size, channels), jnp.float64)
    settings = {"dtype": jnp.float64, "param_dtype": jnp.float64}
    ours, theirs = (
      _module(*case, conv_general_dilated=conv, **settings)
      for conv in (convolve, lax.conv_general_dilated)
    )
    params = theirs.init(jax.random.key(1), images)
    found = ours.apply(params, images)
    np.testing.assert_allclose(found, theirs.apply(params, images), rtol=1e-12)


@pytest.mark.parametrize(
  ("case", "by_xla"),
  [(case, False) for case in _DEPTHWISE + _LARGER_THAN_THE_LAYER + _ONE_CHANNEL]
  + [(case, True) for case in _AS_XLA_DOES],
)
def test_only_a_cpu_convolves_another_way(case, by_xla):
  (channels, size), *_ = case
  images = jnp.zeros((1, *size, channels))
  module = _module(*case, conv_general_dilated=convolve)
  params = module.init(jax.random.key(0), images)
  traced = jax.jit(module.apply).trace(params, images)
  for platform, expected in (("cpu", by_xla), ("cuda", True), ("tpu", True)):
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.convolution" in text) == expected, platform


@pytest.mark.parametrize("name", model_names())
def test_every_network_convolves_by_it_and_pools_by_its_twin(name, monkeypatch):
  """None has flax's own convolution or max pooling, which are slow on a CPU."""
  forms = []
  original = nn.Conv.__call__

  def call(self, *args, **kwargs):
    forms.append(self.conv_general_dilated)
    return original(self, *args, **kwargs)

  monkeypatch.setattr(nn.Conv, "__call__", call)
  flaxs = nn.max_pool

  def pool(*args, **kwargs):
    assert sys._getframe(1).f_code.co_filename == pooling.__file__
    return flaxs(*args, **kwargs)

  monkeypatch.setattr(nn, "max_pool", pool)
  model = create_model(name, num_classes=3)
  images = jax.ShapeDtypeStruct((1, 224, 224, 3), jnp.float32)
  jax.eval_shape(partial(model.init, train=False), jax.random.key(0), images)
  assert forms
  assert set(forms) == {Conv.keywords["conv_general_dilated"]}
