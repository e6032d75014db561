"""Runs a study of objectives, reports studies, or times what objectives cost.

python -m hue_jax.compare --config=configs/compare.py:fashion_50 --workdir=runs/fashion
python -m hue_jax.compare --mode=cost --config=configs/compare.py:fashion_50 \
    --workdir=runs/fashion
python -m hue_jax.compare --mode=report --studies=runs/fashion,runs/digits \
    --workdir=runs/report
"""

import sys
import time

from absl import app, flags, logging

from hue_jax.compare.cost import measure_costs
from hue_jax.compare.report import write_report
from hue_jax.compare.study import run_study
from hue_jax.errors import InputError
from hue_jax.train import command

_CONFIG = command.define_config()
_WORKDIR = flags.DEFINE_string(
  "workdir", None, "Folder of the study or report: runs that are there are not run."
)
_MODE = flags.DEFINE_enum(
  "mode",
  "run",
  ["run", "cost", "report"],
  "run: what is missing of the study, and its report; cost: times a training step of "
  "each objective; report: of the workdirs that --studies names.",
)
_STUDIES = flags.DEFINE_list("studies", [], "Workdirs of studies, for --mode=report.")
flags.mark_flags_as_required(["workdir"])


def main(argv: list[str]) -> int:
  """Runs the mode; what stops it becomes one line and an exit status."""
  logging.set_verbosity(logging.WARNING)
  standard_output = command.keep_standard_output()
  start = time.perf_counter()
  try:
    command.check_arguments(argv)
    result = _run()
  except InputError as error:
    print(f"error: {error}", file=sys.stderr)
    return 2
  result["seconds"] = round(time.perf_counter() - start, 1)
  print(command.json_line(result), file=standard_output, flush=True)
  return 0


def _run():
  workdir = _WORKDIR.value
  if _MODE.value == "report":
    if not _STUDIES.value:
      raise InputError("--studies is empty; --mode=report needs workdirs of studies.")
    return write_report(_STUDIES.value, workdir)
  if _CONFIG.value is None:
    raise InputError(f"--config is not given; --mode={_MODE.value} needs it.")
  settings = command.load_config(_CONFIG).to_dict()
  if _MODE.value == "cost":
    return {"objectives": len(measure_costs(settings, workdir))}
  runs = run_study(settings, workdir)
  return {"runs": len(runs), **write_report([workdir], workdir)}


if __name__ == "__main__":
  app.run(main, flags_parser=command.parse_flags)
