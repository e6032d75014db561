"""What a run carries from step to step."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training import train_state
from jaxtyping import Array, Float, Int

from hue_jax.objective import Objective


class TrainState(train_state.TrainState):
  """Flax's train state with batch statistics and a moving average of the weights.

  The fields that are data are what a run carries: `arrays` names them, and they are
  what is saved, checked by a digest, and restored. The moving average is that of
  `weights`; the optimizer's state and the terms' memory are not averaged, for they
  are averages themselves, and are of use to the next step alone.

  Attributes:
    step: The steps that are done.
    params: The tree `{"network": …, "planes": …}`; planes has the two vectors of each
      hue plane that is learned, by the name of its term.
    opt_state: The state of the optimizer.
    batch_stats: The running statistics of batch norm.
    ema: The exponential moving average of `weights`, or empty.
    memory: What terms of the objective keep from batch to batch, or empty.
  """

  step: Any
  params: Any
  batch_stats: Any
  ema: Any
  memory: Any

  def arrays(self) -> dict[str, Any]:
    """Returns the fields that are data, by name."""
    return {
      field.name: getattr(self, field.name)
      for field in dataclasses.fields(self)
      if field.metadata.get("pytree_node", True)
    }

  def weights(self) -> dict[str, Any]:
    """Returns the fields of which a moving average is kept, by name."""
    return {"params": self.params, "batch_stats": self.batch_stats}

  def averaged(self, decay: Float[Array, ""] | float) -> "TrainState":
    """Returns the state with its present weights in its moving average, if it has one.

    average ← d · average + (1 − d) · weights, where d after t steps is
    `moving_average_decay(decay, t)`.

    Args:
      decay: The decay of the average in the long run.

    Returns:
      The state.
    """
    if not self.ema:
      return self
    share = 1 - moving_average_decay(decay, self.step)
    return self.replace(ema=optax.incremental_update(self.weights(), self.ema, share))

  def evaluated(self) -> tuple[Any, Any]:
    """Returns (params, batch_stats) for evaluation: the average, where there is one."""
    weights = self.ema or self.weights()
    return weights["params"], weights["batch_stats"]


def moving_average_decay(
  decay: Float[Array, ""] | float, step: Int[Array, ""] | int
) -> Float[Array, ""]:
  """Returns min(decay, t / (9 + t)), a moving average's decay risen with the steps.

  While the decay rises, the initial weights have a share of 1 / C(t + 9, 9) in the
  average after t steps (0.1, 0.02, 0.005, …), whatever the decay: the average of a
  short run is of about its last tenth of steps, and never of its beginning.

  Source: `tf.train.ExponentialMovingAverage`, whose `num_updates` are the steps before.

  Args:
    decay: The decay in the long run, from 0 to below 1.
    step: The steps t that are done, from 1 on.

  Returns:
    The decay at the step.
  """
  return jnp.minimum(decay, step / (9 + step))


def create_state(
  model: nn.Module,
  objective: Objective,
  optimizer: optax.GradientTransformation,
  *,
  image_shape: tuple[int, int, int],
  seed: int,
  ema: bool = False,
  abstract: bool = False,
) -> TrainState:
  """Returns the state at step 0, a function of the arguments alone.

  Args:
    model: A network of `hue_jax.models.create_model`.
    objective: The objective whose learned planes become parameters.
    optimizer: An Optax transformation.
    image_shape: The (height, width, channels) of the images.
    seed: The seed of the initial weights and learned planes.
    ema: Whether to keep a moving average.
    abstract: Whether to make shapes and types alone, for compilation ahead of time.

  Returns:
    The state.
  """

  def initialize():
    variables = model.init(
      jax.random.key(seed), jnp.zeros((1, *image_shape)), train=False
    )
    return state_of(model, objective, optimizer, variables, seed=seed, ema=ema)

  if abstract:
    return jax.eval_shape(initialize)
  return jax.jit(initialize, compiler_options=quick_to_compile())()


def state_of(
  model: nn.Module,
  objective: Objective,
  optimizer: optax.GradientTransformation,
  variables: Mapping[str, Any],
  *,
  seed: Int[Array, ""] | int,
  ema: bool = False,
) -> TrainState:
  """Returns the state at step 0 of a network that has its initial variables.

  Args:
    model: The network.
    objective: The objective whose learned planes become parameters.
    optimizer: An Optax transformation.
    variables: The variables that `model.init` returns, taps included.
    seed: The seed of the learned planes.
    ema: Whether to keep a moving average.

  Returns:
    The state.
  """
  shapes = {name: tap.shape[1:] for name, tap in variables["taps"].items()}
  planes = {}
  for index, term in enumerate(objective.terms):
    if term.learns_plane:
      key = jax.random.fold_in(jax.random.key(seed), index)
      planes[term.name] = jax.random.normal(key, (shapes[term.tap][-1], 2))
  params = {"network": variables["params"], "planes": planes}
  state = TrainState.create(
    apply_fn=model.apply,
    params=params,
    tx=optimizer,
    batch_stats=variables.get("batch_stats", {}),
    ema={},
    memory=objective.empty_memory(shapes),
  )
  return state.replace(
    # An array from the beginning, as after a step: a checkpoint keeps its type.
    step=jnp.zeros((), jnp.int32),
    ema=state.weights() if ema else {},
  )


def quick_to_compile():
  """Returns options that spare XLA's CPU compiler the random numbers of every layer.

  To optimize them costs many times the seconds that it saves (measured for a small
  ResNet: 10.6 s against 1.3 s).
  """
  return {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}
