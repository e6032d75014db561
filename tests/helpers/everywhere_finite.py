"""Assertions over every finite input, dtype and transformation."""

import inspect

import jax
import jax.numpy as jnp
import numpy as np
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

FINITE = arrays(
  np.float32,
  5,
  elements=st.floats(width=32, allow_nan=False, allow_infinity=False)
  | st.sampled_from([0.0, 1.0, -1.0, 3e38, -3e38, 1e-38, 1e-45]),
)
CONSTANT = st.floats(width=32, allow_nan=False, allow_infinity=False).map(
  lambda value: np.full(5, value, np.float32)
)


def assert_finite(function, vector):
  """Value and gradient are finite in float32 and bfloat16."""
  for dtype in (jnp.float32, jnp.bfloat16):
    activation = jnp.asarray(vector).astype(dtype)
    if not jnp.isfinite(activation).all():  # beyond bfloat16
      continue
    value, gradient = function(activation)
    assert jnp.isfinite(value), (dtype, vector, value)
    assert jnp.isfinite(gradient).all(), (dtype, vector, gradient)


# One for each of eight devices.
EXTREME = np.array(
  [
    [0, 0, 0, 0, 0],
    [3e38, 3e38, 3e38, 3e38, 3e38],
    [3e38, -3e38, 3e38, -3e38, 3e38],
    [1e-45, 0, -1e-45, 3e-45, 1e-40],
    [1e-45, 3e38, 0, -1e-38, 1],
    [-2.5, -2.5, -2.5, -2.5, -2.5],
    [1e-38, 0, 0, 0, 0],
    [1e-19, -1e-20, 1e-21, 1e19, -1e20],
  ],
  np.float32,
)


def assert_finite_and_alike_by_vmap_and_pmap(function):
  """Values and gradients of `EXTREME`; `function` returns both."""
  for dtype, rounding in ((jnp.float32, 1e-4), (jnp.bfloat16, 2**-7)):
    activations = jnp.asarray(EXTREME).astype(dtype)
    assert jnp.isfinite(activations).all()
    by_vmap = jax.jit(jax.vmap(function))(activations)
    by_pmap = jax.pmap(function)(activations)
    for one, other in zip(by_vmap, by_pmap, strict=True):
      one, other = (np.asarray(x, np.float64).reshape(8, -1) for x in (one, other))
      assert np.isfinite(one).all()
      assert np.isfinite(other).all()
      # Of the largest entry of each vector: in the others, terms may cancel.
      largest = np.abs(one).max(axis=-1, keepdims=True)
      assert (np.abs(one - other) <= rounding * largest).all()


def assert_full_precision(function, *arguments, has_products=True):
  """Every product of the lowered function asks for float32 factors."""
  text = jax.jit(function).lower(*arguments).as_text()
  products = [line for line in text.splitlines() if "dot_general" in line]
  assert bool(products) == has_products
  for line in products:
    assert "precision = [HIGHEST, HIGHEST]" in line


def unchecked(function):
  """The function without the tests' check of its annotations."""
  return inspect.unwrap(function)
