import os
import shutil
import struct
import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf

from hue_jax.data import record_index
from hue_jax.data.datasets import open_dataset
from hue_jax.data.records import RecordSource
from hue_jax.errors import InputError

SPLITS = ["train", "test", "train[:90%]", "train[13:47]", "train[-9:]+test[5:17]"]


def labels_and_images(dataset, source, indices):
  feature = dataset.builder.info.features
  examples = [feature.deserialize_example(data) for data in source.read(indices)]
  return [(int(e["label"]), e["image"].numpy()) for e in examples]


@pytest.mark.parametrize("split", SPLITS)
def test_same_examples_as_tfds(sharded, reference, split):
  source = RecordSource(sharded, split)
  expected = reference(sharded, split)
  assert len(source) == len(expected) == sharded.num_examples(split)
  order = np.random.default_rng(1).permutation(len(source))
  for i, (label, image) in zip(
    order, labels_and_images(sharded, source, order), strict=True
  ):
    assert label == expected[i]["label"]
    np.testing.assert_array_equal(image, expected[i]["image"])


def test_repeated_indices(sharded):
  source = RecordSource(sharded, "train")
  once = source.read(np.arange(60))
  assert source.read(np.array([59, 0, 59, 31])) == [once[i] for i in (59, 0, 59, 31)]


def test_threads_share_a_source(sharded):
  source = RecordSource(sharded, "train")
  once = source.read(np.arange(60))
  orders = [np.random.default_rng(i).permutation(60) for i in range(40)]
  with ThreadPoolExecutor(8) as pool:
    for order, found in zip(orders, pool.map(source.read, orders), strict=True):
      assert found == [once[i] for i in order]


def test_describe(sharded):
  source = RecordSource(sharded, "train[10:]+test")
  suffix = sharded.name.removeprefix("sharded_")
  name = sharded.name
  # 60 examples in 7 shards: 9, 9, 9, 9, 8, 8, 8.
  assert source.describe(0) == (
    f"{name} split 'train[10:]+test' index 0 "
    f"(file {name}-train.{suffix}-00001-of-00007, record 1)"
  )
  last = f"-test.{suffix}-00002-of-00003, record 6)"
  assert source.describe(50 + 22).endswith(last)


@pytest.fixture
def copied(digits, tmp_path):
  """A data set of its own to damage: the path of its train file, and its opener."""
  without_index = shutil.ignore_patterns(record_index.INDEX_FILE)
  folder = tmp_path / "digits/1.0.0"
  shutil.copytree(digits.builder.data_dir, folder, ignore=without_index)
  path = tmp_path / "digits/1.0.0/digits-train.tfrecord-00000-of-00001"
  return path, lambda: open_dataset("digits", str(tmp_path))


def flip_byte(path, offset):
  data = bytearray(path.read_bytes())
  data[offset] ^= 0x40
  path.write_bytes(data)


def offsets_of(path):
  return record_index.load_or_build(str(path.parent), [str(path)])[str(path)]


@pytest.mark.parametrize(("where", "reason"), [(15, "its data"), (2, "its length")])
def test_damaged_record_is_named(copied, where, reason):
  path, opened = copied
  flip_byte(path, int(offsets_of(path)[21]) + where)
  os.remove(path.parent / record_index.INDEX_FILE)
  with pytest.raises(InputError) as caught:
    RecordSource(opened(), "train[7:]").read(np.array([3, 14, 5]))
  assert str(caught.value) == (
    "digits split 'train[7:]' index 14 (file digits-train.tfrecord-00000-of-00001, "
    f"record 21): the checksum of {reason} is wrong."
  )


def test_damage_after_the_index_was_kept(copied):
  path, opened = copied
  source = RecordSource(opened(), "train")
  stat = path.stat()
  flip_byte(path, int(offsets_of(path)[30]) + 1)
  os.utime(path, ns=(stat.st_atime_ns, stat.st_mtime_ns))
  with pytest.raises(InputError, match=r"index 30 .*its length is wrong"):
    RecordSource(opened(), "train").read(np.arange(40))
  with pytest.raises(InputError, match=r"index 30 .*its length is wrong"):
    source.read(np.array([30]))


def test_truncated_shard_is_named(copied):
  path, opened = copied
  offsets = offsets_of(path)
  os.truncate(path, int(offsets[1000]) + 20)
  with pytest.raises(
    InputError, match=r"index 1000 \(.*, record 1000\): the file ends"
  ):
    RecordSource(opened(), "train")
  # Cut between two records, no record is damaged and some are missing.
  os.truncate(path, int(offsets[1000]))
  with pytest.raises(InputError, match=r"index 1000 .*has 1000 records .* says 1437"):
    RecordSource(opened(), "train")


def test_missing_file_is_named(copied):
  path, opened = copied
  os.remove(path)
  with pytest.raises(InputError, match=r"digits split 'train' .*file is missing"):
    RecordSource(opened(), "train")


def test_index_is_kept_and_renewed(copied, monkeypatch):
  path, opened = copied
  first = RecordSource(opened(), "train").read(np.arange(3))
  assert (path.parent / record_index.INDEX_FILE).exists()
  scans = []
  scan = record_index._scan
  monkeypatch.setattr(
    record_index, "_scan", lambda path, size: scans.append(path) or scan(path, size)
  )
  assert RecordSource(opened(), "train").read(np.arange(3)) == first
  assert not scans
  RecordSource(opened(), "test")
  RecordSource(opened(), "train+test")
  assert len(scans) == 1
  records = [r.numpy() for r in tf.data.TFRecordDataset(str(path))]
  with tf.io.TFRecordWriter(str(path)) as writer:
    for record in records[::-1]:
      writer.write(record)
  assert RecordSource(opened(), "train").read(np.arange(3)) == records[:-4:-1]
  assert len(scans) == 2


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 cut off"])
def test_a_bad_index_is_made_anew(copied, content):
  path, opened = copied
  (path.parent / record_index.INDEX_FILE).write_bytes(content)
  assert len(RecordSource(opened(), "train").read(np.arange(1437))) == 1437


def test_an_index_that_cannot_be_kept_is_in_the_cache_or_nowhere(
  copied, monkeypatch, tmp_path
):
  path, opened = copied
  # In place of a read-only folder, which a test run by root could write.
  monkeypatch.setattr(record_index, "INDEX_FILE", "no_such_folder/index.npz")
  cache = tmp_path / "cache"
  monkeypatch.setenv("HUE_JAX_CACHE_DIR", str(cache))
  first = RecordSource(opened(), "train").read(np.arange(5))
  assert not list(path.parent.glob("*.npz"))
  assert len(list(cache.rglob("*.npz"))) == 1
  scan = record_index._scan
  monkeypatch.setattr(record_index, "_scan", None)
  assert RecordSource(opened(), "train").read(np.arange(5)) == first
  os.utime(path)  # As if it were another.
  monkeypatch.setattr(record_index, "_scan", scan)
  monkeypatch.setenv("HUE_JAX_CACHE_DIR", str(path / "no folder"))
  assert RecordSource(opened(), "train").read(np.arange(5)) == first


def test_slow_reads_are_made_large(copied, monkeypatch):
  """As on a mounted bucket: after some headers, the file is read in large pieces."""
  path, _ = copied
  expected = offsets_of(path)
  os.remove(path.parent / record_index.INDEX_FILE)
  sizes, usual = [], os.pread

  def slow(descriptor, size, offset):
    sizes.append(size)
    time.sleep(0.003)
    return usual(descriptor, size, offset)

  monkeypatch.setattr(record_index.os, "pread", slow)
  np.testing.assert_array_equal(offsets_of(path), expected)
  assert sizes[:16] == [record_index.HEADER_BYTES] * 16
  assert len(sizes) == 17


def test_offsets_follow_the_format(tmp_path):
  path, sizes = tmp_path / "some.tfrecord", [0, 1, 1000, 3]
  with tf.io.TFRecordWriter(str(path)) as writer:
    for size in sizes:
      writer.write(bytes(size))
  expected = np.cumsum([0, *(size + 16 for size in sizes)])
  np.testing.assert_array_equal(offsets_of(path), expected)
  checksum = struct.unpack("<I", path.read_bytes()[8:12])[0]
  assert record_index.masked_crc(bytes(8)) == checksum


@pytest.mark.parametrize("sharded", ["array_record"], indirect=True)
def test_damaged_array_record_is_named(sharded, tmp_path):
  folder = tmp_path / sharded.name / "1.0.0"
  shutil.copytree(sharded.builder.data_dir, folder)
  path = folder / f"{sharded.name}-train.array_record-00002-of-00007"
  data = bytearray(path.read_bytes())
  start = data.find(b"\x89PNG", data.find(b"\x89PNG") + 1)
  data[start + 20 : start + 40] = bytes(20)
  path.write_bytes(data)
  source = RecordSource(open_dataset(sharded.name, str(tmp_path)), "train")
  with pytest.raises(
    InputError, match=r"index 19 \(file .*-00002-of-00007, record 1\)"
  ):
    source.read(np.arange(17, 25))
  path.write_bytes(b"")
  source = RecordSource(open_dataset(sharded.name, str(tmp_path)), "train")
  with pytest.raises(
    InputError, match=r"index 18 \(file .*-00002-of-00007, record 0\)"
  ):
    source.read(np.array([20]))
