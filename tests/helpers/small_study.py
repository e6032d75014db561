"""A study of digits that takes seconds."""

import numpy as np
from sklearn.datasets import load_digits

from configs import compare_base
from hue_jax.compare.task import ArrayTask, Examples, write_task

SECTORS = {"kind": "angular_consistency", "tap": "stage2", "weight": 0.3}


def small_settings(**changes):
  """Settings of a study of two narrow networks on little data."""
  config = compare_base.get_config()
  config.title = "small"
  config.dataset = "digits"
  config.image_size = 8
  config.padding = 1
  config.flip = False
  config.train_per_class = 10
  config.num_epochs = 4.0
  config.batch_size = 20
  config.num_evaluations = 2
  config.model_options = {"stem": "small", "width": 4}
  config.num_seeds = 2
  config.measures.knn = False
  config.measures.corrupted_images = 0
  config.measures.attacked_images = 0
  config.measures.observed_images_per_class = 0
  settings = config.to_dict()
  settings["objectives"] = {"one_hot": {}, "smoothing": {"label_smoothing": 0.1}}
  return settings | changes


def digits_task():
  """The digits, without TensorFlow."""
  pixels, labels = load_digits(return_X_y=True)
  images = np.round(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
  parts = (slice(0, 900), slice(900, 1100), slice(1100, None))
  splits = [Examples(images[part], labels[part].astype(np.int32)) for part in parts]
  return ArrayTask("digits", tuple("0123456789"), *splits)


def small_workdir(folder, settings):
  """A workdir that holds the data already."""
  write_task(digits_task(), settings, folder)
  return folder
