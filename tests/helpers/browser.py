"""Chromium without a window, that reaches nothing but files."""

import contextlib
import shutil
from collections.abc import Iterator

from selenium import webdriver


@contextlib.contextmanager
def offline_chromium() -> Iterator[webdriver.Chrome]:
  """Yields headless Chromium; it must be installed."""
  binary, driver = shutil.which("chromium"), shutil.which("chromedriver")
  assert binary, "chromium is not installed: apt-get install chromium chromium-driver"
  assert driver, "chromedriver is not installed: apt-get install chromium-driver"
  options = webdriver.ChromeOptions()
  options.binary_location = binary
  for argument in (
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--window-size=1200,900",
    "--proxy-server=127.0.0.1:9",
    "--host-resolver-rules=MAP * ~NOTFOUND",
  ):
    options.add_argument(argument)
  options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
  with webdriver.Chrome(
    options=options, service=webdriver.ChromeService(driver)
  ) as chrome:
    chrome.execute_cdp_cmd("Network.enable", {})
    chrome.execute_cdp_cmd(
      "Network.emulateNetworkConditions",
      {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0},
    )
    yield chrome


@contextlib.contextmanager
def emulated(page: webdriver.Chrome, width: int, height: int) -> Iterator[None]:
  """Shows pages as a phone of that size does."""
  page.execute_cdp_cmd(
    "Emulation.setDeviceMetricsOverride",
    {"width": width, "height": height, "deviceScaleFactor": 2, "mobile": True},
  )
  try:
    yield
  finally:
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
