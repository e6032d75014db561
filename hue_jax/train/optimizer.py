"""Optimizers by name, all from Optax, and the schedule of their learning rate."""

import jax
import optax
from jaxtyping import PyTree

OPTIMIZERS = ("sgd", "adamw", "lamb")


def learning_rate_schedule(
  *, peak: float, num_train_steps: int, warmup_steps: int
) -> optax.Schedule:
  """Linear warm-up from 0 to the peak, then a cosine to 0.

  Args:
    peak: learning rate at the end of the warm-up.
    num_train_steps: length of the run, warm-up included.
    warmup_steps: length of the warm-up.

  Returns:
    Step → learning rate.

  Source: Loshchilov and Hutter, "SGDR", 2017; Goyal et al., 2017.
  """
  cosine = optax.cosine_decay_schedule(peak, max(num_train_steps - warmup_steps, 1))
  if not warmup_steps:
    return cosine
  warmup = optax.linear_schedule(0.0, peak, warmup_steps)
  return optax.join_schedules([warmup, cosine], [warmup_steps])


def create_optimizer(
  name: str,
  learning_rate: optax.ScalarOrSchedule,
  *,
  weight_decay: float,
  momentum: float = 0.9,
  gradient_clip_norm: float = 0.0,
) -> optax.GradientTransformation:
  """SGD with Nesterov momentum, AdamW or LAMB, with weight decay on kernels only.

  For SGD the decay is the gradient of the penalty ½ · weight_decay · Σ‖kernel‖²,
  and so scaled by the momentum and the learning rate; for AdamW and LAMB it is
  decoupled from the moments, as their papers have it.

  Args:
    name: one of `OPTIMIZERS`.
    learning_rate: a number or a schedule.
    weight_decay: of parameters named `kernel`.
    momentum: of SGD.
    gradient_clip_norm: largest global norm of the gradient; 0 for no bound.

  Returns:
    The Optax transformation.
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
  if gradient_clip_norm > 0:
    optimizer = optax.chain(optax.clip_by_global_norm(gradient_clip_norm), optimizer)
  return optimizer


def kernels(params: PyTree) -> PyTree[bool]:
  """True for the kernels of convolutions and dense layers.

  Args:
    params: a tree of parameters.

  Returns:
    The tree of booleans: biases, batch norm and hue planes are False.
  """
  return jax.tree_util.tree_map_with_path(
    lambda path, _: path[-1] == jax.tree_util.DictKey("kernel"), params
  )
