"""Notebooks: they are what their texts say, install themselves, run, and show it."""

import base64
import importlib.util
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
import numpy as np
import pytest

_ROOT = Path(__file__).resolve().parents[1]


def _load_build():
  spec = importlib.util.spec_from_file_location(
    "build_notebooks", _ROOT / "notebooks" / "build.py"
  )
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


build = _load_build()
_NUMBER = r"([+-]?\d+\.\d+)"


def _stored(name):
  return nbformat.read(build.FOLDER / f"{name}.ipynb", as_version=4)


def _code(notebook):
  return [cell for cell in notebook.cells if cell.cell_type == "code"]


# --- Texts and what is kept -------------------------------------------------------


def test_every_notebook_is_here():
  assert set(build.NAMES) == set(_SHOWS)
  assert {path.stem for path in build.FOLDER.glob("*.ipynb")} == set(build.NAMES)


@pytest.mark.parametrize("name", build.NAMES)
def test_a_notebook_is_what_its_text_says(name):
  def cells(notebook):
    return [
      (cell.cell_type, cell.source, cell.metadata.get("tags", []))
      for cell in notebook.cells
    ]

  notebook = _stored(name)
  nbformat.validate(notebook)
  assert cells(notebook) == cells(build.read_text(name))


@pytest.mark.parametrize("name", build.NAMES)
def test_a_notebook_is_kept_with_what_it_shows(name):
  cells = _code(_stored(name))
  assert [cell.execution_count for cell in cells] == list(range(1, len(cells) + 1))
  assert _pictures(cells)
  # Of the one machine on which it was run it holds nothing.
  for place in (str(_ROOT), tempfile.gettempdir() + os.sep, str(Path.home()) + os.sep):
    assert place not in _printed(cells)
  assert (build.FOLDER / f"{name}.ipynb").stat().st_size < 2_500_000


# --- The address ------------------------------------------------------------------


def test_the_address_is_kept_in_one_place():
  for path in build.pages():
    text = path.read_text(encoding="utf-8")
    assert build.with_address(path, text) == text, "run notebooks/build.py --text"
  assert re.fullmatch(r"https://github\.com/[^/\s]+/hue_jax", build.address())


def test_another_address_reaches_every_notebook_and_badge(monkeypatch):
  monkeypatch.setattr(build, "address", lambda: "https://github.com/else/hue_jax")
  for name in build.NAMES:
    path = build.FOLDER / f"{name}.py"
    text = build.with_address(path, path.read_text(encoding="utf-8"))
    badge, install = jupytext.reads(text, "py:percent").cells[:2]
    assert f"github/else/hue_jax/blob/main/notebooks/{name}.ipynb" in badge.source
    assert 'install("https://github.com/else/hue_jax")' in install.source
  index = _ROOT / "docs" / "notebooks.md"
  text = build.with_address(index, index.read_text(encoding="utf-8"))
  assert text.count("/github/else/hue_jax/blob/main/notebooks/") == len(build.NAMES)


# --- The installation -------------------------------------------------------------


def _first_cell():
  (source,) = {_code(build.read_text(name))[0].source for name in build.NAMES}
  return source


def test_nothing_is_done_where_the_package_is(monkeypatch):
  monkeypatch.setattr(subprocess, "run", None)
  exec(_first_cell(), {})


@pytest.fixture
def without_package(monkeypatch, tmp_path):
  monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
  monkeypatch.setattr(sys, "path", [*sys.path])
  monkeypatch.setenv("TEMPORARILY_DISABLE_PROTOBUF_VERSION_CHECK", "true")
  monkeypatch.chdir(tmp_path)


@pytest.mark.usefixtures("without_package")
def test_it_is_installed_beside_what_is_there(monkeypatch, tmp_path):
  commands = []

  def record(command, **_):
    commands.append(command)
    return subprocess.CompletedProcess(command, 0, "numpy==2.1.3\n", "")

  monkeypatch.setattr(subprocess, "run", record)
  exec(_first_cell(), {})
  clone, listing, install = commands
  assert clone[:2] == ("git", "clone")
  assert build.address() in clone
  assert listing[3:] == ("--disable-pip-version-check", "list", "--format=freeze")
  assert (tmp_path / "installed.txt").read_text() == "numpy==2.1.3\n"
  assert install[-4:] == ("-c", "installed.txt", "-e", "./hue_jax_checkout[notebooks]")
  assert sys.path[0] == str(tmp_path / "hue_jax_checkout")


@pytest.mark.usefixtures("without_package")
def test_without_network_it_is_told_in_a_line(tmp_path):
  source = _first_cell().replace(build.address(), f"file://{tmp_path}/not_there")
  names = {}
  with pytest.raises(Exception, match="not_there") as caught:
    exec(source, names)
  (line,) = caught.value._render_traceback_()
  assert line.startswith("hue_jax was not installed from file://")
  assert "\n" not in line


def test_versions_that_colab_has_are_not_asked_to_change():
  extra = _extra("notebooks")
  assert not {"jax", "jaxlib", "numpy", "tensorflow", "torch"} & set(extra)


def _extra(name):
  config = build.configparser.ConfigParser()
  config.read(_ROOT / "setup.cfg", encoding="utf-8")
  lines = config["options.extras_require"][name].split("\n")
  found = (re.match(r"[\w.-]+", line) for line in lines if line[:1] != "#")
  return [match.group() for match in found if match]


# --- What they show ---------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize("name", build.NAMES)
def test_a_notebook_runs_and_shows_what_it_says(name, monkeypatch, tmp_path):
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")
  monkeypatch.delenv("XLA_FLAGS", raising=False)
  notebook = build.read_text(name)
  build.execute(notebook, tmp_path)
  cells = _code(notebook)
  _SHOWS[name](_printed(cells), cells)
  pictures = _pictures(cells)
  stored = _pictures(_code(_stored(name)))
  assert len(pictures) == len(stored) > 0
  for picture in pictures:
    assert picture.startswith((b"\x89PNG", b"\xff\xd8\xff"))
    assert len(picture) > 8_000


def _hue(text, _):
  (largest,) = _numbers(rf"largest difference from colorsys: {_NUMBER} degrees", text)
  assert 1.0 < largest < 1.2
  (changed,) = _numbers(rf"gray or brightness: {_NUMBER} radians", text)
  assert changed < 1e-5
  squares = re.findall(rf"mean square {_NUMBER}, 2/\(N−1\) {_NUMBER}", text)
  assert len(squares) == 5
  np.testing.assert_allclose(*np.array(squares, float).T, rtol=0.05)
  hues = re.findall(
    r"^(?:hue of one-hot labels|class hues): +(.*)$", text, re.MULTILINE
  )
  assert len(hues) == 2
  assert hues[0] == hues[1]
  fourier, principal = (
    _numbers(rf"{plane}: mean saturation {_NUMBER}", text)[0]
    for plane in ("Fourier", "principal components")
  )
  assert principal > fourier
  assert _numbers(rf"\|sin\(\(θ − φ\)/2\)\|: {_NUMBER}", text)[0] < 1e-5


def _loss(text, _):
  names = ("cross entropy alone", "with position hue", "with class hue")
  for name in names:
    start, end = _numbers(rf"{name}: training loss {_NUMBER} -> {_NUMBER}", text)
    assert end < 0.2 * start, name

  # Each label is learned by the network that was given it, and by no other.
  position, of_class = {}, {}
  for name in ("before training", *names):
    position[name], of_class[name] = _numbers(rf"{name} +{_NUMBER} +{_NUMBER}", text)
  assert position.pop("with position hue") < 0.25
  assert min(position.values()) > 0.6
  assert of_class.pop("with class hue") < 0.5
  assert min(of_class.values()) > 0.6

  assert _numbers(rf"test_top1 +{_NUMBER}", text)[0] > 0.6
  assert _numbers(rf"test_hue/position +{_NUMBER}", text)[0] < 0.5


def _observe(text, cells):
  shares = re.findall(rf"(\w+): {_NUMBER} of the votes are right, {_NUMBER}", text)
  shares = {tap: (float(right), float(chance)) for tap, right, chance in shares}
  assert list(shares) == ["stage3", "stage5", "stage7"]
  assert max(chance for _, chance in shares.values()) < 0.35
  assert shares["stage7"][0] > 0.7
  # The page with the viewer, which is not stored.
  (cell,) = (c for c in cells if build.NOT_STORED in c.metadata.get("tags", []))
  (out,) = cell.outputs
  assert '<iframe srcdoc="' in out.data["text/html"]
  assert "Look for yourself" in out.data["text/html"]


def _study(text, _):
  assert "36 trainings" in text
  means = re.findall(rf"^(\w+) +mean {_NUMBER} %", text, re.MULTILINE)
  means = {name: float(mean) for name, mean in means}
  told = re.findall(
    rf"(\w+) − one_hot: {_NUMBER} points \[{_NUMBER}, {_NUMBER}\]: ([\w ]+);", text
  )
  assert [name for name, *_ in told] == ["smoothing", "hue"]
  for name, gain, low, high, verdict in told:
    gain, low, high = float(gain), float(low), float(high)
    assert low < gain < high
    np.testing.assert_allclose(gain, means[name] - means["one_hot"], atol=0.011)
    expected = "helped" if low > 0 else "hurt" if high < 0 else "not settled"
    assert verdict == expected


_SHOWS = {"1_hue": _hue, "2_loss": _loss, "3_observe": _observe, "4_study": _study}


def _printed(cells):
  return "".join(
    out["text"] for cell in cells for out in cell.outputs if out.output_type == "stream"
  )


def _pictures(cells):
  shown = [out.get("data", {}) for cell in cells for out in cell.outputs]
  found = [data.get(kind) for data in shown for kind in ("image/png", "image/jpeg")]
  return [base64.b64decode(picture) for picture in found if picture]


def _numbers(pattern, text):
  found = re.search(pattern, text)
  assert found, f"nothing matches {pattern!r} in:\n{text}"
  return [float(number) for number in found.groups()]
