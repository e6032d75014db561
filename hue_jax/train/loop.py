"""A run, from configuration to result: the story that the other files serve."""

import dataclasses
import functools
import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
import optax
from etils import epath
from ml_collections import ConfigDict

from hue_jax.errors import InputError, Stopped
from hue_jax.files import is_local
from hue_jax.objective import Objective
from hue_jax.train import config as settings
from hue_jax.train import given, peers
from hue_jax.train.batches import RunData, open_data
from hue_jax.train.build import build, check_eval_image_size, eval_step, train_step
from hue_jax.train.checkpoints import Checkpoints, Restored
from hue_jax.train.evaluation import Evaluator, evaluate
from hue_jax.train.layer_pictures import LayerPictures
from hue_jax.train.optimizer import warmup_remark
from hue_jax.train.parallel import Parallel, create_parallel
from hue_jax.train.preemption import Watch
from hue_jax.train.run_report import Means, Report
from hue_jax.train.state import TrainState
from hue_jax.train.transfer import transfer
from hue_jax.train.workdir import (
  check_config,
  content,
  folder_of,
  holding,
  holds_run,
  read_result,
  record_config,
  record_data_set,
  record_result,
  recording_end,
)


class TrainingDiverged(Stopped):
  """A loss or gradient that is not finite."""

  word = "diverged"


def train(config: ConfigDict, workdir: str) -> dict[str, Any]:
  """Trains, or goes on with the run in the workdir, and evaluates the best state.

  Args:
    config: A configuration with the fields of `configs/base.py`.
    workdir: The folder of checkpoints, TensorBoard files and the configuration.

  Returns:
    The result: task, model, objective, step, test_top1, test_loss, seconds, ….

  Raises:
    InputError: If a setting or file cannot be used, another run is at work in the
      workdir, or the processes of the run were given different things.
    TrainingDiverged: If a loss or gradient is not finite.
    NotSaved: If a checkpoint cannot be written.
    Preempted: If a signal to stop came; the state is saved.
  """
  return train_run(set_up(config), workdir)


def train_run(run: "Run", workdir: str) -> dict[str, Any]:
  """Trains a run that is set up, as `train` does."""
  folder = folder_of(workdir)
  with holding(folder):
    record_config(folder, run.config, run.data.identities())
    peers.check_same({"what the workdir, which all must share, holds": content(folder)})
    record_data_set(folder, run.data.about())
    with recording_end(folder), _checkpoints(run, folder) as checkpoints:
      restored, origin = _restored_or_transferred(checkpoints, run)
      first_step = int(restored.state.step)
      with (
        Report(
          folder, first_step=first_step, num_train_steps=run.num_train_steps
        ) as report,
        Watch() as watch,
      ):
        report.note(f"{run.describe()}  workdir {folder}")
        if not is_local(folder):
          report.note("a bucket has no locks: let no other run work in this workdir")
        report.note(origin)
        if remark := warmup_remark(run.warmup_steps, run.num_train_steps):
          report.note(remark)
        for name in run.data.left_out():
          dataset = run.config.extra_tests[name].dataset
          report.note(f"left out: the extra test {name}; {dataset} is not prepared")
        train_steps(run, restored, checkpoints, report, watch)
        result = _evaluate_best(run, checkpoints, report, watch)
        result["seconds"] = round(run.seconds(restored.progress), 1)
        record_result(folder, result)
        return result


def evaluate_workdir(config: ConfigDict, workdir: str) -> dict[str, Any]:
  """Evaluates the best state of the run in the workdir on the test split.

  Args:
    config: The configuration of the run.
    workdir: The folder of the run, which may be at work.

  Returns:
    The result, as `train` returns it; its seconds are those of the training, and are
    left out where that has not ended.

  Raises:
    InputError: If a setting cannot be used, or the workdir has no checkpoint.
  """
  folder = folder_of(workdir)
  if not holds_run(folder):
    raise InputError(f"workdir is {str(folder)!r}, which holds no run to evaluate.")
  return evaluate_run(set_up(config), workdir)


def evaluate_run(run: "Run", workdir: str) -> dict[str, Any]:
  """Evaluates a run that is set up, as `evaluate_workdir` does."""
  folder = folder_of(workdir)
  check_config(folder, run.config, run.data.identities())
  with (
    _checkpoints(run, folder, read_only=True) as checkpoints,
    Report(folder, first_step=0, num_train_steps=run.num_train_steps) as report,
    Watch() as watch,
  ):
    result = _evaluate_best(run, checkpoints, report, watch)
    if seconds := read_result(folder).get("seconds"):  # of the training
      result["seconds"] = seconds
    record_result(folder, result)
    return result


@dataclasses.dataclass(frozen=True)
class Run:
  """What a configuration amounts to; the initial state is on the host."""

  started: float
  config: ConfigDict
  data: RunData
  objective: Objective
  learning_rate: optax.Schedule
  num_train_steps: int
  warmup_steps: int
  eval_steps: settings.EvalSteps
  initial_state: TrainState
  parallel: Parallel
  train_step: Callable
  eval_step: Callable
  layer_pictures: LayerPictures

  def describe(self) -> str:
    """Returns the run as one line."""
    return (
      f"{self.config.dataset}  {model_label(self.config)}  "
      f"{self.objective.describe()}  {self.num_train_steps} steps of "
      f"{self.config.batch_size} on {jax.device_count()} {jax.default_backend()} "
      f"device(s)"
    )

  def saves_at(self, step: int) -> bool:
    """Returns whether a checkpoint is due after a step."""
    every = self.config.checkpoint_every_steps
    return step % every == 0 or step in self.eval_steps or step == self.num_train_steps

  def seconds(self, progress: Mapping[str, Any]) -> float:
    """Returns the seconds that the run has taken, in this process and those before.

    Args:
      progress: What the checkpoint has kept from which this process went on; those of
        older versions keep no seconds.
    """
    return progress.get("seconds", 0.0) + time.perf_counter() - self.started

  def evaluator(self, name: str, told: Mapping[str, str] | None = None) -> Evaluator:
    """Returns what a state is evaluated on, by its name."""
    return Evaluator(name, functools.partial(self.data.eval_batches, name), told)

  def tests(self) -> tuple[Evaluator, ...]:
    """Returns what the best state is evaluated on."""
    extra = (self.evaluator(name, {"top1": "top1"}) for name in self.data.extra_tests)
    return (self.evaluator("test"), *extra)

  def evaluate(
    self,
    evaluator: Evaluator,
    state: Any,
    watch: Watch | None = None,
    step: int = 0,
    counts: dict[str, np.ndarray] | None = None,
  ) -> dict[str, float]:
    """Returns the means of a replicated state.

    Args:
      evaluator: What it is evaluated on.
      state: The replicated state.
      watch: The watch for a signal to stop.
      step: The step of the state.
      counts: Where what is counted is added, by its name.

    Returns:
      Metric → mean over all examples.
    """
    batches = evaluator.batches()
    if watch is not None:
      where = f"in the {evaluator.name} of step {step}, whose state is saved"
      batches = watch.until_told(batches, where)
    return evaluate(self.eval_step, state, batches, self.parallel, counts)


def set_up(config: ConfigDict, devices: list[jax.Device] | None = None) -> Run:
  """Checks the configuration and builds what it names.

  Args:
    config: A configuration with the fields of `configs/base.py`.
    devices: The devices to run on; all if None.

  Returns:
    The run, at step 0.

  Raises:
    InputError: If a setting cannot be used.
  """
  started = time.perf_counter()
  data = open_data(config)
  peers.check_same(given.facts(config.to_dict(), data.identities()))
  num_train_steps = settings.num_train_steps(config, data.dataset)
  warmup_steps = settings.steps(config, data.dataset, config.warmup_epochs)
  built = build(config, num_train_steps, warmup_steps)
  check_eval_image_size(config, built)
  objective, learning_rate, initial_state = built
  parallel = create_parallel(config.parallel, devices)
  return Run(
    started=started,
    config=config,
    data=data,
    objective=objective,
    learning_rate=learning_rate,
    num_train_steps=num_train_steps,
    warmup_steps=warmup_steps,
    eval_steps=settings.eval_steps(config, data.dataset),
    initial_state=jax.device_get(initial_state),
    parallel=parallel,
    train_step=parallel.map(train_step(config, objective), donate_state=True),
    eval_step=parallel.map(eval_step(config, objective)),
    layer_pictures=LayerPictures(
      functools.partial(data.first_images, count=config.num_colored_images),
      objective,
      pixel_mean=tuple(config.pixel_mean),
      pixel_std=tuple(config.pixel_std),
    ),
  )


def train_steps(
  run: Run, restored: Restored, checkpoints: Checkpoints, report: Report, watch: Watch
) -> None:
  """Takes the steps that are left, with reports, checkpoints and evaluations.

  A state is saved first and evaluated then. An evaluation that was not reached, since
  the run was stopped or killed in between, is done at the next start, so that the best
  checkpoint does not depend on when that was.

  Args:
    run: The run.
    restored: What to go on from.
    checkpoints: The checkpoints to save to.
    report: The report to tell.
    watch: The watch for a signal to stop.
  """
  first_step, last_step = int(restored.state.step), run.num_train_steps
  state = run.parallel.replicate(restored.state)
  measured = _Measured(run, report, restored.progress)
  _validate(run, state, first_step, checkpoints, report, watch)
  with report.profile(run.config.num_profiled_steps, first_step) as profile:
    for step, batch in run.data.numbered_batches(first_step, last_step):
      with profile.step(step):
        state, sums = run.train_step(state, run.parallel.shard(batch))
      measured.add(step, sums)
      if profile.ends_after(step):
        measured.wait()
        profile.end()
      if step % run.config.log_every_steps == 0 or step == last_step:
        measured.tell(step)
      stops = watch.told_to_stop()
      if stops or run.saves_at(step):
        measured.wait()  # a loss that is not finite must not reach a checkpoint
        report.pause()
        checkpoints.save(run.parallel.unreplicate(state), measured.progress())
        if stops:
          raise watch.stopped(f"after step {step}; the state is saved")
        _validate(run, state, step, checkpoints, report, watch)
        report.resume()


def _validate(run, state, step, checkpoints, report, watch):
  """Evaluates a state that is saved, where that is due and was not done."""
  if step in run.eval_steps and not checkpoints.is_evaluated(step):
    evaluator = run.evaluator("validation")
    means = _evaluate_and_report(run, evaluator, state, step, report, watch)
    checkpoints.record(step, means)


def _evaluate_and_report(run, evaluator, state, step, report, watch):
  """Evaluates, tells the means and shows the layers of some images."""
  counts = {}
  means = run.evaluate(evaluator, state, watch, step, counts)
  report.evaluation(step, evaluator.name, means)
  for counted in counts.values():
    report.confusion(step, evaluator.name, counted, run.data.dataset.class_names)
  # The other processes' devices hold the same state: one process draws.
  if run.config.num_colored_images and jax.process_index() == 0:
    drawn = run.parallel.unreplicate(state.replace(opt_state=()))
    picture = run.layer_pictures.draw(drawn, evaluator.name)
    report.layers(step, evaluator.name, picture)
  return means


class _Measured:
  """Reads what the steps measured, two behind: the host runs ahead of the devices."""

  def __init__(self, run, report, progress):
    self._run, self._report, self._restored = run, report, progress
    self._pending = deque()
    self._means = Means()
    saved = progress.get("since_last_report", {})
    self._means.add({name: tuple(sums) for name, sums in saved.items()})

  def add(self, step, sums):
    self._pending.append((step, self._run.parallel.unreplicate(sums)))
    self._report.step_done(self._run.config.batch_size)
    if len(self._pending) > 2:
      self._read()

  def wait(self):
    while self._pending:
      self._read()

  def tell(self, step):
    self.wait()
    weights = self._run.objective.weights(step - 1)
    self._report.train(
      step,
      self._means.compute(),
      float(self._run.learning_rate(step - 1)),
      {name: float(weight) for name, weight in weights.items()},
    )
    self._means = Means()

  def progress(self):
    """Returns what a checkpoint keeps, for what is told next to be of the whole run."""
    return {
      "since_last_report": self._means.sums(),
      "seconds": self._run.seconds(self._restored),
    }

  def _read(self):
    step, sums = self._pending.popleft()
    sums = jax.tree.map(np.asarray, sums)
    for name in ("loss", "gradient_norm"):
      if not math.isfinite(sums[name][0]):
        raise TrainingDiverged(
          f"{name.replace('_', ' ')} is {sums[name][0]} at step {step}; the last good "
          "checkpoint is kept; a smaller learning_rate or gradient_clip_norm may help."
        )
    self._means.add(sums)


def _checkpoints(run, folder: epath.Path, **options):
  config = run.config
  return Checkpoints(
    folder, keep=config.keep_checkpoints, metric=config.metric, **options
  )


def _restored_or_transferred(checkpoints, run) -> tuple[Restored, str]:
  """Returns what to go on from, and where it comes from."""
  restored, config = checkpoints.restore_last(run.initial_state), run.config
  state = restored.state
  peers.check_same({"the last step of which the checkpoint is whole": str(state.step)})
  if state.step:
    return restored, f"going on from step {int(state.step)}"
  if not config.init_from:
    return restored, "starting from new weights"
  found = transfer(
    state,
    settings.build_model(config),
    config.init_from,
    model_name=config.model,
    image_size=config.image_size,
  )
  text = found.describe(config.init_from)
  return Restored(jax.device_get(found.state), {}), f"starting from {text}"


def _evaluate_best(run, checkpoints, report, watch) -> dict[str, Any]:
  state = checkpoints.restore_best(run.initial_state)
  if not state.step:
    raise InputError("the workdir holds no checkpoint that is whole.")
  step = int(state.step)
  state = run.parallel.replicate(state)
  config, result = run.config, {}
  for evaluator in run.tests():
    means = _evaluate_and_report(run, evaluator, state, step, report, watch)
    result.update(evaluator.results(means))
  _project(run, state, report)
  if run.data.left_out():
    result["tests_left_out"] = run.data.left_out()
  return {
    "task": config.dataset,
    "model": model_label(config),
    "objective": run.objective.describe(),
    "step": step,
    "num_train_steps": run.num_train_steps,
    "test_split": config.test_split,
    "test_examples": run.data.dataset.num_examples(config.test_split),
    **result,
    "seed": config.seed,
    "devices": jax.device_count(),
    "backend": jax.default_backend(),
  }


def _project(run, state, report):
  """Writes the features of the first test images for TensorBoard's projector."""
  count = run.config.num_projected_images
  if not count or jax.process_index():
    return
  report.projection(
    state=run.parallel.unreplicate(state.replace(opt_state=())),
    examples=run.data.first_examples("test", count),
    objective=run.objective,
    class_names=run.data.dataset.class_names,
    pixel_mean=tuple(run.config.pixel_mean),
    pixel_std=tuple(run.config.pixel_std),
  )


def model_label(config: ConfigDict) -> str:
  """Returns the network and its options, as in "resnet18(stem=small, width=16)"."""
  options = config.model_options.to_dict()
  text = ", ".join(f"{name}={value}" for name, value in sorted(options.items()))
  return f"{config.model}({text})"
