"""Writes what studies say as one self-contained page, a Markdown table and JSON."""

import datetime
import json
import math
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hue_jax.compare import figures
from hue_jax.compare.analysis import Analysis, Gain, analyze
from hue_jax.compare.cost import read_costs
from hue_jax.compare.run_records import fingerprint_of_objective
from hue_jax.files import write_text
from hue_jax.pages import provenance, templates
from hue_jax.pages.figures import Picture, draw_picture
from hue_jax.pages.files import json_text


def write_report(
  workdirs: Sequence[str | os.PathLike[str]], folder: str | os.PathLike[str]
) -> dict[str, Any]:
  """Writes report.html, report.md, report.json and figures/ from studies.

  Args:
    workdirs: The folders of studies. Those that do not read the test split are a
      search: they count as forms tried, and are shown by their validation split alone.
    folder: The folder for the files; those of an earlier report are replaced.

  Returns:
    A summary: where the page is, and how many runs, seeds and forms it is about.

  Raises:
    InputError: If a workdir holds no study, or too little of one.
  """
  folder = Path(folder).expanduser()
  (folder / "figures").mkdir(parents=True, exist_ok=True)
  found = [analyze(workdir) for workdir in workdirs]
  content = _content(found, workdirs)
  write_text(folder / "report.json", json_text(found, indent=1) + "\n")
  write_text(folder / "report.md", _tables(content))
  pictures = _pictures(content["studies"] or content["searches"], folder / "figures")
  style = templates.style()
  page = _render("page.html", **content, pictures=pictures, style=style)
  write_text(folder / "report.html", page)
  return {
    "report": str(folder / "report.html"),
    "studies": len(content["studies"]),
    "searches": len(content["searches"]),
    "forms_tried": content["num_forms"],
  }


def report_tables(workdirs: Sequence[str | os.PathLike[str]]) -> str:
  """Returns the report.md of studies.

  Args:
    workdirs: The folders of studies, as `write_report` takes them.

  Returns:
    The Markdown.
  """
  return _tables(_content([analyze(workdir) for workdir in workdirs], workdirs))


def _tables(content):
  return _render("tables.md", autoescape=False, **content)


def _content(found: Sequence[Analysis], workdirs) -> dict[str, Any]:
  """Returns what the templates show."""
  studies = [study for study in found if study.reads_test]
  searches = [study for study in found if not study.reads_test]
  return {
    "studies": studies,
    "searches": searches,
    "objectives": _objectives(studies),
    "describe": {c.objective: c.describe for s in found for c in s.contrasts},
    "num_forms": _num_forms(searches),
    "costs": [cost for cost in map(read_costs, workdirs) if cost],
    "made": provenance.today(),
    "versions": provenance.versions("jax", "flax", "optax", "numpy", "scipy"),
  }


def _objectives(studies: Sequence[Analysis]) -> list[str]:
  """Returns all objectives, in the order in which studies name them."""
  names = (c.objective for s in studies for c in s.contrasts if _is_main(s, c))
  return list(dict.fromkeys(names))


def _is_main(study, contrast) -> bool:
  return contrast.reference == study.baseline


def _num_forms(searches: Sequence[Analysis]) -> int:
  """Counts the objectives that searches have tried, beside their baselines."""
  forms = set()
  for study in searches:
    for name, settings in study.settings["objectives"].items():
      if name != study.baseline:
        forms.add(fingerprint_of_objective(settings))
  return len(forms)


_INTERVALS = (
  "with the 95 % interval of the mean over paired seeds. Blue lies above 0, orange "
  "below."
)


def _pictures(studies: Sequence[Analysis], folder: Path) -> dict[str, Picture]:
  drawn = {
    "gains": (
      f"Gain in accuracy over the baseline, in points, {_INTERVALS}",
      lambda theme: figures.gains(studies, theme),
    )
  }
  if len(studies) > 1:
    for study in studies:
      drawn[f"{study.title} gains"] = (
        f"{study.title}: gain of every objective over the baseline, {_INTERVALS}",
        lambda theme, study=study: figures.gains_of(study, theme),
      )
  for study in studies:
    drawn[f"{study.title} curves"] = (
      f"{study.title}: left, validation accuracy during training, mean over seeds, and "
      "the 95 % interval of the baseline; right, the paired gain over it with "
      "the 95 % interval. The rate falls to 0 by a cosine: the end counts.",
      lambda theme, study=study: figures.learning_curves(study, theme),
    )
    if study.corruptions:
      drawn[f"{study.title} robustness"] = (
        f"{study.title}: test accuracy under six corruptions at five severities, mean "
        "over seeds.",
        lambda theme, study=study: figures.robustness(study, theme),
      )
  return {
    name: draw_picture(name, description, draw, folder)
    for name, (description, draw) in drawn.items()
  }


# --- Text -----------------------------------------------------------------------


def _render(template: str, *, autoescape: bool = True, **content: Any) -> str:
  environment = templates.environment(
    "hue_jax.compare",
    autoescape=autoescape,
    number=_number,
    signed=_signed,
    interval=_interval,
    p=_p,
    verdict=_verdict,
    day=_day,
    json=json.dumps,
  )
  environment.globals |= {"contrast_of": _contrast_of, "reference_of": _reference_of}
  return environment.get_template(template).render(**content)


def _contrast_of(study: Analysis, objective: str):
  """Returns the contrast of an objective with the baseline, or None."""
  for contrast in study.contrasts:
    if contrast.objective == objective and _is_main(study, contrast):
      return contrast
  return None


def _reference_of(study: Analysis, measure: str) -> float:
  """Returns what the baseline has of a measure."""
  others = (c.other(measure) for c in study.contrasts if _is_main(study, c))
  return next((gain.reference for gain in others if gain), math.nan)


def _digits(value: int | float) -> int:
  return 2 if abs(value) >= 0.1 or value == 0 else 3


def _number(value: int | float, digits: int | None = None) -> str:
  if value is None or not math.isfinite(value):
    return "—"
  digits = _digits(value) if digits is None else digits
  return f"{value:.{digits}f}".replace("-", "−")


def _signed(value: int | float, digits: int | None = None) -> str:
  if not math.isfinite(value):
    return "—"
  digits = _digits(value) if digits is None else digits
  return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")


def _interval(gain: Gain) -> str:
  """Returns the mean difference with its t interval."""
  low, high = gain.paired.t_interval
  digits = min(max(_digits(bound) for bound in (low, high, gain.paired.mean)), 3)
  if gain.measure.unit == 100:
    digits = 2
  values = (_signed(value, digits) for value in (low, high))
  return f"{_signed(gain.paired.mean, digits)} [{', '.join(values)}]"


def _p(value: int | float) -> str:
  if not math.isfinite(value):
    return "—"
  return "< 0.001" if value < 0.001 else f"{value:.3f}"


def _verdict(gain: Gain) -> str:
  """Returns better, worse, or even: where the 95 % interval lies."""
  low, high = gain.paired.t_interval
  if not gain.measure.better or not (low > 0 or high < 0):
    return "even"
  return "better" if (low > 0) == (gain.measure.better > 0) else "worse"


def _day(seconds: int | float) -> str:
  return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d")
