"""What the settings of a run accept: the whole is checked before an array is made.

What a setting means and its default stand in `configs/base.py`. A new one has a line
there and a line here, or in the class of the settings that are used beside it.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from hue_jax.errors import InputError, refuse
from hue_jax.models import checked_options, create_model, tap_shapes
from hue_jax.objective import LABEL_SMOOTHING, ObjectiveSettings, check_terms
from hue_jax.preprocessing import Augmentation, Order, Pixels
from hue_jax.settings import (
  REQUIRED,
  Group,
  Named,
  choice,
  create,
  fields_of,
  flag,
  group,
  integer,
  number,
  options,
  seed,
  setting,
  text,
)
from hue_jax.train.length import MAX_STEPS, check_length, whole_steps
from hue_jax.train.mixing import Mixing
from hue_jax.train.optimizer import LEARNING_RATE_SCHEDULES, Optimization
from hue_jax.train.parallel import AXIS, FORMS

# By which the best checkpoint is chosen: of all images, or the mean of the classes.
METRICS = ("top1", "mean_per_class")

# What a run names its own splits: config.train_split and so on.
_OWN_SPLITS = ("train", "validation", "test")

# Of a JPEG.
_LONGEST_SIDE = 65_535

# More images make a picture that TensorBoard cannot show at its size.
_MOST_COLORED = 64
_MOST_CONFUSED = 400
# Their features are text, and all in the browser's memory.
_MOST_PROJECTED = 5000
# A profile has every operation of every step.
_MOST_PROFILED = 50


@runtime_checkable
class DatasetFacts(Protocol):
  """What the checks ask of a data set; `hue_jax.data.datasets.Dataset` has it."""

  name: str
  num_classes: int

  def num_examples(self, split: str) -> int:
    """Returns the number of a split's examples; InputError for an unknown one."""


@dataclasses.dataclass(frozen=True)
class ExtraTest:
  """A further data set of the same classes, on which the best checkpoint is tested.

  Attributes:
    dataset: The name of the data set in TFDS.
    split: The split of it.
  """

  dataset: str = text(empty=False)
  split: str = text(empty=False)


@dataclasses.dataclass(frozen=True)
class HueTerms:
  """The hue loss, and whether it is on.

  Attributes:
    enabled: Whether the terms count.
    terms: Name → kind and settings.
  """

  enabled: bool = flag()
  terms: Mapping[str, Any] = options()


@dataclasses.dataclass(frozen=True)
class Settings(Pixels, Augmentation, Order, Optimization):
  """What each setting of a run accepts; `configs/base.py` says what they mean."""

  seed: int = seed()

  dataset: str = text(empty=False)
  data_dir: str | None = text(None)
  num_classes: int = integer(at_least=0)
  train_split: str = text(empty=False)
  train_per_class: int = integer(at_least=0)
  train_fraction: int | float = number(above=0, at_most=1)
  validation_split: str = text()
  test_split: str = text(empty=False)
  image_size: int = integer(at_least=1, at_most=_LONGEST_SIDE)
  erase_probability: int | float = number(at_least=0, at_most=1)
  mixing: Mixing = group(Mixing)
  eval_image_size: int = integer(at_least=0, at_most=_LONGEST_SIDE)
  eval_crop_ratio: int | float = number(above=0, at_most=1)
  metric: str = choice(REQUIRED, METRICS)
  extra_tests: Mapping[str, ExtraTest] = setting(REQUIRED, Named(Group(ExtraTest)))

  model: str = text(empty=False)
  model_options: Mapping[str, Any] = options()
  init_from: str = text()
  half_precision: bool = flag()
  sync_batch_norm: bool = flag()

  classifier: Mapping[str, Any] = options()
  label_smoothing: int | float = setting(REQUIRED, LABEL_SMOOTHING)
  terms: Mapping[str, Any] = options()
  hue: HueTerms = setting(REQUIRED, Group(HueTerms))

  layer_decay: int | float = number(above=0, at_most=1)
  schedule: str = choice(REQUIRED, LEARNING_RATE_SCHEDULES)
  num_train_steps: int = integer(at_least=-1, at_most=MAX_STEPS)
  eval_batch_size: int = integer(at_least=0)
  ema_decay: int | float = number(at_least=0, below=1)

  parallel: str = choice(REQUIRED, FORMS)
  log_every_steps: int = integer(at_least=1)
  eval_every_epochs: int | float = number(above=0)
  num_colored_images: int = integer(at_least=0, at_most=_MOST_COLORED)
  num_confused_classes: int = integer(at_least=0, at_most=_MOST_CONFUSED)
  num_projected_images: int = integer(at_least=0, at_most=_MOST_PROJECTED)
  num_profiled_steps: int = integer(at_least=0, at_most=_MOST_PROFILED)
  checkpoint_every_steps: int = integer(at_least=1)
  keep_checkpoints: int = integer(at_least=1)


def follow_dataset(config: ConfigDict, dataset: DatasetFacts) -> None:
  """Sets what is left to the data set: num_classes and channels of 0.

  Args:
    config: A configuration, which is changed.
    dataset: The data set that it names.
  """
  config.num_classes = config.num_classes or dataset.num_classes
  config.channels = config.channels or dataset.channels


def check_settings(config: ConfigDict, *, num_devices: int | None = None) -> None:
  """Raises an InputError for the first setting that no data set could bear.

  Args:
    config: A configuration with the fields of `configs/base.py`.
    num_devices: The devices that a batch is cut over; those of JAX if None.
  """
  settings = create(Settings, config)
  num_devices = num_devices or jax.device_count()
  _check_divides("batch_size", settings.batch_size, num_devices)
  _check_divides("eval_batch_size", settings.eval_batch_size, num_devices)
  each = settings.batch_size // num_devices
  if settings.mixing and each % 2:
    raise InputError(
      f"batch_size is {settings.batch_size}, which makes {each} images a device; it "
      "must make an even number of them, for mixing takes them in pairs."
    )
  if settings.train_per_class and settings.train_fraction < 1:
    raise InputError(
      f"train_per_class is {settings.train_per_class} and train_fraction is "
      f"{settings.train_fraction:g}; only one of them may be set."
    )
  _check_names(settings)
  if not settings.num_classes or not settings.channels:
    return  # The data set says what they are; then all is checked again.
  shapes = tap_shapes(build_model(config), image_shape(config))
  objective = {
    name: config[name] for name in ("classifier", "label_smoothing", "terms")
  }
  num_classes = settings.num_classes
  create(ObjectiveSettings, objective).check(shapes, num_classes=num_classes)
  check_terms(hue_terms(config), shapes, num_classes=num_classes, setting="hue.terms")


def check_config(config: ConfigDict, dataset: DatasetFacts) -> None:
  """Raises an InputError that names the first setting that cannot be used.

  Args:
    config: A configuration with the fields of `configs/base.py`.
    dataset: The data set that `config.dataset` names.
  """
  check_settings(config)
  if config.num_classes != dataset.num_classes:
    raise InputError(
      f"num_classes is {config.num_classes}; it must be {dataset.num_classes}, the "
      f"number of classes of data set {dataset.name!r}."
    )
  for name in (f"{split}_split" for split in _OWN_SPLITS):
    if config[name] and not dataset.num_examples(config[name]):
      raise InputError(
        f"{name} is {config[name]!r}, which holds no example; it must hold some."
      )
  if config.num_train_steps == 0:
    refuse("num_train_steps", 0, "at least 1, or -1 for the steps of num_epochs")
  check_length(
    num_train_steps(config, dataset),
    num_epochs=config.num_epochs,
    batch_size=config.batch_size,
  )


def _check_names(settings):
  """Raises an InputError for a name that another thing of the run has."""
  for name in settings.extra_tests:
    if name in _OWN_SPLITS:
      refuse(
        "the name of a test in extra_tests",
        name,
        f"another than the run's own splits have, {', '.join(_OWN_SPLITS)}",
      )
  for name in settings.hue.terms:
    if name in settings.terms:
      refuse("the name of a term in terms", name, "another than hue.terms has")


def _check_divides(name, batch_size, devices):
  if batch_size % devices:
    raise InputError(
      f"{name} is {batch_size}, which {devices} devices do not divide; it must be a "
      f"multiple of {devices}."
    )


# --- What follows from the settings ---------------------------------------------


def image_shape(config: ConfigDict) -> tuple[int, int, int]:
  """Returns (height, width, channels) of what the network sees."""
  return (config.image_size, config.image_size, config.channels)


def build_model(config: ConfigDict) -> Any:
  """Returns the network that the configuration names."""
  return create_model(
    config.model,
    num_classes=config.num_classes,
    dtype=jnp.bfloat16 if config.half_precision else jnp.float32,
    axis_name=AXIS if config.sync_batch_norm else None,
    **checked_options(config.model, config.model_options),
  )


def eval_image_size(config: ConfigDict) -> int:
  """Returns the side of the images in evaluation."""
  return config.eval_image_size or config.image_size


def augmentation(config: ConfigDict) -> Augmentation:
  """Returns what is done to training images."""
  return create(Augmentation, {name: config[name] for name in fields_of(Augmentation)})


def order(config: ConfigDict) -> Order:
  """Returns the order of the training images."""
  return create(Order, {name: config[name] for name in fields_of(Order)})


def mixing(config: ConfigDict) -> Mixing:
  """Returns how pairs of training images are mixed."""
  return create(Mixing, config.mixing, "mixing")


def hue_terms(config: ConfigDict) -> dict[str, dict[str, Any]]:
  """Returns the settings of the hue terms; none where the hue loss is off."""
  return config.hue.terms.to_dict() if config.hue.enabled else {}


def terms(config: ConfigDict) -> dict[str, dict[str, Any]]:
  """Returns the settings of all terms."""
  return config.terms.to_dict() | hue_terms(config)


def steps(config: ConfigDict, dataset: DatasetFacts, epochs: float) -> int:
  """Returns the steps that so many epochs take, rounded down."""
  return whole_steps(epochs * steps_per_epoch(config, dataset))


def steps_per_epoch(config: ConfigDict, dataset: DatasetFacts) -> float:
  """Returns the steps that one epoch takes: batches straddle epochs."""
  num_examples = dataset.num_examples(config.train_split)
  if config.train_per_class:  # a class that has fewer images is counted as if it had
    num_examples = min(num_examples, config.train_per_class * config.num_classes)
  return math.ceil(config.train_fraction * num_examples) / config.batch_size


def num_train_steps(config: ConfigDict, dataset: DatasetFacts) -> int:
  """Returns the length of the run in steps."""
  if config.num_train_steps >= 0:
    return config.num_train_steps
  return steps(config, dataset, config.num_epochs)


@dataclasses.dataclass(frozen=True)
class EvalSteps:
  """The steps after which validation takes place: `step in eval_steps`.

  They are not listed, for a run may be of any length.

  Attributes:
    steps_per_epoch: The steps that one epoch takes.
    every_epochs: The epochs from one evaluation to the next.
    last: The last step of the run, which is among them; 0 for none at all.
  """

  steps_per_epoch: float
  every_epochs: float
  last: int

  def __contains__(self, step: int) -> bool:
    """Returns whether the state of a step is evaluated."""
    if not 0 < step < self.last:
      return 0 < step == self.last
    between = self.steps_per_epoch * self.every_epochs
    if between <= 1:
      return True
    near = math.floor(step / between)  # The next one, but for rounding.
    return any(
      step == math.floor(self.every_epochs * count * self.steps_per_epoch)
      for count in (near, near + 1)
    )


def eval_steps(config: ConfigDict, dataset: DatasetFacts) -> EvalSteps:
  """Returns the steps after which validation takes place, the last among them."""
  last = num_train_steps(config, dataset) if config.validation_split else 0
  return EvalSteps(steps_per_epoch(config, dataset), config.eval_every_epochs, last)
