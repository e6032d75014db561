"""Writers of small data sets, for tests."""

import io
import os

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from hue_jax.data.datasets import Dataset, open_dataset


def image_features(shape, num_classes: int) -> tfds.features.FeaturesDict:
  """An image and a label."""
  return tfds.features.FeaturesDict(
    {
      "image": tfds.features.Image(shape=shape),
      "label": tfds.features.ClassLabel(num_classes=num_classes),
    }
  )


def write_images(
  data_dir, name, features, images, labels, file_format="tfrecord", num_shards=None
) -> str:
  """Writes arrays, or file objects, by TFDS's own means; returns the folder."""

  def examples(split):
    for i, (image, label) in enumerate(zip(images[split], labels[split], strict=True)):
      yield i, {"image": image, "label": int(label)}

  tfds.disable_progress_bar()
  builder = tfds.dataset_builders.AdhocBuilder(
    name=name,
    version="1.0.0",
    features=features,
    split_datasets={split: examples(split) for split in images},
    data_dir=data_dir,
    file_format=file_format,
    disable_shuffling=True,
  )
  builder.download_and_prepare(
    download_config=tfds.download.DownloadConfig(try_download_gcs=False)
  )
  folder = str(builder.data_dir)
  for split, count in (num_shards or {}).items():
    _cut_into_shards(folder, name, split, count, file_format)
  return folder


def written(data_dir, name, contents) -> Dataset:
  """A data set of encoded images, which TFDS writes byte for byte; labels count."""
  files = {"train": [io.BytesIO(data) for data in contents]}
  labels = {"train": np.arange(len(contents))}
  features = image_features((None, None, 3), len(contents))
  write_images(data_dir, name, features, files, labels)
  return open_dataset(name, data_dir)


def _cut_into_shards(folder, name, split, count, file_format) -> None:
  """Rewrites one shard as several: TFDS itself makes them of 64 MB or more."""
  whole = os.path.join(folder, f"{name}-{split}.{file_format}-00000-of-00001")
  records = _read_records(whole, file_format)
  parts = np.array_split(np.arange(len(records)), count)
  for i, part in enumerate(parts):
    path = os.path.join(folder, f"{name}-{split}.{file_format}-{i:05d}-of-{count:05d}")
    _write_records(path, [records[k] for k in part], file_format)
  os.remove(whole)
  path = os.path.join(folder, "dataset_info.json")
  info = tfds.core.dataset_info.read_proto_from_builder_dir(folder)
  for entry in info.splits:
    if entry.name == split:
      entry.shard_lengths[:] = [len(part) for part in parts]
  tfds.core.dataset_info.write_dataset_info_proto(
    info, dataset_info_dir=tfds.core.Path(folder)
  )
  assert os.path.exists(path)


def _read_records(path: str, file_format: str) -> list[bytes]:
  if file_format == "tfrecord":
    return [record.numpy() for record in tf.data.TFRecordDataset(path)]
  from array_record.python import array_record_module

  return array_record_module.ArrayRecordReader(path).read_all()


def _write_records(path: str, records: list[bytes], file_format: str) -> None:
  if file_format == "tfrecord":
    with tf.io.TFRecordWriter(path) as writer:
      for record in records:
        writer.write(record)
    return
  from array_record.python import array_record_module

  writer = array_record_module.ArrayRecordWriter(path, "group_size:1")
  for record in records:
    writer.write(record)
  writer.close()
