"""A run, from configuration to result: the story that the other files serve."""

import functools
import math
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import jax
import numpy as np
import optax
from etils import epath
from jax.experimental import multihost_utils
from ml_collections import ConfigDict

from hue_jax.data.datasets import Dataset, NotPreparedError, open_dataset
from hue_jax.data.input_pipeline import eval_batches, train_batches
from hue_jax.data.sample import class_balanced_sample, random_sample
from hue_jax.errors import InputError, Stopped
from hue_jax.objective import Objective
from hue_jax.train import config as settings
from hue_jax.train.build import build
from hue_jax.train.checkpoints import Checkpoints
from hue_jax.train.evaluation import evaluate
from hue_jax.train.optimizer import warmup_remark
from hue_jax.train.parallel import AXIS, Parallel, create_parallel
from hue_jax.train.pictures import LayerPictures
from hue_jax.train.preemption import Preempted, Watch
from hue_jax.train.report import Means, Report
from hue_jax.train.state import TrainState
from hue_jax.train.step import make_eval_step, make_train_step
from hue_jax.train.transfer import transfer


class TrainingDiverged(Stopped):
  """A loss or gradient that is not finite."""

  word = "diverged"


def train(config: ConfigDict, workdir: str) -> dict[str, Any]:
  """Trains, or goes on with the run in the workdir, and evaluates the best state.

  Args:
    config: of the fields of `configs/base.py`.
    workdir: folder of checkpoints, TensorBoard files and the configuration.

  Returns:
    The result: task, model, objective, step, test_top1, test_loss, seconds, ….

  Raises:
    InputError: a setting or file that cannot be used.
    TrainingDiverged: a loss or gradient that is not finite.
    Preempted: a SIGTERM came, and the state is saved.
  """
  start = time.perf_counter()
  workdir = epath.Path(workdir).expanduser().resolve()
  run = set_up(config)
  settings.claim_workdir(config, workdir)
  with _checkpoints(config, workdir) as checkpoints:
    state, origin = _restored_or_transferred(checkpoints, run)
    with (
      Report(
        workdir, first_step=int(state.step), num_train_steps=run.num_train_steps
      ) as report,
      Watch() as watch,
    ):
      report.note(f"{run.describe()}  workdir {workdir}")
      report.note(origin)
      warmup_steps = settings.steps(config, run.dataset, config.warmup_epochs)
      if remark := warmup_remark(warmup_steps, run.num_train_steps):
        report.note(remark)
      for name in run.left_out():
        dataset = config.extra_tests[name].dataset
        report.note(f"left out: the extra test {name}; {dataset} is not prepared")
      train_steps(run, state, checkpoints, report, watch)
      return _evaluate_best(run, checkpoints, report, start)


def evaluate_workdir(config: ConfigDict, workdir: str) -> dict[str, Any]:
  """Evaluates the best state of the run in the workdir on the test split.

  Args:
    config: of the run.
    workdir: of the run.

  Returns:
    The result: task, model, objective, step, test_top1, test_loss, seconds, ….

  Raises:
    InputError: a setting that cannot be used, or a workdir without a checkpoint.
  """
  start = time.perf_counter()
  workdir = epath.Path(workdir).expanduser().resolve()
  if not (workdir / "config.json").exists():
    raise InputError(f"workdir is {str(workdir)!r}, which holds no run to evaluate.")
  run = set_up(config)
  settings.claim_workdir(config, workdir)
  with (
    _checkpoints(config, workdir) as checkpoints,
    Report(workdir, first_step=0, num_train_steps=run.num_train_steps) as report,
  ):
    return _evaluate_best(run, checkpoints, report, start)


@dataclass(frozen=True)
class Run:
  """What a configuration amounts to; the initial state is on the host."""

  config: ConfigDict
  dataset: Dataset
  extra_tests: dict[str, Dataset]
  objective: Objective
  learning_rate: optax.Schedule
  num_train_steps: int
  initial_state: TrainState
  parallel: Parallel
  train_step: Callable
  eval_step: Callable
  layer_pictures: LayerPictures

  def describe(self) -> str:
    """The run as one line."""
    return (
      f"{self.config.dataset}  {model_label(self.config)}  "
      f"{self.objective.describe()}  {self.num_train_steps} steps of "
      f"{self.config.batch_size} on {jax.device_count()} {jax.default_backend()} "
      f"device(s)"
    )

  def train_batches(self, start_step: int):
    """This process's part of the batches from a step on."""
    config = self.config
    return train_batches(
      self.dataset,
      config.train_split,
      batch_size=config.batch_size,
      image_size=config.image_size,
      seed=config.seed,
      start_step=start_step,
      crop=config.crop,
      padding=config.padding,
      flip=config.flip,
      randaugment=settings.randaugment(config),
      repeats=config.repeats,
      channels=config.channels,
      indices=_train_indices(config, self.dataset),
      process_index=jax.process_index(),
      process_count=jax.process_count(),
    )

  def eval_batches(self, split: str):
    """This process's part of a split, in order."""
    return _eval_batches(self.config, self.dataset, split, **self._eval_part())

  def _eval_part(self):
    return {
      "batch_size": self.config.eval_batch_size or self.config.batch_size,
      "process_index": jax.process_index(),
      "process_count": jax.process_count(),
    }

  def evaluate(self, state: Any, split: str) -> dict[str, float]:
    """Means over the examples of a split, of a replicated state."""
    return evaluate(self.eval_step, state, self.eval_batches(split), self.parallel)

  def evaluate_extra(self, name: str, state: Any) -> dict[str, float]:
    """Means over the examples of an extra test: a data set of the same classes."""
    split = self.config.extra_tests[name].split
    batches = _eval_batches(
      self.config, self.extra_tests[name], split, **self._eval_part()
    )
    return evaluate(self.eval_step, state, batches, self.parallel)

  def left_out(self) -> list[str]:
    """Names of the extra tests whose data sets are not prepared."""
    return sorted(set(self.config.extra_tests) - set(self.extra_tests))

  def report_evaluation(
    self, report: Report, state: Any, step: int, name: str
  ) -> dict[str, float]:
    """Evaluates, and tells the means and shows the layers of some images.

    Args:
      report: to tell.
      state: replicated.
      step: of the state.
      name: "validation" or "test", of the split.

    Returns:
      Means over the examples of the split.
    """
    split = self.config[f"{name}_split"]
    means = self.evaluate(state, split)
    report.evaluation(step, name, means)
    # The other processes' devices hold the same state: one process draws.
    if self.config.num_colored_images and jax.process_index() == 0:
      evaluated = self.parallel.first(state.replace(opt_state=()))
      report.layers(step, name, self.layer_pictures.draw(evaluated, split))
    return means


def set_up(config: ConfigDict, devices: list[jax.Device] | None = None) -> Run:
  """Checks the configuration and builds what it names.

  Args:
    config: of the fields of `configs/base.py`.
    devices: to run on; all if None.

  Returns:
    The run, at step 0.

  Raises:
    InputError: a setting that cannot be used.
  """
  dataset = open_dataset(config.dataset, config.data_dir)
  settings.check_config(config, dataset)
  num_train_steps = settings.num_train_steps(config, dataset)
  warmup_steps = settings.steps(config, dataset, config.warmup_epochs)
  objective, learning_rate, initial_state = build(config, num_train_steps, warmup_steps)
  parallel = create_parallel(config.parallel, devices)
  pixels = {
    "pixel_mean": tuple(config.pixel_mean),
    "pixel_std": tuple(config.pixel_std),
  }
  train_step = make_train_step(
    objective,
    seed=config.seed,
    ema_decay=config.ema_decay,
    mixing=settings.mixing(config),
    erase_probability=config.erase_probability,
    axis_name=AXIS,
    **pixels,
  )
  eval_step = make_eval_step(objective, axis_name=AXIS, **pixels)
  return Run(
    config=config,
    dataset=dataset,
    extra_tests=_open_extra_tests(config),
    objective=objective,
    learning_rate=learning_rate,
    num_train_steps=num_train_steps,
    initial_state=jax.device_get(initial_state),
    parallel=parallel,
    train_step=parallel.map(train_step, donate_state=True),
    eval_step=parallel.map(eval_step),
    layer_pictures=LayerPictures(
      functools.partial(_first_images, config, dataset), objective, **pixels
    ),
  )


def _open_extra_tests(config):
  """Data sets by the names of their tests, of those that are prepared."""
  found = {}
  for name, test in config.extra_tests.items():
    try:
      dataset = open_dataset(test.dataset, config.data_dir)
    except NotPreparedError:
      continue
    dataset.check_split(test.split)
    if dataset.num_classes != config.num_classes:
      raise InputError(
        f"extra_tests.{name}: data set {test.dataset!r} has {dataset.num_classes} "
        f"classes; num_classes is {config.num_classes}."
      )
    found[name] = dataset
  return found


def _train_indices(config, dataset):
  """The training examples that are used; None for all."""
  sample = {"split": config.train_split, "seed": config.seed}
  if config.train_per_class:
    indices, _ = class_balanced_sample(
      dataset, per_class=config.train_per_class, **sample
    )
    return indices
  if config.train_fraction < 1:
    return random_sample(dataset, fraction=config.train_fraction, **sample)
  return None


def _first_images(config, dataset, split):
  """The images of a split that are colored."""
  count = min(config.num_colored_images, dataset.num_examples(split))
  batches = _eval_batches(
    config, dataset, split, batch_size=count, indices=np.arange(count)
  )
  return next(batches)["image"]


def _eval_batches(config, dataset, split, **batches):
  return eval_batches(
    dataset,
    split,
    image_size=settings.eval_image_size(config),
    crop=config.crop,
    crop_ratio=config.eval_crop_ratio,
    channels=config.channels,
    **batches,
  )


def train_steps(
  run: Run, state: TrainState, checkpoints: Checkpoints, report: Report, watch: Watch
) -> None:
  """Takes the steps that are left, with reports, evaluations and checkpoints.

  Args:
    run: what to do.
    state: from which to go on.
    checkpoints: to save to.
    report: to tell.
    watch: for a signal to stop.
  """
  config, first_step = run.config, int(state.step)
  eval_steps = settings.eval_steps(config, run.dataset)
  progress = _Progress(run, report)
  state = run.parallel.replicate(state)
  batches = run.train_batches(first_step) if first_step < run.num_train_steps else ()
  for step, batch in zip(range(first_step + 1, run.num_train_steps + 1), batches):  # noqa: B905
    state, sums = run.train_step(state, run.parallel.shard(batch))
    progress.add(step, run.parallel.first(sums))
    ends = step == run.num_train_steps
    if step % config.log_every_steps == 0 or ends:
      progress.tell(step)
    evaluates = step in eval_steps
    stops = watch.told_to_stop(step)
    if evaluates or ends or stops or step % config.checkpoint_every_steps == 0:
      progress.wait()  # a loss that is not finite must not reach a checkpoint
      report.pause()
      means = None
      if evaluates:  # also when told to stop: the best must not depend on that
        means = run.report_evaluation(report, state, step, "validation")
      checkpoints.save(run.parallel.first(state), means)
      report.resume()
    if stops and not ends:
      raise Preempted(
        f"stopped by SIGTERM after step {step}; the state is saved; the same command "
        "goes on."
      )


class _Progress:
  """Follows the steps two behind, so that the host runs ahead of the devices."""

  def __init__(self, run, report):
    self._run, self._report = run, report
    self._pending = deque()
    self._means = Means()

  def add(self, step, sums):
    self._pending.append((step, sums))
    self._report.step_done(self._run.config.batch_size)
    if len(self._pending) > 2:
      self._settle()

  def wait(self):
    while self._pending:
      self._settle()

  def tell(self, step):
    self.wait()
    self._report.train(
      step, self._means.compute(), float(self._run.learning_rate(step - 1))
    )
    self._means = Means()

  def _settle(self):
    step, sums = self._pending.popleft()
    sums = jax.tree.map(np.asarray, sums)
    for name in ("loss", "gradient_norm"):
      if not math.isfinite(sums[name][0]):
        raise TrainingDiverged(
          f"{name.replace('_', ' ')} is {sums[name][0]} at step {step}; the last good "
          "checkpoint is kept; a smaller learning_rate or gradient_clip_norm may help."
        )
    self._means.add(sums)


def _checkpoints(config, workdir):
  return Checkpoints(workdir, keep=config.keep_checkpoints, metric=config.metric)


def _restored(checkpoints, run):
  state = checkpoints.restore_last(run.initial_state)
  if jax.process_count() > 1:
    multihost_utils.assert_equal(
      np.asarray(state.step), "the processes restored checkpoints of different steps"
    )
  return state


def _restored_or_transferred(checkpoints, run):
  """The state to go on from, and where it comes from."""
  state, config = _restored(checkpoints, run), run.config
  if state.step:
    return state, f"going on from step {int(state.step)}"
  if not config.init_from:
    return state, "starting from new weights"
  found = transfer(
    state,
    settings.build_model(config),
    config.init_from,
    model_name=config.model,
    image_size=config.image_size,
  )
  text = found.describe(config.init_from)
  return jax.device_get(found.state), f"starting from {text}"


def _evaluate_best(run, checkpoints, report, start):
  state = checkpoints.restore_best(run.initial_state)
  if not state.step:
    raise InputError("the workdir holds no checkpoint that is whole.")
  step = int(state.step)
  state = run.parallel.replicate(state)
  means = run.report_evaluation(report, state, step, "test")
  result = {
    "task": run.config.dataset,
    "model": model_label(run.config),
    "objective": run.objective.describe(),
    "step": step,
    "num_train_steps": run.num_train_steps,
    "test_split": run.config.test_split,
    "test_examples": run.dataset.num_examples(run.config.test_split),
    "test_top1": means["top1"],
    "test_top5": means["top5"],
    "test_loss": means["cross_entropy"],
  }
  for name, value in means.items():
    if name.startswith(("hue", "mean_per_class")):
      result[f"test_{name}"] = value
  for name in run.extra_tests:
    means = run.evaluate_extra(name, state)
    report.evaluation(step, name, means)
    result[f"{name}_top1"] = means["top1"]
  if run.left_out():
    result["tests_left_out"] = run.left_out()
  return result | {
    "seed": run.config.seed,
    "devices": jax.device_count(),
    "backend": jax.default_backend(),
    "seconds": round(time.perf_counter() - start, 1),
  }


def model_label(config: ConfigDict) -> str:
  """The network and its options as text, as in `resnet18(stem=small, width=16)`."""
  options = config.model_options.to_dict()
  text = ", ".join(f"{name}={value}" for name, value in sorted(options.items()))
  return f"{config.model}({text})"
