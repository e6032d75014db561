"""Trains or evaluates an image classifier on one-hot + activation hue loss.

python main.py --config=configs/digits_hue.py --workdir=runs/digits_hue
python main.py --list
"""

import sys
from functools import partial

import jax
from absl import app, flags, logging

from configs import benchmark
from hue_jax.errors import InputError
from hue_jax.train import command, distributed, loop
from hue_jax.train.preemption import Preempted

_CONFIG = command.define_config()
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of the run: a run that is there goes on."
)
_MODE = flags.DEFINE_enum(
  "mode", "train", ["train", "evaluate"], "Train, or evaluate the best checkpoint."
)
flags.mark_flags_as_required(["config", "workdir"])

_MODES = {"train": loop.train, "evaluate": loop.evaluate_workdir}


def main(argv: list[str]) -> int:
  """Runs the mode and turns what stops it into one line and an exit status."""
  logging.set_verbosity(logging.WARNING)
  standard_output = command.keep_standard_output()
  try:
    command.check_arguments(argv)
    config = command.load_config(_CONFIG)
    distributed.initialize()
    result = _MODES[_MODE.value](config, _WORKDIR.value)
  except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  except loop.TrainingDiverged as error:
    print(f"diverged: {error}", file=sys.stderr)
    return 1
  except Preempted as error:
    print(f"preempted: {error}; the same command goes on", file=sys.stderr)
    return 143
  if jax.process_index() == 0:
    print(command.json_line(result), file=standard_output, flush=True)
  return 0


if __name__ == "__main__":
  app.run(main, flags_parser=partial(command.parse_flags, listing=benchmark.listing))
