"""Times the training input pipeline of each recipe beside what a user writes instead.

    python benchmarks/input_pipeline.py [--data_dir DIR] [--recipes goyal90 …]
      [--sides hue_jax …] [--repeats 7] [--images 2048] [--batch_size 128] [--json FILE]

The data are made on the spot: photographs that come with scikit-image and scikit-learn,
cut into 1,024 JPEGs of 500 × 375 pixels and about 100 kB, as ImageNet's are, and into
PNGs of 32 × 32 for the recipe of small images. They are imported from files as a user
imports them.

The plain pipelines are those of flax's ImageNet example, restated: TFDS reads, a buffer
of 16 batches shuffles, TensorFlow's stateful random numbers choose crop and mirror
image, and the host normalizes to float32. "plain TFDS, aliased" is what that example
does; "plain TFDS" smooths before it makes smaller, as hue_jax does, and "hue_jax,
aliased" is hue_jax with `antialias=False`. RandAugment and repeats are hue_jax's own in
all of these, for the example has neither. "DataLoader" and "grain" read, decode, crop
and mirror the same JPEGs with Pillow, which smooths, in one process a core; they are
left out where a recipe has RandAugment, and where torch or grain is not installed. What
hue_jax does on the accelerator (to float and normalized, mixing, erasing) is not in its
figure.

All alternate, in one process, so that what else the machine does falls on each. A side
has a pipeline of its own in each round, which ends before the next side begins: what it
reads ahead is no work in another's time.
"""

import contextlib
import dataclasses
import functools
import hashlib
import itertools
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import skimage
import sklearn.datasets
import tensorflow as tf
import tensorflow_datasets as tfds
from PIL import Image

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common, pillow_batches
from configs import base, recipes, tasks
from hue_jax.data.arrays import read_npz
from hue_jax.data.datasets import open_dataset
from hue_jax.data.folder import read_folder
from hue_jax.data.input_pipeline import Work, train_batches
from hue_jax.data.prepared import prepare
from hue_jax.data.randaugment import augment
from hue_jax.train.config import augmentation, order

_OURS, _SAME = "hue_jax", "plain TFDS"
_OURS_ALIASED, _ALIASED = "hue_jax, aliased", "plain TFDS, aliased"
_LOADER, _GRAIN = "DataLoader + Pillow", "grain + Pillow"
_SIDES = (_OURS, _OURS_ALIASED, _SAME, _ALIASED, _LOADER, _GRAIN)
_THREADS = (1, 8)  # With so many, batches must have the same bytes.
_LABELS = 8


def main():
  """Prints a table in Markdown; the exit status is 1 if bytes depend on threads."""
  arguments = _arguments()
  found, same, notes = [], {}, []
  with contextlib.ExitStack() as stack:
    data_dir = arguments.data_dir or stack.enter_context(tempfile.TemporaryDirectory())
    for name in ("photographs", "thumbnails"):
      notes.append(write_data(data_dir, name, arguments.examples))
    for recipe in arguments.recipes:
      settings = settings_of(recipe, arguments.batch_size)
      rows, told = _measure(data_dir, recipe, settings, arguments)
      found += rows
      notes += told
      same[recipe] = _same_bytes(data_dir, settings)
  threads = " and ".join(map(str, _THREADS))
  for recipe, equal in same.items():
    told = "equal bytes" if equal else "bytes DIFFER"
    notes.append(f"batches of {recipe} with {threads} threads: {told}")
  common.report(
    "input_pipeline",
    found,
    json_file=arguments.json,
    packages=("tensorflow-cpu", "tensorflow-datasets", "torch", "grain", "pillow"),
    notes=notes,
  )
  sys.exit(0 if all(same.values()) else 1)


# --- What is timed --------------------------------------------------------------


def settings_of(recipe, batch_size):
  """The arguments of `train_batches` that a recipe determines, but for the data."""
  config = base.get_config()
  tasks.set_task(config, "cifar10" if recipe == "small_image" else "imagenet")
  recipes.set_recipe(config, recipe)
  return {
    "batch_size": batch_size,
    "image_size": config.image_size,
    "augmentation": augmentation(config),
    "order": order(config),
  }


def plain_batches(dataset, settings, antialias):
  """What a user of TFDS writes, after flax's ImageNet example: a tf.data.Dataset."""
  size, batch_size = settings["image_size"], settings["batch_size"]
  augmentation, repeats = settings["augmentation"], settings["order"].repeats
  randaugment = augmentation.randaugment
  mean, std = (np.float32(x) * 255 for x in _MEAN_AND_STD)

  def augmented(example):
    if augmentation.crop == "random_resized":
      image = _inception_crop(example["image"], size, antialias)
    else:
      image = _pad_crop(example["image"], size, augmentation.padding)
    if randaugment.num_ops:
      image = tf.cast(tf.clip_by_value(tf.round(image), 0, 255), tf.uint8)
      uniforms = tf.random.uniform([randaugment.num_uniforms])
      image = augment(randaugment, image, uniforms)
    if augmentation.flip:
      image = tf.image.random_flip_left_right(image)
    image = (tf.cast(image, tf.float32) - mean) / std
    return {"image": image, "label": example["label"]}

  encoded = {"image": tfds.decode.SkipDecoding()}
  data = dataset.builder.as_dataset(split="train", decoders=encoded)
  data = data.repeat().shuffle(16 * batch_size, seed=0)
  if repeats > 1:
    again = lambda x: tf.data.Dataset.from_tensors(x).repeat(repeats)  # noqa: E731
    data = data.flat_map(again)
  data = data.map(augmented, tf.data.AUTOTUNE).batch(batch_size, drop_remainder=True)
  return data.prefetch(tf.data.AUTOTUNE)


_MEAN_AND_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def _inception_crop(contents, size, antialias):
  begin, extent, _ = tf.image.sample_distorted_bounding_box(
    tf.image.extract_jpeg_shape(contents),
    tf.constant([[[0.0, 0.0, 1.0, 1.0]]]),
    aspect_ratio_range=(3 / 4, 4 / 3),
    area_range=(0.08, 1.0),
    max_attempts=10,
    min_object_covered=0.1,
    use_image_if_no_bounding_boxes=True,
  )
  window = tf.concat([begin[:2], extent[:2]], 0)
  image = tf.image.decode_and_crop_jpeg(contents, window, channels=3)
  image = tf.image.resize(image, [size, size], method="bicubic", antialias=antialias)
  return tf.ensure_shape(image, [size, size, 3])


def _pad_crop(contents, size, padding):
  image = tf.io.decode_image(contents, 3, expand_animations=False)
  image = tf.ensure_shape(image, [size, size, 3])
  padded = tf.image.pad_to_bounding_box(
    image, padding, padding, size + 2 * padding, size + 2 * padding
  )
  return tf.image.random_crop(padded, [size, size, 3])


def _pipelines(data_dir, settings):
  """Functions that start each pipeline, by its name."""
  small = _is_small(settings)
  dataset = open_dataset("thumbnails" if small else "photographs", data_dir)
  ours = functools.partial(train_batches, dataset, "train", seed=0, **settings)

  def plain(antialias):
    return plain_batches(dataset, settings, antialias).as_numpy_iterator()

  pipelines = {_OURS: ours, _SAME: functools.partial(plain, True)}
  if not small:  # There is nothing to resize.
    aliased = dataclasses.replace(settings["augmentation"], antialias=False)
    pipelines[_OURS_ALIASED] = functools.partial(ours, augmentation=aliased)
    pipelines[_ALIASED] = functools.partial(plain, False)
    if not settings["augmentation"].randaugment.num_ops:
      form = (_files(dataset, data_dir), settings["image_size"], settings["batch_size"])
      pipelines[_LOADER] = functools.partial(pillow_batches.torch_batches, *form)
      pipelines[_GRAIN] = functools.partial(pillow_batches.grain_batches, *form)
  return pipelines


def _files(dataset, data_dir):
  """The JPEGs of a data set as files."""
  folder = Path(data_dir) / f"{dataset.name}_files"
  if not folder.exists():
    folder.mkdir()
    encoded = {"image": tfds.decode.SkipDecoding()}
    examples = dataset.builder.as_dataset(split="train", decoders=encoded)
    for i, example in enumerate(examples.as_numpy_iterator()):
      (folder / f"{i:05d}.jpg").write_bytes(example["image"])
  return sorted(folder.glob("*.jpg"))


# --- Timing ---------------------------------------------------------------------


def _measure(data_dir, recipe, settings, arguments):
  """The rows of a recipe, and what is missing."""
  sides, notes = {}, []
  for name, start in _pipelines(data_dir, settings).items():
    if name not in arguments.sides:
      continue
    missing = _missing(name, start)
    if missing:
      notes.append(f"no {name}: {missing}")
    else:
      sides[name] = lambda start=start: _seconds(start(), settings, arguments)
  rows = common.rows(
    f"{recipe}, {settings['image_size']} px",
    common.alternate(sides, arguments.repeats),
    against=(_SAME, _ALIASED, _LOADER, _GRAIN),
    per_second=arguments.images * _factor(settings),
  )
  return rows, notes


def _missing(name, start):
  """In words why there is no such pipeline; None where there is one."""
  made = start() if name in (_LOADER, _GRAIN) else None
  return made if isinstance(made, str) else None


def _seconds(batches, settings, arguments):
  """The steady state: buffers are filled and threads are chosen before it begins."""
  batch_size, images = settings["batch_size"], arguments.images * _factor(settings)
  num_batches = -(-images // batch_size)
  for _ in range(max(4, num_batches // 4)):
    next(batches)
  start = time.perf_counter()
  for _ in range(num_batches):
    next(batches)
  return (time.perf_counter() - start) * images / (num_batches * batch_size)


def _factor(settings):
  """How many times as many images are timed: small ones are so much faster."""
  return 16 if _is_small(settings) else 1


def _is_small(settings):
  return settings["augmentation"].crop != "random_resized"


def _same_bytes(data_dir, settings, num_batches=3):
  """Whether a pipeline's first batches do not depend on the number of threads."""
  ours = _pipelines(data_dir, settings)[_OURS]
  digests = set()
  for threads in _THREADS:
    sha = hashlib.sha256()
    for batch in itertools.islice(ours(work=Work(threads)), num_batches):
      sha.update(batch["image"].tobytes() + batch["label"].tobytes())
    digests.add(sha.hexdigest())
  return len(digests) == 1


# --- Data -----------------------------------------------------------------------


def write_data(data_dir, name, num_examples):
  """Imports photographs from files, unless that is done; says what they are.

  Args:
    data_dir: the folder of prepared data sets.
    name: "photographs", JPEGs of 500 × 375, or "thumbnails", PNGs of 32 × 32.
    num_examples: how many.
  """
  width, height = (500, 375) if name == "photographs" else (32, 32)
  if not (Path(data_dir) / name).exists():
    pictures = _cut_pictures(num_examples, width, height)
    with tempfile.TemporaryDirectory() as folder:
      if name == "photographs":
        for i, picture in enumerate(pictures):
          path = Path(folder) / "train" / f"class{i % _LABELS}" / f"{i:05d}.jpg"
          path.parent.mkdir(parents=True, exist_ok=True)
          # These photographs are smoother than ImageNet's: at quality 90, their files
          # have half the size.
          picture.save(path, quality=97)
        source = read_folder(folder)
      else:
        path = Path(folder) / "thumbnails.npz"
        pixels = np.stack([np.asarray(picture) for picture in pictures])
        np.savez(path, x_train=pixels, y_train=np.arange(num_examples) % _LABELS)
        source = read_npz(str(path))
      prepare(source, name, data_dir)
  split = open_dataset(name, data_dir).builder.info.splits["train"]
  kilobytes = split.num_bytes / split.num_examples / 1000
  pixels = f"{width} × {height} pixels"
  return f"{name}: {split.num_examples} of {pixels}, {kilobytes:.1f} kB each"


def _cut_pictures(count, width, height):
  """Parts of photographs, at different places and scales."""
  folder = Path(skimage.__file__).parent / "data"
  photographs = [Image.open(folder / name).convert("RGB") for name in _PHOTOGRAPHS]
  photographs += map(Image.fromarray, sklearn.datasets.load_sample_images().images)
  rng = np.random.default_rng(0)
  for i in range(count):
    whole = photographs[i % len(photographs)]
    scale = rng.uniform(0.6, 1) * min(whole.width / width, whole.height / height)
    left = rng.uniform(0, whole.width - scale * width)
    top = rng.uniform(0, whole.height - scale * height)
    box = (left, top, left + scale * width, top + scale * height)
    yield whole.resize((width, height), Image.Resampling.BICUBIC, box)


_PHOTOGRAPHS = (
  "astronaut.png",
  "chelsea.png",
  "coffee.png",
  "motorcycle_left.png",
  "motorcycle_right.png",
  "hubble_deep_field.jpg",
)


# --- The command ----------------------------------------------------------------


def _arguments():
  parser = common.parser(__doc__)
  parser.add_argument("--data_dir", help="where to keep the data (nowhere)")
  names = list(recipes.RECIPES)
  parser.add_argument("--recipes", nargs="+", choices=names, default=names)
  parser.add_argument("--sides", nargs="+", choices=_SIDES, default=_SIDES)
  for name, default in (("batch_size", 128), ("images", 2048), ("examples", 1024)):
    parser.add_argument(f"--{name}", type=int, default=default)
  return parser.parse_args()


if __name__ == "__main__":
  main()
