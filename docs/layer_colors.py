"""Draws `docs/images/layer_colors.png`: layers of a trained network, colored by hue.

    python docs/layer_colors.py --config=configs/fashion_mnist_hue.py \
      --workdir=runs/fashion_hue --out=docs/images/layer_colors.png

Hue is the activation hue θ, saturation the saturation, and value the magnitude of
the activation (its 99th percentile over the layer is white).
"""

import jax.numpy as jnp
import matplotlib
import numpy as np
from absl import app, flags
from etils import epath
from matplotlib import pyplot as plt
from matplotlib.colors import hsv_to_rgb
from ml_collections import config_flags

import hue_jax
from hue_jax.train.checkpoints import Checkpoints
from hue_jax.train.loop import set_up
from hue_jax.train.step import normalize

matplotlib.use("Agg")

_CONFIG = config_flags.DEFINE_config_file("config")
_WORKDIR = flags.DEFINE_string("workdir", None, "Of the run.", required=True)
_OUT = flags.DEFINE_string("out", "docs/images/layer_colors.png", "The picture.")
_TAPS = ("stage1", "stage2", "stage3")
_NUM_IMAGES = 8


def main(_):
  """Draws one column an image and one row a layer."""
  run = set_up(_CONFIG.value)
  with Checkpoints(epath.Path(_WORKDIR.value).resolve(), keep=99) as checkpoints:
    state = checkpoints.restore_best(run.initial_state)
  images, labels = _one_image_a_class(run)
  layers = _layers(run, state, images)
  rows = 1 + len(_TAPS)
  figure, axes = plt.subplots(
    rows, _NUM_IMAGES + 1, figsize=(1.15 * (_NUM_IMAGES + 1), 1.15 * rows + 0.3)
  )
  for column in range(_NUM_IMAGES):
    name = run.dataset.class_names[labels[column]]
    axes[0, column].set_title(name, fontsize=8)
    axes[0, column].imshow(images[column, :, :, 0], cmap="gray")
    for row, tap in enumerate(_TAPS, start=1):
      axes[row, column].imshow(_colored(layers[tap])[column])
  for row, label in enumerate(("image", *_TAPS)):
    axes[row, 0].set_ylabel(label, fontsize=9)
  axes[0, -1].imshow(_wheel())
  axes[0, -1].set_title("label φ(x, y)", fontsize=8)
  for axis in axes[1:, -1]:
    axis.set_visible(False)
  for axis in axes.ravel():
    axis.set(xticks=[], yticks=[])
    for spine in axis.spines.values():
      spine.set_visible(False)
  figure.tight_layout(pad=0.4)
  figure.savefig(_OUT.value, dpi=160)


def _one_image_a_class(run):
  batch = next(iter(run.eval_batches(run.config.test_split)))
  first = [np.flatnonzero(batch["label"] == c)[0] for c in range(_NUM_IMAGES)]
  return batch["image"][first], batch["label"][first]


def _layers(run, state, images):
  params, batch_stats = state.evaluated()
  _, updates = state.apply_fn(
    {"params": params["network"], "batch_stats": batch_stats},
    normalize(jnp.asarray(images), run.config.pixel_mean, run.config.pixel_std),
    train=False,
    mutable=["taps"],
  )
  return updates["taps"]


def _colored(layer):
  strength = hue_jax.activation_strength(layer)
  hsv = (
    hue_jax.hue_angle(layer) / (2 * np.pi),
    hue_jax.saturation(layer),
    jnp.minimum(strength / jnp.percentile(strength, 99), 1),
  )
  return hsv_to_rgb(np.stack(hsv, axis=-1))


def _wheel(size=101):
  inside = np.hypot(*np.mgrid[-1 : 1 : size * 1j, -1 : 1 : size * 1j]) <= 1
  hue = np.asarray(hue_jax.position_hue(size, size)) / (2 * np.pi)
  hsv = np.stack([hue, inside, np.ones_like(hue)], axis=-1)
  return hsv_to_rgb(hsv)


if __name__ == "__main__":
  app.run(main)
