"""Open Clip Art: what is drawn, what is passed over, and what stays together."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from hue_jax.data import near_duplicates, openclipart, prepare
from hue_jax.data.datasets import open_dataset
from hue_jax.errors import InputError
from tests.helpers.package_files import drawing


@pytest.fixture
def folder(tmp_path):
  """Three categories of twenty drawings, one of three, and one that is none."""
  root = tmp_path / "png"
  for c, category in enumerate(["animals", "food", "tools"]):
    (root / category / "more").mkdir(parents=True)
    for i in range(20):
      place = root / category / ("more" if i % 2 else ".")
      drawing(100 * c + i).save(place / f"{i:02}.png")
  (root / "few").mkdir()
  (root / "unsorted").mkdir()
  for i in range(3):
    drawing(900 + i).save(root / "few" / f"{i}.png")
  for i in range(30):
    drawing(1000 + i).save(root / "unsorted" / f"{i}.png")
  return root


def _read(folder, **settings):
  settings = {"per_class": 15, "least_per_class": 10} | settings
  return openclipart.read_openclipart(str(folder), **settings)


def _pictures(source):
  return [
    Image.open(io.BytesIO(source.image(split, i)))
    for split, labels in source.labels.items()
    for i in range(len(labels))
  ]


def test_classes_and_numbers(folder, capsys):
  source = _read(folder, test_fraction=0.2)
  assert source.class_names == ["animals", "food", "tools"]
  np.testing.assert_array_equal(np.bincount(source.labels["train"]), [12, 12, 12])
  np.testing.assert_array_equal(np.bincount(source.labels["test"]), [3, 3, 3])
  assert "too few pictures: few." in capsys.readouterr().err


def test_a_seed_draws_the_same_and_another_others(folder):
  one, again, other = (
    [picture.tobytes() for picture in _pictures(_read(folder, seed=seed))]
    for seed in (0, 0, 1)
  )
  assert one == again
  assert set(one) != set(other)


def test_pictures_are_on_white_and_bounded(folder):
  source = _read(folder, size=40)
  for picture in _pictures(source):
    assert picture.mode == "RGB"
    assert picture.size == (40, 27)
  blank = Image.new("RGBA", (300, 200), (10, 200, 30, 0))
  blank.putpixel((5, 5), (0, 0, 0, 255))
  blank.save(folder / "food" / "blank.png")
  found = openclipart._on_ground(str(folder / "food" / "blank.png"), 256)
  assert found.size == (256, 171)
  assert found.getpixel((128, 100)) == (255, 255, 255)


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGB", "1", "I;16"])
def test_every_mode_of_png(folder, mode):
  path = folder / "food" / "mode.png"
  if mode == "I;16":
    Image.fromarray(np.arange(6000, dtype=np.uint16).reshape(60, 100) * 10).save(path)
  else:
    drawing(1, mode="LA" if mode == "LA" else "RGB").convert(mode).save(path)
  found = openclipart._on_ground(str(path), 256)
  assert found.mode == "RGB"
  if mode == "I;16":
    assert len(np.unique(np.asarray(found))) > 100  # and not clipped


def test_a_series_of_like_pictures_is_cut_short(folder, capsys):
  for i in range(30):  # the same drawing in thirty shades
    pixels = np.asarray(drawing(5000)).copy()
    pixels[:, :, 0] = np.minimum(pixels[:, :, 0] + i, 255)
    Image.fromarray(pixels).save(folder / "food" / f"shade{i}.png")
  source = _read(folder, per_class=100)
  np.testing.assert_array_equal(
    sum(np.bincount(labels) for labels in source.labels.values()), [20, 24, 20]
  )
  assert "26 like 4 others" in capsys.readouterr().err


def test_what_cannot_be_used_is_passed_over_and_counted(folder, capsys):
  for i in range(20):
    (folder / "tools" / f"link{i}.png").symlink_to(folder / "tools" / "00.png")
  whole = (folder / "tools" / "00.png").read_bytes()
  (folder / "food" / "cut.png").write_bytes(whole[: len(whole) // 2])
  (folder / "food" / "empty.png").write_bytes(b"")
  (folder / "food" / "huge.png").write_bytes(_header_of(20_000, 9000) + whole[33:])
  Image.new("RGB", (20, 20), "red").save(folder / "food" / "red.png")
  source = _read(folder, per_class=100)
  np.testing.assert_array_equal(
    sum(np.bincount(labels) for labels in source.labels.values()), [20, 20, 20]
  )
  err = capsys.readouterr().err
  assert "2 damaged, 1 of more than 16 megapixels, 1 of one color" in err


def _header_of(width, height):
  """The beginning of a PNG that claims a size."""
  header = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
  return (
    b"\x89PNG\r\n\x1a\n"
    + struct.pack(">I", 13)
    + header
    + struct.pack(">I", zlib.crc32(header))
  )


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"per_class": 0}, "per_class is 0"),
    ({"least_per_class": 0}, "least_per_class is 0"),
    ({"size": 4}, "size is 4"),
    ({"seed": -1}, "seed is -1"),
    ({"test_fraction": 1.0}, "test_fraction is 1.0"),
    ({"least_per_class": 30}, "has 0 categories with at least 30 pictures"),
  ],
)
def test_what_is_refused(folder, settings, message):
  with pytest.raises(InputError, match=message):
    _read(folder, **settings)


def test_a_missing_folder_says_where_to_get_it(tmp_path):
  with pytest.raises(InputError, match="apt-get install openclipart-png"):
    _read(tmp_path / "nothing")


class TestNearDuplicates:
  def test_size_color_and_sharpness_do_not_matter(self):
    pictures = [drawing(i, mode="RGB") for i in range(40)]
    hashes = [near_duplicates.perceptual_hash(picture) for picture in pictures]
    changed = []
    for picture in pictures:
      pixels = np.asarray(picture.resize((45, 30)), np.float64)
      # Red and blue are exchanged, and all is a little darker.
      pixels = (0.9 * pixels[:, :, ::-1]).astype(np.uint8)
      changed.append(near_duplicates.perceptual_hash(Image.fromarray(pixels)))
    groups = near_duplicates.clusters(np.array(hashes + changed))
    together = groups[:40] == groups[40:]
    assert together.mean() > 0.9
    # And different drawings are different.
    assert len(set(groups[:40])) > 36

  def test_likeness_is_passed_on(self):
    zero = np.uint64(0)
    chain = [zero, zero ^ np.uint64(0b111111), zero ^ np.uint64(0b111111111111)]
    far = np.uint64(2**64 - 1)
    groups = near_duplicates.clusters(np.array([*chain, far]))
    assert len(set(groups[:3])) == 1
    assert groups[3] != groups[0]

  def test_seven_bits_are_too_many(self):
    codes = np.array([0, 0b111111, 0b1111111 << 20], np.uint64)
    groups = near_duplicates.clusters(codes)
    assert groups[0] == groups[1] != groups[2]
    assert near_duplicates.num_alike(codes[0], codes[1:]) == 1

  def test_likeness_is_found_among_however_many(self, monkeypatch):
    codes = np.random.default_rng(0).integers(0, 2**64, 50, np.uint64)
    codes[[31, 44]] = codes[3] ^ np.uint64(1)
    mirrored = codes.copy()
    mirrored[17] = codes[40]
    found = near_duplicates.clusters(codes, mirrored)
    assert found[3] == found[31] == found[44]
    assert found[17] == found[40]
    assert len(set(found)) == 47
    monkeypatch.setattr(near_duplicates, "_ROWS_AT_ONCE", 7)
    np.testing.assert_array_equal(near_duplicates.clusters(codes, mirrored), found)

  def test_groups_stay_whole_and_classes_get_their_part(self):
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), 100)
    groups = np.arange(400)
    groups[:30] = 0  # thirty of the first class are alike
    groups[[95, 120]] = 31  # alike, of two classes
    groups = np.unique(groups, return_inverse=True)[1]
    order = rng.permutation(400)
    labels, groups = labels[order], groups[order]
    stays, held_out = near_duplicates.hold_out_clusters(labels, groups, 0.25, seed=3)
    assert not set(groups[stays]) & set(groups[held_out])
    np.testing.assert_array_equal(np.sort([*stays, *held_out]), np.arange(400))
    np.testing.assert_allclose(np.bincount(labels[held_out]), 25, atol=1)


@pytest.mark.slow
def test_debians_pictures(tmp_path, capsys):
  arguments = ["openclipart", f"--data_dir={tmp_path}", "--per_class=100"]
  assert prepare.main(arguments) == 0
  dataset = open_dataset("openclipart", str(tmp_path))
  assert {"animals", "food", "people"} <= set(dataset.class_names)
  assert "unsorted" not in dataset.class_names
  assert dataset.channels == 3
  train, test = (dataset.num_examples(split) for split in ("train", "test"))
  assert 0.15 < test / (train + test) < 0.25
  assert train + test > 90 * dataset.num_classes
