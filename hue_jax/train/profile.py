"""A profile of a few steps, as TensorBoard and xprof read it."""

import contextlib

import jax
from etils import epath

# Steps that come before: the first ones compile and fill the pipeline.
_BEFORE = 10


class Profile:
  """Records the operations of a few steps by JAX's profiler.

  Use as a context manager: leaving ends a recording that is under way.
  """

  def __init__(
    self, workdir: epath.Path, *, num_steps: int, first_step: int, last_step: int
  ):
    """Chooses the steps: after the tenth, or earlier in a run that is too short.

    Args:
      workdir: The folder of TensorBoard's files; the profile is in `plugins/profile`.
      num_steps: How many steps are recorded; none for 0.
      first_step: The steps that are done.
      last_step: The last step of the run.
    """
    begin = min(first_step + _BEFORE, max(last_step - num_steps, first_step)) + 1
    self._steps = range(begin, min(begin + num_steps, last_step + 1))
    if jax.process_index():
      self._steps = range(0)
    self._workdir, self._records = str(workdir), False

  def __enter__(self):
    return self

  def __exit__(self, *_):
    self.end()

  def step(self, step: int) -> contextlib.AbstractContextManager:
    """Returns the context of a step, under whose name the profile has it."""
    if step not in self._steps:
      return contextlib.nullcontext()
    if not self._records:
      jax.profiler.start_trace(self._workdir)
      self._records = True
    return jax.profiler.StepTraceAnnotation("train", step_num=step)

  def ends_after(self, step: int) -> bool:
    """Returns whether a step is the last that is recorded."""
    return self._records and step == self._steps[-1]

  def end(self) -> None:
    """Writes the profile, once the devices have done the steps."""
    if self._records:
      self._records = False
      jax.profiler.stop_trace()
