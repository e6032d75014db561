"""What the settings of a study accept; `defaults.py` says their meaning."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from hue_jax.compare.measures.predictions import hierarchy_distances
from hue_jax.compare.measures.transfer import read_tasks
from hue_jax.compare.rates import OPTIMIZATION, Rates
from hue_jax.compare.task import ArrayTask
from hue_jax.compare.trainer import num_train_steps
from hue_jax.errors import InputError, check_one_of, refuse
from hue_jax.models import create_model, tap_shapes
from hue_jax.objective import ObjectiveSettings
from hue_jax.preprocessing import Pixels
from hue_jax.settings import (
  MAX_SEED,
  REQUIRED,
  Accepts,
  Group,
  Named,
  Number,
  Options,
  Several,
  Text,
  checked,
  create,
  fields_of,
  flag,
  group,
  integer,
  options,
  seed,
  setting,
  several,
  text,
)
from hue_jax.train.length import check_length
from hue_jax.train.optimizer import Optimization

# The runs of a study are listed before the first.
_MOST_SEEDS = 100_000


class Tree(Accepts):
  """A tree of names, of which the leaves are sequences of names."""

  def __call__(self, name, value):
    """Returns the tree, its leaves as lists."""
    if hasattr(value, "items"):
      return {key: self(f"{name}.{key}", child) for key, child in value.items()}
    if isinstance(value, str) or not isinstance(value, list | tuple):
      refuse(name, value, str(self))
    return list(Several(Text(empty=False))(name, value))

  def __str__(self):
    """Returns what is accepted, as errors say it."""
    return "a tree: name → subtree or list of classes"


@dataclasses.dataclass(frozen=True)
class Measures:
  """What is measured beside the accuracy."""

  num_seeds: int = integer(at_least=0)
  knn: bool = flag()
  corrupted_images: int = integer(at_least=0)
  attacked_images: int = integer(at_least=0)
  attack_epsilons: tuple[int | float, ...] = several(REQUIRED, Number(above=0))
  observed_images_per_class: int = integer(at_least=0)
  transfer_to: tuple[str, ...] = several((), Text(empty=False))


@dataclasses.dataclass(frozen=True)
class CostOf:
  """The network and batch of which a step is timed."""

  model: str = text(empty=False)
  model_options: Mapping[str, Any] = options()
  num_classes: int = integer(at_least=1)
  image_size: int = integer(at_least=1)
  batch_size: int = integer(at_least=1)
  repeats: int = integer(at_least=6)  # an interval of the median needs so many


class Ranges(Accepts):
  """A tree of settings, of which the leaves are the ranges in which they are tuned."""

  def __call__(self, name, value):
    """Returns the tree, its leaves as pairs (low, high)."""
    if hasattr(value, "items"):
      return {key: self(f"{name}.{key}", child) for key, child in value.items()}
    low, high = Several(Number(above=0), lengths=(2,))(name, value)
    if low > high:
      refuse(name, value, "a range whose first end is at most its second")
    return low, high

  def __str__(self):
    """Returns what is accepted, as errors say it."""
    return "a tree: name → subtree or (low, high)"


@dataclasses.dataclass(frozen=True)
class Tuning:
  """How objectives are tuned on the validation split; see `tuning.py`."""

  points: int = integer(16, at_least=1, at_most=4096)
  num_seeds: int = integer(1, at_least=1)
  finalists: int = integer(4, at_least=1)
  more_seeds: int = integer(4, at_least=0)
  first_seed: int = seed(3000)
  shared: Mapping[str, Any] = setting({}, Ranges())
  own: Mapping[str, Any] = setting({}, Named(Ranges()))


@dataclasses.dataclass(frozen=True)
class StudySettings(Pixels, Optimization):
  """The settings of a study."""

  title: str = text()

  dataset: str = text()
  data_dir: str | None = text(None)
  train_split: str = text(empty=False)
  validation_split: str = text()
  test_split: str = text(empty=False)
  read_test: bool = flag()
  train_per_class: int = integer(at_least=0)
  image_size: int = integer(at_least=1)
  padding: int = integer(at_least=0)
  flip: bool = flag()
  hierarchy: Mapping[str, Any] = setting(REQUIRED, Tree())

  model: str = text(empty=False)
  model_options: Mapping[str, Any] = options()

  num_evaluations: int = integer(at_least=1)
  curve_images: int = integer(at_least=1)

  objectives: Mapping[str, Any] = setting(REQUIRED, Named(Options()))
  tuned: str = text("")
  tuning: Tuning = group(Tuning)
  baseline: str = text()
  contrasts: tuple[tuple[str, ...], ...] = several(
    REQUIRED, Several(Text(), lengths=(2,))
  )
  first_seed: int = seed()
  seeds_at_once: int = integer(0, at_least=0)
  num_seeds: int = integer(at_least=1, at_most=_MOST_SEEDS)

  measures: Measures = setting(REQUIRED, Group(Measures))
  cost: CostOf = setting(REQUIRED, Group(CostOf))
  workers: int = integer(at_least=0)

  def __post_init__(self):
    super().__post_init__()
    check_one_of("baseline", self.baseline, self.objectives)
    for name in self.tuning.own:
      check_one_of("a name in tuning.own", name, self.objectives)
    for index, pair in enumerate(self.contrasts):
      for name in pair:
        check_one_of(f"contrasts[{index}]", name, self.objectives)
      if pair[0] == pair[1]:
        refuse(f"contrasts[{index}]", pair, "two objectives that differ")
    if self.first_seed + self.num_seeds - 1 > MAX_SEED:
      raise InputError(
        f"num_seeds is {self.num_seeds}; it must be at most "
        f"{MAX_SEED - self.first_seed + 1}, for first_seed is {self.first_seed} and "
        f"the greatest seed {MAX_SEED}."
      )


def checked_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the settings of a study as plain values of the right types.

  Args:
    settings: Settings with the fields of `defaults.py`.

  Returns:
    The settings.

  Raises:
    InputError: If no data set could bear a setting.
  """
  return dataclasses.asdict(create(StudySettings, settings))


def check_objectives(settings: Mapping[str, Any], task: ArrayTask) -> None:
  """Raises an InputError for the first setting that this data set cannot bear.

  Args:
    settings: The settings, with class orders as lists of classes.
    task: The task of the study.
  """
  if settings["hierarchy"]:
    hierarchy_distances(settings["hierarchy"], task.class_names)
  read_tasks(settings["measures"].get("transfer_to", ()), task.image_shape)
  model = create_model(
    settings["model"], num_classes=task.num_classes, **settings["model_options"]
  )
  shapes = tap_shapes(model, task.image_shape)
  size = len(task.training_set(settings["train_per_class"], seed=0))
  length = num_train_steps(settings, size)
  check_length(
    length, num_epochs=settings["num_epochs"], batch_size=settings["batch_size"]
  )
  if length < settings["num_evaluations"]:
    raise InputError(
      f"num_epochs is {settings['num_epochs']:g}, which makes {length} steps of "
      f"batch_size {settings['batch_size']} from {size} images; it must make at least "
      f"{settings['num_evaluations']}, which is num_evaluations."
    )
  for name, objective in settings["objectives"].items():
    here = f"objectives.{name}"
    own = {key: one for key, one in objective.items() if key != OPTIMIZATION}
    checked(
      Optimization,
      objective.get(OPTIMIZATION, {}),
      f"{here}.{OPTIMIZATION}",
      without=set(fields_of(Optimization)) - set(Rates._fields),
    )
    create(ObjectiveSettings, own, here).check(
      shapes, num_classes=task.num_classes, here=here
    )
