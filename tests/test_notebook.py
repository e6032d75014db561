"""The quickstart notebook runs from top to bottom and shows what it says."""

import base64
import os
import re
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

_NOTEBOOK = Path(__file__).resolve().parents[1] / "notebooks" / "quickstart.ipynb"


def _read():
  return nbformat.read(_NOTEBOOK, as_version=4)


def test_the_notebook_is_kept_without_outputs():
  cells = [cell for cell in _read().cells if cell.cell_type == "code"]
  assert cells
  for cell in cells:
    assert cell.outputs == []
    assert cell.execution_count is None


@pytest.mark.slow
def test_the_notebook_runs(monkeypatch):
  monkeypatch.setenv("JAX_PLATFORMS", "cpu")
  monkeypatch.delenv("XLA_FLAGS", raising=False)
  monkeypatch.setenv("PYTHONPATH", str(_NOTEBOOK.parents[1]))
  notebook = _read()
  NotebookClient(notebook, timeout=300, kernel_name="python3").execute(
    env=dict(os.environ)
  )
  outputs = [out for cell in notebook.cells for out in cell.get("outputs", [])]
  text = "".join(out["text"] for out in outputs if out.output_type == "stream")
  largest = re.search(r"largest difference from colorsys: ([\d.]+) degrees", text)
  assert 0.5 < float(largest[1]) < 1.2

  number = r"([\d.]+)"
  losses = re.search(
    rf"with hue: cross entropy {number} -> {number}, hue loss {number} -> {number}",
    text,
  )
  cross_entropy, cross_entropy_end, hue, hue_end = map(float, losses.groups())
  assert cross_entropy_end < 0.5 * cross_entropy
  assert hue_end < 0.7 * hue
  alone = re.search(r"alone: .* hue loss [\d.]+ -> ([\d.]+)", text)
  assert hue_end < 0.5 * float(alone[1])

  pictures = [
    out.data["image/png"] for out in outputs if "image/png" in out.get("data", {})
  ]
  assert len(pictures) == 4
  folder = os.environ.get("HUE_JAX_NOTEBOOK_PICTURES")
  for index, picture in enumerate(pictures):
    content = base64.b64decode(picture)
    assert len(content) > 10_000
    if folder:
      (Path(folder) / f"quickstart_{index}.png").write_bytes(content)
