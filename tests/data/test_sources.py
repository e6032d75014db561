"""What people have on their disks: layouts, names and arrays, each right or told."""

import io
import os

import numpy as np
import pytest
from PIL import Image

from hue_jax.data.arrays import read_npz
from hue_jax.data.folder import class_folders, read_folder
from hue_jax.data.sources import Cuts, lacking_classes
from hue_jax.errors import InputError
from tests.helpers.pictures import with_size


def _png(color=(0, 0, 0), mode="RGB", kind="PNG"):
  file = io.BytesIO()
  Image.new(mode, (6, 4), color).save(file, kind)
  return file.getvalue()


_A_PNG = _png()


def _write(root, *paths, contents=_A_PNG):
  for path in paths:
    place = os.path.join(os.fsencode(root), os.fsencode(path))
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "wb") as file:
      file.write(contents)
  return str(root)


def _counts(source):
  return {
    split: np.bincount(labels, minlength=source.num_classes).tolist()
    for split, labels in source.labels.items()
  }


_ALL = Cuts(test=0.0)


class TestLayouts:
  @pytest.mark.parametrize(
    ("paths", "classes", "counts"),
    [
      (["a/1.png", "b/1.png"], ["a", "b"], {"train": [1, 1]}),
      (["a/x/1.png", "a/x/y/2.png", "b/1.png"], ["a", "b"], {"train": [2, 1]}),
      (
        ["Train/a/1.png", "Train/b/1.png", "VALID/b/1.png", "Testing/a/1.png"],
        ["a", "b"],
        {"train": [1, 1], "validation": [0, 1], "test": [1, 0]},
      ),
      (
        ["training/a/1.png", "training/b/1.png", "dev/a/1.png", "eval/b/1.png"],
        ["a", "b"],
        {"train": [1, 1], "validation": [1, 0], "test": [0, 1]},
      ),
      (
        ["bus/1.png", "car/1.png", "train/1.png"],
        ["bus", "car", "train"],
        {"train": [1, 1, 1]},
      ),
      (
        ["bus/1.png", "car/1.png", "train/steam/1.png"],
        ["bus", "car", "train"],
        {"train": [1, 1, 1]},
      ),
      (
        ["val/a/1.png", "val/b/1.png", "test/b/1.png"],
        ["a", "b"],
        {"validation": [1, 1], "test": [0, 1]},
      ),
      (
        ["train/a/1.png", "train/b/1.png", "test/1.png"],
        ["a", "b"],
        {"train": [1, 1]},
      ),
    ],
  )
  def test_right(self, tmp_path, paths, classes, counts):
    source = read_folder(_write(tmp_path, *paths), _ALL)
    assert source.class_names == classes
    assert _counts(source) == counts

  def test_a_class_that_is_empty_in_a_split_keeps_its_number(self, tmp_path):
    _write(tmp_path, "train/a/1.png", "train/b/1.png", "train/c/1.png", "test/c/1.png")
    (tmp_path / "test/b").mkdir()
    source = read_folder(str(tmp_path))
    assert _counts(source) == {"train": [1, 1, 1], "test": [0, 0, 1]}
    assert lacking_classes(source) == ["test has no example of 2 of 3 classes (a, b)."]

  @pytest.mark.parametrize(
    ("paths", "told"),
    [
      (["val/a/1.png", "valid/a/1.png"], "both name the validation split"),
      (["Train/a/1.png", "train/a/1.png"], "both name the train split"),
      (["train/a/1.png", "more/a/1.png"], "has folder 'more' beside 'train'; a split"),
      (["train/a/1.png", "train/b/1.png", "test/c/1.png"], "test has class 'c', which"),
      (["a/1.png"], r"1 class folder \('a'\); at least 2 are needed"),
      (["1.png"], "has no class folders with images"),
      (["train/1.png", "test/2.png"], "has no class folders with images"),
    ],
  )
  def test_told(self, tmp_path, paths, told):
    with pytest.raises(InputError, match=told):
      read_folder(_write(tmp_path, *paths))

  def test_an_empty_class_is_told(self, tmp_path):
    _write(tmp_path, "a/1.png", "b/1.png")
    (tmp_path / "c").mkdir()
    with pytest.raises(InputError, match=r"class folder .*c has no images"):
      read_folder(str(tmp_path))

  def test_a_folder_without_a_picture_is_neither_class_nor_split(self, tmp_path):
    _write(tmp_path, "train/a/1.png", "train/b/1.png", "test/a/1.png")
    _write(tmp_path, "annotations/a.xml", contents=b"<a/>")
    source = read_folder(str(tmp_path))
    assert _counts(source) == {"train": [1, 1], "test": [1, 0]}

  def test_what_is_no_picture_is_passed_over_and_counted_in_a_line(
    self, tmp_path, capsys
  ):
    _write(tmp_path, "a/1.png", "b/1.png", "b/without_suffix")
    others = ["a/Thumbs.db", "a/desktop.ini", "b/1.json", "b/2.json", "list.csv"]
    _write(tmp_path, *others, "__MACOSX/a/._1.png", "a/.DS_Store", contents=b"x")
    assert _counts(read_folder(str(tmp_path), _ALL)) == {"train": [1, 2]}
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("Passed over 7 files that are no pictures of a class: ")
    assert "2 '.json'" in line

  @pytest.mark.parametrize(
    "suffix", ["jfif", "jpe", "tif", "tiff", "ppm", "xyz", "PNG"]
  )
  @pytest.mark.parametrize("kind", ["JPEG", "TIFF", "PPM", "PNG", "GIF", "WEBP"])
  def test_a_picture_is_taken_by_its_content(self, tmp_path, suffix, kind):
    contents = _png((200, 10, 30), kind=kind)
    _write(tmp_path, "a/1.png")
    _write(tmp_path, f"b/1.{suffix}", contents=contents)
    source = read_folder(str(tmp_path), _ALL)
    stored = source.image("train", 1)
    if kind in ("JPEG", "PNG"):
      assert stored == contents
    else:
      assert stored.shape == (4, 6, 3)
      np.testing.assert_allclose(stored[2, 3], [200, 10, 30], atol=8)

  @pytest.mark.parametrize("suffix", ["svg", "heic", "psd", "jpg"])
  def test_a_picture_that_cannot_be_read_is_named(self, tmp_path, suffix):
    _write(tmp_path, "a/1.png")
    _write(tmp_path, f"b/1.{suffix}", contents=b"<svg/>")
    source = read_folder(str(tmp_path), _ALL)
    with pytest.raises(InputError, match=rf"b/1\.{suffix} is damaged, or not a"):
      source.image("train", 1)

  @pytest.mark.parametrize("suffix", ["png", "xyz"])
  def test_a_picture_that_is_too_large_is_named(self, tmp_path, suffix):
    _write(tmp_path, "a/1.png")
    huge = with_size(_png((9, 9, 9)), 20_000, 20_000)
    _write(tmp_path, f"b/1.{suffix}", contents=huge)
    source = read_folder(str(tmp_path), _ALL)
    with pytest.raises(InputError, match=rf"b/1\.{suffix} has more than 100 mega"):
      source.image("train", 1)

  def test_transparent_parts_show_the_ground(self, tmp_path):
    _write(tmp_path, "a/1.png", "b/1.png", contents=_png((9, 9, 9, 0), "RGBA"))
    for ground in ((255, 255, 255), (0, 128, 255)):
      pixels = read_folder(str(tmp_path), _ALL, background=ground).image("train", 0)
      assert (pixels == ground).all()

  def test_links(self, tmp_path):
    _write(tmp_path / "real", "a/1.png", "b/1.png")
    (tmp_path / "in").mkdir()
    for name in "ab":
      (tmp_path / "in" / name).symlink_to(tmp_path / "real" / name)
    assert _counts(read_folder(str(tmp_path / "in"), _ALL)) == {"train": [1, 1]}
    (tmp_path / "real/a/broken.png").symlink_to("nowhere")
    with pytest.raises(InputError, match=r"broken\.png is a link to a file that is"):
      read_folder(str(tmp_path / "in"))
    (tmp_path / "real/a/broken.png").unlink()
    (tmp_path / "real/a/round").symlink_to(tmp_path / "real/a")
    with pytest.raises(InputError, match="round is a link to a folder that holds it"):
      read_folder(str(tmp_path / "in"))

  def test_classes_are_named_without_a_look_at_files(self, tmp_path):
    _write(tmp_path, "train/b/1.png", "train/a/1.png", "test/a/1.png")
    assert class_folders(str(tmp_path)) == ["a", "b"]


class TestNames:
  @pytest.mark.parametrize(
    ("names", "told"),
    [
      ([b"cat", b"cat "], "is the same name as 'cat' but for blanks"),
      ([b"a\nb", b"c"], "must be a name in one line"),
      ([b" ", b"c"], "must be a name in one line"),
      ([b"caf\xe9", b"c"], "is not UTF-8"),
      (["caf\u00e9", "cafe\u0301"], "is the same name as"),
    ],
  )
  def test_told(self, tmp_path, names, told):
    for name in names:
      _write(tmp_path, os.path.join(os.fsencode(name), b"1.png"))
    with pytest.raises(InputError, match=told) as error:
      read_folder(str(tmp_path))
    assert len(str(error.value).splitlines()) == 1

  def test_right(self, tmp_path):
    names = ["cat ", "[x]", "中", "a.b", "Cat", "-x"]
    _write(tmp_path, *(f"{name}/1.png" for name in names))
    source = read_folder(str(tmp_path), _ALL)
    assert source.class_names == sorted(name.strip() for name in names)


_X = np.arange(6 * 4 * 5, dtype=np.uint8).reshape(6, 4, 5)
_Y = np.arange(6) % 3
_ONE_HOT = np.eye(3)[_Y]


def _archive(tmp_path, **arrays):
  np.savez(tmp_path / "in.npz", **arrays)
  return str(tmp_path / "in.npz")


class TestArrays:
  @pytest.mark.parametrize(
    "labels",
    [_Y.astype(kind) for kind in ("u1", "i1", "u2", ">i4", "i8", "u8")]
    + [_Y[:, None], _Y[None], _ONE_HOT, _ONE_HOT.astype("u1")],
    ids=lambda y: f"{y.dtype}{list(y.shape)}",
  )
  def test_labels_that_are_right(self, tmp_path, labels):
    source = read_npz(_archive(tmp_path, images=_X, labels=labels), _ALL)
    np.testing.assert_array_equal(source.labels["train"], _Y)
    assert source.num_classes == 3

  def test_booleans_are_two_classes(self, tmp_path):
    source = read_npz(_archive(tmp_path, images=_X, labels=_Y > 0), _ALL)
    np.testing.assert_array_equal(source.labels["train"], _Y > 0)

  @pytest.mark.parametrize(
    ("labels", "told"),
    [
      (_Y.astype(float), r"labels is float64 \[6\]; accepted is integer \[6\]"),
      (_Y.astype(str), r"labels is <U21 \[6\]; accepted is integer"),
      (_Y.astype(object), "array labels cannot be read"),
      (np.int64(3), r"labels is int64 \[\]; accepted"),
      (_ONE_HOT + np.eye(3)[0], r"labels is float64 \[6, 3\]; accepted"),
      (_Y + 1, "labels from 1 to 3, of which 3 occur.*--first_label=1 says"),
      (_Y * 500_000, "labels from 0 to 1000000, of which 3 occur"),
      (_Y * 0, "labels from 0 to 0, of which 1 occur; a task has two"),
      (_Y - 1, "label -1 of example 0 of all is not among 0 to 1"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value.dtype),
  )
  def test_labels_that_are_told(self, tmp_path, labels, told):
    with pytest.raises(InputError, match=told):
      read_npz(_archive(tmp_path, images=_X, labels=labels))

  def test_labels_are_right_when_told(self, tmp_path):
    path = _archive(tmp_path, images=_X, labels=_Y + 1)
    source = read_npz(path, _ALL, first_label=1)
    np.testing.assert_array_equal(source.labels["train"], _Y)
    assert source.num_classes == 3
    source = read_npz(path, _ALL, num_classes=7)
    np.testing.assert_array_equal(source.labels["train"], _Y + 1)
    assert source.num_classes == 7
    with pytest.raises(InputError, match="label 3 of example 2 of all is not among 0"):
      read_npz(path, num_classes=3)

  @pytest.mark.parametrize(
    ("images", "told"),
    [
      (_X / 255, r"images is float64 \[6, 4, 5\].*numpy\.round"),
      (_X.astype("u2"), r"images is uint16 .*keeps the higher 8"),
      (_X > 3, r"images is bool .*numpy\.round"),
      (np.zeros((6, 3, 8, 8), "u1"), r"channels come last \(numpy\.moveaxis"),
      (np.zeros((6, 0, 8), "u1"), r"images is uint8 \[6, 0, 8\]; accepted"),
      (np.zeros(6, "u1"), r"images is uint8 \[6\]; accepted"),
    ],
    ids=lambda value: None if isinstance(value, str) else str(value.dtype),
  )
  def test_images_that_are_told(self, tmp_path, images, told):
    with pytest.raises(InputError, match=told):
      read_npz(_archive(tmp_path, images=images, labels=_Y))

  @pytest.mark.parametrize(("channels", "becomes"), [(1, 1), (2, 3), (3, 3), (4, 3)])
  def test_channels(self, tmp_path, channels, becomes):
    pixels = np.zeros((6, 4, 5, channels), np.uint8)
    path = _archive(tmp_path, images=pixels, labels=_Y)
    source = read_npz(path, _ALL, background=(1, 2, 3))
    assert source.image_shape == (4, 5, becomes)
    expected = [1, 2, 3] if channels in (2, 4) else [0] * becomes
    assert (source.image("train", 2) == expected).all()

  @pytest.mark.parametrize("val", ["val", "valid", "validation", "VAL"])
  @pytest.mark.parametrize("form", ["x_{}|y_{}", "{}_images|{}_labels"])
  def test_splits(self, tmp_path, val, form):
    keys = {s: form.format(s, s).split("|") for s in ("train", val, "test")}
    arrays = {
      key: of for pair in keys.values() for key, of in zip(pair, (_X, _Y), strict=True)
    }
    source = read_npz(_archive(tmp_path, **arrays))
    assert _counts(source) == {s: [2, 2, 2] for s in ("train", "validation", "test")}
    np.testing.assert_array_equal(source.image("validation", 3)[..., 0], _X[3])

  @pytest.mark.parametrize(
    ("arrays", "told"),
    [
      ({"x_train": _X, "y_train": _Y, "images": _X, "labels": _Y}, "beside those of"),
      ({"x_train": _X, "y_train": _Y, "x_val": _X}, "has x_val and lacks its labels"),
      ({"x_train": _X, "y_train": _Y, "y_val": _Y}, "has y_val and lacks its images"),
      (
        {"x_train": _X, "train_images": _X, "y_train": _Y},
        "has both train_images and x_train",
      ),
      (
        {"x_train": _X, "y_train": _Y, "x_test": _X[:, 1:], "y_test": _Y},
        r"has images of shapes \(3, 5, 1\) and \(4, 5, 1\)",
      ),
    ],
  )
  def test_keys_that_are_told(self, tmp_path, arrays, told):
    with pytest.raises(InputError, match=told):
      read_npz(_archive(tmp_path, **arrays))

  @pytest.mark.parametrize(
    ("names", "told"),
    [
      (np.array("cat"), r"class_names is <U3 \[\]; accepted is text \[classes\]"),
      (np.array([["a", "b", "c"]]), r"class_names is <U1 \[1, 3\]; accepted"),
      (["a", "b", "a"], "'a' is the same name as 'a'"),
      (["a", "b"], "label 2 of example 2 of all is not among 0 to 1"),
      ([b"caf\xe9", b"b", b"c"], "class_names is not UTF-8"),
      ([0.5, 1.5, 2.5], r"class_names is float64 \[3\]; accepted"),
    ],
  )
  def test_class_names_that_are_told(self, tmp_path, names, told):
    path = _archive(tmp_path, images=_X, labels=_Y, class_names=names)
    with pytest.raises(InputError, match=told):
      read_npz(path)

  @pytest.mark.parametrize("names", [["a", "b", "c"], [b"a", b"b", b"c"]])
  def test_class_names_that_are_right(self, tmp_path, names):
    path = _archive(tmp_path, images=_X, labels=_Y, class_names=names)
    assert read_npz(path).class_names == ["a", "b", "c"]

  def test_an_array_alone_is_told(self, tmp_path):
    np.save(tmp_path / "in.npy", _X)
    with pytest.raises(InputError, match=r"is one array \(\.npy\), without labels"):
      read_npz(str(tmp_path / "in.npy"))


class TestCuts:
  """Of folders and arrays alike."""

  @pytest.fixture(params=["folder", "npz"])
  def read(self, request, tmp_path):
    def from_folder(splits, cuts):
      for split in splits:
        for c in "ab":
          _write(tmp_path, *(f"{split}/{c}/{i}.png".lstrip("/") for i in range(20)))
      return read_folder(str(tmp_path), cuts)

    def from_npz(splits, cuts):
      arrays = {}
      for split in splits:
        suffix = f"_{split}" if split else ""
        arrays[f"x{suffix}"] = np.zeros((40, 2, 2), np.uint8)
        arrays[f"y{suffix}"] = np.arange(40) % 2
      return read_npz(_archive(tmp_path, **arrays), cuts)

    return from_folder if request.param == "folder" else from_npz

  @pytest.mark.parametrize(
    ("splits", "cuts", "expected"),
    [
      ([""], Cuts(), {"train": 36, "test": 4}),
      ([""], Cuts(test=0.0), {"train": 40}),
      ([""], Cuts(validation=0.2), {"train": 28, "validation": 8, "test": 4}),
      (["train"], Cuts(), {"train": 40}),
      (["train"], Cuts(test=0.25), {"train": 30, "test": 10}),
      (
        ["train", "test"],
        Cuts(validation=0.25),
        {"train": 30, "validation": 10, "test": 40},
      ),
    ],
  )
  def test_right(self, read, splits, cuts, expected):
    source = read(splits, cuts)
    assert {s: len(labels) for s, labels in source.labels.items()} == expected

  @pytest.mark.parametrize(
    ("splits", "cuts", "told"),
    [
      (["train", "test"], Cuts(test=0.2), "--test_fraction is 0.2, but .* has a test"),
      (["train", "val"], Cuts(validation=0.2), "has a validation split of its own"),
      (["test"], Cuts(validation=0.2), "has no training examples of which"),
      ([""], Cuts(test=0.5, validation=0.5), "must add up to less than 1"),
    ],
  )
  def test_told(self, read, splits, cuts, told):
    with pytest.raises(InputError, match=told):
      read(splits, cuts)
