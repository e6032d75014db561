"""The report in a browser without a network: pickers, clicks, keys, phone and dark."""

import base64
import io

import numpy as np
import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select, WebDriverWait

from hue_jax.observe.observation_report import write_report
from tests.helpers.browser import emulated, offline_chromium
from tests.helpers.hostile_names import HOSTILE, hostile


@pytest.fixture(scope="module")
def browser():
  """Chromium that reaches nothing but files."""
  with offline_chromium() as chrome:
    yield chrome


@pytest.fixture(scope="module")
def url(observed, tmp_path_factory):
  folder = tmp_path_factory.mktemp("page")
  write_report(hostile(observed), observed["viewer"], folder)
  return (folder / "report.html").as_uri()


@pytest.fixture
def page(browser, url):
  """The page, just opened; nothing may have been said on the console at the end."""
  browser.get(url)
  yield browser
  assert browser.get_log("browser") == []


def _pick(page, picker, value):
  Select(page.find_element(By.ID, picker)).select_by_value(value)


def _pixels(page, canvas) -> bytes:
  """The canvas as PNG."""
  uri = page.execute_script(
    "return document.getElementById(arguments[0]).toDataURL()", canvas
  )
  return base64.b64decode(uri.split(",")[1])


def _neighbors(page):
  figures = page.find_elements(By.CSS_SELECTOR, "#neighbors .neighbor")
  return [
    tuple(int(figure.get_attribute(f"data-{name}")) for name in ("image", "x", "y"))
    for figure in figures
  ]


def _expected(observed, tap, image, row, column):
  layer = observed["viewer"].layers[tap]
  where = (image, row, column)
  return list(
    zip(
      layer.neighbor_image[where].tolist(),
      layer.neighbor_x[where].tolist(),
      layer.neighbor_y[where].tolist(),
      strict=True,
    )
  )


def _wait(page, condition):
  WebDriverWait(page, 10).until(lambda _: condition())


@pytest.mark.slow
def test_the_layer_picker_changes_what_is_shown(page):
  def visible():
    figures = page.find_elements(By.CSS_SELECTOR, "figure[data-tap]")
    return {f.get_attribute("data-tap") for f in figures if f.is_displayed()}

  assert visible() == {"stem"}
  before = _pixels(page, "colored")
  _pick(page, "layer", "stage2")
  assert visible() == {"stage2"}
  _wait(page, lambda: _pixels(page, "colored") != before)
  picked = page.find_elements(By.CSS_SELECTOR, "tr.picked")
  assert {row.get_attribute("data-tap") for row in picked} == {"stage2"}
  _pick(page, "layer", "features")
  notes = page.find_elements(By.CSS_SELECTOR, ".absent")
  assert [note.is_displayed() for note in notes] == [True, True, False]


def test_the_class_picker_changes_the_images(page, observed):
  images = page.find_elements(By.CSS_SELECTOR, "#images canvas")
  assert len(images) == 12
  _pick(page, "class", "0")
  images = page.find_elements(By.CSS_SELECTOR, "#images canvas")
  labels = observed["viewer"].labels[:12]
  assert len(images) == np.sum(labels == 0)
  assert HOSTILE[0] in page.find_element(By.ID, "image-caption").text


@pytest.mark.parametrize("place", [(0.1, 0.1), (0.9, 0.35)])
def test_a_click_on_a_pixel_shows_its_neighbors(page, observed, place):
  _pick(page, "layer", "stage1")
  page.find_element(By.ID, "image-5").click()
  canvas = page.find_element(By.ID, "colored")
  page.execute_script("arguments[0].scrollIntoView({block: 'center'})", canvas)
  x, y = place
  width, height = canvas.size["width"], canvas.size["height"]
  actions = webdriver.ActionChains(page)
  actions.move_to_element_with_offset(
    canvas, int((x - 0.5) * width), int((y - 0.5) * height)
  ).click().perform()
  layer = observed["viewer"].layers["stage1"]
  row, column = (
    int(np.argmin(np.abs(lines - (at * 8 - 0.5))))
    for lines, at in ((layer.rows, y), (layer.columns, x))
  )
  _wait(page, lambda: len(_neighbors(page)) == 3)
  assert _neighbors(page) == _expected(observed, "stage1", 5, row, column)
  labels = observed["viewer"].labels
  for figure, (image, _, _) in zip(
    page.find_elements(By.CSS_SELECTOR, ".neighbor"), _neighbors(page), strict=True
  ):
    same = labels[image] == labels[5]
    assert ("same" in figure.get_attribute("class").split()) == same
    assert ("same class" in figure.text) == same
  _pick(page, "layer", "stage2")
  _wait(page, lambda: not _neighbors(page))


def test_keys_pick_as_a_pointer_does(page, observed):
  _pick(page, "layer", "stage1")
  canvas = page.find_element(By.ID, "colored")
  canvas.send_keys(Keys.ARROW_RIGHT)  # the first shows the cursor
  canvas.send_keys(Keys.ARROW_RIGHT)
  canvas.send_keys(Keys.ARROW_DOWN)
  canvas.send_keys(Keys.ARROW_DOWN)
  canvas.send_keys(Keys.ENTER)
  _wait(page, lambda: len(_neighbors(page)) == 3)
  assert _neighbors(page) == _expected(observed, "stage1", 0, 2, 1)
  page.find_element(By.ID, "images").send_keys(Keys.ARROW_RIGHT)
  _wait(page, lambda: not _neighbors(page))
  selected = page.find_element(By.CSS_SELECTOR, '#images [aria-selected="true"]')
  assert selected.get_attribute("id") == "image-1"


def test_the_image_that_is_shown_is_the_one_picked(page, observed):
  page.find_element(By.ID, "image-7").click()
  viewer = observed["viewer"]
  size = viewer.images.shape[1]

  def shown():
    pixels = np.asarray(Image.open(io.BytesIO(_pixels(page, "image"))))[:, :, 0]
    step = 336 // size
    centers = pixels[step // 2 :: step, step // 2 :: step][:size, :size]
    gaps = np.abs(centers - viewer.images[:12, :, :, 0].astype(int)).mean(axis=(1, 2))
    return int(np.argmin(gaps))

  _wait(page, lambda: shown() == 7)


def test_hostile_names_are_text_and_do_not_run(page):
  body = page.find_element(By.TAG_NAME, "body").text
  assert HOSTILE[0] in body
  options = Select(page.find_element(By.ID, "class")).options
  assert {option.text for option in options} >= set(HOSTILE[:3])


def test_a_phone_does_not_scroll_sideways(page):
  with emulated(page, 360, 740):
    page.refresh()
    width, inner = page.execute_script(
      "return [document.scrollingElement.scrollWidth, window.innerWidth]"
    )
  assert inner == 360
  assert width <= 360


def test_dark_where_the_reader_wants_dark(page):
  def background():
    return page.execute_script("return getComputedStyle(document.body).backgroundColor")

  def figure():
    return page.execute_script(
      "return document.querySelector('picture img').currentSrc"
    )

  light, light_figure = background(), figure()
  media = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
  page.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
  try:
    assert light == "rgb(255, 255, 255)"
    assert background() == "rgb(22, 25, 29)"
    _wait(page, lambda: figure() != light_figure)
  finally:
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
