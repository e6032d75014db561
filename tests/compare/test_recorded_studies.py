"""The recorded studies: their fingerprints and tables are what they were."""

import json
from pathlib import Path

import numpy as np
import pytest

from hue_jax.compare import run_records
from hue_jax.compare.run_records import STUDY_FILE, Job, runs_of
from hue_jax.compare.study_report import report_tables

_FOLDER = Path(__file__).parents[2] / "docs" / "studies"
_STUDIES = (
  "fashion_50",
  "fashion_500",
  "fashion_full",
  "digits",
  "digits_10",
  "openclipart",
  "elpv",
  "search_fashion_50",
  "search_fashion_500",
)


def test_every_recorded_run_has_its_fingerprint():
  count = 0
  for name in _STUDIES:
    settings = json.loads((_FOLDER / name / STUDY_FILE).read_text())
    found = run_records.read(_FOLDER / name / run_records.FILE)
    for record in found:
      objective = settings["objectives"][record["objective"]]
      job = Job(record["objective"], objective, record["seed"])
      assert run_records.fingerprint(settings, job) == record["fingerprint"], name
    # A study that is run again has nothing to run.
    assert sorted(map(str, runs_of(settings, found))) == sorted(map(str, found))
    count += len(found)
  assert count == 1192


_TUNED = sorted(path.parent.name for path in _FOLDER.glob("tuning/*/tuned.json"))


_RECORDS = sorted(_FOLDER.rglob(run_records.FILE))


def test_the_records_are_there():
  assert set(_TUNED) >= {"digits", "digits_10", "fashion_50"}
  assert {path.parent for path in _RECORDS} > {_FOLDER / name for name in _STUDIES}


@pytest.mark.parametrize("task", _TUNED)
def test_a_recorded_tuning_chose_the_best_and_its_study_took_that(task):
  tuned = json.loads((_FOLDER / "tuning" / task / "tuned.json").read_text())
  found = run_records.read(_FOLDER / "tuning" / task / run_records.FILE)
  assert not any("test" in record for record in found)
  for one in tuned["objectives"].values():
    # Objectives of the same settings share their runs, under either's name.
    names = {
      n for n, o in tuned["objectives"].items() if o["settings"] == one["settings"]
    }
    accuracies, objectives = {}, {}
    for record in found:
      name, _, point = record["objective"].rpartition("@")
      if name in names:
        accuracy = record["validation"]["accuracy"]
        accuracies.setdefault(point, []).append(accuracy)
        objectives.setdefault(point, record["settings"]["objective"])
        assert objectives[point] == record["settings"]["objective"]
    # Of those that had all seeds, the finalists.
    means = {
      point: np.mean(values)
      for point, values in accuracies.items()
      if len(values) == tuned["num_seeds"]
    }
    chosen = str(one["point"])
    assert objectives[chosen] == one["settings"]
    assert means[chosen] == max(means.values())
    assert means[chosen] == pytest.approx(one["accuracy"], abs=1e-6)
    assert sum(map(len, accuracies.values())) == tuned["runs_of_each"]
  study = _FOLDER / "tuned" / task
  settings = json.loads((study / STUDY_FILE).read_text())
  for name, one in tuned["objectives"].items():
    assert settings["objectives"][name] == one["settings"]
  records = run_records.read(study / run_records.FILE)
  # Every line is a run of the study; the last name of those that share it stands here.
  of_study = {r["fingerprint"]: r for r in runs_of(settings, records)}
  nameless = [
    sorted(str({**record, "objective": ""}) for record in each)
    for each in (of_study.values(), records)
  ]
  assert nameless[0] == nameless[1]
  seeds = {record["seed"] for record in records}
  assert not seeds & {record["seed"] for record in found}


@pytest.mark.parametrize(
  "path",
  _RECORDS,
  ids=lambda path: str(path.parent.relative_to(_FOLDER)),
)
def test_every_recorded_line_is_of_the_settings_that_it_tells(path):
  """Those of a tuning, too, of which the study in the end holds the best points."""
  study = path.parent / STUDY_FILE  # not there before a tuning's end
  objectives = json.loads(study.read_text())["objectives"] if study.exists() else {}
  for record in run_records.read(path):
    settings, name = dict(record["settings"]), record["objective"]
    told = settings.pop("objective")
    # A line's numbers are rounded.
    job = Job(name, objectives.get(name, told), record["seed"])
    assert run_records.fingerprint(settings, job) == record["fingerprint"]


@pytest.mark.parametrize(
  ("group", "names"),
  [
    (".", _STUDIES),
    ("tuned", ("fashion_50", "faces_2", "digits_10", "digits")),
    ("controls", ("fashion_50", "digits_10")),
    ("forms", ("fashion_50", "digits_10", "digits")),
  ],
)
def test_the_tables_of_the_recorded_studies_are_the_same_to_the_last_digit(
  group, names
):
  folders = [_FOLDER / group / name for name in names]
  assert report_tables(folders) == (_FOLDER / group / "tables.md").read_text()
