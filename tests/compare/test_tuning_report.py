"""What the page of a tuning says is what tuned.json holds."""

import html
import json
from pathlib import Path

import pytest

from hue_jax.compare.tuning_report import write_tuning_report

_TUNED = Path(__file__).parents[2] / "docs/studies/tuning/digits_10/tuned.json"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
  tuned = json.loads(_TUNED.read_text())
  text = Path(write_tuning_report(tuned, tmp_path_factory.mktemp("t"))).read_text()
  return tuned, html.unescape(text.replace("<wbr>", ""))


def test_the_best_is_told_first(page):
  tuned, text = page
  name, best = max(tuned["objectives"].items(), key=lambda one: one[1]["accuracy"])
  told = (
    f"{name} is best on validation images: {100 * best['accuracy']:.2f} ± "
    f"{100 * best['standard_error']:.2f} %"
  )
  assert text.index(told) < text.index("<figure>") < text.index("<table")


def test_every_objective_has_its_settings_and_what_is_at_an_end(page):
  tuned, text = page
  for name, one in tuned["objectives"].items():
    row = text.split(f'<th scope="row">{name}</th>')[1].split("</tr>")[0]
    assert f"{100 * one['accuracy']:.2f}" in row
    rates = one["settings"]["optimization"]
    assert f"optimization.learning_rate {rates['learning_rate']}" in row
    assert (", ".join(one["at_an_end"]) or "—") in row
  assert "{'" not in text.split("</style>")[1]
  assert "stem small, width 8" in text


def test_an_objective_without_errors_and_hostile_names(tmp_path):
  one = {
    "settings": {"optimization": {"learning_rate": 0.1}},
    "accuracy": 0.5,
    "standard_error": None,
    "at_an_end": [],
  }
  tuned = {"objectives": {"<b>$x": one}, "tuned_for": {"a": []}, "runs_of_each": 2}
  text = Path(write_tuning_report(tuned, tmp_path)).read_text()
  assert "<b>$x" not in text
  assert "50.00 %. Nothing that was chosen lies at an end" in text
