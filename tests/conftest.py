"""Eight virtual CPU devices, and every jaxtyping annotation checked at run time."""

import gc
import os
from importlib import metadata
from pathlib import Path

os.environ.setdefault("JAX_PLATFORMS", "cpu")
# The tests compile much and compute little: optimization level 0, and XLA's older
# emitters of fusions, which compile in two thirds of the time. A JAX that may not know
# them would end the process.
os.environ["XLA_FLAGS"] = (
  os.environ.get("XLA_FLAGS", "")
  + " --xla_force_host_platform_device_count=8 --xla_backend_optimization_level=0"
)
if metadata.version("jax").startswith("0.10."):
  os.environ["XLA_FLAGS"] += " --xla_cpu_use_fusion_emitters=false"

# What was compiled once is read by the other workers, by processes that tests start,
# and by the next run of the tests.
os.environ.setdefault(
  "JAX_COMPILATION_CACHE_DIR",
  str(Path(__file__).resolve().parents[1] / ".pytest_cache" / "compiled"),
)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES", "-1")

# The server of the tests does not have the newest kinds of buckets, about which gcsfs
# asks unless this is set before it is imported.
os.environ["GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT"] = "false"

import jax
import pytest
from jaxtyping import install_import_hook

install_import_hook("hue_jax", "beartype.beartype")


def _mapped_regions() -> int:
  """Memory regions of this process; 0 where the system does not tell."""
  try:
    return Path("/proc/self/maps").read_bytes().count(b"\n")
  except OSError:
    return 0


@pytest.fixture(autouse=True)
def _compiled_programs_are_let_go():
  """Frees JAX's compiled programs before Linux's limit of mapped regions is near.

  Each program on the CPU maps a few, a worker compiles thousands, and a map that is
  refused (vm.max_map_count, 65,530 by default) ends the process.
  """
  yield
  if _mapped_regions() > 20_000:
    jax.clear_caches()
    gc.collect()
