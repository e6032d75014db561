"""Whatever the file: a data set of it gives the batches of what it shows."""

import itertools

import numpy as np
import pytest

from hue_jax.data.datasets import open_dataset
from hue_jax.data.folder import read_folder
from hue_jax.data.prepared import prepare
from hue_jax.errors import InputError
from hue_jax.picture_files import read_image_files
from hue_jax.pictures import PictureError, decode, plain_format
from hue_jax.preprocessing import CROPS
from tests.helpers.data_sets import written
from tests.helpers.pictures import damaged, pictures
from tests.helpers.streams import eval_batches, train_batches

PICTURES = pictures()
SIZE = 16


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def as_they_are(data_dir):
  return written(data_dir, "as_they_are", [p.contents for p in PICTURES])


@pytest.fixture(scope="module")
def as_shown(data_dir):
  return written(data_dir, "as_shown", [p.as_shown() for p in PICTURES])


def batch_of(dataset, kind, crop, channels=3, size=SIZE):
  """One batch of all examples, in the order of their labels."""
  settings = {"batch_size": len(PICTURES), "image_size": size, "crop": crop}
  if kind == "eval":
    batches = eval_batches(dataset, "train", channels=channels, **settings)
  else:
    batches = train_batches(dataset, "train", seed=3, channels=channels, **settings)
  batch = next(batches)
  return batch["image"][np.argsort(batch["label"])]


def assert_same(found, expected):
  """Within the loss of each compression, which a resize can but little enlarge."""
  assert found.dtype == expected.dtype == np.uint8
  difference = np.abs(found.astype(int) - expected).max(axis=(1, 2, 3))
  allowed = np.array([1.5 * picture.tolerance + 1 for picture in PICTURES])
  wrong = np.flatnonzero(difference > allowed)
  assert not wrong.size, [(PICTURES[i].name, difference[i]) for i in wrong]


@pytest.mark.parametrize("kind", ["train", "eval"])
@pytest.mark.parametrize("crop", CROPS)
def test_batches(as_they_are, as_shown, kind, crop):
  for channels in (1, 3) if crop == "none" else (3,):
    found, expected = (
      batch_of(dataset, kind, crop, channels) for dataset in (as_they_are, as_shown)
    )
    assert_same(found, expected)


def test_prepared_from_files(as_shown, tmp_path):
  for number, picture in enumerate(PICTURES):
    folder = tmp_path / "files" / "train" / f"{number:03d}"
    folder.mkdir(parents=True)
    (folder / "misnamed.png").write_bytes(picture.contents)
  source = read_folder(str(tmp_path / "files"))
  prepare(source, "prepared", str(tmp_path))
  dataset = open_dataset("prepared", str(tmp_path))
  expected = batch_of(as_shown, "eval", "none")
  assert_same(batch_of(dataset, "eval", "none"), expected)


@pytest.mark.slow
@pytest.mark.parametrize("crop", CROPS)
def test_files_are_colored_as_evaluation_sees_them(as_shown, tmp_path, crop):
  paths = []
  for picture in PICTURES:
    paths.append(tmp_path / picture.name.replace(".", "_"))  # No ending says what.
    paths[-1].write_bytes(picture.contents)
  # Two sizes: smaller than the pictures, and larger; and two central squares.
  for size, ratio in ((SIZE, 0.875), (40, 0.875), (SIZE, 0.6)):
    settings = {"crop": crop, "crop_ratio": ratio, "image_size": size}
    found = read_image_files(paths, channels=3, **settings)
    expected = next(eval_batches(as_shown, "train", batch_size=len(paths), **settings))
    assert_same(found, expected["image"])


@pytest.mark.filterwarnings("ignore")  # Pillow's, of damaged headers.
class TestDamage:
  @pytest.fixture(scope="class")
  def sorted_out(self):
    """What the definition reads, and what it refuses: of 200."""
    read, refused = [], []
    for contents in damaged(200, seed=1):
      try:
        decode(contents)
        read.append(contents)
      except PictureError:
        refused.append(contents)
    return read, refused

  def test_what_prepare_accepts_is_read(self, sorted_out, data_dir):
    read, _ = sorted_out
    assert sum(plain_format(data) is not None for data in read) > 2
    dataset = written(data_dir, "damaged_read", read)
    settings = {"batch_size": 7, "image_size": SIZE, "crop": "none"}
    batches = list(eval_batches(dataset, "train", **settings))
    assert sum(batch["mask"].sum() for batch in batches) == len(read)
    for batch in itertools.islice(
      train_batches(dataset, "train", seed=0, **settings), 9
    ):
      assert batch["image"].shape == (7, SIZE, SIZE, 3)

  def test_what_is_not_is_named(self, sorted_out, data_dir):
    _, refused = sorted_out
    # TensorFlow reads more of some JPEGs that are damaged and look plain.
    refused = [data for data in refused if plain_format(data) is None]
    dataset = written(data_dir, "damaged_refused", refused)
    settings = {"batch_size": 1, "image_size": SIZE, "crop": "none"}
    for index in (0, len(refused) // 3, len(refused) - 1):
      batches = eval_batches(dataset, "train", indices=np.array([index]), **settings)
      with pytest.raises(InputError, match=_named(index)) as caught:
        next(batches)
      assert "\n" not in str(caught.value)


def _named(index):
  return rf"split 'train' index {index} \(file .*, record {index}\) (is damaged|has )"
