"""Max pooling against flax's, on whose numbers the networks were built."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hue_jax.models import pooling

CASES = [
  ((3, 3), (2, 2), ((1, 1), (1, 1))),
  ((3, 3), (2, 2), "VALID"),
  ((2, 2), (2, 2), "VALID"),
  ((3, 2), (1, 2), "SAME"),
  ((2, 3), (2, 1), ((0, 1), (2, 0))),
  ((7, 10), (1, 1), "VALID"),
]


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
@pytest.mark.parametrize(("window", "strides", "padding"), CASES)
def test_values_and_gradients_are_flaxs_to_the_bit(window, strides, padding, dtype):
  # One decimal: many values are equal, of which the first has the gradient.
  images = jnp.round(jax.random.normal(jax.random.key(0), (2, 7, 10, 6)), 1)
  images = images.astype(dtype).at[0, 3, 4].set(-jnp.inf)

  def found(pool):
    def loss(images):
      y = pool(images, window, strides, padding)
      weights = jnp.arange(y.size, dtype=jnp.float32).reshape(y.shape)
      return jnp.sum(jnp.where(jnp.isinf(y), 0, y.astype(jnp.float32)) * weights), y

    gradient, y = jax.jit(jax.grad(loss, has_aux=True))(images)
    return y, gradient

  ours, theirs = found(pooling.max_pool), found(nn.max_pool)
  assert ours[0].dtype == ours[1].dtype == dtype
  np.testing.assert_array_equal(ours[0], theirs[0])
  # A pixel of several windows has the sum of their gradients, in another order.
  tolerance = 1e-6 if dtype == jnp.float32 else 0.01
  np.testing.assert_allclose(
    np.float32(ours[1]), np.float32(theirs[1]), rtol=tolerance, atol=tolerance
  )


@pytest.mark.parametrize(("window", "strides", "padding"), CASES)
def test_nan_is_not_lost(window, strides, padding):
  images = jnp.zeros((1, 7, 10, 1)).at[0, 3, 4, 0].set(jnp.nan)
  np.testing.assert_array_equal(
    pooling.max_pool(images, window, strides, padding),
    nn.max_pool(images, window, strides, padding),
  )


def test_only_a_cpu_pools_another_way():
  pool = jax.jit(lambda images: pooling.max_pool(images, (3, 3), (2, 2)))
  traced = pool.trace(jnp.zeros((1, 8, 8, 4)))
  for platform, by_xla in (("cpu", False), ("cuda", True), ("tpu", True)):
    text = traced.lower(lowering_platforms=(platform,)).as_text()
    assert ("stablehlo.reduce_window" in text) == by_xla, platform
