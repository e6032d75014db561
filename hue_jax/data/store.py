"""Writing prepared TFDS data sets: by all cores, whole or not at all."""

import contextlib
import fcntl
import hashlib
import io
import os
import shutil
import tempfile
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from hue_jax.cores import available_cores
from hue_jax.data.host_tensorflow import Hasher, tf, tfds
from hue_jax.errors import InputError
from hue_jax.progress import Progress

VERSION = "1.0.0"

_SHARD_BYTES = 128 * 2**20
_MOST_ERRORS = 5


class Split(NamedTuple):
  """The examples of a split.

  Attributes:
    keys: The key of each example. Their hashes determine the order of the records, as
      in every data set of TFDS.
    example: A function that returns, for the number of an example, what its features
      encode. Several threads call it at once; its InputError tells what cannot be read.
  """

  keys: Sequence[int | str]
  example: Callable[[int], Mapping[str, Any]]

  @classmethod
  def of(cls, pairs: Iterable[tuple[int | str, Mapping[str, Any]]]) -> "Split":
    """Returns the split of (key, example) pairs."""
    keys, examples = zip(*pairs, strict=True)
    return cls(keys, examples.__getitem__)


def write_dataset(
  data_dir: str,
  name: str,
  features: tfds.features.FeaturesDict,
  splits: Mapping[str, Split],
  *,
  description: str,
  config: str | None = None,
  version: str = VERSION,
  overwrite: bool = False,
  made_of: str = "",
  silent: bool = True,
) -> str:
  """Writes a data set under `data_dir` as TFDS prepares it.

  The files are made in a temporary folder beside their destination and renamed, so
  that an interrupted run leaves no half-made data set, and of two processes that
  write the same one, one wins and the other's work is dropped. What a run that was
  killed has left there is removed by the next.

  Examples are made by as many threads as there are cores, in the order of the records,
  and a few at a time: memory does not grow with the data set.

  Args:
    data_dir: The folder of prepared data sets; it is made if it does not exist.
    name: The name of the data set.
    features: The features of the data set.
    splits: The splits by name, none of them empty.
    description: A sentence or two, stored with it.
    config: The name of the TFDS configuration, if it has one.
    version: The version to write.
    overwrite: Whether to replace the data set if it exists.
    made_of: A digest of what it is made of, stored with it.
    silent: Whether to show no progress.

  Returns:
    The folder of the data set.

  Raises:
    InputError: If `data_dir` cannot be written, or examples cannot be read: all of them
      are tried, and the first few named.
  """
  folder = dataset_folder(data_dir, name, config, version)
  total = sum(len(split.keys) for split in splits.values())
  try:
    with (
      _staging(data_dir, name) as staging,
      Progress(total, unit="images", title=name, silent=silent) as progress,
    ):
      builder = tfds.dataset_builders.AdhocBuilder(
        name=name,
        version=version,
        config=config,
        features=features,
        split_datasets={},
        data_dir=staging,
        description=description,
      )
      os.makedirs(builder.data_dir)
      writer = _Writer(builder, progress)
      infos = [writer.write(split_name, split) for split_name, split in splits.items()]
      writer.refuse_errors()
      builder.info.set_splits(tfds.core.SplitDict(infos))
      builder.info.write_to_directory(builder.data_dir)
      tfds.core.MetadataDict(
        contents=writer.contents.hexdigest(), made_of=made_of
      ).save_metadata(builder.data_dir)
      _move_into_place(str(builder.data_dir), folder, staging, overwrite)
  except (OSError, tf.errors.OpError) as error:
    reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
    raise InputError(f"data_dir {data_dir!r} cannot be written ({reason}).") from error
  return folder


def dataset_folder(data_dir: str, name: str, config: str | None, version: str) -> str:
  """Returns the folder under `data_dir` where TFDS looks for a data set."""
  return os.path.join(data_dir, name, *([config] if config else []), version)


def is_written(folder: str) -> bool:
  """Returns whether a folder holds a prepared data set."""
  return os.path.exists(os.path.join(folder, "features.json"))


def made_of(folder: str) -> str:
  """Returns the digest of what a data set was made of; empty where it is not known."""
  metadata = tfds.core.MetadataDict()
  with contextlib.suppress(OSError, ValueError):
    metadata.load_metadata(tfds.core.Path(folder))
  return metadata.get("made_of", "")


def png(pixels: np.ndarray) -> bytes:
  """Encodes uint8 [height, width, 1 or 3] as PNG."""
  file = io.BytesIO()
  Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(file, "PNG")
  return file.getvalue()


class _Writer:
  """Writes the splits of one data set, and keeps a digest of their contents."""

  def __init__(self, builder: tfds.core.DatasetBuilder, progress: Progress):
    self._builder = builder
    self._features = builder.info.features
    self._progress = progress
    self._errors: list[InputError] = []
    self.contents = hashlib.sha256()

  def write(self, name: str, split: Split) -> tfds.core.SplitInfo:
    """Writes the records of a split, and keeps the errors of unreadable examples."""
    hashed = [Hasher(name).hash_key(key) for key in split.keys]
    order = sorted(range(len(hashed)), key=hashed.__getitem__)
    template = tfds.core.ShardedFileTemplate(
      data_dir=self._builder.data_dir,
      dataset_name=self._builder.name,
      split=name,
      filetype_suffix="tfrecord",
    )
    self.contents.update(f"{name} {len(order)}".encode())
    lengths, num_bytes = _write_shards(self._records(split, order), template)
    return tfds.core.SplitInfo(name, lengths, num_bytes, template)

  def refuse_errors(self) -> None:
    """Raises an InputError of what could not be read."""
    if len(self._errors) > 1:
      told = [str(error).removesuffix(".") for error in self._errors[:_MOST_ERRORS]]
      more = len(self._errors) - len(told)
      told += [f"{more} more that cannot be read"] if more else []
      raise InputError("; ".join(told) + ".") from self._errors[0]
    if self._errors:
      raise self._errors[0]

  def _records(self, split: Split, order: Sequence[int]) -> Iterator[bytes]:
    def make(i):
      try:
        example = split.example(i)
      except InputError as error:
        return error, b""
      return self._encoded(example), _digest(example)

    for made, digest in _in_order(make, order):
      self._progress.update()
      if isinstance(made, InputError):
        self._errors.append(made)
        continue
      self.contents.update(digest)
      if not self._errors:  # Else the rest is read to find all that cannot be.
        yield self._features.serialize_example(made)

  def _encoded(self, example: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the example, images as PNG, which TFDS would make in one thread."""
    return {
      key: png(value)
      if isinstance(self._features[key], tfds.features.Image)
      and isinstance(value, np.ndarray)
      and value.dtype == np.uint8
      else value
      for key, value in example.items()
    }


def _in_order(function: Callable, items: Iterable) -> Iterator:
  """Maps over items by all cores, a few at a time, in order."""
  threads = len(available_cores())
  with ThreadPoolExecutor(threads) as pool:
    pending: deque = deque()
    try:
      for item in items:
        pending.append(pool.submit(function, item))
        if len(pending) > 4 * threads:
          yield pending.popleft().result()
      while pending:
        yield pending.popleft().result()
    finally:
      pool.shutdown(cancel_futures=True)


def _digest(example: Mapping[str, Any]) -> bytes:
  """Digests what is given, not how it is encoded, which may change with libraries."""
  sha = hashlib.sha256()
  for key, value in sorted(example.items()):
    if isinstance(value, np.ndarray):
      sha.update(f"{key} {value.dtype} {value.shape}".encode())
      sha.update(np.ascontiguousarray(value))
    else:
      sha.update(f"{key} ".encode())
      sha.update(value if isinstance(value, bytes) else repr(value).encode())
  return sha.digest()


def _write_shards(
  records: Iterator[bytes], template: tfds.core.ShardedFileTemplate
) -> tuple[list[int], int]:
  """Writes records to files of some 128 MiB; returns their lengths, and all bytes."""
  lengths: list[int] = []
  num_bytes = 0
  record = next(records, None)
  while record is not None:
    lengths.append(0)
    size = 0
    with tf.io.TFRecordWriter(_unfinished(template, len(lengths) - 1)) as file:
      while record is not None and size < _SHARD_BYTES:
        file.write(record)
        lengths[-1] += 1
        size += len(record)
        record = next(records, None)
    num_bytes += size
  for shard in range(len(lengths)):
    path = template.sharded_filepath(shard_index=shard, num_shards=len(lengths))
    os.rename(_unfinished(template, shard), path)
  return lengths, num_bytes


def _unfinished(template: tfds.core.ShardedFileTemplate, shard: int) -> str:
  return os.path.join(template.data_dir, f"{template.split}.{shard:05d}.unfinished")


@contextlib.contextmanager
def _staging(data_dir: str, name: str) -> Iterator[str]:
  """Makes a folder under `data_dir` for this process alone, and removes it."""
  os.makedirs(data_dir, exist_ok=True)
  _remove_abandoned(data_dir)
  staging = tempfile.mkdtemp(prefix=f"{_INCOMPLETE}{name}-", dir=data_dir)
  try:
    # Held as long as this process lives. Locked before it has its name, by which
    # another process finds it.
    with open(os.path.join(staging, "lock.new"), "w") as lock:
      fcntl.flock(lock, fcntl.LOCK_EX)
      os.rename(lock.name, os.path.join(staging, _LOCK))
      yield staging
  finally:
    shutil.rmtree(staging, ignore_errors=True)


_INCOMPLETE = ".incomplete-"
_LOCK = "lock"
_REPLACED = "replaced"


def _remove_abandoned(data_dir: str) -> None:
  """Removes what processes that were killed have left."""
  for entry in os.scandir(data_dir):
    if not entry.name.startswith(_INCOMPLETE):
      continue
    with contextlib.suppress(OSError), open(os.path.join(entry.path, _LOCK)) as lock:
      fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
      _put_back(os.path.join(entry.path, _REPLACED), data_dir)
      shutil.rmtree(entry.path, ignore_errors=True)


def _put_back(replaced: str, data_dir: str) -> None:
  """Moves a data set back that was to be replaced when the process was killed."""
  for folder, _, files in os.walk(replaced):
    if "features.json" not in files:
      continue
    place = os.path.join(data_dir, os.path.relpath(folder, replaced))
    if not os.path.exists(place):
      os.rename(folder, place)


def _move_into_place(written: str, folder: str, staging: str, overwrite: bool) -> None:
  os.makedirs(os.path.dirname(folder), exist_ok=True)
  if overwrite and os.path.isdir(folder):
    data_dir = os.path.dirname(staging)
    aside = os.path.join(staging, _REPLACED, os.path.relpath(folder, data_dir))
    os.makedirs(os.path.dirname(aside))
    os.rename(folder, aside)
  try:
    os.rename(written, folder)
  except OSError:
    # A folder with files in it is not replaced: another process was first.
    if not is_written(folder):
      raise
