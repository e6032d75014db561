"""The site: built with warnings as errors, whole without a network, and its wheel."""

import html.parser
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote, urlsplit

import numpy as np
import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

import hue_jax
from hue_jax import circular, color, losses
from tests.helpers.browser import emulated, offline_chromium

_ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory):
  """The folder of the site; a warning of the build is an error."""
  folder = tmp_path_factory.mktemp("site")
  built = subprocess.run(
    [sys.executable, "-m", "mkdocs", "build", "--quiet", "--strict", "-d", folder],
    cwd=_ROOT,
    env=os.environ | {"NO_MKDOCS_2_WARNING": "1"},
    capture_output=True,
    text=True,
    check=False,
  )
  assert built.returncode == 0, built.stderr
  return folder


# --- What is written --------------------------------------------------------------


class _Page(html.parser.HTMLParser):
  """What a page names: its anchors, where it leads, and what it loads."""

  def __init__(self, path):
    super().__init__()
    self.path = path
    self.anchors, self.links, self.loads = set(), [], []
    self.feed(path.read_text(encoding="utf-8"))

  def handle_starttag(self, tag, attrs):
    """See `HTMLParser`."""
    found = dict(attrs)
    self.anchors.add(found.get("id"))
    if tag == "a" and found.get("href"):
      self.links.append(found["href"])
    if tag == "link" and found.get("rel") in ("stylesheet", "icon", "preload"):
      self.loads.append(found["href"])
    if found.get("src"):
      self.loads.append(found["src"])


@pytest.fixture(scope="module")
def pages(site):
  """Path → what each page names."""
  return {path: _Page(path) for path in site.rglob("*.html") if path.name != "404.html"}


def test_links_and_anchors_lead_somewhere(pages):
  assert len(pages) > 30
  for page in pages.values():
    for link in page.links:
      parts = urlsplit(link)
      if parts.scheme:
        assert parts.scheme in ("http", "https"), link
        continue
      target = page.path.parent / unquote(parts.path) if parts.path else page.path
      target = target.resolve()
      assert target.is_file(), f"{page.path}: {link}"
      if parts.fragment and target.suffix == ".html":
        assert unquote(parts.fragment) in pages[target].anchors, f"{page.path}: {link}"


def test_nothing_is_loaded_from_elsewhere(site, pages):
  for page in pages.values():
    for load in page.loads:
      if load.startswith("data:"):
        continue
      assert not urlsplit(load).netloc, f"{page.path}: {load}"
      path = page.path.parent / unquote(urlsplit(load).path)
      assert path.is_file(), f"{page.path}: {load}"
  for style in site.rglob("*.css"):
    for url in re.findall(r"url\((.*?)\)", style.read_text(encoding="utf-8")):
      assert not re.match(r"[\"']?(https?:)?//", url), f"{style}: {url}"


def test_formulas_are_drawn_by_the_browser_alone(site):
  text = (site / "method.html").read_text(encoding="utf-8")
  formulas = re.findall(r"<math .*?</math>", text, re.DOTALL)
  assert len(formulas) > 8
  for formula in formulas:
    assert "\\" not in formula, formula
  assert 'class="arithmatex"' not in text


def test_every_public_function_is_in_the_reference(pages):
  anchors = {anchor or "" for page in pages.values() for anchor in page.anchors}
  documented = {anchor.rpartition(".")[2] for anchor in anchors if "hue_jax." in anchor}
  modules = (hue_jax, losses, circular, color)
  public = {name for module in modules for name in module.__all__}
  assert sorted(public - documented - _CONSTANTS) == []


_CONSTANTS = {"Axes", "CELLS", "CENTERS", "DECAYS", "MAX_ANGLE"}


# --- In a browser -----------------------------------------------------------------


@pytest.fixture(scope="module")
def browser():
  """Chromium that reaches nothing but files."""
  with offline_chromium() as chrome:
    yield chrome


@pytest.fixture
def wheel(browser, site):
  """The page of the color wheel; nothing may have been said on the console."""
  browser.get((site / "wheel.html").as_uri())
  yield browser
  assert browser.get_log("browser") == []


def _set_channels(page, count):
  page.execute_script(
    "const s = document.querySelector('.hue-wheel-count input');"
    "s.value = arguments[0]; s.dispatchEvent(new Event('input'));",
    count,
  )


def _set_weights(page, weights):
  page.execute_script(
    "document.querySelectorAll('.hue-wheel-sliders input').forEach((s, n) => {"
    "s.value = arguments[0][n]; s.dispatchEvent(new Event('input')); });",
    weights,
  )


def _shown(page):
  """Hue in degrees, chroma, saturation, and the color."""
  return [
    np.asarray(json.loads(value))
    for value in page.execute_script(
      "return [...document.querySelectorAll('.hue-wheel [data-value]')]"
      ".map((one) => one.dataset.value)"
    )
  ]


def _expected(weights):
  a = np.float32(weights)
  numbers = (hue_jax.hue_angle, hue_jax.chroma, hue_jax.saturation)
  hue, chroma, saturation = (float(number(a)) for number in numbers)
  rgb = np.asarray(color.color_layer(a, scale=1.0))
  return [np.rad2deg(hue), chroma, saturation, rgb]


def _agree(page, weights):
  for one, other in zip(_shown(page), _expected(weights), strict=True):
    np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("count", range(3, 9))
def test_the_wheel_says_what_the_library_says(wheel, count):
  rng = np.random.default_rng(count)
  _set_channels(wheel, count)
  for weights in [*rng.uniform(0.02, 1, (5, count)), np.eye(count)[count - 1]]:
    _set_weights(wheel, weights.tolist())
    _agree(wheel, weights)
  _set_weights(wheel, [0.5] * count)
  assert wheel.find_element(By.CSS_SELECTOR, "[data-of=hue]").text == "none: gray"


def test_the_buttons_of_the_wheel_do_what_they_say(wheel):
  weights = np.array([0.7, 0.2, 0.5, 0.1, 0.3])
  _set_channels(wheel, 5)
  for name, expected in {
    "gray": weights + 0.1,
    "halve": weights / 2,
    "roll": np.roll(weights, 1),
    "one": np.eye(5)[1],
  }.items():
    _set_weights(wheel, weights.tolist())
    wheel.find_element(By.CSS_SELECTOR, f"[data-do={name}]").click()
    _agree(wheel, expected)


def test_keys_move_a_channel(wheel):
  slider = wheel.find_elements(By.CSS_SELECTOR, ".hue-wheel-sliders input")[2]
  slider.send_keys(Keys.ARROW_RIGHT, Keys.ARROW_UP, Keys.ARROW_LEFT)
  _agree(wheel, [0.9, 0.5, 0.15])


def test_a_pointer_drags_a_channel_along_its_spoke(wheel):
  picture = wheel.find_element(By.CSS_SELECTOR, ".hue-wheel svg")
  wheel.execute_script("arguments[0].scrollIntoView({block: 'center'})", picture)
  handle = wheel.find_elements(By.CSS_SELECTOR, ".hue-wheel circle")[0]
  length = picture.size["width"] / (2 * 1.28)  # pixels of the weight 1
  drag = webdriver.ActionChains(wheel).click_and_hold(handle)
  drag.move_by_offset(-round(0.5 * length), 30).release().perform()
  # Another movement, let go, moves nothing.
  webdriver.ActionChains(wheel).move_by_offset(20, 0).perform()
  slider = wheel.find_elements(By.CSS_SELECTOR, ".hue-wheel-sliders input")[0]
  weight = float(slider.get_property("value"))
  assert abs(weight - 0.4) < 0.02
  _agree(wheel, [weight, 0.5, 0.1])


@pytest.mark.parametrize("page", ["index", "method", "wheel", "effect", "api/losses"])
def test_a_phone_does_not_scroll_sideways(browser, site, page):
  with emulated(browser, 390, 844):
    browser.get((site / f"{page}.html").as_uri())
    width, inner = browser.execute_script(
      "return [document.scrollingElement.scrollWidth, window.innerWidth]"
    )
  assert inner == 390
  assert width <= 390


def test_dark_where_the_reader_wants_dark(browser, site):
  def brightness():
    browser.get((site / "index.html").as_uri())
    ground = browser.execute_script(
      "return getComputedStyle(document.body).backgroundColor"
    )
    return np.mean([float(part) for part in re.findall(r"[\d.]+", ground)[:3]])

  assert brightness() > 240
  media = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
  browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
  try:
    assert brightness() < 60
  finally:
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_a_word_is_found_from_a_folder(browser, site):
  browser.get((site / "index.html").as_uri())
  field = browser.find_element(By.CSS_SELECTOR, ".md-search__input")
  browser.execute_script("arguments[0].focus()", field)
  field.send_keys("achromatic")
  found = WebDriverWait(browser, 30).until(
    lambda page: page.find_elements(By.CSS_SELECTOR, ".md-search-result__link")
  )
  targets = {link.get_attribute("href").partition("?")[0] for link in found}
  assert (site / "glossary.html").as_uri() in targets
