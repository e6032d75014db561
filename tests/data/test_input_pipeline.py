import hashlib
import io
import itertools
import shutil

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from configs import base, recipes, tasks
from hue_jax import philox
from hue_jax.data import images
from hue_jax.data.datasets import open_dataset
from hue_jax.data.order import ShuffledOrder
from hue_jax.data.randaugment import augment
from hue_jax.data.records import RecordSource
from hue_jax.errors import InputError
from hue_jax.preprocessing import RandAugment
from tests.helpers.data_sets import image_features, write_images
from tests.helpers.mock_tasks import write_mocked
from tests.helpers.pictures import encoded, smooth, with_size
from tests.helpers.streams import eval_batches, train_batches

CROPS = ["random_resized", "pad", "none"]
_STRONG = RandAugment(num_ops=2, magnitude=9, magnitude_std=0.5)


def take(batches, count):
  return list(itertools.islice(batches, count))


def pairs_of(batch):
  """The images and their labels, whatever their order."""
  images = (image.tobytes() for image in batch["image"])
  return sorted(zip(images, batch["label"].tolist(), strict=True))


def assert_same_batches(found, expected):
  assert len(found) == len(expected)
  for a, b in zip(found, expected, strict=True):
    assert a.keys() == b.keys()
    for key in a:
      assert a[key].dtype == b[key].dtype
      np.testing.assert_array_equal(a[key], b[key])


def _settings_of(recipe):
  """How a recipe augments the images of ImageNet, at 24 pixels."""
  config = base.get_config()
  tasks.set_task(config, "imagenet")
  config.image_size = 24
  recipes.set_recipe(config, recipe)
  settings = {name: config[name] for name in ("crop", "padding", "flip", "repeats")}
  return settings | {"randaugment": RandAugment(**config.randaugment)}


# Of each quarter of the first two images, row by row.
_MEANS = {
  "fine_grained_scratch": [128, 129, 115, 141, 143, 143, 133, 124],
  "fine_tune": [95, 136, 72, 99, 84, 122, 120, 137],
  "goyal90": [132, 133, 130, 152, 114, 140, 144, 135],
  "rsb_a2": [129, 125, 116, 137, 146, 143, 129, 124],
  "rsb_a3": [128, 129, 115, 141, 143, 143, 133, 124],
  "simple_vit_s16_90ep": [128, 118, 123, 123, 146, 138, 127, 126],
  "small_image": [95, 136, 72, 99, 84, 122, 120, 137],
}


class TestStream:
  """What a seed means does not change: recorded runs are repeated by it."""

  def test_pixels_that_are_moved_and_mirrored(self, digits):
    settings = {"batch_size": 50, "image_size": 8, "crop": "pad", "padding": 2}
    sha = hashlib.sha256()
    for batch in take(train_batches(digits, "train", seed=7, **settings), 40):
      sha.update(batch["image"].tobytes() + batch["label"].tobytes())
    assert sha.hexdigest()[:32] == "51d5a8c8b97870bc87f2571186768649"

  @pytest.mark.parametrize("recipe", sorted(recipes.RECIPES))
  def test_pixels_of_every_recipe(self, imagenet, recipe):
    """Their means, which are the same however a machine decodes and rounds."""
    settings = _settings_of(recipe)
    batch = next(
      train_batches(imagenet, "train", batch_size=4, image_size=24, seed=7, **settings)
    )
    quarters = batch["image"][:2].reshape(2, 2, 12, 2, 12, 3).mean(axis=(2, 4, 5))
    np.testing.assert_allclose(quarters.ravel(), _MEANS[recipe], atol=1.5)

  @pytest.mark.slow
  @pytest.mark.parametrize("recipe", sorted(recipes.RECIPES))
  def test_each_number_has_its_use(self, imagenet, recipe):
    settings = _settings_of(recipe)
    crop, repeats, randaugment = (
      settings[name] for name in ("crop", "repeats", "randaugment")
    )
    seed, step, size = 2**35, 3, 24
    batches = train_batches(
      imagenet,
      "train",
      batch_size=6,
      image_size=size,
      seed=seed,
      start_step=step,
      **settings,
    )
    found = next(batches)["image"]

    positions = np.arange(6 * step, 6 * step + 6)
    num_uniforms = 3 + images.num_uniforms(crop) + 3 * randaugment.num_ops
    numbers = philox.uniforms(seed, positions, num_uniforms)
    drawn = 2 * (positions // (2 * repeats)) + positions % 2
    order = ShuffledOrder(50, seed)(drawn)
    records = RecordSource(imagenet, "train").read(order)
    for row, record, image in zip(numbers, records, found, strict=True):
      features = tf.train.Example.FromString(record).features.feature
      contents = features["image"].bytes_list.value[0]
      # Down, right, mirrored; the crop; then three for each operation.
      shift, mirrored = row[:2], row[2]
      of_crop, operations = np.split(row[3:], [images.num_uniforms(crop)])
      expected = images.train_image(
        contents,
        images.PLAIN_JPEG,
        of_crop,
        crop=crop,
        size=size,
        channels=3,
        shape=(None, None, 3),
      )
      expected = augment(randaugment, expected, operations)
      if crop == "pad":
        expected = images.shift(expected, shift, settings["padding"])
      expected = expected.numpy()
      if mirrored < 0.5:
        expected = expected[:, ::-1]
      np.testing.assert_array_equal(image, expected)


class TestOrder:
  @pytest.mark.parametrize("seed", [0, 5, 2**64 - 1])
  def test_epochs_are_different_permutations(self, seed):
    stream = ShuffledOrder(101, seed)(np.arange(6 * 101)).reshape(6, 101)
    np.testing.assert_array_equal(
      np.sort(stream, axis=1), np.tile(np.arange(101), (6, 1))
    )
    # Of 15 pairs of epochs, each agrees in one place of 101 on average.
    agreements = [(a == b).sum() for a, b in itertools.combinations(stream, 2)]
    assert max(agreements) < 8

  def test_seeds_differ(self):
    one, other = (ShuffledOrder(1000, seed)(np.arange(1000)) for seed in (1, 2))
    assert (one == other).sum() < 10

  def test_any_position_at_once(self):
    order, positions = ShuffledOrder(10, 3), np.array([10**15 + 3, 12, 10**15 + 3, 0])
    expected = [ShuffledOrder(10, 3)(np.array([p]))[0] for p in positions]
    np.testing.assert_array_equal(order(positions), expected)

  def test_every_first_place_is_equally_likely(self):
    firsts = ShuffledOrder(4, 0)(4 * np.arange(4000))
    np.testing.assert_allclose(np.bincount(firsts), 1000, atol=5 * 27.4)


class TestTrain:
  def test_shapes_and_types(self, digits):
    batch = next(train_batches(digits, "train", batch_size=12, image_size=10, seed=0))
    assert batch.keys() == {"image", "label"}
    assert (batch["image"].shape, batch["image"].dtype) == ((12, 10, 10, 1), np.uint8)
    assert (batch["label"].shape, batch["label"].dtype) == ((12,), np.int32)

  @pytest.mark.slow
  @pytest.mark.parametrize("batch_size", [7, 60, 150])
  def test_each_epoch_shows_each_example_once(self, sharded, reference, batch_size):
    examples = reference(sharded, "train")
    known = {e["image"].tobytes(): int(e["label"]) for e in examples}
    source = [np.array(e["image"]) for e in examples]
    assert len(known) == 60
    settings = {"image_size": 6, "crop": "none", "flip": False, "seed": 4}
    batches = train_batches(sharded, "train", batch_size=batch_size, **settings)
    stream = take(batches, -(-180 // batch_size))
    labels = np.concatenate([b["label"] for b in stream])[:180]
    # The pictures, 5x6, are resized: compare with each resized in the same way.
    resized = {
      images.resize(tf.constant(x), 6, 6).numpy().tobytes(): i
      for i, x in enumerate(source)
    }
    shown = [resized[x.tobytes()] for b in stream for x in b["image"]][:180]
    for epoch in range(3):
      assert sorted(shown[60 * epoch : 60 * (epoch + 1)]) == list(range(60))
    np.testing.assert_array_equal(labels, [examples[i]["label"] for i in shown])
    assert shown[:60] != shown[60:120]

  @pytest.mark.slow
  @pytest.mark.parametrize("crop", CROPS)
  def test_resuming_continues(self, imagenet, crop):
    settings = {"batch_size": 8, "image_size": 24, "crop": crop, "seed": 1}
    whole = take(train_batches(imagenet, "train", **settings), 15)
    for start in (1, 6, 13):
      resumed = train_batches(imagenet, "train", start_step=start, **settings)
      assert_same_batches(take(resumed, 15 - start), whole[start:])

  def test_a_late_step_starts_at_once(self, digits):
    settings = {"batch_size": 8, "image_size": 8, "seed": 1}
    batch = next(train_batches(digits, "train", start_step=10**12, **settings))
    assert batch["image"].any()

  @pytest.mark.slow
  @pytest.mark.parametrize("crop", CROPS)
  def test_processes_share_the_batch(self, imagenet, crop):
    settings = {"batch_size": 12, "image_size": 24, "crop": crop, "seed": 2}
    whole = take(train_batches(imagenet, "train", **settings), 6)
    for count in (2, 4):
      parts = [
        take(
          train_batches(
            imagenet, "train", process_index=k, process_count=count, **settings
          ),
          6,
        )
        for k in range(count)
      ]
      joined = [
        {key: np.concatenate([part[key] for part in step]) for key in step[0]}
        for step in zip(*parts, strict=True)
      ]
      assert_same_batches(joined, whole)

  @pytest.mark.slow
  @pytest.mark.parametrize(
    "augmentation",
    [
      *({"crop": crop, "flip": flip} for crop in CROPS for flip in (False, True)),
      {"repeats": 3},
      {"crop": "pad", "randaugment": _STRONG},
      {"randaugment": _STRONG, "repeats": 3},
    ],
    ids=str,
  )
  def test_any_number_of_threads_makes_the_same_bytes(self, imagenet, augmentation):
    settings = {"batch_size": 16, "image_size": 24, "seed": 3, **augmentation}
    one, many = (
      take(train_batches(imagenet, "train", num_threads=n, prefetch=n, **settings), 6)
      for n in (1, 16)
    )
    assert_same_batches(many, one)
    chosen_by_tensorflow = take(train_batches(imagenet, "train", **settings), 6)
    assert_same_batches(chosen_by_tensorflow, one)

  def test_randaugment_changes_the_images(self, digits):
    settings = {"batch_size": 12, "image_size": 24, "seed": 2}
    plain, strong = (
      next(train_batches(digits, "train", randaugment=r, **settings))["image"]
      for r in (RandAugment(), _STRONG)
    )
    assert (plain != strong).any(axis=(1, 2, 3)).sum() > 6

  def test_repeats_of_two_examples_alternate(self, digits):
    settings = {"batch_size": 12, "image_size": 8, "seed": 2, "crop": "pad"}
    plain = next(train_batches(digits, "train", **settings))["label"]
    batches = take(train_batches(digits, "train", repeats=3, **settings), 2)
    labels = np.concatenate([batch["label"] for batch in batches])
    alternating = np.tile(plain.reshape(6, 1, 2), (1, 3, 1)).ravel()
    np.testing.assert_array_equal(labels, alternating[:24])
    pictures = batches[0]["image"][:6:2]
    assert len({x.tobytes() for x in pictures}) > 1  # augmented anew

  def test_an_epoch_is_of_the_examples_named(self, digits):
    settings = {"batch_size": 5, "image_size": 8, "crop": "none", "flip": False}
    indices = np.array([3, 700, 11, 40, 1000])
    named = next(
      eval_batches(
        digits, "train", batch_size=5, image_size=8, crop="none", indices=indices
      )
    )
    batches = take(
      train_batches(digits, "train", seed=1, indices=indices, **settings), 3
    )
    for batch in batches:
      shown = pairs_of(batch)
      assert shown == pairs_of(named)

  def test_a_process_reads_its_own_part_only(self, digits, monkeypatch):
    asked = []
    from hue_jax.data import records

    read = records.RecordSource.read
    monkeypatch.setattr(
      records.RecordSource,
      "read",
      lambda self, i: asked.append(len(i)) or read(self, i),
    )
    settings = {"batch_size": 40, "image_size": 8, "seed": 0}
    take(
      train_batches(digits, "train", process_index=3, process_count=4, **settings), 2
    )
    assert set(asked) == {10}

  def test_seeds_augment_differently(self, imagenet):
    settings = {"batch_size": 50, "image_size": 24}
    one, other = (
      next(train_batches(imagenet, "train", seed=s, **settings))["image"]
      for s in (1, 2)
    )
    assert not {x.tobytes() for x in one} & {x.tobytes() for x in other}

  @pytest.mark.slow
  def test_pad_crops_and_flips_are_those_of_numpy(self, digits, reference):
    kinds = list(itertools.product(range(5), range(5), (False, True)))
    known = {
      (int(e["label"]), _shifted(e["image"], 2, *kind).tobytes()): kind
      for e in reference(digits, "train")
      for kind in kinds
    }
    settings = {"batch_size": 40, "image_size": 8, "crop": "pad", "padding": 2}
    batches = take(train_batches(digits, "train", seed=0, **settings), 3)
    shown = [pair for b in batches for pair in zip(b["label"], b["image"], strict=True)]
    seen = {known[int(label), image.tobytes()] for label, image in shown}
    # 120 draws of 50 kinds: about 45 are seen, and each offset and both flips.
    assert len(seen) > 30
    assert [len({kind[axis] for kind in seen}) for axis in range(3)] == [5, 5, 2]

  def test_flip_is_even(self, digits):
    settings = {"batch_size": 1437, "image_size": 8, "crop": "none", "seed": 0}
    plain, flipped = (
      next(train_batches(digits, "train", flip=f, **settings))["image"]
      for f in (False, True)
    )
    same = (plain == flipped).all(axis=(1, 2, 3))
    mirrored = (plain[:, :, ::-1] == flipped).all(axis=(1, 2, 3))
    assert (same | mirrored).all()
    assert abs(mirrored.mean() - 0.5) < 5 * 0.5 / 1437**0.5

  def test_gray_is_repeated_and_color_converted(self, digits, imagenet):
    settings = {"image_size": 24, "crop": "none", "flip": False, "seed": 0}
    for dataset in (digits, imagenet):
      gray, color = (
        next(train_batches(dataset, "train", batch_size=9, channels=c, **settings))
        for c in (1, 3)
      )
      if dataset is digits:
        np.testing.assert_array_equal(np.repeat(gray["image"], 3, -1), color["image"])
      else:
        luma = color["image"] @ np.array([0.299, 0.587, 0.114])
        np.testing.assert_allclose(gray["image"][..., 0], luma, atol=1.6)


class TestEval:
  @pytest.mark.slow
  @pytest.mark.parametrize("split", ["train", "test", "train[-9:]+test[5:17]"])
  @pytest.mark.parametrize(("batch_size", "process_count"), [(7, 1), (8, 4), (64, 2)])
  def test_each_example_once(
    self, sharded, reference, split, batch_size, process_count
  ):
    expected = reference(sharded, split)
    seen, lengths = [], set()
    for k in range(process_count):
      batches = list(
        eval_batches(
          sharded,
          split,
          batch_size=batch_size,
          image_size=6,
          crop="none",
          process_index=k,
          process_count=process_count,
        )
      )
      lengths.add(len(batches))
      for b in batches:
        local = batch_size // process_count
        assert b["image"].shape == (local, 6, 6, 3)
        assert (b["mask"].dtype, b["index"].dtype) == (np.float32, np.int32)
        assert (b["image"].dtype, b["label"].dtype) == (np.uint8, np.int32)
        assert b["label"].shape == b["mask"].shape == b["index"].shape == (local,)
        np.testing.assert_array_equal(b["mask"] == 1, b["index"] >= 0)
        assert not b["image"][b["mask"] == 0].any()
        assert not b["label"][b["mask"] == 0].any()
        rows = np.flatnonzero(b["mask"])
        seen += [(b["index"][r], b["label"][r], b["image"][r]) for r in rows]
    assert lengths == {-(-len(expected) // batch_size)}
    assert sorted(index for index, _, _ in seen) == list(range(len(expected)))
    for index, label, image in seen:
      assert label == expected[index]["label"]
      resized = images.resize(tf.constant(expected[index]["image"]), 6, 6)
      np.testing.assert_array_equal(image, resized)

  def test_chosen_examples_in_the_order_given(self, sharded, reference):
    expected = reference(sharded, "train")
    indices = np.array([17, 3, 0, len(expected) - 1, 3])
    settings = {"batch_size": 2, "image_size": 6, "crop": "none", "indices": indices}
    batches = list(eval_batches(sharded, "train", **settings))
    assert [b["index"].tolist() for b in batches] == [
      [17, 3],
      [0, len(expected) - 1],
      [3, -1],
    ]
    labels = np.concatenate([b["label"] for b in batches])[:5]
    np.testing.assert_array_equal(labels, [expected[i]["label"] for i in indices])
    images_of = np.concatenate([b["image"] for b in batches])
    resized = images.resize(tf.constant(expected[17]["image"]), 6, 6)
    np.testing.assert_array_equal(images_of[0], resized)

  def test_images_of_several_right_classes_come_with_all_of_them(
    self, tmp_path, reference
  ):
    name = "imagenet2012_real:1.*.*"
    write_mocked(name, str(tmp_path), {"validation"})
    dataset = open_dataset(name, str(tmp_path))
    settings = {"batch_size": 12, "image_size": 8, "crop": "none"}
    (batch,) = eval_batches(dataset, "validation", **settings)
    examples = reference(dataset, "validation")
    assert len(examples) == 10
    assert len({len(example["real_label"]) for example in examples}) > 1
    for number, example in enumerate(examples):
      found = np.flatnonzero(batch["label_set"][number])
      np.testing.assert_array_equal(found, np.unique(example["real_label"]))
      assert batch["label"][number] == example["original_label"]
    assert not batch["label_set"][10:].any()
    trained = next(train_batches(dataset, "validation", seed=0, **settings))
    assert trained["label"].shape == (12,)
    assert set(trained["label"]) <= {e["original_label"] for e in examples}

  @pytest.mark.parametrize(
    ("indices", "message"),
    [
      ([], "indices is empty"),
      ([0, 360], r"indices has 0 to 360; the split has examples 0 to 359"),
      ([-1, 2], r"indices has -1 to 2"),
    ],
  )
  def test_examples_that_there_are_not(self, digits, indices, message):
    settings = {"batch_size": 2, "image_size": 8, "indices": np.array(indices)}
    with pytest.raises(InputError, match=message):
      eval_batches(digits, "test", **settings)

  def test_center_crop_is_that_of_pillow(self, imagenet, reference):
    batches = eval_batches(imagenet, "validation", batch_size=21, image_size=56)
    found = next(batches)["image"]
    for image, example in zip(found, reference(imagenet, "validation"), strict=True):
      picture = Image.fromarray(example["image"])
      # The shorter side, 96, becomes 56 * 256 / 224 = 64, and the longer 80.
      picture = picture.resize((80, 64), Image.Resampling.BICUBIC)
      expected = np.asarray(picture.crop((12, 4, 68, 60)), np.int32)
      assert np.abs(image - expected).max() <= 1

  def test_same_images_as_tfds(self, digits, reference):
    found = next(eval_batches(digits, "test", batch_size=360, image_size=8, crop="pad"))
    expected = reference(digits, "test")
    np.testing.assert_array_equal(found["image"], [e["image"] for e in expected])
    np.testing.assert_array_equal(found["label"], [e["label"] for e in expected])

  def test_resize_is_that_of_pillow(self, imagenet, reference):
    settings = {"batch_size": 21, "image_size": 40, "crop": "none"}
    found = next(eval_batches(imagenet, "validation", **settings))["image"]
    for image, example in zip(found, reference(imagenet, "validation"), strict=True):
      picture = Image.fromarray(example["image"])
      picture = picture.resize((40, 40), Image.Resampling.BICUBIC)
      assert np.abs(image - np.asarray(picture, np.int32)).max() <= 1


class TestDamage:
  @pytest.fixture
  def written(self, tmp_path):
    """Writes JPEG bytes and labels as a data set, and opens it."""

    def write(contents, labels):
      features = image_features((None, None, 3), 4)
      files = {"train": [io.BytesIO(data) for data in contents]}
      write_images(str(tmp_path), "some", features, files, {"train": labels})
      return open_dataset("some", str(tmp_path))

    return write

  @pytest.mark.parametrize("crop", CROPS)
  def test_damaged_image_is_named(self, written, crop):
    contents = [_jpeg(i) for i in range(20)]
    contents[13] = contents[13][: len(contents[13]) // 2]
    dataset = written(contents, [0] * 20)
    settings = {"batch_size": 3, "image_size": 16, "crop": crop}
    place = (
      r"some split 'train' index 13 \(file some-train\.\S+, record 13\) is damaged"
    )
    batches = eval_batches(dataset, "train", **settings)
    assert len(take(batches, 4)) == 4
    with pytest.raises(InputError, match=place) as caught:
      next(batches)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=place):
      take(train_batches(dataset, "train", seed=0, **settings), 7)

  @pytest.mark.parametrize("kind", ["PNG", "BMP", "GIF", "JPEG"])
  def test_huge_image_is_refused_from_its_header(self, written, kind):
    contents = [_jpeg(0), with_size(encoded(smooth(), kind), 20_000, 10_000)]
    dataset = written(contents, [0, 1])
    settings = {"batch_size": 2, "image_size": 8}
    for batches in (
      train_batches(dataset, "train", crop="random_resized", seed=0, **settings),
      eval_batches(dataset, "train", crop="none", **settings),
    ):
      with pytest.raises(InputError, match=r"index 1 .* more than 100 megapixels"):
        next(batches)

  def test_split_without_labels(self, written):
    dataset = written([_jpeg(i) for i in range(4)], [0, 1, -1, -1])
    with pytest.raises(
      InputError, match=r"index 2 .*label -1: the split has no labels"
    ):
      list(eval_batches(dataset, "train", batch_size=4, image_size=8))

  def test_damaged_record_is_named(self, digits, tmp_path):
    shutil.copytree(digits.builder.data_dir, tmp_path / "digits/1.0.0")
    path = tmp_path / "digits/1.0.0/digits-test.tfrecord-00000-of-00001"
    data = bytearray(path.read_bytes())
    data[-8] ^= 1
    path.write_bytes(data)
    dataset = open_dataset("digits", str(tmp_path))
    batches = eval_batches(dataset, "test", batch_size=100, image_size=8)
    assert len(take(batches, 3)) == 3
    with pytest.raises(
      InputError, match=r"index 359 \(file .*, record 359\): the check"
    ):
      next(batches)


@pytest.mark.parametrize(
  ("changed", "message"),
  [
    ({"batch_size": 0}, "batch_size is 0; it must be an integer of at least 1"),
    ({"image_size": 0}, "image_size is 0; it must be an integer of at least 1"),
    (
      {"crop": "inception"},
      "crop is 'inception'; it must be one of random_resized, pad, no",
    ),
    ({"channels": 4}, "channels is 4; it must be one of 1, 3, None"),
    (
      {"process_count": 3},
      "batch_size is 8; it must be a multiple of process_count, 3",
    ),
    ({"process_count": 0}, "process_count is 0; it must be an integer of at least 1"),
    ({"process_index": 1}, "process_index is 1; it must be an integer from 0 to 0"),
    (
      {"split": "dev"},
      "digits has no split 'dev'; it has 'train' (1437 examples), 'tes",
    ),
    ({"split": "train[:0]"}, "digits split 'train[:0]' has no examples"),
    ({"seed": -1}, "seed is -1; it must be an integer from 0 to 18446744073709551615"),
    ({"start_step": -1}, "start_step is -1; it must be an integer of at least 0"),
    ({"padding": -1}, "padding is -1; it must be an integer of at least 0"),
    ({"repeats": 0}, "repeats is 0; it must be an integer of at least 1"),
    ({"num_threads": 0}, "num_threads is 0; it must be an integer of at least 1"),
    ({"prefetch": -1}, "prefetch is -1; it must be an integer of at least 0"),
  ],
)
def test_arguments_are_checked_before_anything_is_read(
  digits, monkeypatch, changed, message
):
  from hue_jax.data import input_pipeline

  monkeypatch.setattr(input_pipeline, "RecordSource", lambda *_: pytest.fail("read"))
  settings = {"split": "train", "batch_size": 8, "image_size": 8} | changed
  with pytest.raises(InputError) as caught:
    train_batches(digits, **({"seed": 0} | settings))
  assert str(caught.value).startswith(message)
  of_training = {"seed", "start_step", "padding", "repeats", "num_threads", "prefetch"}
  if not of_training & changed.keys():
    with pytest.raises(InputError) as caught:
      eval_batches(digits, **settings)
    assert str(caught.value).startswith(message)


def _shifted(picture, padding, top, left, flip):
  padded = np.pad(picture, ((padding, padding), (padding, padding), (0, 0)))
  window = padded[top : top + len(picture), left : left + len(picture)]
  return window[:, ::-1] if flip else window


def _jpeg(seed):
  pixels = np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8)
  return tf.io.encode_jpeg(pixels).numpy()
