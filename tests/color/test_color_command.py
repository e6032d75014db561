"""The command: a sheet from image files, and one line for what cannot be used."""

import os
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from hue_jax.color import __main__ as command
from hue_jax.color import color_layer, plane_of
from hue_jax.hue import hue_angle
from hue_jax.models import create_model
from hue_jax.train.networks import Network

_SIZE = 16


@pytest.fixture(scope="module")
def network():
  model = create_model("resnet18", num_classes=4, stem="small", width=4)
  images = jnp.zeros((1, _SIZE, _SIZE, 3))
  variables = jax.device_get(
    jax.jit(lambda: model.init(jax.random.key(0), images, train=False))()
  )
  variables.pop("taps")
  return Network(
    name="small",
    model=model,
    variables=variables,
    image_size=_SIZE,
    channels=3,
    crop="none",
    pixel_mean=(0.5,),
    pixel_std=(0.25,),
  )


@pytest.fixture
def files(tmp_path):
  """Images in three folders: RGB, gray, with opacity, and one that is not square."""
  rng = np.random.default_rng(0)
  shapes = {
    "cats/one": (16, 16, 3),
    "cats/two": (16, 16),
    "dogs/three": (16, 16, 4),
    "mice/four": (30, 50, 3),
  }
  paths = []
  for name, shape in shapes.items():
    path = tmp_path / f"{name}.png"
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(rng.integers(0, 256, shape, dtype=np.uint8)).save(path)
    paths.append(str(path))
  return paths


@pytest.fixture
def run(network, monkeypatch, capsys):
  """Runs the command line: its status, what it wrote to stdout, and to stderr."""
  loaded = []

  def load_network(name, model="", **_):
    loaded.append(name)
    return network

  monkeypatch.setattr("hue_jax.train.networks.load_network", load_network)

  def main(*arguments):
    loaded.clear()
    status = command.main([*map(str, arguments), "--network=small"])
    return status, *capsys.readouterr(), len(loaded)

  return main


@pytest.fixture
def refused(run):
  """Runs what must be refused on one line; whether the network was loaded."""

  def main(*arguments):
    status, out, err, loaded = run(*arguments)
    assert status == 2
    assert out == ""
    assert err.count("\n") == 1
    assert err.startswith("error: ")
    return err, bool(loaded)

  return main


@pytest.mark.slow
def test_the_sheet_shows_images_and_colored_layers(run, network, files, tmp_path):
  out = tmp_path / "sheet.png"
  status, said, _, _ = run(*files, f"--out={out}", "--taps=stage2,stem")
  assert status == 0
  assert "4 image(s), stem, stage2 of small" in said
  pixels = np.asarray(Image.open(out))

  # The first image, and its stage2 from the definitions, enlarged.
  image = np.asarray(Image.open(files[0]))
  gray = np.asarray(Image.open(files[1]).convert("RGB"))
  pixels_and_alpha = np.asarray(Image.open(files[2])).astype(np.int64)
  alpha = pixels_and_alpha[..., 3:]
  on_white = (pixels_and_alpha[..., :3] * alpha + 255 * (255 - alpha) + 127) // 255
  others = [gray, on_white.astype(np.uint8)]
  assert _stands_in(pixels, image.repeat(8, 0).repeat(8, 1), left=8)
  assert _stands_in(pixels, others[0].repeat(8, 0).repeat(8, 1), left=8)
  assert _stands_in(pixels, others[1].repeat(8, 0).repeat(8, 1), left=8)
  images = command.read_image_files(files, image_size=_SIZE, crop="none", channels=3)
  colors = np.asarray(color_layer(network.layers(images)["stage2"]))
  for row in range(4):
    layer = np.uint8(np.round(255 * colors[row])).repeat(16, 0).repeat(16, 1)
    assert _stands_in(pixels, layer, left=8 + 2 * 136)


def test_a_folder_is_its_pictures(run, files, tmp_path):
  """At any depth, by name; each folder is a class."""
  status, said, _, _ = run(
    tmp_path, f"--out={tmp_path / 'sheet.png'}", "--taps=stem", "--plane=class_means"
  )
  assert status == 0
  assert "4 image(s), stem of small" in said
  (tmp_path / "sheet.png").unlink()


@pytest.mark.slow
def test_planes_of_principal_components_and_of_class_means(
  run, network, files, tmp_path
):
  sheets = {}
  for plane in ("fourier", "principal", "class_means"):
    out = tmp_path / f"{plane}.png"
    status, *_ = run(*files, f"--out={out}", f"--plane={plane}", "--taps=stage3")
    assert status == 0
    sheets[plane] = np.asarray(Image.open(out)).astype(int)
  images = command.read_image_files(files, image_size=_SIZE, crop="none", channels=3)
  layer = network.layers(images)["stage3"]
  labels = np.array([0, 0, 1, 2])
  for plane, sheet in sheets.items():
    expected = np.asarray(hue_angle(layer, plane_of(plane, layer, labels, 3)))
    colored = command.color_layers({"stage3": layer}, plane, labels)["stage3"]
    apart = (np.asarray(hue_angle(colored)) - expected + np.pi) % (2 * np.pi) - np.pi
    assert np.abs(apart).max() < 1e-4
    picture = np.uint8(np.round(255 * np.asarray(colored)[0]))
    size = 128 // len(picture)
    assert _stands_in(sheet, picture.repeat(size, 0).repeat(size, 1), left=8 + 136)


def test_file_names_that_are_not_utf8(run, files, tmp_path):
  picture, sheet = (tmp_path / os.fsdecode(name) for name in (b"\xe9.png", b"\xe8.png"))
  shutil.copy(files[0], picture)
  status, told, _, _ = run(picture, f"--out={sheet}")
  assert status == 0
  assert sheet.exists()
  assert told.startswith(rf"Wrote {tmp_path}/\xe8.png: 1 image(s)")


def _stands_in(pixels, picture, left):
  height, width = picture.shape[:2]
  column = pixels[:, left : left + width]
  return any(
    np.array_equal(column[top : top + height], picture)
    for top in range(len(column) - height + 1)
  )


@pytest.mark.parametrize("suffix", ["png", "jpg", "webp"])
def test_the_formats_of_the_sheet(run, files, tmp_path, suffix):
  out = tmp_path / f"sheet.{suffix}"
  assert run(files[0], f"--out={out}", "--taps=stem")[0] == 0
  assert Image.open(out).format == {"jpg": "JPEG"}.get(suffix, suffix.upper())
  assert [p.name for p in tmp_path.glob("*.*")] == [out.name]


class TestBadInput:
  def test_before_the_network_is_loaded(self, refused, files, tmp_path):
    out = f"--out={tmp_path / 'sheet.png'}"
    empty, many = tmp_path / "empty", tmp_path / "many"
    os.mkfifo(tmp_path / "pipe.png")
    for folder, count in ((empty, 0), (many, 65)):
      folder.mkdir()
      for i in range(count):
        (folder / f"{i}.png").touch()
    cases = {
      (files[0], "--out=sheet.txt"): "must end in .png",
      (files[0], "--out=sheet"): "must end in .png",
      (files[0], f"--out={tmp_path}/none/sheet.png"): "folder does not exist",
      (files[0], f"--out={tmp_path}/pipe.png"): "which is no regular file",
      (tmp_path / "none.png", out): "none.png is not there",
      (empty, out): "empty holds no picture",
      (*files[:3], out, "--plane=class_means"): "folders that the images are in is 2",
      (many, out): "65 images are given; a sheet holds at most 64",
    }
    for arguments, message in cases.items():
      err, loaded = refused(*arguments)
      assert message in err
      assert not loaded, message

  def test_a_folder_in_the_place_of_the_sheet(self, refused, files, tmp_path):
    (tmp_path / "sheet.png").mkdir()
    err, _ = refused(files[0], f"--out={tmp_path / 'sheet.png'}")
    assert "cannot be written" in err

  def test_unknown_taps_and_too_few_vectors(self, refused, files, tmp_path):
    out = f"--out={tmp_path / 'sheet.png'}"
    err, _ = refused(files[0], out, "--taps=stem,stage9")
    assert "a tap of network small is 'stage9'; it must be one of stem, stage1" in err
    err, _ = refused(*files[:2], out, "--taps=features", "--plane=principal")
    assert "vectors of tap 'features' in the images is 2; it must be at least 3" in err

  def test_images_that_span_no_plane(self, refused, files, tmp_path):
    same = [tmp_path / f"{i}.png" for i in range(3)]
    for path in same:
      shutil.copy(files[0], path)
    out = f"--out={tmp_path / 'sheet.png'}"
    err, _ = refused(*same, out, "--taps=features", "--plane=principal")
    assert "tap 'features' cannot be colored" in err

  def test_empty_and_damaged_images(self, refused, files, tmp_path):
    out = tmp_path / "sheet.png"
    for name, contents, message in (
      ("empty.png", b"", "empty.png is empty"),
      ("text.jpg", b"not an image", "is damaged, or not a JPEG"),
    ):
      bad = tmp_path / name
      bad.write_bytes(contents)
      err, _ = refused(files[0], bad, f"--out={out}")
      assert message in err
    assert not out.exists()

  def test_a_disk_that_is_full(self, refused, files, tmp_path, monkeypatch):
    def save(self, file, file_format):
      file.write(b"half")
      raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", save)
    out = tmp_path / "sheet.png"
    out.write_bytes(b"the sheet of another day")
    err, _ = refused(files[0], f"--out={out}", "--taps=stem")
    assert "cannot be written: [Errno 28] No space left" in err
    assert out.read_bytes() == b"the sheet of another day"
    assert [path.name for path in tmp_path.glob("*.*")] == ["sheet.png"]

  def test_a_folder_without_the_right_to_write(
    self, refused, files, tmp_path, monkeypatch
  ):
    monkeypatch.setattr(os, "access", lambda path, mode: mode != os.W_OK)
    err, loaded = refused(files[0], f"--out={tmp_path / 'sheet.png'}")
    assert "cannot be written" in err
    assert not loaded
