"""What a report says of studies whose gains are known, and what it costs to say it."""

import dataclasses
import html.parser
import json
import re
import shutil

import numpy as np
import pytest

from hue_jax.compare import cost
from hue_jax.compare.across_studies import across_studies, chosen
from hue_jax.compare.analysis import analyze
from hue_jax.compare.cost import measure_costs
from hue_jax.compare.cost_records import read_costs
from hue_jax.compare.statistics import holm
from hue_jax.compare.study_report import write_report
from hue_jax.errors import InputError
from tests.helpers.planted_study import OBSERVED, TEST_GAIN, settings_of, write_study
from tests.helpers.small_study import small_settings

_SECTORS = {"terms": {"t": {"kind": "angular_consistency", "tap": "stage3"}}}
_OBJECTIVES = {
  "sectors": _SECTORS,
  "smoothing": {"label_smoothing": 0.1},
  "cosines": {"classifier": {"kind": "hyperspherical_prototypes"}},
  "one_hot_again": {"label_smoothing": 0.0},
}
_HOSTILE = '<script>alert("x")</script> & co'


@pytest.fixture(scope="module")
def study(tmp_path_factory):
  settings = settings_of(
    _OBJECTIVES, contrasts=[["sectors", "smoothing"]], num_seeds=12
  )
  gains = {"sectors": 0.008, "smoothing": 0.004, "cosines": -0.01}
  return write_study(tmp_path_factory.mktemp("study"), settings, gains)


@pytest.fixture(scope="module")
def report(study, tmp_path_factory):
  folder = tmp_path_factory.mktemp("report")
  hostile = write_study(
    tmp_path_factory.mktemp("hostile"),
    settings_of(_OBJECTIVES, title=_HOSTILE, dataset="digits"),
    {"sectors": -0.02},
    full=False,
  )
  search = write_study(
    tmp_path_factory.mktemp("search"),
    settings_of(
      {**_OBJECTIVES, "sectors_again": _SECTORS}, title="search", read_test=False
    ),
    {"sectors": 0.01},
  )
  summary = write_report([study, hostile, search], folder)
  return folder, summary


def test_gains_are_those_that_were_planted(study):
  found = analyze(study)
  contrasts = {c.title: c for c in found.contrasts}
  assert set(contrasts) == {
    *(f"{name} − one_hot" for name in _OBJECTIVES),
    "sectors − smoothing",
  }
  sectors = contrasts["sectors − one_hot"]
  low, high = sectors.test.paired.t_interval
  assert low < 0.8 < high
  assert low > 0.4
  assert sectors.test.paired.count == 12
  assert sectors.test.t_p < 0.001
  assert sectors.test.mean - sectors.test.reference == pytest.approx(
    sectors.test.paired.mean
  )
  between = contrasts["sectors − smoothing"].test.paired
  assert between.t_interval[0] < 0.4 < between.t_interval[1]
  for contrast in contrasts.values():
    for of_split in ("mean", "reference"):
      test, validation = (
        getattr(gain, of_split) for gain in (contrast.test, contrast.validation)
      )
      assert test - validation == pytest.approx(100 * TEST_GAIN)
  assert found.baseline_accuracy == {
    "validation": sectors.validation.reference,
    "test": sectors.test.reference,
  }
  again = contrasts["one_hot_again − one_hot"].test.paired
  assert again.t_interval[0] < 0 < again.t_interval[1]
  nll = sectors.other("nll").paired
  assert nll.mean == pytest.approx(-sectors.test.paired.mean / 100)
  assert contrasts["cosines − one_hot"].other("nll") is None
  corrupted = sectors.other("corruption_accuracy")
  assert corrupted.paired.count == 11  # of the last seed it was not measured
  assert corrupted.reference == pytest.approx(
    found.baseline_accuracy["test"] - 6, abs=0.3
  )
  knn, pgd = (sectors.other(name).paired for name in ("knn_accuracy", "pgd_accuracy"))
  assert knn.mean == pytest.approx(sectors.test.paired.mean)
  assert pgd.mean == pytest.approx(corrupted.paired.mean)


def test_tables_are_means_of_what_the_runs_hold(study):
  found = analyze(study)
  lines = (study / "runs.jsonl").read_text().splitlines()
  tests = {name: [] for name in found.settings["objectives"]}
  for record in map(json.loads, lines):
    if "observations" in record["test"]:
      tests[record["objective"]].append(record["test"])

  def values(name, *path):
    of_seeds = tests[name]
    for key in path:
      of_seeds = [tree[key] for tree in of_seeds]
    return np.array(of_seeds)

  for name, of_seeds in tests.items():
    assert len(of_seeds) == 11  # of the last seed it was not measured
    for kind, series in found.corruptions[name].items():
      expected = 100 * values(name, "corruption_accuracy", kind).mean(axis=0)
      np.testing.assert_allclose(series, expected)
    for kind, series in found.attacks[name].items():
      for epsilon, accuracy in series.items():
        expected = 100 * values(name, "attack_accuracy", kind, epsilon).mean()
        assert accuracy == pytest.approx(expected)
    for statistic, taps in OBSERVED.items():
      assert set(found.observations[statistic]) == set(taps)
      for tap in taps:
        mean, gain = found.observations[statistic][tap][name]
        own = values(name, "observations", statistic, tap)
        baseline = values("one_hot", "observations", statistic, tap)
        assert mean == pytest.approx(own.mean())
        assert gain.mean == pytest.approx((own - baseline).mean())
        assert gain.count == 11


def test_errors_are_those_of_the_gains(study):
  found = {c.title: c for c in analyze(study).contrasts}
  sectors = found["sectors − one_hot"]
  assert sectors.errors.reference == pytest.approx(100 - sectors.test.reference)
  assert sectors.errors.reduction.mean == pytest.approx(
    sectors.test.paired.mean / sectors.errors.reference
  )
  assert sectors.errors.smallest_gain < sectors.test.paired.mean
  assert sectors.errors.smallest_reduction == pytest.approx(
    sectors.errors.smallest_gain / sectors.errors.reference
  )


def _planted(tmp_path, name, dataset, gain, **settings):
  objectives = {"sectors": _SECTORS}
  settings = settings_of(objectives, title=name, dataset=dataset, **settings)
  return analyze(write_study(tmp_path / name, settings, {"sectors": gain}, full=False))


def test_studies_of_one_data_set_are_pooled_before_data_sets(tmp_path):
  studies = [
    _planted(tmp_path, "few", "fashion_mnist", 0.02),
    _planted(tmp_path, "many", "fashion_mnist", 0.01, num_seeds=20),
    _planted(tmp_path, "digits", "digits", 0.02, num_seeds=20),
    _planted(tmp_path, "cells", "elpv", -0.01, num_seeds=20),
  ]
  (found,) = across_studies(studies)
  assert (found.objective, found.reference) == ("sectors", "one_hot")
  assert found.num_origins == 3
  assert sum(row.weight for row in found.rows) == pytest.approx(1)
  reductions = [row.contrast.errors.reduction for row in found.rows]
  weights = np.array([row.weight for row in found.rows])
  log = weights @ [reduction.log for reduction in reductions]
  assert found.reduction == pytest.approx(1 - np.exp(-log))
  few, many = reductions[:2]
  shares = weights[:2] / weights[:2].sum()
  variances = np.array([few.standard_error, many.standard_error]) ** 2
  np.testing.assert_allclose(shares, (1 / variances) / (1 / variances).sum())
  low, high = found.interval
  assert low < found.reduction < high
  assert found.prediction_interval[0] < low
  # The same images once more are no new data set.
  (alone,) = across_studies(studies[:2])
  assert alone.pooled is None
  assert all(np.isnan(row.weight) for row in alone.rows)
  assert across_studies(studies[:1]) == ()


def test_contrasts_of_most_data_sets_come_first(tmp_path):
  both = {"smoothing": {"label_smoothing": 0.1}, "sectors": _SECTORS}
  studies = []
  for title, dataset, names in (
    ("a", "fashion_mnist", both),
    ("b", "fashion_mnist", ["smoothing"]),
    ("c", "digits", both),
    ("d", "elpv", ["sectors"]),
  ):
    objectives = {name: both[name] for name in names}
    settings = settings_of(objectives, title=title, dataset=dataset)
    studies.append(analyze(write_study(tmp_path / title, settings, {}, full=False)))
  found = across_studies(studies)
  assert [(across.objective, across.num_origins) for across in found] == [
    ("sectors", 3),
    ("smoothing", 2),
  ]
  assert [len(across.rows) for across in found] == [3, 3]


def test_a_study_without_spread_has_no_weight(tmp_path):
  settings = settings_of({"sectors": _SECTORS}, title="equal", dataset="equal")
  equal = analyze(write_study(tmp_path / "equal", settings, {}, spread=0, full=False))
  others = [
    _planted(tmp_path, "a", "fashion_mnist", 0.01),
    _planted(tmp_path, "b", "digits", 0.01),
  ]
  (found,) = across_studies([equal, *others])
  assert found.left_out == ("equal",)
  assert found.num_origins == 2
  assert found.pooled == across_studies(others)[0].pooled


def test_the_forest_plot_shows_the_contrasts_that_are_asked_for(study):
  found = across_studies([analyze(study)] * 2)
  assert len(chosen(found, [])) == 4
  names = ["sectors:smoothing", "smoothing:one_hot"]
  asked = chosen(found, names)
  assert [f"{a.objective}:{a.reference}" for a in asked] == names
  with pytest.raises(InputError, match=r"contrasts\[1\] is 'sectors:none'.*of at"):
    chosen(found, ["sectors:one_hot", "sectors:none"])
  with pytest.raises(InputError, match="they share none"):
    chosen([], ["sectors:one_hot"])


def test_a_single_study_answers_without_a_pooled_line(study, tmp_path):
  write_report([study], tmp_path)
  text = _Page((tmp_path / "report.html").read_text()).text
  assert (
    "planted: of 4 objectives 2 above one_hot (sectors, smoothing) and 1 below"
    in (text)
  )
  assert "There is no pooled line: the study is of one data set, fashion_mnist." in text
  assert not (tmp_path / "figures" / "forest.svg").exists()


def test_studies_of_one_data_set_answer_by_their_number(study, tmp_path):
  shutil.copytree(study, tmp_path / "again")
  write_report([study, tmp_path / "again"], tmp_path)
  text = _Page((tmp_path / "report.html").read_text()).text
  assert (
    "sectors is above one_hot with the whole 95 % interval of its gain in 2 of 2 "
    "studies, and below in 0; in 0 it holds 0." in text
  )
  forest = (tmp_path / "figures" / "forest.svg").read_text()
  assert "error, %" in forest
  assert "weight, %" not in forest


def test_studies_of_one_title_are_told_by_their_folders(tmp_path):
  settings = settings_of({"sectors": _SECTORS}, title="mine")
  folders = [
    write_study(tmp_path / name, settings, {"sectors": gain})
    for name, gain in (("a", 0.05), ("b", -0.05))
  ]
  runs = folders[1] / "runs.jsonl"
  runs.write_text(runs.read_text().replace("cross_entropy of sectors", "another form"))
  write_report(folders, tmp_path / "report")
  page = _Page((tmp_path / "report" / "report.html").read_text())
  # Each its own figures, and the objective as each has it.
  drawn = [source for source in page.sources if source.startswith("data:")]
  assert len(drawn) == len(set(drawn))
  for folder, text in zip(
    folders, ("cross_entropy of sectors", "another form"), strict=True
  ):
    assert f"{text} (mine ({folder}))" in page.text
  with pytest.raises(InputError, match=r"a is there twice"):
    write_report([folders[0], f"{folders[0]}/../a"], tmp_path / "report")


def test_a_contrast_with_the_baseline_counts_once(tmp_path):
  settings = settings_of(_OBJECTIVES)
  asked = settings | {"contrasts": [["sectors", settings["baseline"]]]}
  found = [
    analyze(write_study(tmp_path / str(number), one, {"sectors": 2}))
    for number, one in enumerate((settings | {"contrasts": []}, asked))
  ]
  assert [c.title for c in found[0].contrasts] == [c.title for c in found[1].contrasts]


def test_rates_of_an_objective_are_shown_where_they_differ(tmp_path):
  objectives = {"sectors": {**_SECTORS, "optimization": {"learning_rate": 0.0625}}}
  settings = settings_of(objectives, learning_rate=0.125, weight_decay=0.05)
  write_study(tmp_path / "study", settings, {}, full=False)
  write_report([tmp_path / "study"], tmp_path)
  text = (tmp_path / "report.md").read_text()
  assert "| one_hot | 0.125 | 0.05 |" in text
  assert "| sectors | 0.0625 | 0.05 |" in text


def test_p_values_are_corrected_over_the_study(study):
  found = analyze(study)
  raw = np.array([c.test.paired.t_p for c in found.contrasts])
  corrected = np.array([c.test.t_p for c in found.contrasts])
  assert (corrected >= raw).all()
  assert corrected.min() == pytest.approx(min(5 * raw.min(), 1))


def test_objectives_of_the_same_settings_are_corrected_for_once(tmp_path):
  settings = settings_of({"hue": {"label_smoothing": 0.1}, "other": {"terms": {}}})
  write_study(tmp_path, settings, {"hue": 0.003, "other": 0.002})
  one = analyze(tmp_path)
  again = {"again": settings["objectives"]["hue"]}
  more = settings | {
    "objectives": settings["objectives"] | again,
    "contrasts": [("again", "other"), ("hue", "other")],
  }
  (tmp_path / "study.json").write_text(json.dumps(more))
  found = {(c.objective, c.reference): c for c in analyze(tmp_path).contrasts}
  assert len(found) == 5
  for reference in ("one_hot", "other"):
    hue, same = found["hue", reference], found["again", reference]
    assert same == dataclasses.replace(hue, objective="again")
  corrected = holm(
    [
      found[pair].test.paired.t_p
      for pair in (("hue", "one_hot"), ("other", "one_hot"), ("hue", "other"))
    ]
  )
  assert found["again", "one_hot"].test.t_p == pytest.approx(corrected[0])
  assert analyze(tmp_path).hours == pytest.approx(one.hours)


def test_curves_reach_the_baseline_sooner_where_they_are_better(study):
  curves = analyze(study).curves
  assert curves["one_hot"].steps_to_baseline == pytest.approx(300)
  assert curves["one_hot"].reached == 1
  assert curves["sectors"].steps_to_baseline < 300
  assert curves["cosines"].reached == 0
  for name, curve in curves.items():
    assert (curve.low < curve.mean).all()
    assert (curve.mean < curve.high).all()
    np.testing.assert_allclose(curve.mean - curve.low, curve.high - curve.mean)
    if name != "one_hot":
      assert (curve.gain_low < curve.gain).all()
      assert (curve.gain < curve.gain_high).all()
  np.testing.assert_array_equal(curves["one_hot"].gain, 0)
  np.testing.assert_allclose(curves["sectors"].gain, 0.8, atol=0.2)


def test_only_seeds_that_all_objectives_have_count(tmp_path):
  settings = settings_of(_OBJECTIVES, num_seeds=4)
  folder = write_study(tmp_path / "s", settings, {})
  path = folder / "runs.jsonl"
  lines = path.read_text().splitlines(keepends=True)
  path.write_text("".join(lines[:-2]))
  assert analyze(folder).seeds == (3, 4, 5)
  path.write_text("".join(lines[:7]))
  with pytest.raises(InputError, match=r"is 1; it must be at least 2 for intervals"):
    analyze(folder)
  with pytest.raises(InputError, match="holds no study"):
    analyze(tmp_path)


class _Page(html.parser.HTMLParser):
  def __init__(self, text):
    super().__init__()
    self.tags, self.sources, self.text = [], [], ""
    self.feed(text)

  def handle_starttag(self, tag, attributes):
    self.tags.append(tag)
    attributes = dict(attributes)
    self.sources += [
      attributes[k] for k in ("src", "srcset", "href") if k in attributes
    ]

  def handle_data(self, data):
    self.text += data


def test_the_page_is_self_contained_and_text_is_no_markup(report):
  folder, summary = report
  page = _Page((folder / "report.html").read_text())
  assert "script" not in page.tags
  assert _HOSTILE in page.text
  assert all(source.startswith(("data:", "#")) for source in page.sources)
  assert page.sources
  assert "−2.0" in page.text
  # Two objectives of the same settings are one form.
  assert summary["forms_tried"] == 4
  assert "4 forms of objectives were tried" in page.text
  assert "not defined" in page.text


def test_the_markdown_has_the_numbers_of_the_json(report):
  folder, _ = report
  text = (folder / "report.md").read_text()
  study = json.loads((folder / "report.json").read_text())[0]
  gain = study["contrasts"][0]["test"]["paired"]
  low, high = gain["t_interval"]
  expected = f"**+{gain['mean']:.2f} [+{low:.2f}, +{high:.2f}]**"
  row = next(line for line in text.splitlines() if line.startswith("| sectors |"))
  assert expected in row
  for line in text.splitlines():
    if re.match(r"\| (objective|contrast|form) \|", line):
      head = line.count("|")
    if line.startswith(("| sectors", "| smoothing")):
      assert line.count("|") == head


def test_figures_are_drawn(report):
  folder, _ = report
  names = {path.name for path in (folder / "figures").glob("*.svg")}
  assert {"gains.svg", "planted_curves.svg", "planted_robustness.svg"} <= names
  # Each has gains and curves; the other study measured no corruptions.
  assert len(names) == 7
  assert "forest.svg" in names


def test_the_page_answers_first(report):
  folder, _ = report
  text = _Page((folder / "report.html").read_text()).text
  (found, *_) = json.loads((folder / "pooled.json").read_text())
  assert found["data_sets"] == 2
  low, high = (100 * end for end in found["pooled"]["interval"])
  told = f"{low:+.1f}, {high:+.1f}] %, whose interval holds 0.".replace("-", "−")
  assert told in text
  assert text.index("Pooled over 2 data sets") < text.index("Gain in test accuracy")


@pytest.mark.slow
def test_steps_are_timed_in_pairs_with_the_baseline():
  class Step:
    def __init__(self, seconds):
      self.seconds, self.count = seconds, 0

    def time(self):
      self.count += 1
      return self.seconds * (1 + 0.1 * (self.count % 3))

  steps = {"one_hot": Step(2.0), "twice": Step(4.0), "half": Step(1.0)}
  seconds, ratios = cost._time(steps, "one_hot", 30)
  assert {name: len(found) for name, found in seconds.items()} == {
    "one_hot": 60,
    "twice": 30,
    "half": 30,
  }
  np.testing.assert_array_equal(ratios["one_hot"], 1)
  assert np.median(ratios["twice"]) == pytest.approx(2, rel=0.2)
  assert np.median(ratios["half"]) == pytest.approx(0.5, rel=0.2)


def test_costs_are_measured_beside_the_baseline(tmp_path):
  memory = {"kind": "angular_consistency", "tap": "stage2", "prototypes": "memory"}
  learned = {"kind": "class_hue", "tap": "features", "plane": "learned"}
  settings = small_settings(
    objectives={
      "one_hot": {},
      "memory": {"terms": {"t": {**memory, "sectors": 4}}},
      "learned": {"terms": {"t": learned}},
      "ordered": {"label_smoothing": 0.1, "class_order": list(range(10))},
    },
    cost={
      "model": "resnet8",
      "model_options": {"stem": "small", "width": 4},
      "num_classes": 1000,
      "image_size": 16,
      "batch_size": 8,
      "repeats": 6,
    },
  )
  measure_costs(settings, tmp_path)
  found = read_costs(tmp_path)
  costs = {cost.objective: cost for cost in found["costs"]}
  one_hot = costs["one_hot"]
  assert next(iter(costs)) == "one_hot"
  assert one_hot.overhead == 0
  low, high = costs["memory"].overhead_interval
  assert low <= costs["memory"].overhead <= high
  assert one_hot.step_milliseconds > 0
  assert costs["memory"].gigaflops > one_hot.gigaflops > 0
  assert costs["memory"].kept == 1000 * 4 * 8 + 1000
  assert costs["memory"].parameters == one_hot.parameters
  assert costs["learned"].parameters == one_hot.parameters + 2 * 16
  assert costs["ordered"].parameters == one_hot.parameters
  assert read_costs(tmp_path / "elsewhere") is None
  (tmp_path / "cost.json").write_text("{}")
  with pytest.raises(InputError, match=r"cost.json cannot be read"):
    read_costs(tmp_path)
