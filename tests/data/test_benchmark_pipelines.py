"""The pieces of benchmarks/input_pipeline.py and benchmarks/bucket.py."""

import gc
import multiprocessing
import types

import numpy as np
import pytest
from PIL import Image

from benchmarks import bucket, common, input_pipeline, pillow_batches
from hue_jax.data import datasets
from hue_jax.data import input_pipeline as pipeline
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


class _Network:
  """A proxy before a bucket, and what is asked for through it."""

  def __init__(self):
    self.settings, self.requests, self.alive = {}, 0, []

  def ask(self, **settings):
    if settings:
      assert not self.alive, "a pipeline of another side is at work"
      self.settings = settings
    counts = {"requests": self.requests, "bytes": 10 * self.requests, "cpu": 0.5}
    self.requests = 0
    return counts

  def batches(self, *_, order, **__):
    """A pipeline that asks for three batches ahead, and goes on until it is closed."""
    self.alive.append(order)
    started_under = self.settings
    self.requests += 3
    try:
      while True:
        assert self.settings == started_under
        self.requests += 1
        yield {}
    finally:
      self.requests += 2  # What was on its way.
      self.alive.remove(order)


def test_each_side_of_a_bucket_asks_for_its_own_alone(monkeypatch):
  network = _Network()
  monkeypatch.setattr(pipeline, "train_batches", network.batches)
  monkeypatch.setattr(datasets, "open_dataset", lambda *_: None)
  args = types.SimpleNamespace(examples=32, images=24, batch_size=4, delay=0.01)
  counts = {order: [] for order in ("full", "blocks")}
  sides = {
    order: bucket._side(args, "any", order, drop, network.ask, counts[order])
    for order, drop in (("full", 0.0), ("blocks", 0.1))
  }
  seconds = common.alternate(sides, repeats=2)
  assert not network.alive
  # An epoch of 32 by blocks, the 24 images that were asked for in full.
  for order, images in (("full", 24), ("blocks", 32)):
    assert len(seconds[order]) == 2
    assert len(counts[order]) == 3
    for one, second in zip(counts[order][1:], seconds[order], strict=True):
      assert one["images"] == images
      assert one["requests"] == images / 4
      assert second == pytest.approx(one["seconds"] * 24 / images)


@pytest.mark.slow
def test_a_pipeline_with_processes_ends_with_its_round(tmp_path):
  pytest.importorskip("torch")
  path = tmp_path / "red.jpg"
  Image.new("RGB", (60, 40), "red").save(path)
  before = set(multiprocessing.active_children())
  batches = pillow_batches.torch_batches([path] * 8, 16, 4)
  assert next(batches).shape == (4, 16, 16, 3)
  assert set(multiprocessing.active_children()) > before
  del batches
  gc.collect()
  assert set(multiprocessing.active_children()) == before
