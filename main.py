"""Trains or evaluates an image classifier on one-hot + activation hue loss.

python main.py --config=configs/digits_hue.py --workdir=runs/digits_hue
python main.py --mode=summary --config=configs/digits_hue.py
python main.py --mode=compile --config=configs/resnet50_hue.py --topology=v5e:4x4
python main.py --list
"""

import signal
from typing import Any

import jax

from hue_jax import command

with command.packages():
  from configs import benchmark
  from hue_jax.train import distributed, flags, preemption

_CONFIG = flags.define_config()
_WORKDIR = flags.define_workdir("Folder of the run: a run that is there goes on.")
_MODE = flags.define_mode(
  ("train", "evaluate", "summary", "compile"),
  "Train, evaluate the best checkpoint, tell what a run would be, or compile the step "
  "for --topology.",
)
_TOPOLOGY = flags.define_text(
  "topology", "TPU slice to compile for, as v5e:4x4; none is needed, and no data."
)
_TWIN = flags.define_switch("twin", True, "Compile the one-hot twin, too.")
_LARGEST_BATCH = flags.define_switch(
  "largest_batch", False, "Compile the largest batch that fits."
)


def main() -> dict[str, Any]:
  """Trains or evaluates; returns the result."""
  preemption.stop_at_once()
  if _MODE.value == "compile":
    return _compile()
  if _MODE.value == "summary":
    flags.require_none(_TOPOLOGY, "--mode is 'summary'")
    from hue_jax.train.summary import summarize

    return summarize(_CONFIG.value)
  flags.require(_WORKDIR)
  flags.require_none(_TOPOLOGY, f"--mode is {_MODE.value!r}")
  with distributed.joined():
    # Each takes longer to import than what a user may have mistaken takes to tell.
    from hue_jax.train.config import check_settings

    check_settings(_CONFIG.value)
    from hue_jax.train import loop

    modes = {"train": loop.train, "evaluate": loop.evaluate_workdir}
    return modes[_MODE.value](_CONFIG.value, _WORKDIR.value)


def _compile():
  """Returns what the step takes on a slice that is not here."""
  flags.require(_TOPOLOGY)
  # The compiler works for minutes in which no handler in Python would be called.
  for signum in (signal.SIGINT, signal.SIGTERM):
    signal.signal(signum, signal.SIG_DFL)
  # A TPU that is here is left to others.
  jax.config.update("jax_platforms", "cpu")
  from hue_jax.train.topologies import parse_topology

  topology = parse_topology(_TOPOLOGY.value)
  from hue_jax.train import ahead_of_time

  return ahead_of_time.compile_run(
    _CONFIG.value, topology, twin=_TWIN.value, largest_batch=_LARGEST_BATCH.value
  )


if __name__ == "__main__":
  flags.run(main, required=(_CONFIG,), listing=benchmark.listing)
