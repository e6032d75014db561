"""`python -m hue_jax.data.check`: what it tells is what is there."""

import json
import os
import shutil

import numpy as np
import pytest

from hue_jax.data import record_index
from hue_jax.data.datasets import open_dataset
from hue_jax.data.records import RecordSource
from hue_jax.data.survey import survey
from hue_jax.data.survey_report import text_of
from hue_jax.errors import InputError
from tests.helpers.data_sets import image_features, write_images


@pytest.fixture
def copied(digits, tmp_path):
  folder = tmp_path / "digits/1.0.0"
  ignore = shutil.ignore_patterns(record_index.INDEX_FILE)
  shutil.copytree(digits.builder.data_dir, folder, ignore=ignore)
  return folder, open_dataset("digits", str(tmp_path))


def test_a_whole_data_set(copied, reference):
  _, dataset = copied
  train, test = survey(dataset)
  for found, split in ((train, "train"), (test, "test")):
    labels = [example["label"] for example in reference(dataset, split)]
    assert found.class_counts == np.bincount(labels, minlength=10).tolist()
    assert (found.split, found.files, found.damaged) == (split, 1, [])
    assert found.read == found.records == len(labels)
    sizes = list(map(len, RecordSource(dataset, split).read(np.arange(len(labels)))))
    assert found.record_bytes == [min(sizes), np.median(sizes), max(sizes)]
    assert found.bytes == sum(sizes)
    assert found.heights == found.widths == [8, 8, 8]
    assert found.channels == {1: len(labels)}
    assert found.seconds > 0
  text = text_of(train, dataset.class_names)
  assert "train: 1,437 of 1,437 records in 1 file, " in text
  assert "10 of 10 have images" in text
  assert f"    3: {train.class_counts[3]}" in text


def test_the_index_is_kept_on_the_way(copied, monkeypatch):
  _, dataset = copied
  survey(dataset)
  monkeypatch.setattr(record_index, "_scan", None)
  assert len(RecordSource(dataset, "train+test")) == 1797


@pytest.mark.parametrize("piece", [1, 7, 100, 2**23])
def test_pieces_of_any_size(copied, monkeypatch, piece):
  folder, dataset = copied
  path = str(folder / "digits-test.tfrecord-00000-of-00001")
  expected = RecordSource(dataset, "test").read(np.arange(360))
  monkeypatch.setattr(record_index, "PIECE", piece)
  size = os.path.getsize(path) if piece > 10 else 20_000
  found = list(record_index.read_in_order(path, size))
  whole = [data for data, _ in found if isinstance(data, bytes)]
  assert whole == expected[: len(whole)]
  assert len(whole) == (360 if piece > 10 else len(found) - 1)
  offsets = record_index.load_or_build(str(folder), [path])[path]
  ends = [end for data, end in found if isinstance(data, bytes)]
  np.testing.assert_array_equal(ends, offsets[1 : len(ends) + 1])


def test_damage_is_told_by_file_and_record(copied):
  folder, dataset = copied
  path = folder / "digits-train.tfrecord-00000-of-00001"
  offsets = record_index.load_or_build(str(folder), [str(path)])[str(path)]
  data = bytearray(path.read_bytes())
  data[offsets[21] + 15] ^= 1
  data[offsets[1400] + 2] ^= 1  # A length: what follows cannot be found.
  path.write_bytes(data)
  (train,) = survey(dataset, "train")
  assert [(one.file, one.record, one.reason) for one in train.damaged] == [
    (path.name, 21, "the checksum of its data is wrong"),
    (path.name, 1400, "the checksum of its length is wrong"),
  ]
  assert train.read == 1399
  os.truncate(path, int(offsets[1000]))
  assert survey(dataset, "train")[0].damaged[-1].record == 1000
  os.remove(path)
  (train,) = survey(dataset, "train")
  assert [one.reason for one in train.damaged] == ["the file is missing"]
  assert "damaged: 1" in text_of(train, dataset.class_names)


def test_damaged_images_and_wrong_labels(tmp_path):
  rng = np.random.default_rng(0)
  pixels = rng.integers(0, 256, (8, 30, 20, 3), np.uint8)
  labels = np.array([0, 1, 2, 0, 1, 2, 0, 0])
  name, features = "some_pictures", image_features((None, None, 3), 3)
  folder = write_images(
    str(tmp_path), name, features, {"train": pixels}, {"train": labels}
  )
  (path,) = [one for one in os.listdir(folder) if "tfrecord" in one]
  records = RecordSource(open_dataset(name, str(tmp_path)), "train").read(np.arange(8))
  pixels = records[3].index(b"IDAT") + 20
  records[3] = records[3][:pixels] + b"\xff" * 30 + records[3][pixels + 30 :]
  records[5] = b"no example"
  import tensorflow as tf

  with tf.io.TFRecordWriter(os.path.join(folder, path)) as writer:
    for record in records:
      writer.write(record)
  dataset = open_dataset(name, str(tmp_path))
  (found,) = survey(dataset)
  assert [one.record for one in found.damaged] == [3, 5]
  assert found.class_counts == [3, 2, 1]
  assert (found.heights, found.widths) == ([30.0] * 3, [20.0] * 3)
  # A header alone does not tell what is wrong with the pixels.
  (found,) = survey(dataset, decode=False)
  assert [one.record for one in found.damaged] == [5]


@pytest.mark.parametrize("decode", [True, False])
def test_heights_widths_and_channels_are_in_their_places(sharded, decode):
  for found in survey(sharded, decode=decode):
    assert (found.heights, found.widths) == ([5, 5, 5], [6, 6, 6])
    assert found.channels == {3: found.records}


@pytest.mark.parametrize("sharded", ["array_record"], indirect=True)
def test_array_records(sharded):
  train, test = survey(sharded)
  assert (train.read, train.files, test.read, test.files) == (60, 7, 23, 3)
  assert not train.damaged


def test_records_that_a_cut_file_has_no_more_are_counted(
  copied, tmp_path, monkeypatch, capfd
):
  from hue_jax.data import check

  monkeypatch.setattr(check, "keep_standard_output", lambda: check.sys.stdout)
  folder, _ = copied
  path = folder / "digits-train.tfrecord-00000-of-00001"
  offsets = record_index.load_or_build(str(folder), [str(path)])[str(path)]
  data = bytearray(path.read_bytes()[: offsets[1000] + 5])
  data[offsets[21] + 15] ^= 1
  path.write_bytes(data)
  assert check.main(["--dataset=digits", f"--data_dir={tmp_path}"]) == 1
  told = capfd.readouterr().err
  # 437 after the cut, and the one whose checksum is wrong.
  assert told.endswith("damaged: 438 of the 1,797 records of digits cannot be used.\n")


def test_a_split_that_is_not_there(copied):
  with pytest.raises(InputError, match=r"--split is 'tset'; it must be one of t"):
    survey(copied[1], "tset")


def test_the_command(copied, tmp_path, monkeypatch, capfd):
  from hue_jax.data import check

  monkeypatch.setattr(check, "keep_standard_output", lambda: check.sys.stdout)
  folder, _ = copied
  arguments = ["--dataset=digits", f"--data_dir={tmp_path}"]
  assert check.main(arguments) == 0
  assert "train: 1,437 of 1,437 records" in capfd.readouterr().out
  path = folder / "digits-test.tfrecord-00000-of-00001"
  data = bytearray(path.read_bytes())
  data[30] ^= 1
  path.write_bytes(data)
  assert check.main([*arguments, "--json"]) == 1
  told = capfd.readouterr()
  content = json.loads(told.out)
  assert content["splits"][1]["damaged"][0]["record"] == 0
  assert told.err.endswith(
    "damaged: 1 of the 1,797 records of digits cannot be used.\n"
  )
  assert check.main(["--dataset=digits", "--data_dir=ftp://x/y"]) == 2
  assert check.main([]) == 2
