"""Trains or evaluates an image classifier on one-hot + activation hue loss.

python main.py --config=configs/digits_hue.py --workdir=runs/digits_hue
python main.py --list
"""

from typing import Any

from hue_jax import command

with command.packages():
  from configs import benchmark
  from hue_jax.train import distributed, flags, preemption

_CONFIG = flags.define_config()
_WORKDIR = flags.define_workdir("Folder of the run: a run that is there goes on.")
_MODE = flags.define_mode(
  ("train", "evaluate"), "Train, or evaluate the best checkpoint."
)


def main() -> dict[str, Any]:
  """Trains or evaluates; returns the result."""
  preemption.stop_at_once()
  with distributed.joined():
    # Each takes longer to import than what a user may have mistaken takes to tell.
    from hue_jax.train.config import check_settings

    check_settings(_CONFIG.value)
    from hue_jax.train import loop

    modes = {"train": loop.train, "evaluate": loop.evaluate_workdir}
    return modes[_MODE.value](_CONFIG.value, _WORKDIR.value)


if __name__ == "__main__":
  flags.run(main, required=(_CONFIG, _WORKDIR), listing=benchmark.listing)
