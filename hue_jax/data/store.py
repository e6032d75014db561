"""Writing prepared TFDS data sets: whole, or not at all."""

import contextlib
import io
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping

import tensorflow_datasets as tfds

from hue_jax.errors import InputError

VERSION = "1.0.0"


def write_dataset(
  data_dir: str,
  name: str,
  features: tfds.features.FeaturesDict,
  splits: Mapping[str, Iterable],
  *,
  description: str,
  config: str | None = None,
  version: str = VERSION,
  overwrite: bool = False,
) -> str:
  """Writes a data set under `data_dir` as TFDS prepares it.

  The files are made in a temporary folder beside their destination and renamed, so
  that an interrupted run leaves no half-made data set, and of two processes that
  write the same one, one wins and the other's work is dropped.

  Args:
    data_dir: The folder of prepared data sets; it is made if it does not exist.
    name: The name of the data set.
    features: Its features.
    splits: For each split, an iterable of (key, example).
    description: A sentence or two, stored with it.
    config: The name of the TFDS configuration, if it has one.
    version: The version to write.
    overwrite: Whether to replace the data set if it exists.

  Returns:
    The folder of the data set.

  Raises:
    InputError: If `data_dir` cannot be written.
  """
  folder = dataset_folder(data_dir, name, config, version)
  try:
    os.makedirs(os.path.dirname(folder), exist_ok=True)
    staging = tempfile.mkdtemp(prefix=f".incomplete-{name}-", dir=data_dir)
  except OSError as error:
    raise InputError(
      f"data_dir {data_dir!r} cannot be written ({error.strerror})."
    ) from error
  try:
    written = _prepare(
      name=name,
      version=version,
      config=config,
      features=features,
      split_datasets=splits,
      data_dir=staging,
      description=description,
    )
    if overwrite and os.path.isdir(folder):
      os.rename(folder, os.path.join(staging, "replaced"))
    _move_into_place(written, folder)
  finally:
    shutil.rmtree(staging, ignore_errors=True)
  return folder


def dataset_folder(data_dir: str, name: str, config: str | None, version: str) -> str:
  """The folder under `data_dir` where TFDS looks for a data set."""
  return os.path.join(data_dir, name, *([config] if config else []), version)


def is_written(folder: str) -> bool:
  """Whether a folder holds a prepared data set."""
  return os.path.exists(os.path.join(folder, "features.json"))


def _prepare(**settings) -> str:
  tfds.disable_progress_bar()
  builder = tfds.dataset_builders.AdhocBuilder(**settings)
  # TFDS speaks of a download, and there is none.
  with contextlib.redirect_stdout(io.StringIO()):
    builder.download_and_prepare(
      download_config=tfds.download.DownloadConfig(try_download_gcs=False)
    )
  return str(builder.data_dir)


def _move_into_place(written: str, folder: str) -> None:
  try:
    os.rename(written, folder)
  except OSError:
    # A folder with files in it is not replaced: another process was first.
    if not is_written(folder):
      raise
