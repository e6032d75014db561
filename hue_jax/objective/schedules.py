"""The course of a term's weight λ from step to step."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

SCHEDULES = ("constant", "linear_warmup", "linear_decay", "cosine_decay")


def relative_weight(
  name: str, step: Int[Array, ""] | int, *, num_train_steps: int, warmup_steps: int
) -> Float[Array, ""]:
  """Returns λ at a step over its largest value.

  Args:
    name: One of `SCHEDULES`.
    step: The step, from 0.
    num_train_steps: The length of the schedules that decay.
    warmup_steps: The length of the schedule that rises.
  """
  if name == "linear_warmup":
    schedule = optax.linear_schedule(0.0, 1.0, max(warmup_steps, 1))
  elif name == "linear_decay":
    schedule = optax.linear_schedule(1.0, 0.0, num_train_steps)
  elif name == "cosine_decay":
    schedule = optax.cosine_decay_schedule(1.0, num_train_steps)
  else:
    schedule = optax.constant_schedule(1.0)
  return jnp.asarray(schedule(step), jnp.float32)
