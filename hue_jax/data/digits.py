"""The embedded data set: 1,797 handwritten digits of 8x8 pixels.

They come with scikit-learn (from the UCI repository's "Optical Recognition of
Handwritten Digits"), so that training can be tried with no download at all.
"""

import numpy as np

from hue_jax.data import store
from hue_jax.data.host_tensorflow import tfds
from hue_jax.data.stratify import stratified_holdout

NAME = "digits"
NUM_TEST = 360


def ensure_written(data_dir: str) -> None:
  """Writes the data set under `data_dir` unless it is there.

  Several processes may call this at once: each writes its own copy, and the first
  to finish puts it in place.
  """
  folder = store.dataset_folder(data_dir, NAME, None, store.VERSION)
  if not store.is_written(folder):
    _write(data_dir)


def _write(data_dir: str) -> None:
  from sklearn.datasets import load_digits  # Slow to import, and needed once.

  pixels, labels = load_digits(return_X_y=True)
  images = np.round(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
  train, test = stratified_holdout(labels, NUM_TEST, seed=0)

  def split(indices):
    def example(i):
      return {"image": images[indices[i]], "label": int(labels[indices[i]])}

    return store.Split(indices.tolist(), example)

  store.write_dataset(
    data_dir,
    NAME,
    tfds.features.FeaturesDict(
      {
        "image": tfds.features.Image(shape=(8, 8, 1)),
        "label": tfds.features.ClassLabel(num_classes=10),
      }
    ),
    {"train": split(train), "test": split(test)},
    description="1,797 handwritten digits of 8x8 pixels, from scikit-learn.",
  )
