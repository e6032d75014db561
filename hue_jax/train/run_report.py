"""What a run tells while it runs: the terminal, on standard error, and TensorBoard."""

import collections
import concurrent.futures
import contextlib
import math
import re
import time
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from clu import metric_writers
from clu import metrics as clu_metrics
from etils import epath
from jaxtyping import Float, UInt8

from hue_jax.errors import Stopped
from hue_jax.progress import Progress
from hue_jax.train.charts import write_charts
from hue_jax.train.confusion_picture import confusion_picture
from hue_jax.train.profile import Profile
from hue_jax.train.projector import write_projection


class Means:
  """Weighted means of what the steps measure, summed on the host in float64."""

  def __init__(self):
    self._averages: dict[str, clu_metrics.Average] = {}

  def add(self, sums: Mapping[str, tuple[Any, Any]]) -> None:
    """Adds the sums of one step: name → (Σ weight · value, Σ weight)."""
    for name, (total, count) in sums.items():
      average = clu_metrics.Average(
        total=np.asarray(total, np.float64), count=np.asarray(count, np.float64)
      )
      if name in self._averages:
        average = self._averages[name].merge(average)
      self._averages[name] = average

  def sums(self) -> dict[str, tuple[Any, Any]]:
    """Returns what was added, as `add` takes it and JSON has it."""
    return {
      name: (average.total.tolist(), average.count.tolist())
      for name, average in self._averages.items()
    }

  def compute(self) -> dict[str, float]:
    """Returns the means: NaN where nothing counted, the mean of those of a vector."""
    return {name: _mean(average) for name, average in self._averages.items()}


def _mean(average):
  counts = average.count > 0
  if not counts.any():
    return math.nan
  return float(np.mean(average.total[counts] / average.count[counts]))


class NotReported(Stopped):
  """TensorBoard's files cannot be written."""

  status = 2


class Report:
  """Reports of a run; only the first process says anything.

  Use as a context manager: leaving writes out what is buffered.
  """

  def __init__(self, workdir: epath.Path, *, first_step: int, num_train_steps: int):
    """Opens TensorBoard's files in the workdir and the progress line.

    Args:
      workdir: The folder of the run.
      first_step: The steps that are done.
      num_train_steps: The steps that the run has.

    Raises:
      NotReported: If the files cannot be written, here or in what follows.
    """
    self._speaks = jax.process_index() == 0
    self._workdir = workdir
    self._writer = _Writer(workdir) if self._speaks else None
    self._num_train_steps = num_train_steps
    self._clock = _Clock()
    # A file or a pipe gets the lines of `train` and `evaluation`.
    self._progress = Progress(
      num_train_steps,
      initial=first_step,
      unit="steps",
      silent=not self._speaks,
      lines=False,
    )

  def __enter__(self):
    return self

  def __exit__(self, kind, error, traceback):
    self._progress.close()
    try:
      if self._writer:
        self._writer.close()
    except NotReported:
      if error is None:  # what ends the run already is what is told
        raise

  def step_done(self, num_images: int) -> None:
    """Moves the progress line on by a step of so many images."""
    self._progress.update()
    self._clock.count(num_images)

  def pause(self) -> None:
    """Takes what follows, such as an evaluation, out of the training rate."""
    self._clock.pause()

  def resume(self) -> None:
    """Counts time as training again."""
    self._clock.resume()

  def train(
    self,
    step: int,
    means: Mapping[str, float],
    learning_rate: float,
    weights: Mapping[str, float] | None = None,
  ) -> None:
    """Reports the means over the steps since the last report.

    Args:
      step: The steps that are done.
      means: Metric → mean.
      learning_rate: The learning rate of the last step.
      weights: Term → its λ in the last step.
    """
    images_per_second = self._clock.lap()
    scalars = {f"train/{name}": value for name, value in means.items()}
    scalars["train/learning_rate"] = learning_rate
    scalars["train/images_per_second"] = images_per_second
    scalars |= {f"train/weight/{name}": one for name, one in (weights or {}).items()}
    self._write_scalars(step, scalars)
    left = self._progress.left()
    rate = f"lr {learning_rate:.3g}  {images_per_second:,.0f} images/s  {left} left"
    self._say(step, "train", f"{_summary(means)}  {rate}")

  def evaluation(self, step: int, split: str, means: Mapping[str, float]) -> None:
    """Reports the means over a split.

    Args:
      step: The step of the state that was evaluated.
      split: "validation", "test" or the name of an extra test.
      means: Metric → mean.
    """
    self._write_scalars(
      step, {f"{split}/{name}": value for name, value in means.items()}
    )
    self._say(step, split, _summary(means))

  def layers(
    self, step: int, split: str, picture: UInt8[np.ndarray, "1 height width 3"]
  ) -> None:
    """Shows the colored layers of some images of a split.

    Args:
      step: The step of the state.
      split: "validation" or "test".
      picture: The picture that `LayerPictures` draws.
    """
    if self._writer:
      self._writer.write("write_images", step, {f"{split}/layers_by_hue": picture})

  def confusion(
    self,
    step: int,
    split: str,
    counts: Float[np.ndarray, "classes classes"],
    class_names: Sequence[str],
  ) -> None:
    """Shows which classes of a split are taken for which.

    Args:
      step: The step of the state.
      split: "validation", "test" or the name of an extra test.
      counts: How often an image of the row's class was told to be of the column's.
      class_names: The names of the classes.
    """
    if self._writer:
      picture = confusion_picture(counts, class_names)
      self._writer.write("write_images", step, {f"{split}/confusion": picture})

  def projection(self, **of_features: Any) -> None:
    """Writes features for TensorBoard's projector; see `write_projection`."""
    if self._writer:
      with _one_line():
        write_projection(self._workdir, **of_features)

  def profile(self, num_steps: int, first_step: int) -> Profile:
    """Returns what records a few steps of the run for TensorBoard.

    Args:
      num_steps: How many; none for 0.
      first_step: The steps that are done.
    """
    return Profile(
      self._workdir,
      num_steps=num_steps,
      first_step=first_step,
      last_step=self._num_train_steps,
    )

  def note(self, text: str) -> None:
    """Says a line on the terminal."""
    if self._speaks:
      self._progress.note(text)

  def _write_scalars(self, step, scalars):
    if self._writer:
      self._writer.write("write_scalars", step, scalars)

  def _say(self, step, what, text):
    width = len(str(self._num_train_steps))
    self.note(f"step {step:{width}d}/{self._num_train_steps}  {what:10s} {text}")


class _Writer:
  """Writes TensorBoard's files beside the steps; the next call tells what failed."""

  def __init__(self, workdir):
    with _one_line():
      write_charts(str(workdir))
      self._writer = metric_writers.SummaryWriter(str(workdir))
    self._thread = concurrent.futures.ThreadPoolExecutor(1)
    self._pending = collections.deque()

  def write(self, method, *values):
    self._pending.append(self._thread.submit(getattr(self._writer, method), *values))
    while self._pending and self._pending[0].done():
      with _one_line():
        self._pending.popleft().result()

  def close(self):
    self._thread.shutdown()
    with _one_line():
      for written in self._pending:
        written.result()
      self._writer.close()


@contextlib.contextmanager
def _one_line():
  """Turns what TensorFlow raises for a file into one line."""
  try:
    yield
  except Exception as error:
    text = re.sub(r"^\{\{.*?\}\} ", "", str(error)).partition("\n")[0]
    raise NotReported(f"TensorBoard's file cannot be written: {text}") from None


class _Clock:
  """Rates of training since the last lap, without the pauses."""

  def __init__(self):
    self._paused = 0.0
    self._start = self._now()
    self._images = self._steps = 0
    self._compiles, self._before = True, None
    self._paused_at = 0.0

  def count(self, num_images):
    if self._compiles:  # the first step's time is that of compiling it
      self._compiles = False
      self._before = self._now(), num_images
    self._images += num_images
    self._steps += 1

  def pause(self):
    self._paused_at = time.perf_counter()

  def resume(self):
    self._paused += time.perf_counter() - self._paused_at

  def lap(self):
    """Returns the images per second, and starts anew."""
    now = self._now()
    start, images = self._start, self._images
    if self._before and self._steps > 1:
      start, images = self._before[0], images - self._before[1]
    self._start, self._images, self._steps, self._before = now, 0, 0, None
    return images / (now - start)

  def _now(self):
    """Returns the seconds of a clock that stands still in the pauses."""
    return time.perf_counter() - self._paused


def _summary(means):
  """Returns the metrics of one report as text, in the order of their measurement."""
  parts = [f"loss {means['loss']:.4f}"]
  for name, value in means.items():
    if name in ("top1", "top5", "mean_per_class"):
      parts.append(f"{name.replace('_', ' ')} {100 * value:.2f} %")
    elif name.startswith("hue_error_degrees/"):
      parts.append(f"{name.removeprefix('hue_error_degrees/')} error {value:.1f}°")
    elif name.startswith("hue/"):
      parts.append(f"{name.removeprefix('hue/')} {value:.4f}")
    elif name == "cross_entropy":
      parts.append(f"cross entropy {value:.4f}")
  return "  ".join(parts)
