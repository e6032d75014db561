"""Observes where the class information of a network's layers lies, and reports it.

python -m hue_jax.observe --config=configs/observe_openclipart.py --workdir=runs/observe
"""

import sys

from absl import app, flags, logging

from hue_jax.errors import InputError
from hue_jax.observe.run import observe
from hue_jax.train import command

_CONFIG = command.define_config()
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of activations and report: what is captured is used again."
)
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: list[str]) -> int:
  """Makes the report; what stops it becomes one line and an exit status."""
  logging.set_verbosity(logging.WARNING)
  standard_output = command.keep_standard_output()
  try:
    command.check_arguments(argv)
    result = observe(command.load_config(_CONFIG), _WORKDIR.value)
  except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  print(command.json_line(result), file=standard_output, flush=True)
  return 0


if __name__ == "__main__":
  app.run(main, flags_parser=command.parse_flags)
