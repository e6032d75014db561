"""What a bare environment must be able to do after `pip install hue_jax`.

python smoke_test.py FILE, which lists the data files of the package
"""

import subprocess
import sys
from importlib import metadata
from pathlib import Path

import jax
import numpy as np

import hue_jax
from hue_jax import hue_labels, hue_loss, losses

# Each needs an extra, and says which in a line. `hue_jax.runs` tells its own help.
_COMMANDS = ("observe", "compare", "color", "data.prepare", "export", "predict")


def main() -> None:
  """Tries the library, the data files and the commands."""
  features = np.eye(3, dtype=np.float32)
  loss = jax.jit(hue_loss)(features, hue_labels(np.array([0, 0, 2]), 3))
  np.testing.assert_allclose(loss, [0, 1.5, 0], atol=1e-6)
  layer = np.ones((4, 4, 4, 8), np.float32)
  consistency = losses.angular_consistency_loss(
    layer, np.array([0, 0, 1, 1]), num_classes=2
  )
  np.testing.assert_allclose(consistency, np.log(2), atol=1e-5)
  assert metadata.version("hue_jax") == hue_jax.__version__

  installed = {str(path) for path in metadata.files("hue_jax")}
  wanted = set(Path(sys.argv[1]).read_text().split())
  assert wanted, "no data file is listed"
  assert not wanted - installed, f"not installed: {sorted(wanted - installed)}"
  assert not any(path.startswith(("configs/", "tests/")) for path in installed)

  for command in _COMMANDS:
    _needs_an_extra(command)


def _needs_an_extra(command):
  run = subprocess.run(
    [sys.executable, "-m", f"hue_jax.{command}", "--help"],
    capture_output=True,
    text=True,
    check=False,
  )
  assert run.returncode != 0, f"{command}: {run.stdout}"
  (line,) = run.stderr.splitlines()
  assert line.startswith("error: package "), line
  assert "pip install 'hue_jax[" in line, line


if __name__ == "__main__":
  main()
