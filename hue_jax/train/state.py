"""What a run carries from step to step."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from flax.training import train_state
from jaxtyping import Array, Int

from hue_jax.objective import Objective


class TrainState(train_state.TrainState):
  """Flax's train state with batch statistics and a moving average of the weights.

  Attributes:
    params: `{"network": …, "planes": …}`; planes has the two vectors of each hue
      plane that is learned, by the name of its term.
    batch_stats: running statistics of batch norm.
    ema: exponential moving average of `params` and `batch_stats`, or empty.
    memory: what terms of the objective keep from batch to batch, or empty.
  """

  step: Any
  params: Any
  batch_stats: Any
  ema: Any
  memory: Any

  def evaluated(self) -> tuple[Any, Any]:
    """(params, batch_stats) that evaluation uses: the average, where there is one."""
    if self.ema:
      return self.ema["params"], self.ema["batch_stats"]
    return self.params, self.batch_stats


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
  """The state at step 0, a function of its arguments alone.

  Args:
    model: a network of `hue_jax.models.create_model`.
    objective: whose learned planes become parameters.
    optimizer: an Optax transformation.
    image_shape: (height, width, channels).
    seed: of the initial weights and learned planes.
    ema: whether to keep a moving average.
    abstract: shapes and types alone, for compilation ahead of time.

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
  """The state at step 0 of a network that has its initial variables.

  Args:
    model: the network.
    objective: as in `create_state`.
    optimizer: likewise.
    variables: of `model.init`, taps included.
    seed: of the learned planes.
    ema: whether to keep a moving average.

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
  batch_stats = variables.get("batch_stats", {})
  state = TrainState.create(
    apply_fn=model.apply,
    params=params,
    tx=optimizer,
    batch_stats=batch_stats,
    ema={"params": params, "batch_stats": batch_stats} if ema else {},
    memory=objective.empty_memory(shapes),
  )
  # An array from the beginning, as after a step: a checkpoint keeps its type.
  return state.replace(step=jnp.zeros((), jnp.int32))


def quick_to_compile():
  """Options that spare XLA's CPU compiler the random numbers of every layer.

  To optimize them costs many times the seconds that it saves (measured for a small
  ResNet: 10.6 s against 1.3 s).
  """
  return {"xla_backend_optimization_level": 0} if jax.default_backend() == "cpu" else {}
