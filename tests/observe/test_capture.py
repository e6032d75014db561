"""What is on disk is what the network computes; stopped anywhere, a capture goes on."""

import errno
import itertools
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from hue_jax.errors import InputError
from hue_jax.observe import capture as capturing
from hue_jax.observe.capture import Sample, capture
from hue_jax.observe.vector_store import open_store, sample_positions
from tests.helpers.data_sets import written
from tests.helpers.pictures import pictures
from tests.helpers.small_network import small_network, small_sample


@pytest.fixture(scope="module")
def sample(digits):
  return small_sample(digits)


@pytest.fixture(scope="module")
def network():
  return small_network()


def _layers(network, sample):
  """Of all images, without the store."""
  images = sample.pictures(network, np.arange(len(sample.labels)))
  return {tap: np.asarray(layer) for tap, layer in network.layers(images).items()}


def test_every_position_of_every_layer(network, sample, tmp_path):
  store = capture(network, sample, tmp_path, dtype="float32", batch_size=16)
  expected = _layers(network, sample)
  assert store.taps == tuple(expected)
  for tap in ("stem", "stage2"):
    layer = store.layer(tap)
    height, width, channels = layer.shape
    assert expected[tap].shape == (40, *layer.shape)
    assert layer.vectors.shape == (40 * height * width, channels)
    np.testing.assert_allclose(
      layer.vectors, expected[tap][layer.image, layer.y, layer.x], rtol=1e-5, atol=1e-6
    )
    assert len({*zip(layer.image, layer.y, layer.x, strict=True)}) == len(layer.vectors)
    np.testing.assert_array_equal(layer.label, sample.labels[layer.image])
  pooled = store.layer("features")
  assert pooled.shape == (1, 1, 8)
  np.testing.assert_allclose(pooled.vectors, expected["features"], rtol=1e-5, atol=1e-6)


def test_a_sample_of_positions(network, sample, tmp_path):
  store = capture(
    network, sample, tmp_path, taps=("stem",), positions_per_image=5, batch_size=8
  )
  layer = store.layer("stem")
  assert layer.vectors.dtype == np.float16
  assert len(layer.vectors) == 40 * 5
  places = (layer.y * 8 + layer.x).reshape(40, 5)
  assert all(len(set(row)) == 5 for row in places)
  expected = _layers(network, sample)["stem"][layer.image, layer.y, layer.x]
  np.testing.assert_allclose(layer.vectors, expected, rtol=2e-3, atol=1e-3)


def test_positions_are_uniform_and_a_function_of_seed_and_image():
  images = np.arange(3000)
  positions = sample_positions(7, images, 4, 5, 6)
  assert (np.diff(positions, axis=1) > 0).all()
  # Each of 20 positions is drawn with probability 6/20; 5 standard deviations.
  counts = np.bincount(positions.ravel(), minlength=20)
  np.testing.assert_allclose(counts, 900, atol=5 * 25.1)
  alone = sample_positions(7, images[100:101], 4, 5, 6)
  np.testing.assert_array_equal(alone, positions[100:101])
  assert (sample_positions(8, images, 4, 5, 6) != positions).any()


def test_devices_and_batches_change_nothing(network, sample, tmp_path, monkeypatch):
  settings = {"positions_per_image": 3, "dtype": "float32"}
  eight = capture(network, sample, tmp_path / "8", batch_size=24, **settings)
  monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
  one = capture(network, sample, tmp_path / "1", batch_size=64, **settings)
  for tap in one.taps:
    np.testing.assert_allclose(
      eight.layer(tap).vectors, one.layer(tap).vectors, rtol=1e-5, atol=1e-6
    )


def test_an_interrupted_capture_goes_on(network, sample, tmp_path, monkeypatch):
  whole = capture(network, sample, tmp_path / "whole", batch_size=8)
  monkeypatch.setattr(capturing, "_BATCHES_BETWEEN_MARKS", 1)
  write, written = capturing.Store.write, []

  def failing(self, tap, first_image, vectors):
    written.append(first_image)
    if first_image >= 24:
      raise KeyboardInterrupt
    write(self, tap, first_image, vectors)

  monkeypatch.setattr(capturing.Store, "write", failing)
  with pytest.raises(KeyboardInterrupt):
    capture(network, sample, tmp_path / "part", batch_size=8)
  store = open_store(tmp_path / "part")
  assert store.num_done == 24
  with pytest.raises(InputError, match="holds 24 of 40 images"):
    store.layer("stem")

  seen = []
  monkeypatch.setattr(
    capturing.Store,
    "write",
    lambda self, tap, first, vectors: (
      seen.append(first),
      write(self, tap, first, vectors),
    ),
  )
  again = capture(network, sample, tmp_path / "part", batch_size=8)
  assert min(seen) == 24  # what was complete is not computed again
  for tap in whole.taps:
    np.testing.assert_array_equal(
      again.layer(tap).vectors[:], whole.layer(tap).vectors[:]
    )
  seen.clear()
  capture(network, sample, tmp_path / "part", batch_size=8)
  assert not seen


@pytest.mark.slow
def test_a_full_disk_is_named_and_costs_nothing(network, sample, tmp_path, monkeypatch):
  whole = capture(network, sample, tmp_path / "whole", batch_size=8)
  monkeypatch.setattr(capturing, "_BATCHES_BETWEEN_MARKS", 1)
  calls = itertools.count()
  pwrite = os.pwrite

  def full(descriptor, data, start):
    if next(calls) == 17:
      raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    return pwrite(descriptor, data, start)

  monkeypatch.setattr(os, "pwrite", full)
  part = tmp_path / "part"
  with pytest.raises(OSError, match="No space left on device") as caught:
    capture(network, sample, part, batch_size=8)
  assert Path(caught.value.filename).name == "vectors.npy"
  assert 0 < open_store(part).num_done < 40
  again = capture(network, sample, part, batch_size=8)
  for tap in whole.taps:
    np.testing.assert_array_equal(
      again.layer(tap).vectors[:], whole.layer(tap).vectors[:]
    )


def test_a_log_gets_a_line_of_the_progress(network, sample, tmp_path, capfd):
  capture(network, sample, tmp_path, batch_size=8)
  lines = capfd.readouterr().err.splitlines()
  told = [line for line in lines if line.startswith("capturing small: ")]
  assert len(told) == 1
  assert told[0].startswith("capturing small: 40 of 40 images in ")


class TestForeignStores:
  @pytest.fixture
  def folder(self, network, sample, tmp_path):
    capture(network, sample, tmp_path, taps=("stem", "stage1"), batch_size=8)
    return tmp_path

  def test_another_network(self, sample, folder):
    with pytest.raises(InputError, match="another capture: its network is"):
      capture(
        small_network(seed=1), sample, folder, taps=("stem", "stage1"), batch_size=8
      )

  def test_another_layer(self, network, sample, folder):
    with pytest.raises(InputError, match="its taps is"):
      capture(network, sample, folder, taps=("stem",), batch_size=8)
    with pytest.raises(
      InputError, match=r"'stage2' is not in store .* has stem, stage1"
    ):
      open_store(folder).layer("stage2")

  def test_other_images(self, network, digits, folder):
    other = small_sample(digits, seed=1)
    with pytest.raises(InputError, match="is of 40 other images"):
      capture(network, other, folder, taps=("stem", "stage1"), batch_size=8)

  def test_cut_short(self, folder):
    path = folder / "stage1" / "vectors.npy"
    size = path.stat().st_size
    os.truncate(path, size - 2)
    with pytest.raises(InputError, match=rf"{size - 2} bytes; {size} are expected"):
      open_store(folder)
    path.write_bytes(b"")
    with pytest.raises(InputError, match="cannot be read"):
      open_store(folder)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
      open_store(folder)

  @pytest.mark.slow
  @pytest.mark.parametrize("value", ["absent", None, "3", [], {}, {"stem": [1]}])
  @pytest.mark.parametrize(
    "path",
    [
      *(("version",), ("identity",), ("num_images",), ("num_done",)),
      *(("identity", "positions_per_image"), ("identity", "dtype")),
      *(("identity", "taps"), ("identity", "taps", "stem")),
    ],
  )
  def test_any_part_of_a_manifest_that_is_wrong(self, folder, path, value):
    if (path[-1], value) == ("taps", {}):
      return  # of a store without a layer, which is not this one
    manifest = json.loads((folder / "manifest.json").read_text())
    *outer, last = path
    part = manifest
    for name in outer:
      part = part[name]
    part[last] = value
    if value == "absent":
      del part[last]
    (folder / "manifest.json").write_text(json.dumps(manifest))
    if path == ("identity", "taps", "stem") and value == "absent":
      assert open_store(folder).taps == ("stage1",)
      return
    with pytest.raises(InputError, match="manifest of a store of version 1; remove"):
      open_store(folder)

  def test_damaged_manifest_or_labels(self, folder):
    manifest = json.loads((folder / "manifest.json").read_text())
    np.save(folder / "labels.npy", np.zeros(7))
    with pytest.raises(InputError, match=r"labels.npy is an array of shape \(7,\)"):
      open_store(folder)
    (folder / "manifest.json").write_text(json.dumps(manifest | {"version": 99}))
    with pytest.raises(InputError, match="not the manifest of a store of version 1"):
      open_store(folder)
    (folder / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="holds no store that can be read"):
      open_store(folder)

  def test_no_store(self, tmp_path):
    with pytest.raises(InputError, match="holds no store"):
      open_store(tmp_path / "nothing")


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"taps": ("stage9",)}, "a tap of network small is 'stage9'; it must be one of"),
    ({"dtype": "bfloat16"}, "dtype is 'bfloat16'; it must be one of float16, float32"),
    ({"positions_per_image": -1}, "positions_per_image is -1"),
    ({"batch_size": 12}, "batch_size is 12; it must be a multiple of 8"),
    ({"seed": -1}, "seed is -1"),
  ],
)
def test_what_cannot_be_captured(network, sample, tmp_path, settings, message):
  with pytest.raises(InputError, match=message):
    capture(network, sample, tmp_path / "store", **settings)
  assert not (tmp_path / "store").exists()


def test_activations_that_cannot_be_kept(sample, tmp_path):
  large = small_network(scale=1e6)
  with pytest.raises(InputError, match=r"layer stem has activations up to .* float32"):
    capture(large, sample, tmp_path / "16", batch_size=8)
  capture(large, sample, tmp_path / "32", dtype="float32", batch_size=8)
  broken = small_network(scale=np.nan)
  with pytest.raises(InputError, match="not finite; the network's weights"):
    capture(broken, sample, tmp_path / "nan", dtype="float32", batch_size=8)


def test_what_was_captured_of_other_pictures_is_refused(
  network, sample, tmp_path, monkeypatch
):
  """Of a folder whose pictures change, names and numbers stay; the contents tell."""
  capture(network, sample, tmp_path, batch_size=8)
  monkeypatch.setattr(type(sample.dataset), "identity", lambda _: "0123456789abcdef")
  with pytest.raises(InputError, match="0123456789abcdef"):
    capture(network, sample, tmp_path, batch_size=8)


_SCRIPT = """
  import sys
  sys.path[:0] = [sys.argv[1], sys.argv[2]]
  import jax
  if len(sys.argv) > 5:
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(f"localhost:{sys.argv[5]}", 2, int(sys.argv[6]))
  from tests.helpers.small_network import small_network, small_sample
  from hue_jax.data.datasets import open_dataset
  from hue_jax.observe import capture as capturing
  capturing._BATCHES_BETWEEN_MARKS = 1
  sample = small_sample(open_dataset("digits", sys.argv[3]), per_class=20)
  capturing.capture(small_network(), sample, sys.argv[4], batch_size=8)
"""


def _start(digits_dir, folder, *more, devices=1):
  here = Path(__file__).parent
  arguments = [str(here), str(here.parents[1]), digits_dir, str(folder), *more]
  # The program of this process, to the bit; of a flag that is there twice, the last.
  flags = f"{os.environ['XLA_FLAGS']} --xla_force_host_platform_device_count={devices}"
  return subprocess.Popen(
    [sys.executable, "-c", textwrap.dedent(_SCRIPT), *map(str, arguments)],
    env=os.environ | {"XLA_FLAGS": flags},
  )


@pytest.mark.slow
def test_a_killed_capture_goes_on(digits, digits_dir, network, tmp_path):
  sample = small_sample(digits, per_class=20)
  folder = tmp_path / "killed"
  process = _start(digits_dir, folder)
  deadline = time.monotonic() + 120
  while process.poll() is None and time.monotonic() < deadline:
    manifest = folder / "manifest.json"
    if manifest.exists() and json.loads(manifest.read_text())["num_done"] >= 24:
      process.send_signal(signal.SIGKILL)
      break
    time.sleep(0.01)
  process.wait(timeout=300)
  assert 24 <= open_store(folder).num_done <= 200
  store = capture(network, sample, folder, batch_size=8)
  whole = capture(network, sample, tmp_path / "whole", batch_size=8)
  for tap in whole.taps:
    np.testing.assert_array_equal(
      store.layer(tap).vectors[:], whole.layer(tap).vectors[:]
    )


@pytest.mark.slow
def test_two_processes_fill_one_store(digits, digits_dir, network, tmp_path):
  sample = small_sample(digits, per_class=20)
  import socket

  with socket.socket() as listener:
    listener.bind(("localhost", 0))
    port = listener.getsockname()[1]
  folder = tmp_path / "two"
  processes = [
    _start(digits_dir, folder, port, process, devices=2) for process in range(2)
  ]
  assert [process.wait(timeout=3000) for process in processes] == [0, 0]
  whole = capture(network, sample, tmp_path / "one", batch_size=8)
  for tap in whole.taps:
    np.testing.assert_allclose(
      open_store(folder).layer(tap).vectors, whole.layer(tap).vectors, rtol=2e-3
    )


@pytest.mark.parametrize("channels", [1, 3])
def test_what_is_captured_of_a_picture_is_what_it_shows(tmp_path, channels):
  """Gray, transparent, of 16 bits, turned, in any format: as of its plain PNG."""
  some = [picture for picture in pictures() if not picture.tolerance]
  assert len(some) > 40
  network = small_network(channels=channels)
  layers = []
  for name, contents in (
    ("as_they_are", [picture.contents for picture in some]),
    ("as_shown", [picture.as_shown() for picture in some]),
  ):
    dataset = written(str(tmp_path), name, contents)
    count = np.arange(len(some))
    sample = Sample(dataset, "train", count, count.astype(np.int32))
    store = capture(network, sample, tmp_path / name, dtype="float32", batch_size=16)
    layers.append({tap: store.layer(tap).vectors for tap in store.taps})
  for tap, found in layers[0].items():
    np.testing.assert_array_equal(found, layers[1][tap])
    assert len(np.unique(found, axis=0)) > 10
