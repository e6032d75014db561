"""Trains or evaluates an image classifier on one-hot + activation hue loss.

python main.py --config=configs/digits_hue.py --workdir=runs/digits_hue
"""

import json
import math
import os
import sys

import jax
from absl import app, flags, logging
from ml_collections import config_flags

from hue_jax.errors import InputError
from hue_jax.train import distributed, loop
from hue_jax.train.preemption import Preempted

_CONFIG = config_flags.DEFINE_config_file(
  "config", None, "File of the configuration; --config.NAME=VALUE sets a field."
)
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
  standard_output = _keep_standard_output()
  try:
    if argv[1:]:
      raise InputError(f"arguments {argv[1:]} are not flags; see --help.")
    config = _config()
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
    print(_json(result), file=standard_output, flush=True)
  return 0


def _parse_flags(arguments):
  """As absl does it, and with one line for a setting that the file does not have."""
  try:
    return app.parse_flags_with_usage(arguments)
  except (AttributeError, KeyError) as error:
    message = error
    while isinstance(message, Exception):  # ml_collections wraps one in the other
      message = message.args[0]
    name, _, hint = message.partition("\n")
    text = name.strip("'") + (f"; {hint[0].lower()}{hint[1:]}" if hint else "")
    print(f"error: the configuration has no setting {text}", file=sys.stderr)
    sys.exit(2)


def _config():
  config = _CONFIG.value
  try:
    _ = config.seed  # The file's error comes when a field is first asked for.
  except OSError as error:
    name = config_flags.get_config_filename(flags.FLAGS["config"])
    reason = str(error.__cause__ or error).strip().splitlines()[-1].strip()
    raise InputError(
      f"--config is {name!r}, which cannot be loaded: {reason}"
    ) from None
  return config


def _keep_standard_output():
  """Standard output for the result alone: libraries that print write to the error.

  The descriptor itself is exchanged, for some of them print from C++.
  """
  standard_output = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)
  return standard_output


def _json(result):
  """One line of JSON, in which a number that is not finite is null."""
  return json.dumps(
    {
      name: None if isinstance(value, float) and not math.isfinite(value) else value
      for name, value in result.items()
    }
  )


if __name__ == "__main__":
  app.run(main, flags_parser=_parse_flags)
