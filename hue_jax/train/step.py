"""One step of training and one of evaluation: pure functions of (state, batch).

They run on one device and name the axis of their collectives; `parallel.py` maps
them over devices. With `axis_name=None` they are ordinary functions for `jax.jit`.

A batch is `{"image": uint8 [batch, height, width, channels], "label": int32
[batch]}`, and for evaluation `"mask": float32 [batch]`, 0 for padding, and where an
image has several right classes, `"label_set": uint8 [batch, classes]`, 1 for these.
"""

import functools
from collections.abc import Callable, Mapping

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, UInt8

from hue_jax.objective import Batch, Measured, Objective
from hue_jax.train.erasing import erase
from hue_jax.train.mixing import Mixing, mix
from hue_jax.train.state import TrainState

Sums = dict[str, tuple[Array, Array]]  # name → (Σ weight · value, Σ weight)
# Folded into the key of a step: no device has these numbers.
_MIXING, _ERASING = 2**31 - 1, 2**31 - 2

Step = Callable[[TrainState, Mapping[str, Array]], tuple[TrainState, Sums]]


def make_train_step(
  objective: Objective,
  *,
  pixel_mean: tuple[float, ...],
  pixel_std: tuple[float, ...],
  seed: Int[Array, ""] | int,
  ema_decay: float = 0.0,
  mixing: Mixing | None = None,
  erase_probability: int | float = 0.0,
  axis_name: str | None = None,
) -> Step:
  """A step of gradient descent on the objective.

  Args:
    objective: what is minimized, as a mean over the whole batch.
    pixel_mean: subtracted from pixels in [0, 1], one value a channel or one for all.
    pixel_std: by which the difference is divided.
    seed: of the networks' own randomness, folded with the step.
    ema_decay: of the moving average, if the state has one.
    mixing: of images in pairs, by Mixup and CutMix; none if None.
    erase_probability: of random erasing, before that.
    axis_name: the mapped axis, None for a single device.

  Returns:
    (state, batch) → (state, sums over all devices of what was measured).
  """

  def train_step(state, batch):
    images, labels = normalize(batch["image"], pixel_mean, pixel_std), batch["label"]
    device = 0 if axis_name is None else jax.lax.axis_index(axis_name)
    dropout_key = jax.random.fold_in(jax.random.key(seed), state.step)
    mixed = None
    if erase_probability:
      key = jax.random.fold_in(dropout_key, _ERASING)
      images = erase(images, erase_probability, key=key, first=device * len(labels))
    if mixing:
      images, mixed = mix(
        images,
        labels,
        mixing,
        key=jax.random.fold_in(dropout_key, _MIXING),
        first=device * len(labels),
      )
    if axis_name is not None:
      dropout_key = jax.random.fold_in(dropout_key, device)

    def loss_fn(params):
      logits, updates = state.apply_fn(
        {"params": params["network"], "batch_stats": state.batch_stats},
        images,
        train=True,
        mutable=["batch_stats", "taps"],
        rngs={"dropout": dropout_key},
      )
      evaluated = objective(
        Batch(
          logits=logits,
          taps=updates["taps"],
          labels=labels,
          mask=jnp.ones(logits.shape[0]),
          step=state.step,
          head=params["network"].get("head", {}),
          planes=params["planes"],
          memory=state.memory,
          axis_name=axis_name,
          mixed=mixed,
        )
      )
      sums = _sum_examples(evaluated.measured)
      total, count = sums["loss"]
      # This device's share of the mean; the shares and their gradients add up.
      share = total / _psum(count, axis_name)
      return share, (updates, sums, evaluated.memory)

    grads, (updates, sums, memory) = jax.grad(loss_fn, has_aux=True)(state.params)
    grads = _psum(grads, axis_name)
    batch_stats = updates.get("batch_stats", {})
    if axis_name is not None:
      batch_stats = jax.lax.pmean(batch_stats, axis_name)
    state = state.apply_gradients(grads=grads, batch_stats=batch_stats, memory=memory)
    if state.ema:
      current = {"params": state.params, "batch_stats": state.batch_stats}
      average = optax.incremental_update(current, state.ema, 1 - ema_decay)
      state = state.replace(ema=average)
    sums = _psum(sums, axis_name)
    sums["gradient_norm"] = (optax.tree.norm(grads), jnp.ones(()))
    return state, sums

  return train_step


def make_eval_step(
  objective: Objective,
  *,
  pixel_mean: tuple[float, ...],
  pixel_std: tuple[float, ...],
  axis_name: str | None = None,
) -> Callable[[TrainState, Mapping[str, Array]], Sums]:
  """A step of evaluation, in which each example counts by its mask.

  Args:
    objective: measures the batch.
    pixel_mean: as in training.
    pixel_std: as in training.
    axis_name: the mapped axis, None for a single device.

  Returns:
    (state, batch) → sums over all devices of what was measured.
  """

  def eval_step(state, batch):
    params, batch_stats = state.evaluated()
    logits, updates = state.apply_fn(
      {"params": params["network"], "batch_stats": batch_stats},
      normalize(batch["image"], pixel_mean, pixel_std),
      train=False,
      mutable=["taps"],
    )
    evaluated = objective(
      Batch(
        logits=logits,
        taps=updates["taps"],
        labels=batch["label"],
        mask=batch["mask"],
        step=state.step,
        head=params["network"].get("head", {}),
        planes=params["planes"],
        memory=state.memory,
        axis_name=axis_name,
        train=False,
      )
    )
    measured = evaluated.measured
    if "label_set" in batch:
      measured = _of_label_sets(measured, evaluated.scores, batch["label_set"])
    sums = _sum_examples(measured)
    sums["mean_per_class"] = _sum_by_class(
      measured["top1"], batch["label"], objective.num_classes
    )
    return _psum(sums, axis_name)

  return eval_step


def _of_label_sets(measured, scores, label_set):
  """Right is a prediction among the classes of the image, if it has any."""
  chosen = jnp.argmax(scores, axis=-1, keepdims=True)
  right = jnp.take_along_axis(label_set, chosen, axis=-1)[:, 0].astype(jnp.float32)
  weights = measured["top1"].weights * label_set.any(axis=-1)
  return measured | {"top1": Measured(right, weights)}


def _sum_by_class(measured, labels, num_classes):
  values, weights = measured
  by_class = functools.partial(jax.ops.segment_sum, num_segments=num_classes)
  total = by_class(jnp.where(weights > 0, values * weights, 0), labels)
  return total, by_class(weights, labels)


def normalize(
  images: UInt8[Array, "batch height width channels"],
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> Float[Array, "batch height width channels"]:
  """(pixel / 255 − mean) / std.

  Args:
    images: pixels as stored.
    mean: one value a channel, or one for all.
    std: likewise.

  Returns:
    Float32 images.
  """
  pixels = images.astype(jnp.float32) / 255
  return (pixels - jnp.asarray(mean, jnp.float32)) / jnp.asarray(std, jnp.float32)


def _sum_examples(measured: dict[str, Measured]) -> Sums:
  # Padding may hold any number, NaN included, so it is left out before the product.
  return {
    name: (
      jnp.sum(jnp.where(weights > 0, values * weights, 0)),
      jnp.sum(weights),
    )
    for name, (values, weights) in measured.items()
  }


def _psum(tree, axis_name):
  return tree if axis_name is None else jax.lax.psum(tree, axis_name)
