"""From a configuration to what is trained, and back from a workdir to what it holds.

Nothing here reads data, so that a network comes back where TensorFlow is not installed.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from ml_collections import ConfigDict

from hue_jax.errors import InputError
from hue_jax.models import tap_shapes
from hue_jax.objective import Objective, create_objective
from hue_jax.train import config as settings
from hue_jax.train.checkpoints import WEIGHTS, Checkpoints
from hue_jax.train.optimizer import create_optimizer, learning_rate_schedule
from hue_jax.train.parallel import AXIS, ShardMapParallel
from hue_jax.train.state import TrainState, create_state
from hue_jax.train.step import EvalStep, Step, make_eval_step, make_train_step
from hue_jax.train.workdir import CHECKPOINTS, folder_of, read_config


class Built(NamedTuple):
  """What a run minimizes, how fast, and from where."""

  objective: Objective
  learning_rate: optax.Schedule
  initial_state: TrainState


def build(
  config: ConfigDict,
  num_train_steps: int,
  warmup_steps: int,
  *,
  abstract: bool = False,
) -> Built:
  """Builds the objective, the learning rate and the state at step 0.

  Args:
    config: A configuration with the fields of `configs/base.py`.
    num_train_steps: The steps of the run.
    warmup_steps: The first of these, in which the learning rate rises.
    abstract: Whether the state has shapes and types alone; see `create_state`.

  Returns:
    The parts, the state on JAX's default device.

  Raises:
    InputError: If a setting cannot be used.
  """
  model = settings.build_model(config)
  objective = create_objective(
    num_classes=config.num_classes,
    label_smoothing=config.label_smoothing,
    classifier=config.classifier.to_dict(),
    terms=settings.terms(config),
    tap_shapes=tap_shapes(model, settings.image_shape(config)),
    num_train_steps=num_train_steps,
    warmup_steps=warmup_steps,
    seed=config.seed,
  )
  learning_rate = learning_rate_schedule(
    config.schedule,
    peak=config.learning_rate * config.batch_size / 256,
    num_train_steps=num_train_steps,
    warmup_steps=min(warmup_steps, num_train_steps),
  )
  optimizer = create_optimizer(
    config.optimizer,
    learning_rate,
    weight_decay=config.weight_decay,
    momentum=config.momentum,
    gradient_clip_norm=config.gradient_clip_norm,
    layer_decay=config.layer_decay,
  )
  state = create_state(
    model,
    objective,
    optimizer,
    image_shape=settings.image_shape(config),
    seed=config.seed,
    ema=config.ema_decay > 0,
    abstract=abstract,
  )
  return Built(objective, learning_rate, state)


def train_step(config: ConfigDict, objective: Objective) -> Step:
  """Returns the training step of a run, for `Parallel.map`.

  Args:
    config: A configuration with the fields of `configs/base.py`.
    objective: What the configuration has the run minimize.
  """
  return make_train_step(
    objective,
    seed=config.seed,
    ema_decay=config.ema_decay,
    mixing=settings.mixing(config),
    erase_probability=config.erase_probability,
    axis_name=AXIS,
    pixel_mean=tuple(config.pixel_mean),
    pixel_std=tuple(config.pixel_std),
  )


def eval_step(
  config: ConfigDict, objective: Objective, axis_name: str | None = AXIS
) -> EvalStep:
  """Returns the evaluation step of a run, for `Parallel.map`.

  Args:
    config: A configuration with the fields of `configs/base.py`.
    objective: What the configuration has the run minimize.
    axis_name: The mapped axis; None for a single device.
  """
  return make_eval_step(
    objective,
    most_confused=config.num_confused_classes,
    axis_name=axis_name,
    pixel_mean=tuple(config.pixel_mean),
    pixel_std=tuple(config.pixel_std),
  )


def check_eval_image_size(config: ConfigDict, built: Built) -> None:
  """Raises an InputError unless a run can be evaluated at the size that it names.

  Weights and what terms keep are made for the training's images, and some fit no
  others. The step of evaluation is traced, and nothing is computed.

  Args:
    config: A configuration with the fields of `configs/base.py`.
    built: What `build` made of it; of its state, shapes and types are enough.
  """
  size = settings.eval_image_size(config)
  if size == config.image_size:
    return
  images = 2  # of one alone, an axis could pass for one that is broadcast
  batch = {
    "image": jax.ShapeDtypeStruct((images, size, size, config.channels), jnp.uint8),
    "label": jax.ShapeDtypeStruct((images,), jnp.int32),
    "mask": jax.ShapeDtypeStruct((images,), jnp.float32),
  }
  step = eval_step(config, built.objective, axis_name=None)
  try:
    jax.eval_shape(step, built.initial_state, batch)
  except Exception as error:  # whatever a network or term raises for its shapes
    reason = str(error).partition("\n")[0] or type(error).__name__
    raise InputError(
      f"eval_image_size is {size}, at which what is trained at {config.image_size} "
      f"cannot be evaluated ({reason.removesuffix('.')}); it must be 0 or "
      f"{config.image_size}, unless the network and every term take both sizes."
    ) from None


def lowered_step(
  config: ConfigDict, built: Built, devices: Sequence[jax.Device] | None = None
) -> jax.stages.Lowered:
  """Lowers the training step of a run, in the form `shard_map`; nothing is computed.

  Args:
    config: A configuration with the fields of `configs/base.py`.
    built: What `build` made of it; of its state, shapes and types are enough.
    devices: The devices to lower it for; all of JAX's if None.
  """
  parallel = ShardMapParallel(devices)
  step = parallel.map(train_step(config, built.objective), donate_state=True)

  def sharded(tree, spec):
    sharding = NamedSharding(parallel.mesh, spec)
    return jax.tree.map(
      lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), tree
    )

  size, shape = config.batch_size, settings.image_shape(config)
  batch = {
    "image": jax.ShapeDtypeStruct((size, *shape), jnp.uint8),
    "label": jax.ShapeDtypeStruct((size,), jnp.int32),
  }
  return step.lower(sharded(built.initial_state, P()), sharded(batch, P(AXIS)))


class Trained(NamedTuple):
  """A network that a run has trained.

  Attributes:
    config: The configuration of the run.
    model: The network, without weights.
    variables: `{"params": …, "batch_stats": …}` of the best checkpoint, or of its
      moving average, where there is one.
    planes: The two vectors of each learned hue plane, by the name of its term.
    step: The step of the checkpoint.
  """

  config: ConfigDict
  model: nn.Module
  variables: dict[str, Any]
  planes: dict[str, Any]
  step: int


def load_trained(workdir: str) -> Trained:
  """Returns the network of the best checkpoint in a workdir, without its data set.

  Args:
    workdir: The folder of a run of `main.py`.

  Returns:
    The network.

  Raises:
    InputError: If the workdir holds no run, or no checkpoint that is whole.
  """
  folder = folder_of(workdir)
  config = read_config(folder)
  if not (folder / CHECKPOINTS).exists():
    raise InputError(f"workdir {workdir} holds no checkpoint.")
  # Neither number changes the structure of the state, which is all that is needed.
  structure = build(config, num_train_steps=1, warmup_steps=0, abstract=True)
  with Checkpoints(
    folder,
    keep=config.keep_checkpoints,
    metric=config.get("metric", "top1"),
    read_only=True,
  ) as checkpoints:
    state = checkpoints.restore_best(structure.initial_state, WEIGHTS)
  if state is structure.initial_state:
    raise InputError(f"workdir {workdir} holds no checkpoint that is whole.")
  params, batch_stats = state.evaluated()
  return Trained(
    config=config,
    model=settings.build_model(config),
    variables={"params": params["network"], "batch_stats": batch_stats},
    planes=params["planes"],
    step=int(state.step),
  )
