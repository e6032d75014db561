"""What an objective costs: time of a step, memory, operations and parameters."""

import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hue_jax.compare.cost_records import FILE, Cost
from hue_jax.compare.rates import OPTIMIZATION
from hue_jax.compare.settings import checked_settings
from hue_jax.compare.statistics import median_interval
from hue_jax.compare.tuned import with_tuned
from hue_jax.files import write_text
from hue_jax.models import create_model, tap_shapes
from hue_jax.objective import create_objective
from hue_jax.pages import provenance
from hue_jax.pages.files import json_text
from hue_jax.progress import track
from hue_jax.train.optimizer import create_optimizer
from hue_jax.train.state import create_state
from hue_jax.train.step import make_train_step


def measure_costs(
  settings: Mapping[str, Any], workdir: str | os.PathLike[str]
) -> list[Cost]:
  """Times the training step of every objective beside that of the baseline.

  A step of the objective and one of the baseline follow each other, in random order,
  so that what else the machine does falls on both; the median of their ratios leaves
  out the pairs in which it fell on one.

  Args:
    settings: The settings of a study: its objectives, baseline, and `cost`: `model`,
      `model_options`, `num_classes`, `image_size`, `batch_size`, `repeats`.
    workdir: The folder where `cost.json` is written.

  Returns:
    The costs, the baseline's first.

  Raises:
    InputError: If a setting cannot be used.
  """
  settings = with_tuned(checked_settings(settings))
  cost, baseline = settings["cost"], settings["baseline"]
  folder = Path(workdir).expanduser()
  folder.mkdir(parents=True, exist_ok=True)
  names = [name for name in settings["objectives"] if name != baseline]
  steps = {}
  for name in track([baseline, *names], title="compile", unit="objectives"):
    steps[name] = _Step(cost, settings["objectives"][name], name)
  seconds, ratios = _time(steps, baseline, cost["repeats"])
  found = [steps[name].cost(name, seconds[name], ratios[name]) for name in steps]
  what = {
    "network": (
      f"{cost['model']}, {cost['image_size']} px, {cost['num_classes']} classes, batch "
      f"{cost['batch_size']}"
    ),
    "date": provenance.today(),
    "hardware": provenance.hardware(),
    "versions": provenance.versions("jax", "flax", "optax"),
    "costs": found,
  }
  write_text(folder / FILE, json_text(what, indent=1) + "\n")
  return found


def _time(steps, baseline, repeats):
  """Returns name → seconds of its steps, and name → their ratios to the baseline's."""
  rng = np.random.default_rng(0)
  names = [name for name in steps if name != baseline]
  seconds = {name: [] for name in steps}
  ratios = {name: [] for name in names} | {baseline: np.ones(6)}
  for _ in track(range(repeats), title="time", unit="rounds"):
    for name in rng.permutation(names).tolist():
      pair = {x: steps[x].time() for x in rng.permutation([name, baseline]).tolist()}
      ratios[name].append(pair[name] / pair[baseline])
      for x, time_taken in pair.items():
        seconds[x].append(time_taken)
  return seconds, ratios


class _Step:
  """The compiled training step of one objective, and its state."""

  def __init__(self, cost, objective_settings, name):
    channels, size = 3, cost["image_size"]
    shape = (size, size, channels)
    num_classes = cost["num_classes"]
    model = create_model(
      cost["model"], num_classes=num_classes, **cost["model_options"]
    )
    shapes = tap_shapes(model, shape)
    # Of another task: class orders and rates.
    objective_settings = _without(objective_settings, ("class_order", OPTIMIZATION))
    objective = create_objective(
      num_classes=num_classes,
      tap_shapes=shapes,
      num_train_steps=100,
      warmup_steps=1,
      seed=0,
      here=f"objectives.{name}",
      **{"terms": {}, **objective_settings},
    )
    optimizer = create_optimizer("sgd", 0.1, weight_decay=1e-4)
    self._state = create_state(model, objective, optimizer, image_shape=shape, seed=0)
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (cost["batch_size"], *shape), np.uint8)
    self._batch = {
      "image": jnp.asarray(images),
      "label": jnp.asarray(rng.integers(0, num_classes, cost["batch_size"], np.int32)),
    }
    step = make_train_step(objective, pixel_mean=(0.5,), pixel_std=(0.25,), seed=0)
    lowered = jax.jit(step, donate_argnums=0).lower(self._state, self._batch)
    self._compiled = lowered.compile()
    self.time()  # the first call is not like those after it

  def time(self) -> float:
    """Takes one step, and returns its seconds."""
    start = time.perf_counter()
    self._state, sums = self._compiled(self._state, self._batch)
    jax.block_until_ready((self._state, sums))
    return time.perf_counter() - start

  def cost(self, name, seconds, ratios) -> Cost:
    overheads = 100 * (np.array(ratios) - 1)
    flops = self._compiled.cost_analysis()["flops"]
    memory = self._compiled.memory_analysis()
    return Cost(
      name,
      1000 * float(np.median(seconds)),
      float(np.median(overheads)),
      median_interval(overheads),
      memory.temp_size_in_bytes / 1e6,
      flops / 1e9,
      sum(x.size for x in jax.tree.leaves(self._state.params)),
      sum(x.size for x in jax.tree.leaves(self._state.memory)),
    )


def _without(value, names):
  if isinstance(value, Mapping):
    return {
      name: _without(item, names) for name, item in value.items() if name not in names
    }
  return value
