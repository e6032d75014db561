"""Tunes objectives, runs a study of them, reports studies, or times what they cost.

python -m hue_jax.compare --config=configs/compare.py:fashion_50 --workdir=runs/fashion
python -m hue_jax.compare --mode=tune --config=configs/compare_tuning.py:fashion_50 \
    --workdir=runs/fashion_tuning
python -m hue_jax.compare --mode=cost --config=configs/compare.py:fashion_50 \
    --workdir=runs/fashion
python -m hue_jax.compare --mode=report --studies=runs/fashion,runs/digits \
    --contrasts=hue:one_hot,smoothing:one_hot --workdir=runs/report
"""

import gc
import time
from pathlib import Path
from typing import Any

from hue_jax import command
from hue_jax.compare.addresses import address_of_workers
from hue_jax.errors import InputError
from hue_jax.files import local_path

with command.packages():
  from absl.flags import DEFINE_list, DEFINE_string

  from hue_jax.train import flags

_CONFIG = flags.define_config(Path(__file__).with_name("defaults.py"))
_WORKDIR = flags.define_workdir(
  "Folder of the study or report: runs that are there are not run."
)
_MODE = flags.define_mode(
  ("run", "tune", "cost", "report"),
  "run: what is missing of the study, and its report; tune: chooses the settings of "
  "its objectives on the validation split, into tuned.json; cost: times a training "
  "step of each objective; report: of the workdirs that --studies names.",
)
_STUDIES = DEFINE_list("studies", [], "Workdirs of studies, for --mode=report.")
_CONTRASTS = DEFINE_list(
  "contrasts",
  [],
  "What the forest plot of --mode=report shows, as OBJECTIVE:REFERENCE; if empty, four "
  "contrasts of those that most data sets have.",
)
_WORKERS = DEFINE_string(
  "workers",
  "local",
  "Who does the runs: local, as many processes of this machine as --config.workers "
  "says; or the workers of a Dask cluster, by the address of its scheduler, as in "
  "tcp://HOST:8786 (extra cluster).",
)


def main() -> dict[str, Any]:
  """Runs the mode; returns what it made, and the seconds that it took."""
  local_path("--workdir", _WORKDIR.value)
  start = time.perf_counter()
  address = address_of_workers(_WORKERS.value, name="--workers")
  if address and _MODE.value not in ("run", "tune"):
    raise InputError(
      f"--workers is {address}, and --mode={_MODE.value} has no runs to give them; it "
      "must be left out, or the mode be run or tune."
    )
  result = _report(_STUDIES.value) if _MODE.value == "report" else _study(address)
  return result | {"seconds": round(time.perf_counter() - start, 1)}


def _report(studies):
  if not studies:
    raise InputError("--studies is empty; --mode=report needs workdirs of studies.")
  from hue_jax.compare.study_report import write_report

  # What imports have made is not looked through again while figures make more.
  gc.freeze()
  return write_report(studies, _WORKDIR.value, contrasts=_CONTRASTS.value)


def _study(address):
  # What a step costs is asked of random images.
  if _MODE.value != "cost" and not _CONFIG.value.dataset:
    raise InputError(
      "dataset is ''; it must be the name of a data set, as in "
      "--config.dataset=digits, or in the file that --config names."
    )
  # What draws the report is missed before the study and not after it.
  from hue_jax.compare import study_report  # noqa: F401
  from hue_jax.compare.cost import measure_costs
  from hue_jax.compare.settings import checked_settings
  from hue_jax.compare.study import run_study
  from hue_jax.compare.workers import default_workers

  settings = checked_settings(_CONFIG.value.to_dict())
  if _MODE.value == "cost":
    return {"objectives": len(measure_costs(settings, _WORKDIR.value))}
  workers = address or settings["workers"] or default_workers()
  if _MODE.value == "tune":
    from hue_jax.compare.tuning import tune

    tuned = tune(settings, _WORKDIR.value, workers=workers)
    return {"objectives": tuned["objectives"]}
  if settings["num_seeds"] < 2:
    raise InputError(
      f"num_seeds is {settings['num_seeds']}; it must be at least 2, for the report "
      "has intervals."
    )
  runs = run_study(settings, _WORKDIR.value, workers=workers)
  return {"runs": len(runs)} | _report([_WORKDIR.value])


if __name__ == "__main__":
  flags.run(main, required=(_WORKDIR,))
