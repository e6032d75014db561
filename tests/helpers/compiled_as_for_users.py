"""Options of programs whose rounding is compared: those of the tests are quick."""

import os

_QUICK = "xla_cpu_use_fusion_emitters"


def compiled_as_for_users() -> dict[str, bool]:
  """Returns options of `jax.jit` that undo the emitters of `tests/conftest.py`."""
  return {_QUICK: True} if _QUICK in os.environ.get("XLA_FLAGS", "") else {}
