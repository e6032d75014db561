"""The recorded studies: their fingerprints and tables are what they were."""

import json
from pathlib import Path

from hue_jax.compare import run_records
from hue_jax.compare.run_records import Job
from hue_jax.compare.study import STUDY_FILE, runs_of
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


def test_the_tables_of_the_recorded_studies_are_the_same_to_the_last_digit():
  folders = [_FOLDER / name for name in _STUDIES]
  assert report_tables(folders) == (_FOLDER / "tables.md").read_text()
