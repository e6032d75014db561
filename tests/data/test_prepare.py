import fcntl
import functools
import gzip
import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

from hue_jax.data import prepare, store
from hue_jax.data.datasets import open_dataset
from hue_jax.data.input_pipeline import eval_batches
from tests.helpers.pictures import with_size

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


@pytest.fixture
def run(tmp_path, capsys):
  """Runs the command line: its status, what it wrote to stdout, and to stderr."""

  def main(*arguments):
    status = prepare.main([*map(str, arguments), f"--data_dir={tmp_path / 'out'}"])
    return status, *capsys.readouterr()

  return main


@pytest.fixture
def opened(tmp_path):
  return lambda name: open_dataset(name, str(tmp_path / "out"))


@pytest.fixture
def refused(run, tmp_path):
  """Runs what must be refused, on one line and with nothing written."""

  def main(*arguments):
    status, out, err = run(*arguments)
    assert status == 2
    assert out == ""
    error = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(error) == 1
    assert err.rstrip().endswith(error[0])
    left = list((tmp_path / "out").rglob("*"))
    assert not [path for path in left if path.is_file()]
    assert not [path for path in left if "incomplete" in path.name]
    return error[0].removeprefix("error: ")

  return main


class TestIdx:
  @pytest.fixture
  def arrays(self):
    rng = np.random.default_rng(0)
    sizes = {"train": 30, "t10k": 12}
    pixels = {s: rng.integers(0, 256, (n, 28, 28), np.uint8) for s, n in sizes.items()}
    return pixels, {s: np.arange(n, dtype=np.uint8) % 10 for s, n in sizes.items()}

  @pytest.mark.parametrize("zipped", [False, True])
  def test_registered_name_is_read_by_tfds(self, arrays, run, opened, tmp_path, zipped):
    _write_idx(tmp_path / "in", *arrays, zipped=zipped)
    status, out, _ = run("idx", "--name=fashion_mnist", tmp_path / "in")
    assert status == 0
    assert "10 classes, train 30, test 12 examples" in out
    flags = f"--config.dataset=fashion_mnist --config.data_dir={tmp_path / 'out'}"
    assert flags in out
    builder = tfds.builder("fashion_mnist", data_dir=str(tmp_path / "out"))
    assert builder.is_prepared()
    assert type(builder).__name__ == "FashionMNIST"
    assert opened("fashion_mnist").class_names[-1] == "Ankle boot"
    data = builder.as_dataset(split="test", as_supervised=True)
    found = {i.tobytes(): int(label) for i, label in tfds.as_numpy(data)}
    images, labels = (array["t10k"] for array in arrays)
    assert found == {
      image.tobytes(): int(label) for image, label in zip(images, labels, strict=True)
    }

  def test_name_with_a_configuration(self, arrays, run, opened, tmp_path):
    _write_idx(tmp_path / "in", *arrays, prefix="emnist-letters-", test="test")
    assert run("idx", "--name=emnist/letters", tmp_path / "in")[0] == 0
    assert opened("emnist/letters").num_classes == 37

  def test_new_name(self, arrays, run, opened, tmp_path):
    pixels = {split: array[:, :5, :7] for split, array in arrays[0].items()}
    _write_idx(tmp_path / "in", pixels, arrays[1])
    assert run("idx", "--name=my_digits", tmp_path / "in")[0] == 0
    dataset = opened("my_digits")
    assert (dataset.num_classes, dataset.channels) == (10, 1)
    assert dataset.image_shape == (5, 7, 1)

  def test_never_overwritten_unless_told(self, arrays, run, opened, tmp_path):
    _write_idx(tmp_path / "in", *arrays)
    assert run("idx", "--name=some", tmp_path / "in")[0] == 0
    status, _, err = run("idx", "--name=some", tmp_path / "in")
    assert status == 2
    assert "data set 'some' exists in" in err
    assert "--overwrite" in err
    short = tuple({"train": a["train"][:20], "t10k": a["t10k"]} for a in arrays)
    _write_idx(tmp_path / "in", *short)
    assert run("idx", "--name=some", tmp_path / "in", "--overwrite")[0] == 0
    assert opened("some").num_examples("train") == 20
    assert os.listdir(tmp_path / "out") == ["some"]

  def test_missing_file(self, arrays, refused, tmp_path):
    _write_idx(tmp_path / "in", *arrays)
    os.remove(tmp_path / "in/t10k-labels-idx1-ubyte")
    message = refused("idx", "--name=some", tmp_path / "in")
    assert "one file t10k-labels-idx1-ubyte[.gz]; it has none" in message
    assert "not a folder" in refused("idx", "--name=some", tmp_path / "absent")

  def test_ambiguous_file(self, arrays, refused, tmp_path):
    _write_idx(tmp_path / "in", *arrays)
    _write_idx(tmp_path / "in", *arrays, zipped=True)
    message = refused("idx", "--name=some", tmp_path / "in")
    assert "train-images-idx3-ubyte, train-images-idx3-ubyte.gz" in message

  @pytest.mark.parametrize(
    ("change", "message"),
    [
      (lambda data: data[:-5], "bytes of data where its header says 30x28x28"),
      (lambda data: b"\0\0\x0d\x03" + data[4:], "begins with bytes 00 00 0d 03"),
      (lambda data: b"", "begins with bytes none"),
      (lambda data: data[:4] + bytes(12), "is empty: its header says 0x0x0"),
    ],
  )
  def test_damaged_file(self, arrays, refused, tmp_path, change, message):
    _write_idx(tmp_path / "in", *arrays)
    path = tmp_path / "in/train-images-idx3-ubyte"
    path.write_bytes(change(path.read_bytes()))
    found = refused("idx", "--name=some", tmp_path / "in")
    assert str(path) in found
    assert message in found

  def test_damaged_gzip(self, arrays, refused, tmp_path):
    _write_idx(tmp_path / "in", *arrays, zipped=True)
    path = tmp_path / "in/train-images-idx3-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-100])
    assert f"{path} cannot be read" in refused("idx", "--name=some", tmp_path / "in")

  def test_counts_differ(self, arrays, refused, tmp_path):
    pixels, labels = arrays
    _write_idx(tmp_path / "in", pixels, labels | {"train": labels["train"][:-1]})
    message = refused("idx", "--name=some", tmp_path / "in")
    assert "has 30 images and" in message
    assert "has 29 labels; they must agree" in message

  def test_sizes_differ(self, arrays, refused, tmp_path):
    pixels, labels = arrays
    _write_idx(tmp_path / "in", pixels | {"t10k": pixels["t10k"][:, 1:]}, labels)
    assert "they must agree" in refused("idx", "--name=some", tmp_path / "in")

  @pytest.mark.parametrize(
    ("name", "message"),
    [
      ("cifar10", "examples have id, image, label and not just image and label"),
      ("My Birds", "must be lower-case letters, digits and underscores"),
      ("emnist/no_such", "TFDS does not accept it"),
      ("binary_alpha_digits", "with images of shape (20, 16, 1) and not (28, 28, 1)"),
    ],
  )
  def test_names_that_do_not_fit(self, arrays, refused, tmp_path, name, message):
    _write_idx(tmp_path / "in", *arrays)
    assert message in refused("idx", f"--name={name}", tmp_path / "in")

  def test_more_classes_than_the_registered(self, arrays, refused, tmp_path):
    pixels, labels = arrays
    _write_idx(tmp_path / "in", pixels, {s: a + 1 for s, a in labels.items()})
    message = refused("idx", "--name=mnist", tmp_path / "in")
    assert "label 10 of example 9 of train is not among 0 to 9" in message

  @pytest.mark.slow
  def test_fashion_mnist_of_debian(self, run, opened):
    status, out, _ = run("idx", "--name=fashion_mnist", DEBIAN_FASHION_MNIST)
    assert status == 0
    assert "train 60000, test 10000 examples" in out
    dataset = opened("fashion_mnist:3.*.*")
    batches = eval_batches(dataset, "test", batch_size=1000, image_size=28, crop="pad")
    found = list(batches)
    counts = np.bincount(np.concatenate([batch["label"] for batch in found]))
    np.testing.assert_array_equal(counts, [1000] * 10)
    # The mean of the published test images is 0.2868 of white.
    mean = np.mean([batch["image"].mean() for batch in found]) / 255
    assert abs(mean - 0.2868) < 5e-4


class TestFolder:
  @pytest.fixture
  def birds(self, tmp_path):
    """20 jays and 30 wrens, in kinds of files by turns."""
    for name, count in (("wren", 30), ("jay", 20)):
      for i in range(count):
        kind = ("jpg", "PNG", "bmp", "gif", "webp", "JPEG")[i % 6]
        _write_image(tmp_path / f"birds/{name}/{i}.{kind}", hash_of=(name, i))
    (tmp_path / "birds/.hidden").mkdir()
    (tmp_path / "birds/jay/.DS_Store").write_bytes(b"x")
    return tmp_path / "birds"

  def test_stratified_splits(self, birds, run, opened, tmp_path):
    arguments = ("--name=my_birds", birds, "--test_fraction=0.2", "--seed=3")
    status, out, _ = run("folder", *arguments, "--validation_fraction=0.1")
    assert status == 0
    assert "2 classes, train 35, validation 5, test 10 examples" in out
    dataset = opened("my_birds")
    assert dataset.class_names == ("jay", "wren")
    batch = next(eval_batches(dataset, "test", batch_size=10, image_size=9))
    np.testing.assert_array_equal(np.bincount(batch["label"]), [4, 6])
    assert batch["image"].shape == (10, 9, 9, 3)

  def test_bytes_of_jpeg_and_png_are_kept(self, birds, run, opened):
    assert run("folder", "--name=some", birds, "--test_fraction=0")[0] == 0
    stored = set(_stored_bytes(opened("some"), "train"))
    assert len(stored) == 50
    for path in birds.rglob("*.*"):
      if path.suffix in (".jpg", ".JPEG", ".PNG"):
        assert path.read_bytes() in stored
    others = [data for data in stored if data[:3] not in (b"\xff\xd8\xff", b"\x89PN")]
    assert not others

  def test_pixels_of_other_kinds_are_kept(self, birds, run, opened):
    assert run("folder", "--name=some", birds, "--test_fraction=0")[0] == 0
    stored = _stored_bytes(opened("some"), "train")
    found = {tf.io.decode_image(data, channels=3).numpy().tobytes() for data in stored}
    for path in [*birds.rglob("*.bmp"), *birds.rglob("*.gif")]:
      with Image.open(path) as image:
        assert np.asarray(image.convert("RGB")).tobytes() in found

  def test_split_folders(self, run, opened, tmp_path):
    for split, names in (("train", "abc"), ("val", "ab"), ("test", "c")):
      for name in names:
        for i in range(3):
          _write_image(
            tmp_path / f"in/{split}/{name}/{i}.png", hash_of=(split, name, i)
          )
    status, out, _ = run("folder", "--name=some", tmp_path / "in")
    assert status == 0
    assert "3 classes, train 9, validation 6, test 3 examples" in out
    dataset = opened("some")
    for split, expected in (("validation", [0, 0, 0, 1, 1, 1]), ("test", [2, 2, 2])):
      batch = next(eval_batches(dataset, split, batch_size=len(expected), image_size=8))
      np.testing.assert_array_equal(np.sort(batch["label"]), expected)

  def test_same_seed_same_split(self, birds, run, opened):
    stored = []
    for name, seed in (("one", 1), ("same", 1), ("other", 2)):
      assert run("folder", f"--name={name}", birds, f"--seed={seed}")[0] == 0
      stored.append(set(_stored_bytes(opened(name), "test")))
    assert stored[0] == stored[1] != stored[2]

  @pytest.mark.parametrize("content", [b"", b"no image", "cut"])
  def test_corrupt_file_is_named(self, birds, refused, content):
    path = birds / "wren/6.jpg"
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2] if content == "cut" else content)
    message = refused("folder", "--name=some", birds)
    assert message.startswith(f"{path} is damaged")

  def test_huge_image_is_named(self, birds, refused):
    path = birds / "wren/1.PNG"
    path.write_bytes(with_size(path.read_bytes(), 20_000, 20_000))
    message = refused("folder", "--name=some", birds)
    assert message == f"{path} has more than 100 megapixels."

  def test_all_that_cannot_be_read_are_named(self, birds, refused):
    paths = [birds / "wren/6.jpg", birds / "jay/4.webp", birds / "jay/2.bmp"]
    for path in paths:
      path.write_bytes(b"no image")
    message = refused("folder", "--name=some", birds)
    assert all(f"{path} is damaged" in message for path in paths)
    for i in range(20):
      (birds / f"wren/more{i}.jpg").write_bytes(b"")
    message = refused("folder", "--name=some", birds)
    assert message.endswith("; 18 more that cannot be read.")

  def test_empty_class(self, birds, refused):
    (birds / "owl").mkdir()
    message = refused("folder", "--name=some", birds)
    assert message == f"class folder {birds / 'owl'} has no images."

  def test_one_class(self, refused, tmp_path):
    _write_image(tmp_path / "in/jay/0.png", hash_of=0)
    message = refused("folder", "--name=some", tmp_path / "in")
    assert "has 1 class folder ('jay'); at least 2 are needed" in message

  def test_no_images(self, refused, tmp_path):
    (tmp_path / "in").mkdir()
    message = refused("folder", "--name=some", tmp_path / "in")
    assert "has no class folders with images" in message

  def test_class_that_train_lacks(self, refused, tmp_path):
    for path in ("train/a/0.png", "train/b/0.png", "test/c/0.png"):
      _write_image(tmp_path / "in" / path, hash_of=path)
    message = refused("folder", "--name=some", tmp_path / "in")
    assert message.endswith("test has class 'c', which 'train' does not have.")

  def test_folder_that_is_no_split(self, refused, tmp_path):
    for path in ("train/a/0.png", "train/b/0.png", "more/a/0.png"):
      _write_image(tmp_path / "in" / path, hash_of=path)
    assert "has folder 'more' beside 'train'" in refused(
      "folder", "--name=some", tmp_path / "in"
    )

  @pytest.mark.parametrize(
    ("flags", "message"),
    [
      (["--test_fraction=1"], "--test_fraction is 1.0; it must be a finite number"),
      (["--validation_fraction=-0.1"], "--validation_fraction is -0.1; it must be"),
      (
        ["--test_fraction=.5", "--validation_fraction=.5"],
        "must add up to less than 1",
      ),
      (["--seed=-1"], "--seed is -1; it must be an integer from 0 to 4294967295"),
    ],
  )
  def test_flags_out_of_range(self, birds, refused, flags, message):
    assert message in refused("folder", "--name=some", birds, *flags)

  def test_registered_name(self, birds, refused):
    assert "choose another name" in refused("folder", "--name=mnist", birds)


class TestFolderAsDataSet:
  """`folder=PATH` is a data set, prepared where it is opened."""

  @pytest.fixture
  def folder(self, tmp_path):
    for name in ("a", "b"):
      for i in range(20):
        _write_image(tmp_path / f"My Birds/{name}/{i}.png", hash_of=(name, i))
    return tmp_path / "My Birds"

  def test_prepared_once_and_again_when_changed(self, folder, tmp_path, capsys):
    data_dir = str(tmp_path / "out")
    name = f"folder={folder}"
    first = open_dataset(name, data_dir)
    assert "is prepared as folder_my_birds_" in capsys.readouterr().err
    assert (first.num_classes, first.channels) == (2, 3)
    counts = {s: first.num_examples(s) for s in ("train", "validation", "test")}
    assert counts == {"train": 32, "validation": 4, "test": 4}
    again = open_dataset(name, data_dir)
    assert capsys.readouterr().err == ""
    assert again.identity() == first.identity()
    _write_image(folder / "a/new.png", hash_of="new")
    changed = open_dataset(name, data_dir)
    assert "has changed and is prepared anew" in capsys.readouterr().err
    assert changed.identity() != first.identity()

  def test_splits_of_its_own_stay(self, folder, tmp_path):
    for name in ("a", "b"):
      os.makedirs(tmp_path / "in/train", exist_ok=True)
      os.rename(folder / name, tmp_path / "in/train" / name)
      _write_image(tmp_path / f"in/val/{name}/0.png", hash_of=name)
    dataset = open_dataset(f"folder={tmp_path / 'in'}", str(tmp_path / "out"))
    counts = {s: dataset.num_examples(s) for s in ("train", "validation", "test")}
    assert counts == {"train": 36, "validation": 2, "test": 4}


class TestNpz:
  def test_train_and_test(self, run, opened, tmp_path):
    rng = np.random.default_rng(0)
    arrays = {"x_train": rng.integers(0, 256, (9, 4, 5, 3), np.uint8)}
    arrays["x_test"] = rng.integers(0, 256, (6, 4, 5, 3), np.uint8)
    # Labels in a column, as some archives have them.
    arrays["y_train"], arrays["y_test"] = np.arange(9)[:, None] % 3, np.arange(6) % 3
    np.savez(tmp_path / "in.npz", class_names=["a", "b", "c"], **arrays)
    assert run("npz", "--name=some", tmp_path / "in.npz")[0] == 0
    dataset = opened("some")
    assert (dataset.class_names, dataset.channels) == (("a", "b", "c"), 3)
    assert (dataset.num_examples("train"), dataset.num_examples("test")) == (9, 6)
    found = {
      tf.io.decode_png(data).numpy().tobytes()
      for data in _stored_bytes(dataset, "test")
    }
    assert found == {image.tobytes() for image in arrays["x_test"]}

  def test_images_are_cut_into_splits(self, run, opened, tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 6, 6), np.uint8)
    np.savez(tmp_path / "in.npz", images=images, labels=np.arange(40) % 2)
    assert run("npz", "--name=some", tmp_path / "in.npz", "--test_fraction=.25")[0] == 0
    dataset = opened("some")
    assert (dataset.num_classes, dataset.channels) == (2, 1)
    assert dataset.num_examples("test") == 10

  @pytest.mark.parametrize(
    ("arrays", "message"),
    [
      ({"a": np.zeros(3)}, "has arrays a; accepted are x_train, y_train, x_val"),
      (
        {"images": np.zeros((4, 2, 2)), "labels": np.arange(4)},
        "images is float64 [4, 2, 2]; accepted is uint8 [n, height, width] or",
      ),
      (
        {"images": np.zeros((4, 2, 2, 5), np.uint8), "labels": np.arange(4)},
        "images is uint8 [4, 2, 2, 5]; accepted is",
      ),
      (
        {"images": np.zeros((4, 2, 2), np.uint8), "labels": np.arange(3)},
        "labels is int64 [3]; accepted is integer [4], a label for each of images",
      ),
      (
        {"images": np.zeros((4, 2, 2), np.uint8), "labels": np.zeros(4)},
        "labels is float64 [4]; accepted is integer [4]",
      ),
      ({"images": np.zeros((4, 2, 2), np.uint8)}, "has images and lacks its labels"),
      (
        {"images": np.zeros((4, 2, 2), np.uint8), "labels": np.array([0, 1, -1, 1])},
        "label -1 of example 2 of all is not among 0 to 1",
      ),
    ],
  )
  def test_arrays_that_do_not_fit(self, refused, tmp_path, arrays, message):
    np.savez(tmp_path / "in.npz", **arrays)
    path = tmp_path / "in.npz"
    found = refused("npz", "--name=some", path, "--test_fraction=0")
    assert found.startswith(str(path))
    assert message in found

  @pytest.mark.parametrize("content", [b"", b"no archive", None])
  def test_files_that_are_no_archive(self, refused, tmp_path, content):
    if content is not None:
      (tmp_path / "in.npz").write_bytes(content)
    found = refused("npz", "--name=some", tmp_path / "in.npz")
    assert "in.npz cannot be read as an .npz archive" in found


_FEATURES = tfds.features.FeaturesDict(
  {
    "image": tfds.features.Image(shape=(2, 2, 1)),
    "label": tfds.features.ClassLabel(num_classes=2),
  }
)


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_an_interrupted_run_leaves_nothing(tmp_path, error):
  def example(i):
    if i == 7:
      raise error
    return {"image": np.zeros((2, 2, 1), np.uint8), "label": 0}

  splits = {"train": store.Split(range(20), example)}
  with pytest.raises(error):
    store.write_dataset(str(tmp_path), "some", _FEATURES, splits, description="")
  assert not list(tmp_path.iterdir())


def _split(count, value=0):
  image = np.full((2, 2, 1), value, np.uint8)
  return store.Split(range(count), lambda i: {"image": image, "label": i % 2})


def test_what_a_killed_run_left_is_removed_and_put_back(tmp_path):
  """Killed while it replaced a data set; another process is still at work."""
  writes = functools.partial(store.write_dataset, str(tmp_path), features=_FEATURES)
  folder = Path(writes("some", splits={"train": _split(6)}, description=""))
  killed, alive = tmp_path / ".incomplete-some-a", tmp_path / ".incomplete-some-b"
  (killed / "replaced" / "some").mkdir(parents=True)
  folder.rename(killed / "replaced" / "some" / folder.name)
  alive.mkdir()
  for place in (killed, alive):
    (place / "lock").touch()
  with (alive / "lock").open() as lock:
    fcntl.flock(lock, fcntl.LOCK_EX)
    writes("other", splits={"train": _split(4)}, description="")
  assert not killed.exists()
  assert alive.exists()
  assert open_dataset("some", str(tmp_path)).num_examples("train") == 6


def test_records_are_those_of_tfds_in_its_order(tmp_path):
  """In several shards, whatever thread made them."""
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (300, 2, 2, 1), np.uint8)
  examples = [{"image": x, "label": i % 2} for i, x in enumerate(pixels)]
  builder = tfds.dataset_builders.AdhocBuilder(
    name="theirs",
    version="1.0.0",
    features=_FEATURES,
    split_datasets={"train": list(enumerate(examples))},
    data_dir=str(tmp_path),
  )
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(try_download_gcs=False)
  )
  with pytest.MonkeyPatch.context() as patch:
    patch.setattr(store, "_SHARD_BYTES", 4000)
    split = store.Split(range(300), examples.__getitem__)
    store.write_dataset(
      str(tmp_path), "ours", _FEATURES, {"train": split}, description=""
    )
  in_turn = tfds.ReadConfig(interleave_cycle_length=1)  # Shard after shard.
  read = [
    [(e["image"].tobytes(), int(e["label"])) for e in tfds.as_numpy(data)]
    for data in (
      builder.as_dataset("train", read_config=in_turn),
      open_dataset("ours", str(tmp_path)).builder.as_dataset(
        "train", read_config=in_turn
      ),
    )
  ]
  assert read[0] == read[1]
  assert open_dataset("ours", str(tmp_path)).builder.info.splits["train"].num_shards > 3


def test_identity_is_that_of_the_contents(tmp_path):
  found = []
  for place, count, value in (("a", 6, 0), ("b", 6, 0), ("c", 6, 1), ("d", 8, 0)):
    data_dir = str(tmp_path / place)
    store.write_dataset(
      data_dir, "some", _FEATURES, {"train": _split(count, value)}, description=""
    )
    found.append(open_dataset("some", data_dir).identity())
  assert found[0] == found[1]
  assert len(set(found)) == 3


def _write_idx(folder, pixels, labels, zipped=False, prefix="", test="t10k"):
  folder.mkdir(exist_ok=True)
  opener, suffix = (gzip.open, ".gz") if zipped else (open, "")
  for split in pixels:
    for kind, array in (("images", pixels[split]), ("labels", labels[split])):
      name = test if split == "t10k" else split
      path = folder / f"{prefix}{name}-{kind}-idx{array.ndim}-ubyte{suffix}"
      with opener(path, "wb") as file:
        file.write(bytes([0, 0, 8, array.ndim]))
        file.write(np.array(array.shape, ">u4").tobytes() + array.tobytes())


def _write_image(path, hash_of):
  path.parent.mkdir(parents=True, exist_ok=True)
  seed = list(repr(hash_of).encode())
  pixels = np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)
  Image.fromarray(pixels).save(path)


def _stored_bytes(dataset, split):
  data = dataset.builder.as_dataset(
    split=split, decoders={"image": tfds.decode.SkipDecoding()}
  )
  return [example["image"] for example in tfds.as_numpy(data)]
