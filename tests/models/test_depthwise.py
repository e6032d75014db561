"""Depthwise convolution against XLA's, on whose numbers the networks were built."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from hue_jax.models.depthwise import depthwise_conv


def _conv(size, strides, padding, conv, dtype=jnp.float32):
  return nn.Conv(
    6,
    size,
    strides,
    padding=padding,
    feature_group_count=6,
    conv_general_dilated=conv,
    dtype=dtype,
  )


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(
  ("size", "strides", "padding"),
  [
    ((3, 3), (1, 1), "SAME"),
    ((3, 3), (2, 2), "SAME"),
    ((5, 5), (2, 2), "SAME"),
    ((5, 3), (1, 2), "VALID"),
    ((7, 7), (1, 1), 3),
    ((3, 3), (2, 2), ((1, 1), (0, 2))),
    ((7, 7), (1, 1), "SAME"),
  ],
)
def test_it_is_xlas_convolution_and_so_are_its_gradients(size, strides, padding, dtype):
  images = jax.random.normal(jax.random.key(0), (2, 7, 10, 6))
  ours, theirs = (
    _conv(size, strides, padding, conv, dtype)
    for conv in (depthwise_conv, lax.conv_general_dilated)
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


def test_other_devices_convolve_by_xla():
  images, kernel = jnp.zeros((1, 8, 8, 4)), jnp.zeros((3, 3, 1, 4))

  @jax.jit
  def conv(images, kernel):
    return depthwise_conv(
      images,
      kernel,
      (1, 1),
      "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=4,
    )

  traced = conv.trace(images, kernel)
  for platform, by_xla in (("cpu", False), ("cuda", True), ("tpu", True)):
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.convolution" in text) == by_xla, platform
