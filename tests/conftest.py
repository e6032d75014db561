"""Eight virtual CPU devices, and every jaxtyping annotation checked at run time."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# Optimization level 0: the tests compile much and compute little.
os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "")
  + " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
)

from jaxtyping import install_import_hook

install_import_hook("hue_jax", "beartype.beartype")
