"""Random access to the serialized examples of a prepared TFDS split."""

import os

import numpy as np

from hue_jax.data.datasets import Dataset
from hue_jax.data.record_index import RecordDamageError
from hue_jax.data.shards import ArrayRecordShards, TFRecordShards
from hue_jax.data.storage import is_local
from hue_jax.errors import InputError


class RecordSource:
  """The serialized tf.train.Example messages of a split, by index.

  Index i is the i-th example in the order in which TFDS reads the split without
  shuffling. Instances may be used from several threads at once.

  Args:
    dataset: The data set.
    split: A split expression, such as 'train[:90%]+test[5:10]'.

  Raises:
    InputError: If the split does not exist, its files are missing or damaged, or
      they are in a format other than tfrecord and array_record.
  """

  def __init__(self, dataset: Dataset, split: str):
    dataset.check_split(split)
    self._name = dataset.name
    self._split = split
    self._pieces = [
      piece
      for piece in dataset.builder.info.splits[split].file_instructions
      if piece.take
    ]
    self._starts = np.cumsum([0, *(piece.take for piece in self._pieces)])
    self._paths = [dataset.path_of(str(piece.filename)) for piece in self._pieces]
    try:
      self._shards = self._open_shards(dataset)
    except RecordDamageError as damage:
      raise self._input_error(damage) from damage

  def __len__(self) -> int:
    return int(self._starts[-1])

  def read(self, indices: np.ndarray) -> list[bytes]:
    """Reads examples.

    Args:
      indices: Indices into the split, [num_indices], in any order.

    Returns:
      The serialized example of each index, in the order of `indices`.

    Raises:
      InputError: If a record is damaged.
    """
    indices = np.asarray(indices, np.int64)
    pieces = self._piece_of(indices)
    examples: list[bytes] = [b""] * len(indices)
    # One visit to each file, whatever the order of the indices.
    for piece in np.unique(pieces):
      rows = np.flatnonzero(pieces == piece)
      rows = rows[np.argsort(indices[rows], kind="stable")]
      records = indices[rows] - self._starts[piece] + self._pieces[piece].skip
      try:
        found = self._shards.read(self._paths[piece], records.tolist())
      except RecordDamageError as damage:
        raise self._input_error(damage, int(piece)) from damage
      for row, example in zip(rows, found, strict=True):
        examples[row] = example
    return examples

  def read_run(self, indices: np.ndarray) -> list[bytes | InputError]:
    """Reads examples that lie near each other in one file, in one request.

    Args:
      indices: Indices into the split in rising order, all in one file, [num_indices].

    Returns:
      The serialized example of each index, or the error of one that is damaged.

    Raises:
      InputError: If they cannot be read at all.
    """
    piece = int(self._piece_of(indices[0]))
    records = indices - self._starts[piece] + self._pieces[piece].skip
    found = self._shards.read_run(self._paths[piece], records.tolist())
    return [
      self._input_error(one, piece) if isinstance(one, RecordDamageError) else one
      for one in found
    ]

  @property
  def starts(self) -> np.ndarray:
    """The first index of each run that lies in one file, and the end of the last."""
    return self._starts

  def describe(self, index: int | np.integer) -> str:
    """Says where an example is: its data set, split, index, file and record."""
    piece = int(self._piece_of(index))
    record = index - self._starts[piece] + self._pieces[piece].skip
    file = os.path.basename(self._pieces[piece].filename)
    return (
      f"{self._name} split {self._split!r} index {index} (file {file}, record {record})"
    )

  def _piece_of(self, indices):
    return np.searchsorted(self._starts, indices, side="right") - 1

  def _open_shards(self, dataset: Dataset) -> TFRecordShards | ArrayRecordShards:
    num_records = {
      path: piece.examples_in_shard
      for path, piece in zip(self._paths, self._pieces, strict=True)
    }
    info = dataset.builder.info
    file_format = info.file_format.value
    if file_format == "tfrecord":
      return TFRecordShards(dataset.folder, num_records)
    if file_format == "array_record" and is_local(dataset.folder):
      return ArrayRecordShards(num_records)
    raise InputError(
      f"data set {self._name!r} in {dataset.folder} is stored as {file_format}, and "
      "only tfrecord and array_record (in no bucket) can be read by index; "
      f"convert it with: tfds convert_format --dataset_dir={dataset.folder} "
      "--out_file_format=tfrecord --out_path=NEW_FOLDER."
    )

  def _input_error(self, damage: RecordDamageError, piece: int = -1) -> InputError:
    if piece < 0:
      piece = self._paths.index(damage.path)
    index = int(self._starts[piece]) + damage.record - self._pieces[piece].skip
    if self._starts[piece] <= index < self._starts[piece + 1]:
      return InputError(f"{self.describe(index)}: {damage.reason}")
    file = os.path.basename(damage.path)
    return InputError(
      f"{self._name} split {self._split!r} (file {file}, record {damage.record}): "
      f"{damage.reason}"
    )
