"""The quickstart notebook runs from top to bottom and shows what it says."""

import base64
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

_NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "quickstart.ipynb"
_NUMBER = r"(\d+\.\d+)"


def _read():
  return nbformat.read(_NOTEBOOK, as_version=4)


def test_the_notebook_is_kept_without_outputs():
  notebook = _read()
  nbformat.validate(notebook)
  cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
  assert cells
  for cell in cells:
    assert cell.outputs == []
    assert cell.execution_count is None


@pytest.mark.slow
def test_the_notebook_runs(monkeypatch, tmp_path):
  outputs = _outputs_of_run(monkeypatch, tmp_path)
  text = "".join(out["text"] for out in outputs if out.output_type == "stream")

  (largest,) = _numbers(rf"largest difference from colorsys: {_NUMBER} degrees", text)
  assert 1.0 < largest < 1.2

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

  pictures = [
    base64.b64decode(out.data["image/png"])
    for out in outputs
    if "image/png" in out.get("data", {})
  ]
  assert len(pictures) == 4
  folder = os.environ.get("HUE_JAX_NOTEBOOK_PICTURES")
  for index, picture in enumerate(pictures):
    assert picture.startswith(b"\x89PNG")
    assert len(picture) > 10_000
    if folder:
      (Path(folder) / f"quickstart_{index}.png").write_bytes(picture)


def _outputs_of_run(monkeypatch, folder):
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")
  monkeypatch.setenv("PYTHONPATH", str(_NOTEBOOK.parents[1]))
  monkeypatch.delenv("XLA_FLAGS", raising=False)
  # Another backend than the notebook's own would keep the figures out of it.
  monkeypatch.delenv("MPLBACKEND", raising=False)
  notebook = _read()
  NotebookClient(
    notebook,
    timeout=900,
    kernel_name="python3",
    resources={"metadata": {"path": str(folder)}},
  ).execute(env=dict(os.environ))
  return [out for cell in notebook.cells for out in cell.get("outputs", [])]


def _numbers(pattern, text):
  found = re.search(pattern, text)
  assert found, f"nothing matches {pattern!r} in:\n{text}"
  return [float(number) for number in found.groups()]
