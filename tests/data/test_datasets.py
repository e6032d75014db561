import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest
import tensorflow_datasets as tfds
from sklearn.datasets import load_digits

from hue_jax.data import prepare
from hue_jax.data.datasets import open_dataset
from hue_jax.errors import InputError
from tests.helpers.data_sets import write_images


def test_digits_are_those_of_scikit_learn(digits, reference):
  pixels, labels = load_digits(return_X_y=True)
  expected = {}
  for image, label in zip(pixels, labels, strict=True):
    scaled = np.round(image * 255 / 16).astype(np.uint8)
    expected.setdefault(scaled.tobytes(), []).append(int(label))
  assert (digits.num_classes, digits.channels) == (10, 1)
  assert digits.class_names == tuple("0123456789")
  assert (digits.num_examples("train"), digits.num_examples("test")) == (1437, 360)
  examples = reference(digits, "train") + reference(digits, "test")
  for example in examples:
    assert int(example["label"]) in expected[example["image"].tobytes()]
  assert len({e["image"].tobytes() for e in examples}) == len(expected)
  counts = np.bincount([e["label"] for e in reference(digits, "test")])
  np.testing.assert_allclose(counts, np.bincount(labels) * 360 / 1797, atol=1)


def test_digits_are_written_once(tmp_path):
  folder = Path(open_dataset("digits", str(tmp_path)).builder.data_dir)
  before = {p.name: p.stat().st_mtime_ns for p in folder.iterdir()}
  open_dataset("digits", str(tmp_path))
  assert {p.name: p.stat().st_mtime_ns for p in folder.iterdir()} == before
  assert os.listdir(tmp_path) == ["digits"]


@pytest.mark.slow
def test_two_processes_write_digits(tmp_path):
  code = (
    "import sys; from hue_jax.data.datasets import open_dataset;"
    "print(open_dataset('digits', sys.argv[1]).num_examples('train'))"
  )
  command = [sys.executable, "-c", code, str(tmp_path)]
  path = os.pathsep.join(p for p in sys.path if p)
  runs = [
    subprocess.Popen(command, stdout=-1, env=os.environ | {"PYTHONPATH": path})
    for _ in range(2)
  ]
  assert [run.communicate()[0].split()[-1] for run in runs] == [b"1437", b"1437"]
  assert os.listdir(tmp_path) == ["digits"]


def test_digits_of_a_split_are_the_same_everywhere(digits, tmp_path, reference):
  again = open_dataset("digits", str(tmp_path))
  for one, other in zip(
    reference(digits, "test"), reference(again, "test"), strict=True
  ):
    np.testing.assert_array_equal(one["image"], other["image"])


def test_default_folder_is_that_of_tfds(digits, data_dir, monkeypatch):
  monkeypatch.setenv("TFDS_DATA_DIR", data_dir)
  assert str(open_dataset("digits", None).builder.data_dir).startswith(data_dir)


def test_imagenet(imagenet, reference):
  assert (imagenet.num_classes, imagenet.channels) == (1000, 3)
  assert imagenet.class_names[:2] == ("n01440764", "n01443537")
  assert imagenet.num_examples("train[:50%]+validation") == 46
  assert (imagenet.image_key, imagenet.label_key) == ("image", "label")
  example = reference(imagenet, "validation")[0]
  assert example["image"].shape == (96, 120, 3)
  assert example["file_name"].startswith(b"ILSVRC2012_validation_")


def test_tfds_reads_the_same_imagenet(imagenet, data_dir):
  builder = tfds.builder("imagenet2012:5.*.*", data_dir=data_dir)
  assert builder.info.splits["train"].num_examples == 50


@pytest.mark.parametrize("split", ["dev", "train[", "train[:200%]", "", "train+dev"])
def test_unknown_split(digits, split):
  with pytest.raises(InputError) as caught:
    digits.check_split(split)
  assert str(caught.value) == (
    f"digits has no split {split!r}; it has 'train' (1437 examples), 'test' (360 "
    "examples), and parts and sums of them are written like 'train', 'train[:90%]', "
    "'train[90%:]', 'train[:500]+test[5:10]'."
  )
  with pytest.raises(InputError):
    digits.num_examples(split)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("name", "expected"),
  [
    ("fashion_mnistt", "near matches: fashion_mnist,"),
    ("digts", "near matches: digits,"),
    ("no such name", "near matches: "),
    ("", "near matches: none"),
    ("mnist", "tfds build mnist --data_dir="),
    ("mnist:1.2.3", "tfds build mnist:1.2.3 --data_dir="),
    ("imagenet2012:5.*.*", "tfds build imagenet2012:5.*.* --data_dir="),
    ("imagenet2012", "ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar by hand"),
    ("resisc45", "after fetching by hand into "),
    ("my_birds", "python -m hue_jax.data.prepare"),
  ],
)
def test_what_is_not_prepared(tmp_path, name, expected):
  open_dataset("digits", str(tmp_path))
  with pytest.raises(InputError) as caught:
    open_dataset(name, str(tmp_path))
  message = str(caught.value)
  assert f"data set {name!r}" in message
  assert str(tmp_path) in message
  assert expected in message
  assert "digits/1.0.0" in message
  assert "\n" not in message


def test_damaged_metadata(tmp_path):
  folder = Path(open_dataset("digits", str(tmp_path)).builder.data_dir)
  paths = sorted(folder.glob("*.json"))
  assert len(paths) == 3
  for path in paths:
    whole = path.read_bytes()
    for damaged in (b"", whole[: len(whole) // 2], b"[]", b"\xff\x00"):
      path.write_bytes(damaged)
      with pytest.raises(InputError) as caught:
        open_dataset("digits", str(tmp_path))
      message = str(caught.value)
      told = f"data set 'digits' in {tmp_path} cannot be opened: 1.0.0/{path.name}"
      assert message.startswith(f"{told} is damaged (")
      assert "\n" not in message
    # An object that says nothing: of the metadata, as of a data set of TFDS's own.
    path.write_bytes(b"{}")
    if path.name == "metadata.json":
      open_dataset("digits", str(tmp_path))
    else:
      with pytest.raises(InputError, match=r"'digits' in .* cannot be opened: \w"):
        open_dataset("digits", str(tmp_path))
    path.write_bytes(whole)


def test_a_folder_whose_path_is_not_utf8(tmp_path, capsys):
  data_dir = str(tmp_path / os.fsdecode(b"d\xe9p\xf4t"))
  with pytest.raises(InputError) as caught:
    open_dataset("digits", data_dir)
  assert str(caught.value) == (
    f"data_dir is {data_dir!r}; it must be a folder whose path is UTF-8."
  )
  assert prepare.main(["elpv", f"--data_dir={data_dir}"]) == 2
  assert f"--data_dir is {data_dir!r}; it must be" in capsys.readouterr().err


IMAGE, LABEL = tfds.features.Image, tfds.features.ClassLabel


@pytest.mark.parametrize(
  ("features", "message"),
  [
    ({"image": IMAGE(shape=(4, 4, 3))}, "has 'image' (Image)"),
    (
      {"a": IMAGE(shape=(4, 4, 3)), "b": IMAGE(), "label": LABEL(num_classes=2)},
      "'a' (Image), 'b' (Image), 'label' (ClassLabel)",
    ),
    (
      {
        "image": IMAGE(shape=(4, 4, 1), dtype=np.float32),
        "label": LABEL(num_classes=2),
      },
      "images of float32; accepted are uint8 and uint16",
    ),
  ],
)
def test_features_that_do_not_fit(tmp_path, monkeypatch, features, message):
  from hue_jax.data import datasets

  monkeypatch.setattr(datasets, "_find_builder", lambda *_: _builder(features))
  with pytest.raises(InputError) as caught:
    open_dataset("some", str(tmp_path))
  assert "data set 'some'" in str(caught.value)
  assert message in str(caught.value)


def test_supervised_keys_choose(tmp_path, monkeypatch):
  from hue_jax.data import datasets

  features = {
    "other": IMAGE(shape=(4, 4, 3)),
    "photo": IMAGE(shape=(None, None, 1)),
    "kind": LABEL(num_classes=10**7),
  }
  builder = _builder(features, ("photo", "kind"))
  monkeypatch.setattr(datasets, "_find_builder", lambda *_: builder)
  dataset = open_dataset("some", str(tmp_path))
  assert (dataset.image_key, dataset.label_key) == ("photo", "kind")
  assert (dataset.channels, dataset.num_classes) == (1, 10**7)


def test_other_formats_are_named(digits):
  from hue_jax.data.records import RecordSource

  info = SimpleNamespace(
    splits=digits.builder.info.splits,
    file_format=tfds.core.file_adapters.FileFormat.RIEGELI,
  )
  builder = mock.Mock(spec=tfds.core.DatasetBuilder, info=info, data_dir="/some/folder")
  dataset = dataclasses.replace(digits, builder=builder)
  with pytest.raises(
    InputError, match=r"as riegeli, .*tfrecord and array_record .*conv"
  ):
    RecordSource(dataset, "train")


def test_a_gray_and_a_color_data_set(tmp_path):
  for channels, expected in ((1, 1), (3, 3), (4, 3), (None, 3)):
    features = tfds.features.FeaturesDict(
      {"image": IMAGE(shape=(4, 4, channels)), "label": LABEL(num_classes=2)}
    )
    pixels = np.zeros((3, 4, 4, channels or 3), np.uint8)
    name = f"some_{channels or 'any'}"
    write_images(str(tmp_path), name, features, {"train": pixels}, {"train": [0, 1, 0]})
    assert open_dataset(name, str(tmp_path)).channels == expected


def _builder(features, supervised_keys=None):
  info = SimpleNamespace(
    features=tfds.features.FeaturesDict(features), supervised_keys=supervised_keys
  )
  return mock.Mock(spec=tfds.core.DatasetBuilder, info=info)
