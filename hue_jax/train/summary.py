"""What a run would be: network, objective, schedules and cost of a step, untrained."""

import io
import math
import sys
from typing import Any, NamedTuple

import jax
import numpy as np
from clu import parameter_overview
from ml_collections import ConfigDict

from hue_jax.errors import InputError
from hue_jax.models import tap_shapes
from hue_jax.objective import Objective
from hue_jax.train import config as settings
from hue_jax.train.build import Built, build, check_eval_image_size, lowered_step
from hue_jax.train.terminal import plot, show_table, width_of

# Steps of a run whose number is not known: its schedules are shown over epochs.
_STEPS_UNKNOWN = 1000
# A plot's columns.
_WIDEST = 72


def summarize(config: ConfigDict, file: io.TextIOBase | None = None) -> dict[str, Any]:
  """Tells what a run would be, and trains nothing.

  A data set that is prepared tells the number of steps, and what the configuration
  leaves to it; without it, schedules are told over epochs.

  Args:
    config: A configuration with the fields of `configs/base.py`; what it leaves to a
      data set that is prepared is filled in.
    file: Where it is told; standard error if None.

  Returns:
    What was told, as numbers: parameters, taps, terms, num_train_steps,
    steps_per_epoch, flops, … of a device, null where it is not known.

  Raises:
    InputError: If a setting cannot be used, or the configuration leaves something to a
      data set that is not prepared.
  """
  file = file or sys.stderr
  length = _length(config)
  built = build(config, length.num_train_steps, length.warmup_steps, abstract=True)
  check_eval_image_size(config, built)
  shapes = tap_shapes(settings.build_model(config), settings.image_shape(config))
  network = built.initial_state.params["network"]
  options = ", ".join(f"{k}={v}" for k, v in sorted(config.model_options.items()))
  file.write(f"{config.model}({options}) on {config.dataset}\n\n")
  # clu's own table is for a terminal and a file alike.
  text = parameter_overview.get_parameter_overview(network, include_stats=False)
  file.write(f"{text}\n\n")
  show_table(
    ("tap", "height × width × channels"),
    [(tap, " × ".join(map(str, shape))) for tap, shape in shapes.items()],
    file,
    "Taps",
  )
  _show_objective(built.objective, shapes, file)
  _show_length(config, length, file)
  _show_schedules(config, built, length, file)
  file.write(f"compiling the step for {jax.default_backend()} …\n")
  file.flush()
  cost = _cost_of_step(config, built)
  _show_cost(cost, file)
  return {
    "task": config.dataset,
    "model": config.model,
    "objective": built.objective.describe(),
    "parameters": _count(network),
    "taps": {tap: list(shape) for tap, shape in shapes.items()},
    "terms": {
      term.name: {
        "kind": term.kind,
        "tap": term.tap,
        "weight": term.weight,
        "schedule": term.schedule,
      }
      for term in built.objective.terms
    },
    "num_train_steps": length.num_train_steps if length.known else None,
    "warmup_steps": length.warmup_steps if length.known else None,
    "steps_per_epoch": length.steps_per_epoch,
    "learning_rate": config.learning_rate * config.batch_size / 256,
    "batch_size": config.batch_size,
    **cost,
    "devices": jax.device_count(),
    "backend": jax.default_backend(),
  }


# --- Length -----------------------------------------------------------------------


class _Length(NamedTuple):
  """The length of a run, and how much of it is known.

  Attributes:
    num_train_steps: The steps, or a number in their place.
    warmup_steps: Those in which the learning rate rises.
    known: Whether these are the run's own.
    steps_per_epoch: The steps of an epoch; None where they are not known.
    batches: Split → the batches of an evaluation.
    why: Why something is not known, in a line.
  """

  num_train_steps: int
  warmup_steps: int
  known: bool
  steps_per_epoch: float | None
  batches: dict[str, int]
  why: str


def _length(config):
  """Returns the length of a run, after a check of all its settings."""
  # Opening a data set needs TensorFlow, whose import takes seconds.
  settings.check_settings(config)
  from hue_jax.data.datasets import NotPreparedError, open_dataset

  try:
    dataset = open_dataset(config.dataset, config.data_dir)
  except NotPreparedError as error:
    return _unknown_length(config, error)
  settings.follow_dataset(config, dataset)
  settings.check_config(config, dataset)
  size = config.eval_batch_size or config.batch_size
  splits = {config.validation_split, config.test_split} - {""}
  return _Length(
    settings.num_train_steps(config, dataset),
    settings.steps(config, dataset, config.warmup_epochs),
    known=True,
    steps_per_epoch=settings.steps_per_epoch(config, dataset),
    batches={s: math.ceil(dataset.num_examples(s) / size) for s in sorted(splits)},
    why="",
  )


def _unknown_length(config, error):
  for name in ("num_classes", "channels"):
    if not config[name]:
      raise InputError(
        f"{name} is 0, which leaves it to the data set, and that is not there: {error} "
        f"Or give --config.{name}."
      ) from None
  warmup = min(config.warmup_epochs / config.num_epochs, 1)
  return _Length(
    _STEPS_UNKNOWN,
    round(warmup * _STEPS_UNKNOWN),
    known=False,
    steps_per_epoch=None,
    batches={},
    why=f"data set {config.dataset!r} is not prepared: the number of steps is not "
    "known, and schedules are shown over epochs",
  )


def _show_length(config, length, file):
  if not length.known:
    file.write(f"{length.why}\n\n")
    return
  rows = [
    ("steps of the run", length.num_train_steps),
    ("steps of an epoch", round(length.steps_per_epoch, 3)),
    ("steps of the warm-up", length.warmup_steps),
    ("images of a step", config.batch_size),
    *((f"batches of {split!r}", count) for split, count in length.batches.items()),
  ]
  show_table(("length", "number"), rows, file, "Length")


# --- Objective and schedules ------------------------------------------------------


def _show_objective(objective: Objective, shapes, file):
  rows = [
    ("classifier", objective.classifier.describe(), "logits", "", "1", "constant")
  ]
  for term in objective.terms:
    shape = " × ".join(map(str, shapes.get(term.tap, ())))
    share = "" if term.balance == "loss" else f" of the {term.balance}"
    tap = term.tap or "logits"
    weight = f"{float(term.weight):g}{share}"
    rows.append((term.name, term.kind, tap, shape, weight, term.schedule))
  columns = ("term", "kind", "tap", "shape", "weight λ", "schedule")
  show_table(columns, rows, file, "Objective")


def _show_schedules(config, built: Built, length, file):
  """Shows the learning rate and each λ that changes; one line of those that do not."""
  places = max(min(width_of(file) - 12, _WIDEST), 20)
  # A run's last step is the one before its number.
  steps = np.linspace(0, length.num_train_steps - 1, places).round().astype(int)
  last = f"{length.num_train_steps:,} steps"
  if not length.known:
    last = f"{config.num_epochs:g} epochs"
  ends = f"0{last.rjust(places - 1)}"
  rates = np.array([float(built.learning_rate(step)) for step in steps])
  file.write(f"{plot(rates, label='learning rate', ends=ends)}\n\n")
  for term in built.objective.terms:
    name = f"λ of {term.name}"
    if term.schedule == "constant":
      file.write(f"{name}: {float(term.weight):g} at every step\n\n")
      continue
    weights = np.array(
      [float(built.objective.weights(int(s))[term.name]) for s in steps]
    )
    file.write(f"{plot(weights, label=f'{name}, {term.schedule}', ends=ends)}\n\n")


# --- Cost -------------------------------------------------------------------------


def _cost_of_step(config, built) -> dict[str, Any]:
  """Returns what XLA says of the compiled step, of one device."""
  compiled = lowered_step(config, built).compile()
  memory, cost = compiled.memory_analysis(), compiled.cost_analysis() or {}
  return {
    "flops": cost.get("flops"),
    "bytes_accessed": cost.get("bytes accessed"),
    "argument_bytes": getattr(memory, "argument_size_in_bytes", None),
    "temporary_bytes": getattr(memory, "temp_size_in_bytes", None),
  }


def _show_cost(cost, file):
  units = {
    "flops": ("operations, GFLOP", 1e9),
    "bytes_accessed": ("memory read and written, GB", 1e9),
    "argument_bytes": ("state and batch, MB", 1e6),
    "temporary_bytes": ("temporary memory, MB", 1e6),
  }
  rows = [
    (name, "not told" if cost[key] is None else cost[key] / scale)
    for key, (name, scale) in units.items()
  ]
  title = f"A training step of one device ({jax.devices()[0].device_kind}), by XLA"
  show_table(("of a step", "number"), rows, file, title)


def _count(tree):
  return sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(tree))
