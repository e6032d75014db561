"""A whole observation of a trained network: its numbers, files and page."""

import base64
import csv
import dataclasses
import hashlib
import html.parser
import io
import json
import re
import shutil

import numpy as np
import pytest
from PIL import Image

from hue_jax.errors import InputError
from hue_jax.observe import capture as capturing
from hue_jax.observe.figures import figures
from hue_jax.observe.observation_report import write_report
from hue_jax.observe.results import Viewer
from hue_jax.observe.run import observe
from hue_jax.pages.figures import DARK, LIGHT, in_dark, svg
from tests.helpers.drawings import without_ids
from tests.helpers.hostile_names import HOSTILE, hostile


class _Page(html.parser.HTMLParser):
  """Tags, their attributes, and text that is not script or style."""

  def __init__(self, text):
    super().__init__()
    self.tags, self.text, self._open = [], [], []
    self.feed(text)

  def handle_starttag(self, tag, attributes):
    self.tags.append((tag, dict(attributes)))
    self._open.append(tag)

  def handle_endtag(self, tag):
    while self._open and self._open.pop() != tag:
      pass

  def handle_data(self, data):
    if not {"script", "style"} & set(self._open):
      self.text.append(data)


@pytest.mark.slow
def test_a_trained_network_tells_its_classes(observed):
  by_layer = observed["results"].observations[0]
  features = by_layer.statistics[0].taps["features"]
  assert features.trained.value > 0.4
  assert features.shuffled.high < 0.3
  assert features.p_value == pytest.approx(1 / 101)
  assert observed["summary"]["by_layer"] == [t for t, h in by_layer.holds.items() if h]


def test_all_four_observations_and_both_controls(observed):
  observations = observed["results"].observations
  assert [o.name for o in observations] == [
    "by_layer",
    "by_position",
    "matches_in_plane",
    "matches_in_space",
  ]
  taps = ["stem", "stage1", "stage2", "stage3", "stage4", "features"]
  assert list(observed["results"].layers["trained"]) == taps
  for observation in observations:
    pooled = observation.name in ("by_layer", "matches_in_space")
    first = observation.statistics[0]
    # Of 8 × 8 pixels the last stage has one position: no image plane.
    assert list(first.taps) == (taps if pooled else taps[:-2])
    for measured in first.taps.values():
      for estimate in (measured.trained, measured.shuffled, measured.untrained):
        if np.isfinite(estimate.value):
          assert estimate.low <= estimate.value + 0.2
          assert estimate.low <= estimate.high
    assert observation.verdict


def test_json_and_csv_hold_every_number(observed):
  text = (observed["folder"] / "results.json").read_text()
  found = json.loads(text, parse_constant=lambda name: pytest.fail(name))
  rows = list(
    csv.DictReader((observed["folder"] / "results.csv").read_text().splitlines())
  )
  for observation, in_json in zip(
    observed["results"].observations, found["observations"], strict=True
  ):
    for statistic, of_json in zip(
      observation.statistics, in_json["statistics"], strict=True
    ):
      for tap, measured in statistic.taps.items():
        for series in ("trained", "shuffled", "untrained"):
          expected = dataclasses.astuple(getattr(measured, series))
          in_csv = [
            row
            for row in rows
            if (row["statistic"], row["tap"], row["series"])
            == (statistic.name, tap, series)
          ]
          assert len(in_csv) == 1
          for name, value in zip(("value", "low", "high"), expected, strict=True):
            kept = of_json["taps"][tap][series][name]
            if np.isfinite(value):
              assert kept == pytest.approx(value)
              assert float(in_csv[0][name]) == pytest.approx(value, rel=1e-6)
            else:
              assert kept is None
              assert in_csv[0][name] == ""


def test_figures_are_drawings(observed):
  expected = {drawn.name for drawn in figures(observed["results"])}
  folder = observed["folder"] / "figures"
  assert {path.stem for path in folder.glob("*.svg")} == expected
  assert "by_layer" in expected
  assert "matches_in_space_stage3" in expected
  for path in folder.glob("*.svg"):
    drawing = re.sub(r"base64,[^\"]*", "", path.read_text())
    assert not re.search(r"\bnan\b", drawing, re.IGNORECASE)


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
def test_figures_of_hostile_names_and_missing_numbers(observed):
  results = hostile(observed)
  observations = [
    dataclasses.replace(observation, curves=_with_gaps(observation.curves))
    for observation in results.observations
  ]
  results = dataclasses.replace(results, observations=tuple(observations))
  for drawn in figures(results):
    # What is drawn for a light page becomes that for a dark one by its colors alone.
    light, dark = (svg(drawn.draw(theme)) for theme in (LIGHT, DARK))
    assert without_ids(in_dark(light)) == without_ids(dark), drawn.name


def _with_gaps(value, name=""):
  """Every second number of every array of floating point is missing."""
  if isinstance(value, dict):
    return {key: _with_gaps(item, key) for key, item in value.items()}
  if value.dtype.kind != "f" or name == "edges":
    return value
  odd = np.arange(value.size).reshape(value.shape) % 2
  return np.where(odd, value, np.nan)


@pytest.fixture(scope="module")
def text(observed, tmp_path_factory):
  """The page of hostile names."""
  folder = tmp_path_factory.mktemp("hostile")
  write_report(hostile(observed), observed["viewer"], folder)
  return (folder / "report.html").read_text()


class TestPage:
  def test_nothing_is_fetched(self, text):
    for tag, attributes in _Page(text).tags:
      for name in ("src", "srcset", "href", "xlink:href"):
        value = attributes.get(name, "#")
        assert value.startswith(("data:", "#")), (tag, value[:80])
    assert "@import" not in text
    assert "url(" not in text
    policy = next(
      attributes["content"]
      for tag, attributes in _Page(text).tags
      if attributes.get("http-equiv") == "Content-Security-Policy"
    )
    assert "default-src 'none'" in policy
    script = re.search(r"<script>(.*)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"'sha256-{digest}'" in policy

  def test_names_are_text(self, text):
    page = _Page(text)
    assert [tag for tag, _ in page.tags].count("script") == 2
    shown = "".join(page.text)
    for name in HOSTILE:
      assert name in shown
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1]
    classes = json.loads(data)["classes"]
    assert set(HOSTILE) <= set(classes.values())

  def test_it_says_claim_verdict_controls_and_provenance(self, text, observed):
    shown = "".join(_Page(text).text)
    for observation in observed["results"].observations:
      assert observation.claim in shown
      assert observation.verdict in shown
      for statistic in observation.statistics:
        assert statistic.definition in shown
    for part in ("untrained [95 %]", "labels shuffled [95 %]", "dead channels"):
      assert part in shown
    for value in observed["results"].provenance.values():
      assert value in shown

  def test_every_picture_has_a_description(self, text):
    images = [attributes for tag, attributes in _Page(text).tags if tag == "img"]
    assert len(images) > 10
    assert all(len(attributes["alt"]) > 20 for attributes in images)

  def test_its_data_are_those_of_the_viewer(self, text, observed):
    viewer = observed["viewer"]
    data = json.loads(re.search(r'id="data">(.*?)</script>', text, re.DOTALL)[1])
    assert data["numShown"] == 12
    layer = data["layers"]["stage2"]
    stored = np.frombuffer(base64.b64decode(layer["neighborImage"]), "<u2")
    np.testing.assert_array_equal(
      stored, viewer.layers["stage2"].neighbor_image.ravel()
    )
    sheet = np.asarray(
      Image.open(io.BytesIO(base64.b64decode(layer["colors"].split(",")[1])))
    )
    height, width = viewer.layers["stage2"].colors.shape[1:3]
    np.testing.assert_array_equal(
      sheet[:height, 3 * width : 4 * width], viewer.layers["stage2"].colors[3]
    )


@pytest.mark.slow
def test_a_report_without_images_to_show(observed, tmp_path):
  empty = Viewer(
    images=np.zeros((0, 8, 8, 1), np.uint8),
    labels=np.zeros(0, int),
    ids=np.zeros(0, int),
    num_shown=0,
    layers={},
  )
  write_report(observed["results"], empty, tmp_path)
  assert "There are no images to show" in (tmp_path / "report.html").read_text()
  assert not list(tmp_path.glob("*.partial"))


def test_the_viewer_shows_neighbors_of_other_images(observed):
  viewer = observed["viewer"]
  for layer in viewer.layers.values():
    own = np.arange(viewer.num_shown)[:, None, None, None]
    assert (layer.neighbor_image != own).all()
    assert (layer.neighbor_image >= 0).all()
    assert (np.diff(layer.neighbor_distance, axis=-1) >= 0).all()
    assert layer.colors.dtype == np.uint8
    assert layer.colors.max() > 100
  assert len(set(viewer.ids)) == len(viewer.ids)


@pytest.mark.slow
def test_a_second_run_captures_nothing_anew(
  observe_config, observed, monkeypatch, tmp_path
):
  shutil.copytree(observed["folder"], tmp_path / "again")
  monkeypatch.setattr(capturing, "_fill", lambda *_: pytest.fail("captured"))
  summary = observe(observe_config, str(tmp_path / "again"))
  for name in ("by_layer", "by_position", "matches_in_plane", "matches_in_space"):
    assert summary[name] == observed["summary"][name]


def test_a_store_of_another_network_is_refused(observe_config, observed, tmp_path):
  shutil.copytree(observed["folder"], tmp_path / "other")
  observe_config.seed = 1
  with pytest.raises(InputError, match="is of another capture: its seed is 0, not 1"):
    observe(observe_config, str(tmp_path / "other"))
