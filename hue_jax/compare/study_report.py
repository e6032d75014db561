"""Writes what studies say as one self-contained page, a Markdown table and JSON."""

import dataclasses
import math
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hue_jax.compare import figures, report_text
from hue_jax.compare.across_studies import AcrossStudies, across_studies, chosen
from hue_jax.compare.analysis import Analysis, analyze
from hue_jax.compare.cost_records import read_costs
from hue_jax.compare.run_records import fingerprint_of_objective
from hue_jax.errors import InputError
from hue_jax.files import write_text
from hue_jax.pages import provenance, templates
from hue_jax.pages.figures import Picture, draw_picture, file_name
from hue_jax.pages.files import json_text


def write_report(
  workdirs: Sequence[str | os.PathLike[str]],
  folder: str | os.PathLike[str],
  *,
  contrasts: Sequence[str] = (),
) -> dict[str, Any]:
  """Writes report.html, report.md, report.json, pooled.json and figures/ from studies.

  Args:
    workdirs: The folders of studies. Those that do not read the test split are a
      search: they count as forms tried, and are shown by their validation split alone.
    folder: The folder for the files; those of an earlier report are replaced.
    contrasts: What the forest plot shows, as OBJECTIVE:REFERENCE; if empty, the first
      four contrasts of those that most data sets have.

  Returns:
    A summary: where the page is, and how many runs, seeds and forms it is about.

  Raises:
    InputError: If a workdir holds no study, or too little of one, or a contrast is
      not of two of the studies.
  """
  folder = Path(folder).expanduser()
  found = _analyzed(workdirs)
  content = _content(found, workdirs)
  forest = chosen(content["across"], contrasts)
  (folder / "figures").mkdir(parents=True, exist_ok=True)
  write_text(folder / "report.json", json_text(found, indent=1) + "\n")
  write_text(
    folder / "pooled.json", json_text(_pooled_of(content["across"]), indent=1) + "\n"
  )
  write_text(folder / "report.md", _tables(content))
  shown = content["studies"] or content["searches"]
  page = _render(
    "page.html",
    **content,
    answer=_answer(shown, forest),
    pictures=_pictures(shown, forest, folder / "figures"),
  )
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
  return _tables(_content(_analyzed(workdirs), workdirs))


def _analyzed(workdirs) -> list[Analysis]:
  """Analyzes studies; those without a title of their own are told by their folders."""
  places = [Path(workdir).expanduser().resolve() for workdir in workdirs]
  for place, count in Counter(places).items():
    if count > 1:
      raise InputError(f"{place} is there twice; a report is of each study once.")
  found = [analyze(workdir) for workdir in workdirs]
  files = Counter(file_name(study.title) for study in found)
  return [
    study
    if study.title and files[file_name(study.title)] == 1
    else dataclasses.replace(study, title=f"{study.title} ({workdir})".strip())
    for study, workdir in zip(found, workdirs, strict=True)
  ]


def _tables(content):
  return _render("tables.md", autoescape=False, **content)


def _content(found: Sequence[Analysis], workdirs) -> dict[str, Any]:
  """Returns what the templates show."""
  studies = [study for study in found if study.reads_test]
  searches = [study for study in found if not study.reads_test]
  return {
    "studies": studies,
    "searches": searches,
    "across": across_studies(studies),
    "num_data_sets": len({study.settings["dataset"] for study in studies}),
    "objectives": _objectives(studies),
    "described": _described(found),
    "num_forms": _num_forms(searches),
    "costs": [cost for cost in map(read_costs, workdirs) if cost],
    "made": provenance.today(),
    "versions": provenance.versions("jax", "flax", "optax", "numpy", "scipy"),
  }


def _objectives(studies: Sequence[Analysis]) -> list[str]:
  """Returns all objectives, in the order in which studies name them."""
  names = (c.objective for s in studies for c in s.contrasts if _is_main(s, c))
  return list(dict.fromkeys(names))


def _described(found: Sequence[Analysis]) -> list[tuple[str, str, list[str]]]:
  """Returns (name, what it is, the studies in which it is that and not another)."""
  titles: dict[str, dict[str, list[str]]] = {}
  for study in found:
    for objective, text in study.described.items():
      titles.setdefault(objective, {}).setdefault(text, []).append(study.title)
  return [
    (name, text, studies if len(forms) > 1 else [])
    for name, forms in titles.items()
    for text, studies in forms.items()
  ]


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


def _pooled_of(across: Sequence[AcrossStudies]) -> list[dict[str, Any]]:
  """Returns the contrasts over studies, studies told by their titles."""
  return [
    {
      "objective": found.objective,
      "reference": found.reference,
      "data_sets": found.num_origins,
      "left_out": found.left_out,
      "pooled": found.pooled
      and {
        "reduction": found.reduction,
        "interval": found.interval,
        "prediction_interval": found.prediction_interval,
        "log": found.pooled,
      },
      "studies": [
        {"title": row.title, "data_set": row.origin, "weight": row.weight}
        for row in found.rows
      ],
    }
    for found in across
  ]


def _answer(studies: Sequence[Analysis], forest: Sequence[AcrossStudies]) -> str:
  """Returns what the studies say, in a sentence."""
  pooled = [found for found in forest if found.pooled]
  if pooled:
    return _told(pooled[0])
  if forest and len(studies) > 1:
    return _counted(forest[0])
  study = studies[0]
  named = {"better": [], "worse": [], "even": []}
  for contrast in study.contrasts:
    if _is_main(study, contrast):
      gain = contrast.test or contrast.validation
      named[report_text.verdict(gain)].append(contrast.objective)
  above, below = (
    f"{len(named[side])} {word} {study.baseline}"
    + (f" ({', '.join(named[side])})" if named[side] else "")
    for side, word in (("better", "above"), ("worse", "below"))
  )
  return (
    f"{study.title}: of {study.num_forms} objectives {above} and {below} with the "
    f"whole 95 % interval of their gain; of {len(named['even'])} it holds 0."
  )


def _counted(found: AcrossStudies) -> str:
  """Returns in how many studies, which are not pooled, an objective is better."""
  contrasts = [row.contrast for row in found.rows]
  verdicts = [report_text.verdict(c.test or c.validation) for c in contrasts]
  return (
    f"{found.objective} is above {found.reference} with the whole 95 % interval of its "
    f"gain in {verdicts.count('better')} of {len(verdicts)} studies, and below in "
    f"{verdicts.count('worse')}; in {verdicts.count('even')} it holds 0."
  )


def _told(found: AcrossStudies) -> str:
  (low, high), reduction = found.interval, found.reduction
  count = report_text.number(100 * abs(reduction), 1)
  than = "fewer" if reduction >= 0 else "more"
  told = (
    f"Pooled over {found.num_origins} data sets, {found.objective} makes {count} % "
    f"{than} errors than {found.reference}: a relative error reduction "
    f"of {report_text.share(reduction, found.interval)} %"
  )
  if low <= 0 <= high:
    told += ", whose interval holds 0"
  return f"{told}."


_INTERVALS = (
  "with the 95 % interval of the mean over paired seeds. Blue lies above 0, orange "
  "below."
)


def _pictures(studies, forest, folder: Path) -> dict[str, Picture]:
  drawn = {}
  if forest:
    drawn["forest"] = (
      "Relative error reduction by study, with 95 % intervals (an arrow where one is "
      "cut), training images, seeds, and the error of the reference. Squares grow with "
      "the weight; the diamond is the pooled reduction, the line below it where one "
      "more data set’s is expected.",
      lambda theme: figures.forest(forest, theme),
    )
  drawn["gains"] = (
    f"Gain in accuracy over the baseline, in points, {_INTERVALS}",
    lambda theme: figures.gains(studies, theme),
  )
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
    number=report_text.number,
    signed=report_text.signed,
    interval=report_text.interval,
    p=report_text.p,
    verdict=report_text.verdict,
    side=report_text.side,
    ends=report_text.ends,
    day=report_text.day,
    breakable=report_text.breakable,
  )
  environment.globals |= {
    "contrast_of": _contrast_of,
    "reference_of": _reference_of,
    "share": report_text.share,
    "network": report_text.network,
    "rates_of": report_text.rates,
  }
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
