"""Data sets that several tests read."""

import numpy as np
import pytest
import tensorflow_datasets as tfds

from hue_jax.data.datasets import open_dataset
from tests.helpers.data_sets import image_features, write_images
from tests.helpers.imagenet_records import write_imagenet2012


@pytest.fixture(scope="session", autouse=True)
def cache_folder(tmp_path_factory):
  """A folder for what cannot be kept beside data, in place of the user's."""
  folder = tmp_path_factory.mktemp("cache")
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv("HUE_JAX_CACHE_DIR", str(folder))
    yield folder


@pytest.fixture(scope="session")
def data_dir(tmp_path_factory):
  """A folder with prepared data sets, to be read only."""
  return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def digits(data_dir):
  return open_dataset("digits", data_dir)


@pytest.fixture(scope="session")
def imagenet(data_dir):
  """50 + 21 JPEGs of 96x120 pixels."""
  write_imagenet2012(data_dir, 50, 21, (96, 120))
  return open_dataset("imagenet2012:5.*.*", data_dir)


@pytest.fixture(scope="session", params=["tfrecord", "array_record"])
def sharded(request, tmp_path_factory):
  """60 + 23 images in 7 and 3 shards.

  In a folder of its own: pytest sets a session's parametrized fixture up anew whenever
  it comes back to a parameter.
  """
  name = f"sharded_{request.param}"
  data_dir = str(tmp_path_factory.mktemp(name))
  rng = np.random.default_rng(0)
  pixels = {s: rng.integers(0, 256, (n, 5, 6, 3), np.uint8) for s, n in _SIZES.items()}
  labels = {s: np.arange(n) % 4 for s, n in _SIZES.items()}
  write_images(
    data_dir,
    name,
    image_features((5, 6, 3), 4),
    pixels,
    labels,
    file_format=request.param,
    num_shards={"train": 7, "test": 3},
  )
  return open_dataset(name, data_dir)


@pytest.fixture
def reference():
  """The examples of a split by TFDS's own reader, in its order."""

  def read(dataset, split):
    builder = tfds.builder_from_directory(dataset.builder.data_dir)
    if builder.info.file_format.value == "array_record":
      return list(builder.as_data_source(split=split))
    return list(tfds.as_numpy(builder.as_dataset(split=split, shuffle_files=False)))

  return read


_SIZES = {"train": 60, "test": 23}
