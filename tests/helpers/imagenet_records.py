"""A small imagenet2012: TFDS's own schema and classes, made-up pictures."""

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds

from hue_jax.data import store

VERSION = "5.1.0"


def write_imagenet2012(
  data_dir: str,
  num_train: int,
  num_validation: int,
  image_size: int | tuple[int, int] = 64,
  seed: int = 0,
) -> str:
  """Writes JPEG records as a prepared imagenet2012 that `tfds.load` reads.

  Args:
    data_dir: The folder of prepared data sets.
    num_train: Examples of 'train'.
    num_validation: Examples of 'validation'.
    image_size: The height and width of the pictures, or one number for both.
    seed: Determines pictures and labels.

  Returns:
    The folder of the data set.
  """
  height, width = np.broadcast_to(image_size, 2)
  features = tfds.builder_cls("imagenet2012")(data_dir=data_dir).info.features

  def examples(split, count):
    for i in range(count):
      rng = np.random.default_rng([seed, split == "train", i])
      picture = _picture(rng, int(height), int(width))
      jpeg = tf.io.encode_jpeg(picture, quality=90).numpy()
      name = f"ILSVRC2012_{split}_{i:08d}.JPEG"
      label = int(rng.integers(1000))
      yield name, {"image": jpeg, "label": label, "file_name": name}

  return store.write_dataset(
    data_dir,
    "imagenet2012",
    features,
    {
      "train": store.Split.of(examples("train", num_train)),
      "validation": store.Split.of(examples("validation", num_validation)),
    },
    description="Made-up pictures in the schema of ImageNet.",
    version=VERSION,
  )


def _picture(rng: np.random.Generator, height: int, width: int) -> np.ndarray:
  """Smooth color with some grain, so that its JPEG is of an ordinary size."""
  coarse = rng.integers(0, 256, (6, 8, 3)).astype(np.float32)
  smooth = tf.image.resize(coarse, [height, width], method="bicubic").numpy()
  grain = rng.normal(0, 8, (height, width, 3))
  return np.clip(np.round(smooth + grain), 0, 255).astype(np.uint8)
