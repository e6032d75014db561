"""What reports share: figures for two themes, and settings in words."""

from pathlib import Path

import pytest

import hue_jax
from hue_jax.compare import figures
from hue_jax.compare.across_studies import across_studies
from hue_jax.compare.analysis import analyze
from hue_jax.pages.figures import DARK, LIGHT, in_dark, svg
from hue_jax.pages.files import in_words
from tests.helpers.drawings import without_ids
from tests.helpers.planted_study import settings_of, write_study


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
  objectives = {"sectors": {"terms": {}}, "smoothing": {"label_smoothing": 0.1}}
  return [
    analyze(
      write_study(
        tmp_path_factory.mktemp(dataset),
        settings_of(objectives, title=dataset, dataset=dataset),
        {"sectors": 0.01},
      )
    )
    for dataset in ("digits", "elpv")
  ]


@pytest.mark.parametrize(
  "draw",
  [
    lambda studies, theme: figures.gains(studies, theme),
    lambda studies, theme: figures.forest(across_studies(studies), theme),
    lambda studies, theme: figures.learning_curves(studies[0], theme),
    lambda studies, theme: figures.robustness(studies[0], theme),
  ],
  ids=["gains", "forest", "curves", "robustness"],
)
def test_a_figure_differs_between_themes_in_its_colors_alone(studies, draw):
  light, dark = (svg(draw(studies, theme)) for theme in (LIGHT, DARK))
  assert without_ids(in_dark(light)) == without_ids(dark) != without_ids(light)


def test_names_of_any_length_are_within_the_figure(studies):
  """What is written to the left of an axis begins within the page."""
  figure = figures.gains(studies, LIGHT)
  svg(figure)
  (axis,) = figure.axes
  assert all(label.get_window_extent().x0 > 0 for label in axis.get_yticklabels())


@pytest.mark.parametrize(
  ("value", "words"),
  [
    ({"stem": "small", "width": 8}, "stem small, width 8"),
    ({"a": {"b": (1, 2)}, "c": {}}, "a (b (1, 2)), c none"),
    ((), "none"),
    (None, "none"),
    ("", "none"),
    (True, "yes"),
    (0.5, "0.5"),
    (["stem", "stage1"], "stem, stage1"),
  ],
)
def test_a_setting_is_told_in_words(value, words):
  assert in_words(value) == words


_TEMPLATES = sorted(Path(hue_jax.__file__).parent.glob("*/report_page/*.html"))


@pytest.mark.parametrize(
  "path", _TEMPLATES, ids=lambda path: f"{path.parts[-3]}-{path.stem}"
)
def test_every_page_of_a_report_extends_the_one_page(path):
  """Its head, with the policy of what may run, is written nowhere else."""
  text = path.read_text()
  assert text.startswith('{% extends "pages/page.html" %}')
  for of_the_one_page in ("<html", "<head>", "<script", "Content-Security-Policy"):
    assert of_the_one_page not in text
