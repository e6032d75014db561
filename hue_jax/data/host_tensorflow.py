"""TensorFlow and TFDS as this package uses them; all of its files import them here.

TensorFlow reads and decodes, and nothing else: its start-up messages are silenced, and
accelerators are hidden from it, because it would reserve the memory of every GPU that
JAX is about to train on.
"""

import contextlib
import os

# JAX, where it is imported before, leaves 1 there, which is to warn of what is raised.
if os.environ.get("TF_CPP_MIN_LOG_LEVEL", "1") == "1":
  os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # Announces itself otherwise.

import tensorflow as tf
import tensorflow_datasets as tfds
from tensorflow_datasets.core.hashing import Hasher

__all__ = ["Hasher", "tf", "tfds"]

# A program that started TensorFlow's devices before decides itself what they see.
with contextlib.suppress(RuntimeError):
  tf.config.set_visible_devices([], "GPU")
