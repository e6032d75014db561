"""Optimizers by name, all from Optax, and the schedule of their learning rate."""

import dataclasses
import re

import jax
import optax
from jaxtyping import Array, Float, PyTree

from hue_jax.settings import REQUIRED, choice, integer, number

OPTIMIZERS = ("sgd", "adamw", "lamb")
LEARNING_RATE_SCHEDULES = ("cosine", "linear", "step")

# Epochs 30, 60 and 80 of 90.
_STEPS_DOWN = (1 / 3, 2 / 3, 8 / 9)


@dataclasses.dataclass(frozen=True)
class Optimization:
  """How weights are optimized, of a run as of a study.

  Attributes:
    optimizer: One of `OPTIMIZERS`.
    learning_rate: The learning rate at the end of the warm-up, of batch size 256.
    momentum: The momentum of SGD.
    weight_decay: The decay of kernels.
    gradient_clip_norm: The largest global norm of the gradient; 0 for no bound.
    warmup_epochs: The epochs in which the learning rate rises from 0.
    num_epochs: The epochs of the run, the warm-up included.
    batch_size: The images of a step, over all devices.
  """

  optimizer: str = choice(REQUIRED, OPTIMIZERS)
  learning_rate: int | float = number(above=0)
  momentum: int | float = number(at_least=0, below=1)
  weight_decay: int | float = number(at_least=0)
  gradient_clip_norm: int | float = number(at_least=0)
  warmup_epochs: int | float = number(at_least=0)
  num_epochs: int | float = number(above=0)
  batch_size: int = integer(at_least=1)


def warmup_remark(warmup_steps: int, num_train_steps: int) -> str:
  """Returns what is to be said of a warm-up that takes the whole run.

  Args:
    warmup_steps: The steps that `warmup_epochs` makes.
    num_train_steps: The length of the run.

  Returns:
    A line; "" of a warm-up that ends before the run.
  """
  if warmup_steps < num_train_steps:
    return ""
  return (
    f"warmup_epochs makes {warmup_steps} steps, and the run has {num_train_steps}: the "
    "learning rate rises to its end and is never at its full height"
  )


def learning_rate_schedule(
  name: str = "cosine",
  *,
  peak: Float[Array, ""] | float,
  num_train_steps: int,
  warmup_steps: int,
) -> optax.Schedule:
  """Returns a linear warm-up from 0 to the peak, and what comes after it.

  Args:
    name: "cosine" or "linear" to 0 at the end, or "step": a tenth from 1/3 of the run
      on, a hundredth from 2/3 on, a thousandth from 8/9 on, the warm-up counted.
    peak: The learning rate at the end of the warm-up.
    num_train_steps: The length of the run, the warm-up included.
    warmup_steps: The length of the warm-up.

  Returns:
    A function of the step, whose value is the learning rate.

  Source: Loshchilov and Hutter, "SGDR", 2017; Goyal et al., 2017.
  """
  rest = max(num_train_steps - warmup_steps, 1)
  if name == "cosine":
    after = optax.cosine_decay_schedule(peak, rest)
  elif name == "linear":
    after = optax.linear_schedule(peak, 0.0, rest)
  else:
    down = (round(part * num_train_steps) - warmup_steps for part in _STEPS_DOWN)
    after = optax.piecewise_constant_schedule(peak, dict.fromkeys(down, 0.1))
  if not warmup_steps:
    return after
  warmup = optax.linear_schedule(0.0, peak, warmup_steps)
  return optax.join_schedules([warmup, after], [warmup_steps])


def create_optimizer(
  name: str,
  learning_rate: optax.ScalarOrSchedule,
  *,
  weight_decay: Float[Array, ""] | float,
  momentum: float = 0.9,
  gradient_clip_norm: float = 0.0,
  layer_decay: float = 1.0,
) -> optax.GradientTransformation:
  """Returns SGD with Nesterov momentum, AdamW or LAMB, with weight decay on kernels.

  For SGD the decay is the gradient of the penalty ½ · weight_decay · Σ‖kernel‖²,
  and so scaled by the momentum and the learning rate; for AdamW and LAMB it is
  decoupled from the moments, as their papers have it.

  Args:
    name: One of `OPTIMIZERS`.
    learning_rate: A number or a schedule.
    weight_decay: The decay of parameters named `kernel`.
    momentum: The momentum of SGD.
    gradient_clip_norm: The largest global norm of the gradient; 0 for no bound.
    layer_decay: The factor by which a block's updates are smaller than the next one's;
      the head's are whole.

  Returns:
    The Optax transformation.

  Source of the layer decay: Howard and Ruder, "Universal Language Model Fine-tuning
  for Text Classification", 2018; Bao et al., "BEiT", 2021.
  """
  if name == "sgd":
    optimizer = optax.chain(
      optax.add_decayed_weights(weight_decay, mask=kernels),
      optax.sgd(learning_rate, momentum=momentum, nesterov=True),
    )
  elif name == "adamw":
    optimizer = optax.adamw(learning_rate, weight_decay=weight_decay, mask=kernels)
  else:
    optimizer = optax.lamb(learning_rate, weight_decay=weight_decay, mask=kernels)
  if layer_decay < 1:
    optimizer = optax.chain(optimizer, _scale_by_depth(layer_decay))
  if gradient_clip_norm > 0:
    optimizer = optax.chain(optax.clip_by_global_norm(gradient_clip_norm), optimizer)
  return optimizer


def _scale_by_depth(layer_decay):
  """Multiplies updates by layer_decay to the number of blocks that come after."""

  def update(updates, state, params=None):
    del params
    depths = block_depths(updates)
    last = max(jax.tree.leaves(depths))
    return jax.tree.map(
      lambda update, depth: update * layer_decay ** (last - depth), updates, depths
    ), state

  return optax.GradientTransformation(lambda _: optax.EmptyState(), update)


def block_depths(params: PyTree) -> PyTree[int]:
  """Returns the place of each parameter's block in the network.

  Args:
    params: The tree `{"network": …, "planes": …}`, the network's modules named as all
      networks here have them.

  Returns:
    A tree of integers: 0 for the stem and what else comes before the stages, 1, 2, …
    for the blocks of the stages in their order, and one more for what comes after them,
    the head and hue planes among it.
  """
  paths, tree = jax.tree_util.tree_flatten_with_path(params)
  blocks = [_block(path) for path, _ in paths]
  order = {block: place for place, block in enumerate(sorted(set(blocks)))}
  # A network without a stem begins with its first block.
  first = 0 if _BEFORE in order else 1
  return jax.tree.unflatten(tree, [order[block] + first for block in blocks])


_BEFORE, _AFTER = (0,), (float("inf"),)
_FIRST_MODULES = ("stem", "class_token", "position_embedding")


def _block(path):
  if path[0].key != "network":
    return _AFTER
  module = path[1].key
  if match := re.match(r"(?:stage|transition)(\d+)(?:_\D*(\d+))?", module):
    return tuple(int(number or 0) for number in match.groups())
  return _BEFORE if module.startswith(_FIRST_MODULES) else _AFTER


def kernels(params: PyTree) -> PyTree[bool]:
  """Returns which parameters are kernels of convolutions and dense layers.

  Args:
    params: A tree of parameters.

  Returns:
    A tree of booleans: biases, batch norm and hue planes are False.
  """
  return jax.tree_util.tree_map_with_path(
    lambda path, _: path[-1] == jax.tree_util.DictKey("kernel"), params
  )
