"""ELPV: the photographs of the package, split as its authors split them."""

import numpy as np
import pytest

from hue_jax.data import elpv, prepare
from hue_jax.data.datasets import open_dataset
from hue_jax.errors import InputError


@pytest.mark.slow
def test_all_photographs_with_the_labels_of_the_package(tmp_path):
  from elpv_dataset.utils import load_dataset

  images, probabilities, types = load_dataset()
  assert prepare.main(["elpv", f"--data_dir={tmp_path}"]) == 0
  dataset = open_dataset("elpv", str(tmp_path))
  assert dataset.image_shape == (300, 300, 1)
  assert dataset.class_names == ("defect 0", "defect 1/3", "defect 2/3", "defect 1")
  known = {
    image.tobytes(): (probability, kind)
    for image, probability, kind in zip(images, probabilities, types, strict=True)
  }
  assert len(known) > 2600
  seen = {"train": [], "test": []}
  for split, found in seen.items():
    for example in dataset.builder.as_dataset(split).as_numpy_iterator():
      probability, kind = known[example["image"].tobytes()]
      assert example["label"] == round(3 * probability)
      found.append((round(3 * probability), kind))
  assert len(seen["train"]) + len(seen["test"]) == len(images) == 2624
  # A quarter of each class of each type.
  for stratum in set(seen["train"]):
    test, train = (seen[split].count(stratum) for split in ("test", "train"))
    assert abs(test - 0.25 * (test + train)) <= 1


@pytest.mark.slow
def test_the_seed_determines_the_split():
  one, again, other = (
    [elpv.read_elpv(seed=seed).image("test", i) for i in range(20)]
    for seed in (0, 0, 1)
  )
  assert one == again
  assert one != other


def test_what_is_refused(tmp_path, monkeypatch):
  with pytest.raises(InputError, match=r"labels\.csv cannot be read"):
    elpv.read_elpv(str(tmp_path))
  (tmp_path / "labels.csv").write_text("images/a.png 0.5 mono\n")
  with pytest.raises(InputError, match=r"probability 0\.5; it must be one of 0, 1/3"):
    elpv.read_elpv(str(tmp_path))
  (tmp_path / "labels.csv").write_text("images/a.png 1.0 mono\n" * 8)
  source = elpv.read_elpv(str(tmp_path))
  with pytest.raises(InputError, match=r"a\.png cannot be read"):
    source.image("test", 0)
  with pytest.raises(InputError, match="test_fraction is 2"):
    elpv.read_elpv(str(tmp_path), test_fraction=2.0)
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  with pytest.raises(InputError, match="pip install elpv-dataset"):
    elpv.read_elpv()


def test_labels_of_a_thin_class_are_numbers():
  source = elpv.read_elpv()
  counts = sum(np.bincount(labels) for labels in source.labels.values())
  np.testing.assert_array_equal(counts, [1508, 295, 106, 715])
