"""One step of training and one of evaluation: pure functions of (state, batch).

They run on one device and name the axis of their collectives; `parallel.py` maps
them over devices. With `axis_name=None` they are ordinary functions for `jax.jit`.

A batch is `{"image": uint8 [batch, height, width, channels], "label": int32
[batch]}`, and for evaluation `"mask": float32 [batch]`, 0 for padding, and where an
image has several right classes, `"label_set": uint8 [batch, classes]`, 1 for these.
"""

import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, UInt8

from hue_jax.models import head_of
from hue_jax.objective import Batch, Measured, Objective
from hue_jax.train.erasing import erase
from hue_jax.train.mixing import Mixing, mix
from hue_jax.train.state import TrainState

Sums = dict[str, tuple[Array, Array]]  # name → (Σ weight · value, Σ weight)
# What evaluation counts and takes no mean of.
CONFUSION = "confusion"
# Folded into the key of a step: no device has these numbers.
_MIXING, _ERASING = 2**31 - 1, 2**31 - 2

Step = Callable[[TrainState, Mapping[str, Array]], tuple[TrainState, Sums]]
EvalStep = Callable[[TrainState, Mapping[str, Array]], Sums]


def make_train_step(
  objective: Objective,
  *,
  pixel_mean: tuple[float, ...],
  pixel_std: tuple[float, ...],
  seed: Int[Array, ""] | int,
  ema_decay: Float[Array, ""] | float = 0.0,
  mixing: Mixing | None = None,
  erase_probability: int | float = 0.0,
  axis_name: str | None = None,
) -> Step:
  """Returns a step of gradient descent on the objective.

  Args:
    objective: What is minimized, as a mean over the whole batch.
    pixel_mean: What is subtracted from pixels in [0, 1], one value a channel or one
      for all.
    pixel_std: What the difference is divided by.
    seed: The seed of the networks' own randomness, folded with the step.
    ema_decay: The decay of the moving average, if the state has one.
    mixing: How images are mixed in pairs, by Mixup and CutMix; not at all if None.
    erase_probability: The probability of random erasing, which comes before that.
    axis_name: The mapped axis; None for a single device.

  Returns:
    A function (state, batch) → (state, sums over all devices of what was measured).
  """

  def train_step(state, batch):
    labels, key = batch["label"], jax.random.fold_in(jax.random.key(seed), state.step)
    device = 0 if axis_name is None else jax.lax.axis_index(axis_name)
    images, mixed = _augmented(
      normalize(batch["image"], pixel_mean, pixel_std),
      labels,
      key=key,
      first=device * len(labels),
      mixing=mixing,
      erase_probability=erase_probability,
    )
    dropout_key = key if axis_name is None else jax.random.fold_in(key, device)

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
          head=head_of(params["network"]),
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
    state = state.averaged(ema_decay)
    sums = _psum(sums, axis_name)
    sums["gradient_norm"] = (optax.tree.norm(grads), jnp.ones(()))
    return state, sums

  return train_step


def _augmented(images, labels, *, key, first, mixing, erase_probability):
  """Erases and mixes images as the step and their places in the whole batch say."""
  mixed = None
  if erase_probability:
    erasing_key = jax.random.fold_in(key, _ERASING)
    images = erase(images, erase_probability, key=erasing_key, first=first)
  if mixing:
    mixing_key = jax.random.fold_in(key, _MIXING)
    images, mixed = mix(images, labels, mixing, key=mixing_key, first=first)
  return images, mixed


def make_eval_step(
  objective: Objective,
  *,
  pixel_mean: tuple[float, ...],
  pixel_std: tuple[float, ...],
  most_confused: int = 0,
  axis_name: str | None = None,
) -> EvalStep:
  """Returns a step of evaluation, in which each example counts by its mask.

  Args:
    objective: The objective, which measures the batch.
    pixel_mean: What is subtracted from pixels in [0, 1].
    pixel_std: What the difference is divided by.
    most_confused: Of how many classes at most a confusion matrix is counted, under
      the name `CONFUSION`.
    axis_name: The mapped axis; None for a single device.

  Returns:
    A function (state, batch) → sums over all devices of what was measured.
  """

  def eval_step(state, batch):
    params, batch_stats = state.evaluated()
    logits, taps = forward(
      state.apply_fn,
      {"params": params["network"], "batch_stats": batch_stats},
      normalize(batch["image"], pixel_mean, pixel_std),
    )
    evaluated = objective(
      Batch(
        logits=logits,
        taps=taps,
        labels=batch["label"],
        mask=batch["mask"],
        step=state.step,
        head=head_of(params["network"]),
        planes=params["planes"],
        memory=state.memory,
        axis_name=axis_name,
        train=False,
      )
    )
    sums = {
      name: value
      for evaluator in _EVALUATORS
      for name, value in evaluator(evaluated, batch, objective.num_classes)
    }
    if objective.num_classes <= most_confused:
      sums[CONFUSION] = _confusion(evaluated, batch, objective.num_classes)
    return _psum(sums, axis_name)

  return eval_step


def forward(
  apply_fn: Callable[..., Any],
  variables: Mapping[str, Any],
  pixels: Float[Array, "batch height width channels"],
) -> tuple[Float[Array, "batch classes"], dict[str, Float[Array, "batch ..."]]]:
  """Computes logits and taps as evaluation does, whoever asks for them.

  Args:
    apply_fn: The `apply` of the network.
    variables: `{"params": …, "batch_stats": …}` of the network.
    pixels: The images, normalized.

  Returns:
    The logits, and tap → layer.
  """
  logits, updates = apply_fn(variables, pixels, train=False, mutable=["taps"])
  return logits, dict(updates["taps"])


# Evaluators yield the name of a number and (Σ weight · value, Σ weight) of a batch.


def _means(evaluated, batch, num_classes):
  """Yields the sums of all that the objective measures."""
  del batch, num_classes
  yield from _sum_examples(evaluated.measured).items()


def _top1_of_label_sets(evaluated, batch, num_classes):
  """Yields top1 in place of that of one label, where images have several."""
  del num_classes
  if "label_set" in batch:
    yield from _sum_examples({"top1": _right(evaluated, batch)}).items()


def _by_class(evaluated, batch, num_classes):
  """Yields the right ones of each class, of which the mean is that of the classes."""
  right = _right(evaluated, batch)
  sums = functools.partial(
    jax.ops.segment_sum, segment_ids=batch["label"], num_segments=num_classes
  )
  counted = jnp.where(right.weights > 0, right.values * right.weights, 0)
  yield "mean_per_class", (sums(counted), sums(right.weights))


_EVALUATORS = (_means, _top1_of_label_sets, _by_class)


def _confusion(evaluated, batch, num_classes):
  """Returns how often an image of each class (row) was told to be of each (column)."""
  told = jnp.argmax(evaluated.scores, axis=-1)
  weights = evaluated.measured["top1"].weights
  pairs = batch["label"] * num_classes + told
  counts = jax.ops.segment_sum(weights, pairs, num_segments=num_classes**2)
  return counts.reshape(num_classes, num_classes), weights.sum()


def _right(evaluated, batch):
  """Returns whether predictions are right, or among the right classes of an image."""
  right = evaluated.measured["top1"]
  if "label_set" not in batch:
    return right
  label_set = batch["label_set"]
  chosen = jnp.argmax(evaluated.scores, axis=-1, keepdims=True)
  values = jnp.take_along_axis(label_set, chosen, axis=-1)[:, 0].astype(jnp.float32)
  return Measured(values, right.weights * label_set.any(axis=-1))


def normalize(
  images: UInt8[Array, "batch height width channels"],
  mean: tuple[float, ...],
  std: tuple[float, ...],
) -> Float[Array, "batch height width channels"]:
  """Returns (pixel / 255 − mean) / std.

  Args:
    images: The pixels as stored.
    mean: The mean, one value a channel or one for all.
    std: The standard deviation, one value a channel or one for all.

  Returns:
    The images in float32.
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
