"""Training in every framework: it learns, and the hue loss falls."""

import ast
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from hue_jax import hue_loss, position_hue

_FOLDER = Path(__file__).resolve().parents[1] / "examples"
_NAMES = tuple(
  sorted(path.stem for path in _FOLDER.glob("*.py") if path.stem != "digits")
)
# An untrained network tells one digit of ten.
_FLOOR = 80.0


def _functions(name):
  """Name → text of the functions of an example."""
  text = (_FOLDER / f"{name}.py").read_text(encoding="utf-8")
  nodes = ast.parse(text).body
  return {
    node.name: ast.get_source_segment(text, node)
    for node in nodes
    if isinstance(node, ast.FunctionDef)
  }


def test_every_framework_is_here():
  assert _NAMES == (
    "flax_linen",
    "flax_nnx",
    "with_equinox",
    "with_haiku",
    "with_keras",
  )
  page = (_FOLDER.parent / "docs" / "examples.md").read_text(encoding="utf-8")
  assert all(f"`{name}.py`" in page for name in _NAMES)


def test_the_loss_is_the_same_in_each_and_in_the_documentation():
  (objective,) = {_functions(name)["objective"] for name in _NAMES}
  page = (_FOLDER.parent / "docs" / "examples.md").read_text(encoding="utf-8")
  assert objective in page


@pytest.mark.parametrize("name", _NAMES)
def test_a_training_is_thirty_lines(name):
  lines = _functions(name)["train"].splitlines()
  assert len([line for line in lines if line.strip()]) <= 30


@pytest.fixture
def shared(monkeypatch):
  """The examples' folder, from which they import what they share."""
  monkeypatch.syspath_prepend(str(_FOLDER))
  yield
  for name in ("digits", *_NAMES):
    sys.modules.pop(name, None)


@pytest.mark.slow
@pytest.mark.usefixtures("shared")
def test_an_untrained_network_misses_the_floor(monkeypatch):
  import digits
  import flax_linen

  monkeypatch.setattr(digits, "batches", lambda: iter(()))
  assert 100 * flax_linen.train(0.0)["accuracy"] < _FLOOR / 2


@pytest.mark.slow
@pytest.mark.parametrize("name", _NAMES)
def test_it_learns_and_the_hue_loss_falls(name):
  # A process of its own: Keras keeps the backend with which it was first imported.
  done = subprocess.run(
    [sys.executable, str(_FOLDER / f"{name}.py")],
    capture_output=True,
    text=True,
    env={**os.environ, "PYTHONPATH": str(_FOLDER.parent)},
  )
  assert done.returncode == 0, done.stderr
  told = re.findall(r"accuracy ([\d.]+)%, hue loss ([\d.]+)", done.stdout)
  (alone, without), (accuracy, with_loss) = [
    [float(number) for number in line] for line in told
  ]
  assert min(alone, accuracy) > _FLOOR
  assert with_loss < 0.8 * without


def test_the_loss_of_channels_first_is_that_of_channels_last():
  page = (_FOLDER.parent / "docs" / "examples.md").read_text(encoding="utf-8")
  (code,) = (
    block
    for block in re.findall(r"^```python\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
    if "moveaxis" in block
  )
  names = {}
  exec(code, names)
  layer = np.random.default_rng(0).normal(size=(2, 4, 3, 5)).astype(np.float32)
  expected = hue_loss(layer, position_hue(4, 3)).mean()
  found = names["position_loss"](np.moveaxis(layer, -1, 1))
  np.testing.assert_allclose(found, expected, rtol=1e-6)
