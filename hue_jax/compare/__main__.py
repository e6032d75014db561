"""Runs a study of objectives, and reports it.

python -m hue_jax.compare --config=configs/compare_digits.py --workdir=runs/compare
"""

import sys
import time

from absl import app, flags, logging

from hue_jax.compare.study import run_study
from hue_jax.errors import InputError
from hue_jax.train import command

_CONFIG = command.define_config()
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of the study: runs that are there are not run again."
)
flags.mark_flags_as_required(["config", "workdir"])


def main(argv: list[str]) -> int:
  """Runs the study; what stops it becomes one line and an exit status."""
  logging.set_verbosity(logging.WARNING)
  standard_output = command.keep_standard_output()
  start = time.perf_counter()
  try:
    command.check_arguments(argv)
    settings = command.load_config(_CONFIG).to_dict()
    runs = run_study(settings, _WORKDIR.value)
  except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  result = {"runs": len(runs), "seconds": round(time.perf_counter() - start, 1)}
  print(command.json_line(result), file=standard_output, flush=True)
  return 0


if __name__ == "__main__":
  app.run(main, flags_parser=command.parse_flags)
