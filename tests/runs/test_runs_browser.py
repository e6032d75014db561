"""The page of runs in a browser: hover, toggles, order of the table, and a phone."""

from pathlib import Path

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select

from hue_jax.runs.page import write_page
from hue_jax.runs.reading import RunFolder
from tests.helpers.browser import emulated, offline_chromium

pytestmark = pytest.mark.slow


def _run(name, top1, width):
  return RunFolder(
    name=name,
    path=Path("/runs") / name,
    settings={"model_options.width": width},
    result={
      "step": 30,
      "test_top1": top1,
      "test_examples": 100,
      "test_cross_entropy": 0.5,
    },
    curves={
      "train/loss": {10: 2.0 * width, 20: 1.0 * width, 30: 0.5 * width},
      "test/top5": {30: top1},
    },
    status="finished",
    told="",
    step=30,
    damage=(),
  )


@pytest.fixture(scope="module")
def url(tmp_path_factory):
  path = tmp_path_factory.mktemp("page") / "runs.html"
  write_page([_run("a", 0.7, 8), _run("b", 0.9, 4), _run("c", 0.8, 16)], path)
  return path.as_uri()


@pytest.fixture(scope="module")
def browser():
  with offline_chromium() as chrome:
    yield chrome


@pytest.fixture
def page(browser, url):
  browser.get(url)
  yield browser
  assert browser.get_log("browser") == []


def _rows(page):
  return [
    row.get_attribute("data-value")
    for row in page.find_elements(By.CSS_SELECTOR, "#table tbody th")
  ]


def test_a_click_on_a_head_sorts_and_another_turns_it_round(page):
  heads = page.find_elements(By.CSS_SELECTOR, "#table thead button")
  by_name = {head.text: head for head in heads}
  assert _rows(page) == ["a", "b", "c"]
  by_name["test top-1, % [95 %]"].click()
  assert _rows(page) == ["a", "c", "b"]
  by_name["test top-1, % [95 %]"].click()
  assert _rows(page) == ["b", "c", "a"]
  by_name["model_options.width"].click()
  assert _rows(page) == ["b", "a", "c"]


def _lines(page):
  paths = page.find_elements(By.CSS_SELECTOR, '[data-name="train/loss"] path')
  return [path.get_attribute("data-run") for path in paths]


def test_a_run_that_is_not_chosen_is_not_drawn(page):
  assert _lines(page) == ["0", "1", "2"]
  page.find_element(By.CSS_SELECTOR, '#table input[data-run="1"]').click()
  assert _lines(page) == ["0", "2"]
  page.find_element(By.CSS_SELECTOR, '#table input[data-run="1"]').click()
  assert _lines(page) == ["0", "1", "2"]


def test_the_numbers_of_a_step_are_shown_where_it_is_pointed_at(page):
  chart = page.find_element(By.CSS_SELECTOR, '[data-name="train/loss"] svg')
  ActionChains(page).scroll_to_element(chart).perform()
  # The axis begins 52 pixels from the left and ends 8 from the right, at step 30.
  width = chart.size["width"]
  right = 52 + (width - 60) * 19 / 30 - width / 2
  ActionChains(page).move_to_element_with_offset(chart, round(right), 0).perform()
  tip = page.find_element(By.CSS_SELECTOR, '[data-name="train/loss"] .tip')
  assert tip.is_displayed()
  assert tip.text.splitlines()[0] == "step 19"
  assert [line.split()[:2] for line in tip.text.splitlines()[1:]] == [
    ["8", "a"],
    ["4", "b"],
    ["16", "c"],
  ]


def test_other_curves_are_one_chart_more(page):
  picker = Select(page.find_element(By.ID, "name"))
  assert [option.text for option in picker.options] == ["none", "test/top5"]
  picker.select_by_visible_text("test/top5")
  assert page.find_elements(By.CSS_SELECTOR, '.chart[data-name="test/top5"] circle')
  picker.select_by_visible_text("none")
  assert not page.find_elements(By.CSS_SELECTOR, '.chart[data-name="test/top5"]')


def test_a_phone_scrolls_tables_and_nothing_else(browser, url):
  with emulated(browser, width=390, height=844):
    browser.get(url)
    widths = browser.execute_script(
      "return [document.documentElement.scrollWidth, innerWidth]"
    )
  assert widths[0] <= widths[1]
