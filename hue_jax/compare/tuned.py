"""The settings of objectives that were tuned on the validation split."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hue_jax.compare import run_records
from hue_jax.compare.rates import OPTIMIZATION
from hue_jax.errors import InputError, check_one_of
from hue_jax.pages.files import json_text

FILE = "tuned.json"
TUNED = "tuned"

# What of a study's settings need not be as it was when its objectives were tuned.
_NOT_TUNED_FOR = (
  "curve_images",
  "hierarchy",
  "learning_rate",
  "measures",
  "num_evaluations",
  "read_test",
  "test_split",
  "weight_decay",
)


def with_tuned(settings: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the settings of a study, with those that its objectives were tuned to.

  Args:
    settings: The settings of a study. Where `tuned` names the file that `tune` has
      written, each objective is `{"tuned": NAME}`, which stands for all settings of
      that objective, or has `{"optimization": {"tuned": NAME}}` beside its own, which
      stands for that objective's learning rate and weight decay.

  Returns:
    The settings, without a reference to the file.

  Raises:
    InputError: If the file is of another task or network, an objective was not tuned,
      or seeds are those of the tuning.
  """
  objectives = settings["objectives"]
  if not settings.get(TUNED):
    for name, objective in objectives.items():
      if _reference(objective):
        raise InputError(
          f"objectives.{name} is tuned elsewhere, and tuned is empty; it must be the "
          f"path of the {FILE} that --mode=tune has written."
        )
    return dict(settings)
  path = Path(settings[TUNED]).expanduser()
  found = _read(path)
  for name, value in tuned_for(settings).items():
    theirs = found["tuned_for"].get(name)
    if theirs != json.loads(json_text(value)):
      raise InputError(
        f"{path} was tuned for {name} {theirs!r}; the study's is {value!r}. Tune the "
        "study's objectives with its own settings."
      )
  ours = range(settings["first_seed"], settings["first_seed"] + settings["num_seeds"])
  shared = range(
    max(ours.start, found["first_seed"]),
    min(ours.stop, found["first_seed"] + found["num_seeds"]),
  )
  if shared:
    raise InputError(
      f"first_seed is {ours.start} and num_seeds {len(ours)}; the seeds from "
      f"{shared.start} to {shared.stop - 1} are those of the tuning in {path}. Choose "
      "others."
    )
  tuned = {name: one["settings"] for name, one in found["objectives"].items()}
  return {
    **settings,
    TUNED: "",
    "objectives": {
      name: _resolved(f"objectives.{name}", one, tuned, path)
      for name, one in objectives.items()
    },
  }


def _reference(objective):
  return objective.get(TUNED) or objective.get(OPTIMIZATION, {}).get(TUNED)


def _resolved(here, objective, tuned, path):
  if TUNED in objective:
    check_one_of(f"{here}.{TUNED}", objective[TUNED], tuned)
    if others := set(objective) - {TUNED}:
      raise InputError(
        f"{here} has {TUNED} and {', '.join(sorted(others))}; it must have one of the "
        "two."
      )
    return tuned[objective[TUNED]]
  rates = objective.get(OPTIMIZATION, {})
  if TUNED not in rates:
    raise InputError(
      f"{here} has no tuned setting; where {path} is given, it must have {TUNED} or "
      f"{OPTIMIZATION}.{TUNED}, each one of {', '.join(tuned)}."
    )
  check_one_of(f"{here}.{OPTIMIZATION}.{TUNED}", rates[TUNED], tuned)
  own = {name: one for name, one in rates.items() if name != TUNED}
  return {**objective, OPTIMIZATION: {**tuned[rates[TUNED]][OPTIMIZATION], **own}}


def _read(path):
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
    for name in ("tuned_for", "first_seed", "num_seeds", "objectives"):
      found[name]
  except OSError as error:
    raise InputError(
      f"tuned is {path}, which cannot be read ({error.strerror})."
    ) from None
  except (ValueError, KeyError, TypeError) as error:
    raise InputError(f"tuned is {path}, which is no {FILE} ({error}).") from None
  return found


def tuned_for(settings: Mapping[str, Any]) -> dict[str, Any]:
  """Returns those of a study's settings for which its objectives are tuned."""
  return {
    name: value
    for name, value in run_records.run_settings(settings).items()
    if name not in _NOT_TUNED_FOR
  }
