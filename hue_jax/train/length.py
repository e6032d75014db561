"""The length of a run in steps."""

import math

from hue_jax.errors import InputError

# A state counts its steps in 32 bits.
MAX_STEPS = 2**31 - 1


def whole_steps(steps: float) -> int:
  """Returns a number of steps rounded down; one that is too great is one too many."""
  return math.floor(min(steps, MAX_STEPS + 1))


def check_length(num_train_steps: int, *, num_epochs: float, batch_size: int) -> None:
  """Raises an InputError unless the epochs make steps, and no more than can be counted.

  Args:
    num_train_steps: The steps that the epochs make, as `whole_steps` has them.
    num_epochs: The epochs.
    batch_size: The examples of a step.
  """
  if 1 <= num_train_steps <= MAX_STEPS:
    return
  few = num_train_steps < 1
  raise InputError(
    f"num_epochs is {num_epochs:g}, which makes "
    f"{'no step' if few else f'more than {MAX_STEPS} steps'} of batch_size "
    f"{batch_size}; it must make {'at least one' if few else 'fewer'}."
  )
