"""Observes where the class information of a network's layers lies, and reports it.

python -m hue_jax.observe --config=configs/observe_openclipart.py --workdir=runs/observe
"""

from typing import Any

from hue_jax import command

with command.packages():
  from hue_jax.train import flags

_CONFIG = flags.define_config()
_WORKDIR = flags.define_workdir(
  "Folder of activations and report: what is captured is used again."
)


def main() -> dict[str, Any]:
  """Makes the report; returns where it is and what it finds."""
  # Each takes longer to import than what a user may have mistaken takes to tell.
  from hue_jax.observe.settings import Settings
  from hue_jax.settings import create

  create(Settings, _CONFIG.value)
  from hue_jax.observe.run import observe

  return observe(_CONFIG.value, _WORKDIR.value)


if __name__ == "__main__":
  flags.run(main, required=(_CONFIG, _WORKDIR))
