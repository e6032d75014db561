"""The command: the classes that evaluation gives, and one line for what is damaged."""

import dataclasses
import html
import json
import os
import re

import jax
import numpy as np
import pytest
from PIL import Image

from hue_jax.color.coloring import color_layer
from hue_jax.hue import hue_angle
from hue_jax.objective.classifiers import CLASSIFIERS
from hue_jax.picture_files import read_image_files
from hue_jax.predict import __main__ as command
from hue_jax.predict.predict import predict
from hue_jax.predict.report import as_json, as_page, as_text, color_together
from tests.helpers.pictures import pictures
from tests.helpers.small_networks import small_predictor


@pytest.fixture(scope="module")
def predictor():
  return small_predictor("resnet8", num_classes=6)


@pytest.fixture
def files(tmp_path):
  """Three pictures, one of them in a folder of a folder, beside other files."""
  folder = tmp_path / "pictures"
  (folder / "deep" / "er").mkdir(parents=True)
  rng = np.random.default_rng(0)
  for name in ("b.png", "deep/er/c.png", "a<b>&.png"):
    pixels = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(folder / name)
  (folder / "notes.txt").write_text("no picture")
  (folder / ".hidden.png").write_bytes(b"")
  return folder


@pytest.fixture
def run(predictor, monkeypatch, capsys, tmp_path):
  """Runs the command line: its status, what it wrote, and whether it loaded."""
  loaded = []

  def load_predictor(name, **_):
    loaded.append(name)
    return predictor

  monkeypatch.setattr("hue_jax.train.predictor.load_predictor", load_predictor)
  out = tmp_path / "standard_output"

  def main(*arguments):
    loaded.clear()
    with out.open("w") as file:
      monkeypatch.setattr(command, "keep_standard_output", lambda: file)
      status = command.main([*map(str, arguments), "--network=small"])
    return status, out.read_text(), capsys.readouterr().err, bool(loaded)

  return main


def _expected(predictor, paths):
  images = read_image_files(paths, image_size=8, crop="none", channels=3)
  scores = np.asarray(predictor.network.logits(images), np.float64)
  shares = np.exp(scores - scores.max(axis=-1, keepdims=True))
  return shares / shares.sum(axis=-1, keepdims=True)


def test_json_has_the_classes_of_every_picture_of_a_folder(run, predictor, files):
  status, out, err, _ = run(files, "--top=3", "--format=json")
  assert (status, err) == (0, "")
  told = json.loads(out)
  names = ["a<b>&.png", "b.png", "deep/er/c.png"]
  paths = [str(files / name) for name in names]
  assert [one["path"] for one in told["images"]] == paths
  for one, shares in zip(told["images"], _expected(predictor, paths), strict=True):
    best = np.argsort(-shares)[:3]
    assert [ranked["number"] for ranked in one["classes"]] == best.tolist()
    assert [ranked["name"] for ranked in one["classes"]] == [f"class {i}" for i in best]
    given = [ranked["probability"] for ranked in one["classes"]]
    np.testing.assert_allclose(given, shares[best], atol=1e-5)
  assert told["left_out"] == []


def test_text_is_a_block_a_picture_and_more_classes_than_there_are_is_all(
  run, predictor, files
):
  status, out, _, _ = run(files / "b.png", "--top=99")
  assert status == 0
  path, *lines = out.splitlines()
  assert path == str(files / "b.png")
  (shares,) = _expected(predictor, [path])
  assert lines == [
    f"  {100 * shares[i]:6.2f} %  class {i}" for i in np.argsort(-shares)
  ]


def test_a_file_named_twice_is_done_once(run, files):
  _, out, _, _ = run(files / "b.png", files, files / "b.png", "--format=json")
  assert len(json.loads(out)["images"]) == 3


@pytest.mark.slow
@pytest.mark.parametrize("form", command.FORMATS)
def test_damaged_files_are_named_and_the_others_done(run, files, form):
  (files / "damaged.png").write_bytes((files / "b.png").read_bytes()[:60])
  (files / "empty.jpg").write_bytes(b"")
  status, out, err, _ = run(files, f"--format={form}")
  assert status == 2
  lines = err.splitlines()
  assert len(lines) == 3
  assert lines[0].startswith(f"error: image {files}/damaged.png is damaged (")
  assert lines[1] == f"error: image {files}/empty.jpg is empty."
  assert lines[2] == "left out: 2 of 5 pictures, which cannot be read."
  for name in ("b.png", "c.png"):
    assert name in out
  if form == "json":
    left_out = json.loads(out)["left_out"]
    assert [os.path.basename(one["path"]) for one in left_out] == [
      "damaged.png",
      "empty.jpg",
    ]
  if form == "html":
    assert "empty.jpg is empty." in out


@pytest.mark.parametrize("form", command.FORMATS)
def test_a_file_name_that_is_not_utf8_is_told_by_its_bytes(run, files, form):
  folder = files / "strange"
  folder.mkdir()
  picture = (files / "b.png").read_bytes()
  for name, contents in ((b"caf\xe9.png", picture), (b"d\xe9g\xe2t.png", picture[:60])):
    (folder / os.fsdecode(name)).write_bytes(contents)
  status, out, _, _ = run(folder, f"--format={form}")
  assert status == 2  # For the one that is damaged.
  shown, damaged = r"caf\xe9.png", r"d\xe9g\xe2t.png"
  if form == "json":
    told = json.loads(out)
    assert [one["path"] for one in told["images"]] == [f"{folder}/{shown}"]
    assert [one["path"] for one in told["left_out"]] == [f"{folder}/{damaged}"]
    assert damaged in told["left_out"][0]["reason"]
  else:
    assert shown in out
    assert (damaged in out) == (form == "html")


@pytest.mark.parametrize("form", command.FORMATS)
def test_images_are_kept_for_the_page_alone(run, files, form, monkeypatch):
  """Of ten thousand pictures they would take gigabytes."""
  kept = []

  def watched(*arguments, **settings):
    for one in predict(*arguments, **settings):
      kept.append(one.image is not None)
      yield one

  monkeypatch.setattr("hue_jax.predict.predict.predict", watched)
  assert run(files, f"--format={form}")[0] == 0
  assert kept == [form == "html"] * 3


def test_every_picture_is_read_as_training_does(predictor, tmp_path):
  """What it shows, as a plain PNG, has the same classes to the last digit."""
  kinds = [one for one in pictures() if not one.tolerance]
  paths = []
  for i, one in enumerate(kinds):
    paths += [tmp_path / f"{i}-{one.name}", tmp_path / f"{i}-shown.png"]
    paths[-2].write_bytes(one.contents)
    paths[-1].write_bytes(one.as_shown())
  done = list(predict(predictor, list(map(str, paths)), keep_images=True))
  assert not [one.trouble for one in done if one.trouble]
  assert len(kinds) > 50
  for one, shown in zip(done[::2], done[1::2], strict=True):
    np.testing.assert_array_equal(one.image, shown.image, err_msg=one.path)
    assert one.classes == shown.classes, one.path


# --- The page ----------------------------------------------------------------------


def test_the_page_shows_each_picture_with_its_layers(run, predictor, files):
  status, page, _, _ = run(files, "--format=html", "--taps=stage1,stem")
  assert status == 0
  assert "<h1>3 pictures by <em>small resnet8</em></h1>" in page
  assert html.escape("a<b>&.png") in page
  assert "<b>&.png" not in page
  assert re.findall(r"<figcaption>(\w+)", page)[1:] == ["image", "stem", "stage1"] * 3
  assert page.count('src="data:image/png;base64,') == 1 + 3 * 3
  assert not re.search(r"(src|href)=\"(?!data:|#)", page)
  assert len(re.findall(r'class="bar"', page)) == 3 * 5


def test_layers_share_a_scale_and_keep_their_hue():
  rng = np.random.default_rng(0)
  one, other = rng.normal(size=(2, 4, 4, 8)).astype(np.float32)
  colored = color_together([{"stem": one}, {"stem": 100 * other}])
  together = color_layer(np.stack([one, 100 * other]))
  for mine, theirs in zip(colored, together, strict=True):
    np.testing.assert_allclose(mine["stem"], theirs, atol=1e-5)
  hue = np.asarray(jax.jit(hue_angle)(colored[1]["stem"]))
  apart = (hue - np.asarray(hue_angle(other)) + np.pi) % (2 * np.pi) - np.pi
  assert np.abs(apart).max() < 1e-3


def test_layers_that_no_plane_fits_are_left_out():
  assert color_together([{"two": np.ones((4, 4, 2), np.float32)}]) == [{}]
  assert color_together([]) == []


# --- What classes and numbers mean ------------------------------------------------


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_probabilities_are_those_of_the_classifier(predictor, files, kind):
  own = dataclasses.replace(predictor, classifier=CLASSIFIERS[kind]())
  (done,) = predict(own, [str(files / "b.png")], top=6, keep_images=True)
  scores = np.array([one.score for one in done.classes])
  assert (np.diff(scores) <= 0).all()
  given = [one.probability for one in done.classes]
  text, page = as_text([done], own), as_page([done], own)
  if kind == "hyperspherical_prototypes":
    assert given == [None] * 6
    assert np.abs(scores).max() <= 1.001
    assert f"{scores[0]:8.4f}  {done.classes[0].name}" in text
    assert "cosines to the classes" in text
    assert "cosines to the classes" in page
    assert (
      json.loads(as_json([done], own))["images"][0]["classes"][0]["probability"] is None
    )
  elif kind == "sigmoid":
    np.testing.assert_allclose(given, 1 / (1 + np.exp(-scores)), atol=1e-6)
    assert "do not add up" in text
  else:
    shares = np.exp(scores - scores.max())
    np.testing.assert_allclose(given, shares / shares.sum(), atol=1e-5)
    assert text.count("\n") == 7


def test_classes_without_names_are_told_by_number(predictor, files):
  unnamed = dataclasses.replace(predictor, class_names=None)
  (done,) = predict(unnamed, [str(files / "b.png")], top=1)
  assert done.classes[0].name == str(done.classes[0].number)
  assert "told by number" in as_text([done], unnamed)
  assert json.loads(as_json([done], unnamed))["names_are_known"] is False


# --- Bad input ---------------------------------------------------------------------


def test_what_cannot_be_is_told_in_one_line_before_loading(run, files, tmp_path):
  empty = tmp_path / "empty"
  empty.mkdir()
  picture = files / "b.png"
  os.mkfifo(tmp_path / "pipe")
  cases = {
    (tmp_path / "none.png",): "none.png is not there",
    (empty,): "empty holds no picture",
    (picture, "--top=0"): "--top is 0; it must be an integer of at least 1",
    (picture, "--format=csv"): "--format is 'csv'; it must be one of text, json, html",
    (picture, f"--output={tmp_path}/none/out"): "whose folder does not exist",
    (picture, f"--output={empty}"): "which cannot be written",
    (picture, f"--output={tmp_path}/pipe"): "which is no regular file; name another",
    (picture, "--output=/dev/null"): "which is no regular file; name another",
    (picture, "--background=nice"): "--background is 'nice'; it must be a color",
  }
  for arguments, told in cases.items():
    status, out, err, loaded = run(*arguments)
    assert status == 2, arguments
    assert out == ""
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert told in err
    assert not loaded
  assert (tmp_path / "pipe").is_fifo()


def test_a_page_has_a_limit(run, files):
  for i in range(70):
    Image.fromarray(np.full((2, 2, 3), i, np.uint8)).save(files / f"{i}.bmp")
  status, _, err, loaded = run(files, "--format=html")
  assert (status, loaded) == (2, False)
  assert "73 images are given; a page holds at most 64" in err


def test_the_result_is_in_the_file(run, files, tmp_path):
  out = tmp_path / "out.json"
  status, said, _, _ = run(files, "--format=json", f"--output={out}")
  assert (status, said) == (0, "")
  assert len(json.loads(out.read_text())["images"]) == 3
