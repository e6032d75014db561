"""Trains one network of a study: a function of (objective, seed).

Of one seed, all objectives start from the same weights and see the same images in the
same order, augmented alike.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from hue_jax.compare.batches import traceable, train_batches
from hue_jax.compare.measures.predictions import accuracy
from hue_jax.compare.rates import OPTIMIZATION, Rates
from hue_jax.compare.task import ArrayTask
from hue_jax.compiled import program_memory
from hue_jax.hue import Arrays
from hue_jax.models import create_model, head_of, tap_shapes
from hue_jax.objective import Objective, create_objective
from hue_jax.train.length import whole_steps
from hue_jax.train.optimizer import create_optimizer, learning_rate_schedule
from hue_jax.train.state import TrainState, quick_to_compile, state_of
from hue_jax.train.step import forward, make_train_step, normalize

EVAL_BATCH = 250


@dataclasses.dataclass(frozen=True, eq=False)
class Curve:
  """How the validation examples fared during a training.

  Attributes:
    step: The steps after which they were evaluated.
    accuracy: The accuracy at each of these.
    train_loss: The mean of what was minimized since the last of these.
  """

  step: list[int]
  accuracy: list[float]
  train_loss: list[float]


@dataclasses.dataclass(frozen=True, eq=False)
class Training:
  """A network of a study.

  Attributes:
    objective: The objective by which it was trained.
    state: The state at the end.
    initial: The variables before the first step.
    curve: The course of the training.
  """

  objective: Objective
  state: TrainState
  initial: Mapping[str, Any]
  curve: Curve


class Trainer:
  """What all trainings of a study share, compiled once.

  Args:
    settings: The settings of the study; see `defaults.py`.
    task: The data of the study.
  """

  def __init__(self, settings: Mapping[str, Any], task: ArrayTask):
    self.settings = settings
    self.task = task
    self.model: nn.Module = create_model(
      settings["model"], num_classes=task.num_classes, **settings["model_options"]
    )
    self.tap_shapes = tap_shapes(self.model, task.image_shape)
    size = len(task.training_set(settings["train_per_class"], seed=0))
    self.num_train_steps = num_train_steps(settings, size)
    self.warmup_steps = num_warmup_steps(settings, size)
    self._rates = Rates(settings["learning_rate"], settings["weight_decay"])
    self._optimizer = self._create_optimizer(self._rates)
    self._pixels = {name: tuple(settings[name]) for name in ("pixel_mean", "pixel_std")}
    self._init = jax.jit(
      lambda seed: self.model.init(
        jax.random.key(seed), jnp.zeros((1, *task.image_shape)), train=False
      ),
      compiler_options=quick_to_compile(),
    )
    self._step = jax.jit(self._train_step, donate_argnums=2)
    self._step_of_each = jax.jit(
      jax.vmap(self._train_step, in_axes=(None, None, 0, 0, 0)), donate_argnums=2
    )
    self.forward = jax.jit(self._forward)
    self._scores = jax.jit(_scores)

  def objective(self, settings: Mapping[str, Any]) -> Objective:
    """Returns the objective of its settings; see `create_objective`."""
    settings = {name: one for name, one in settings.items() if name != OPTIMIZATION}
    return create_objective(
      num_classes=self.task.num_classes,
      tap_shapes=self.tap_shapes,
      num_train_steps=self.num_train_steps,
      warmup_steps=self.warmup_steps,
      seed=0,
      **{"terms": {}, **settings},
    )

  def rates(self, settings: Mapping[str, Any]) -> Rates:
    """Returns an objective's own rates of its settings, or the study's."""
    return self._rates._replace(**settings.get(OPTIMIZATION, {}))

  def initial_state(
    self, objective: Objective, seed: int
  ) -> tuple[TrainState, Mapping[str, Any]]:
    """Returns the state at step 0, and the network's variables in it."""
    variables = self._init(traceable(seed))
    # A copy, since the step overwrites the state that it takes.
    state = state_of(
      self.model,
      objective,
      self._optimizer,
      jax.tree.map(jnp.copy, variables),
      seed=seed,
    )
    return state, {
      "params": variables["params"],
      "batch_stats": variables.get("batch_stats", {}),
    }

  def train(
    self, objective: Objective, seed: int, rates: Rates | None = None
  ) -> Training:
    """Trains a network.

    Args:
      objective: The objective to minimize.
      seed: The seed of the initial weights, the training set, its order and its
        augmentation.
      rates: The rates of the optimization; those of the study if None.

    Returns:
      The network, and how it went.
    """
    (training,) = self.train_together(objective, [seed], rates)
    return training

  def train_together(
    self, objective: Objective, seeds: Sequence[int], rates: Rates | None = None
  ) -> list[Training]:
    """Trains a network of each seed, all in one program, as an accelerator likes it.

    Args:
      objective: The objective to minimize.
      seeds: The seeds, as `train` takes one.
      rates: The rates of the optimization; those of the study if None.

    Returns:
      What `train` returns for each seed, up to the rounding of another program.
    """
    settings, rates = self.settings, rates or self._rates
    states, initials = zip(
      *(self.initial_state(objective, seed) for seed in seeds), strict=True
    )
    batches = [self.batches(seed) for seed in seeds]
    evaluations = _evaluation_steps(self.num_train_steps, settings["num_evaluations"])
    next_evaluation = next(evaluations)
    curves, losses = [Curve([], [], []) for _ in seeds], []
    state = _stacked(states)
    traceable_seeds = _stacked([traceable(seed) for seed in seeds])
    take_step = self._step if len(seeds) == 1 else self._step_of_each
    for step in range(1, self.num_train_steps + 1):
      batch = _stacked([next(of_seed) for of_seed in batches])
      state, loss = take_step(objective, rates, state, batch, traceable_seeds)
      losses.append(loss)
      if step == next_evaluation:
        next_evaluation = next(evaluations, None)
        means = np.mean(np.reshape(jax.device_get(losses), (-1, len(seeds))), axis=0)
        for curve, mean, one in zip(
          curves, means, _unstacked(state, len(seeds)), strict=True
        ):
          curve.step.append(step)
          curve.train_loss.append(float(mean))
          some = self.task.validation[: settings["curve_images"]]
          scores, _ = self.predict(objective, one, some.images)
          curve.accuracy.append(accuracy(scores, some.labels))
        losses = []
    states = _unstacked(state, len(seeds))
    return [
      Training(objective, *one) for one in zip(states, initials, curves, strict=True)
    ]

  def bytes_of_a_step(self, objective: Objective) -> int | None:
    """Returns the device memory of one seed's step: what goes in and out, and between.

    Args:
      objective: The objective to minimize.

    Returns:
      The bytes, as `program_memory` has them.
    """
    state, _ = self.initial_state(objective, 0)
    batch = next(self.batches(0))
    lowered = self._step.lower(objective, self._rates, state, batch, traceable(0))
    return program_memory(lowered.compile())

  def batches(self, seed: int) -> Iterator[dict[str, Array]]:
    """Returns a seed's batches for any objective: images, order and augmentation."""
    settings = self.settings
    return train_batches(
      self.task.training_set(settings["train_per_class"], seed),
      batch_size=settings["batch_size"],
      seed=seed,
      padding=settings["padding"],
      flip=settings["flip"],
    )

  def predict(
    self,
    objective: Objective,
    state: TrainState,
    images: UInt8[np.ndarray, "examples height width channels"],
  ) -> tuple[
    Float[np.ndarray, "examples classes"], Float[np.ndarray, "examples features"]
  ]:
    """Computes scores of the classes, and features, of any number of images."""
    scores, features = [], []
    for batch, count in batched(images):
      logits, taps = self.forward(state.params, state.batch_stats, batch)
      found = self._scores(
        objective, logits, taps["features"], head_of(state.params["network"])
      )
      scores.append(np.asarray(found)[:count])
      features.append(np.asarray(taps["features"])[:count])
    return np.concatenate(scores), np.concatenate(features)

  def normalized(
    self, images: UInt8[Arrays, "batch height width channels"]
  ) -> Float[Array, "batch height width channels"]:
    """Returns pixels as the network takes them."""
    return normalize(
      jnp.asarray(images),
      self._pixels["pixel_mean"],
      self._pixels["pixel_std"],
    )

  def _train_step(self, objective, rates, state, batch, seed):
    """Takes a step; rates are traced, so that points of a search share a program."""
    step = make_train_step(objective, seed=seed, **self._pixels)
    after, sums = step(state.replace(tx=self._create_optimizer(rates)), batch)
    total, count = sums["loss"]
    return after.replace(tx=state.tx), total / count

  def _create_optimizer(self, rates):
    settings = self.settings
    return create_optimizer(
      settings["optimizer"],
      learning_rate_schedule(
        peak=rates.learning_rate * settings["batch_size"] / 256,
        num_train_steps=self.num_train_steps,
        warmup_steps=min(self.warmup_steps, self.num_train_steps),
      ),
      weight_decay=rates.weight_decay,
      momentum=settings["momentum"],
      gradient_clip_norm=settings["gradient_clip_norm"],
    )

  def apply(self, params, batch_stats, pixels):
    """Computes logits and taps of normalized pixels."""
    variables = {"params": params["network"], "batch_stats": batch_stats}
    return forward(self.model.apply, variables, pixels)

  def _forward(self, params, batch_stats, images):
    return self.apply(params, batch_stats, self.normalized(images))


def _stacked(trees):
  """Returns one tree whose arrays have an axis for the trees; of one tree, itself."""
  if len(trees) == 1:
    return trees[0]
  return jax.tree.map(lambda *leaves: jnp.stack(leaves), *trees)


def _unstacked(tree, count):
  """Returns the trees of which `_stacked` made one."""
  if count == 1:
    return [tree]
  return [jax.tree.map(lambda leaf, i=i: leaf[i], tree) for i in range(count)]


def batched(images: np.ndarray):
  """Yields batches of one size, the last filled up, and how many in each are real."""
  for start in range(0, len(images), EVAL_BATCH):
    batch = images[start : start + EVAL_BATCH]
    count = len(batch)
    if count < EVAL_BATCH and start:
      filler = np.zeros((EVAL_BATCH - count, *batch.shape[1:]), batch.dtype)
      batch = np.concatenate([batch, filler])
    yield batch, count


def num_train_steps(settings: Mapping[str, Any], num_examples: int) -> int:
  """Returns the length of a training in steps: batches straddle epochs."""
  return whole_steps(settings["num_epochs"] * num_examples / settings["batch_size"])


def num_warmup_steps(settings: Mapping[str, Any], num_examples: int) -> int:
  """Returns the steps in which the learning rate of a training rises."""
  return whole_steps(settings["warmup_epochs"] * num_examples / settings["batch_size"])


def _scores(objective, logits, features, head):
  return objective.classifier.decide(logits, {"features": features}, head)


def _evaluation_steps(num_train_steps, count) -> Iterator[int]:
  """Yields steps that are evenly spread, the last step among them."""
  return (round(num_train_steps * (i + 1) / count) for i in range(count))
