"""A small network, objective and batches for the tests of the training step."""

import jax
import numpy as np

from hue_jax.models import tap_shapes
from hue_jax.models.resnet import BasicBlock, ResNet
from hue_jax.objective import create_objective
from hue_jax.train.optimizer import create_optimizer
from hue_jax.train.parallel import AXIS
from hue_jax.train.state import create_state

IMAGE_SHAPE = (8, 8, 3)
NUM_CLASSES = 5
PIXELS = {"pixel_mean": (0.5,), "pixel_std": (0.25,)}

ALL_KINDS = {
  "class": {"tap": "features", "kind": "class_hue", "weight": 0.2},
  "position": {
    "tap": "stage2",
    "kind": "position_hue",
    "weight": 0.3,
    "weighting": "activation",
  },
  "learned": {"tap": "stage3", "kind": "class_hue", "plane": "learned"},
  "sectors": {"tap": "stage1", "kind": "angular_consistency", "weight": 0.3},
}


def small_model(axis_name=None, num_classes=NUM_CLASSES, **options):
  """A ResNet of three stages of one block, and width 4."""
  return ResNet(
    num_classes=num_classes,
    block=BasicBlock,
    stage_sizes=(1, 1, 1),
    stem="small",
    width=4,
    axis_name=axis_name,
    **options,
  )


def small_objective(terms=ALL_KINDS, label_smoothing=0.0):
  """An objective of the terms given."""
  return create_objective(
    num_classes=NUM_CLASSES,
    label_smoothing=label_smoothing,
    terms=terms,
    tap_shapes=tap_shapes(small_model(), IMAGE_SHAPE),
    num_train_steps=10,
    warmup_steps=2,
    seed=0,
  )


def small_state(objective, *, optimizer=None, synchronized=False, ema=False, seed=0):
  """The state at step 0."""
  return create_state(
    small_model(AXIS if synchronized else None),
    objective,
    optimizer or create_optimizer("sgd", 0.05, weight_decay=1e-4),
    image_shape=IMAGE_SHAPE,
    seed=seed,
    ema=ema,
  )


def small_batch(step, size=16):
  """Batch `step` of random images."""
  rng = np.random.default_rng(step)
  return {
    "image": rng.integers(0, 256, (size, *IMAGE_SHAPE), dtype=np.uint8),
    "label": rng.integers(0, NUM_CLASSES, size).astype(np.int32),
  }


def flat(tree):
  """All numbers of a tree as one vector."""
  return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])
