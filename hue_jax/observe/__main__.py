"""Observes where the class information of a network's layers lies, and reports it.

python -m hue_jax.observe --network=efficientnet_lite0 --images=pictures --workdir=DIR
python -m hue_jax.observe --config=configs/observe_openclipart.py --workdir=DIR
"""

from pathlib import Path
from typing import Any

from hue_jax import command

with command.packages():
  from hue_jax.train import distributed, flags, preemption

_CONFIG = flags.define_config(Path(__file__).with_name("defaults.py"))
_WORKDIR = flags.define_workdir(
  "Folder of activations and report: what is captured is used again."
)
_NETWORK = flags.define_text(
  "network",
  "A published network, a file of PyTorch weights, or a workdir of main.py; in place "
  "of --config.network.",
)
_IMAGES = flags.define_text(
  "images",
  "Folder of pictures in class folders; in place of --config.dataset and "
  "--config.split.",
)


def main() -> dict[str, Any]:
  """Makes the report; returns where it is and what it finds."""
  # Each takes longer to import than what a user may have mistaken takes to tell.
  from hue_jax.observe.settings import Settings
  from hue_jax.settings import create

  config = _CONFIG.value
  if _NETWORK.value is not None:
    config.network = _NETWORK.value
  if _IMAGES.value is not None:
    config.dataset = f"folder={_IMAGES.value}"
    config.split = "train+validation+test"
  create(Settings, config)
  with distributed.joined():
    # Joined processes are not ended by signals: JAX's service takes SIGTERM to itself.
    preemption.stop_at_once()
    from hue_jax.observe.run import observe

    return observe(config, _WORKDIR.value)


if __name__ == "__main__":
  flags.run(main, required=(_WORKDIR,))
