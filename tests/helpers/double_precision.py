"""Double precision in every version of JAX that the library runs on."""

import jax


def double_precision():
  """A context in which JAX's floating point has 64 bits."""
  if hasattr(jax, "enable_x64"):
    return jax.enable_x64(True)
  from jax.experimental import enable_x64

  return enable_x64()
