"""The pieces of benchmarks/input_pipeline.py."""

import numpy as np
import pytest

from benchmarks import input_pipeline
from hue_jax.data.datasets import open_dataset


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  """A folder with few photographs and thumbnails."""
  folder = str(tmp_path_factory.mktemp("photographs"))
  for name, pixels in (("photographs", "500 × 375"), ("thumbnails", "32 × 32")):
    told = input_pipeline.write_data(folder, name, 16)
    assert f"{name}: 16 of {pixels} pixels" in told
  return folder


@pytest.mark.slow
@pytest.mark.parametrize("recipe", ["goyal90", "rsb_a2", "small_image"])
def test_plain_pipelines_make_what_a_step_takes(folder, recipe):
  settings = input_pipeline.settings_of(recipe, 6)
  small = recipe == "small_image"
  dataset = open_dataset("thumbnails" if small else "photographs", folder)
  size = settings["image_size"]
  assert (settings["augmentation"].crop == "pad") == small
  for antialias in (False, True):
    data = input_pipeline.plain_batches(dataset, settings, antialias)
    batch = next(data.as_numpy_iterator())
    assert batch["image"].shape == (6, size, size, 3)
    assert batch["image"].dtype == np.float32
    # Normalized: black and white are about -2 and 2.6.
    assert -3 < batch["image"].min() < -0.5
    assert 0.5 < batch["image"].max() < 4
    assert set(batch["label"]) <= set(range(8))
    if recipe == "rsb_a2":
      assert (batch["label"][0::3] == batch["label"][2::3]).all()
