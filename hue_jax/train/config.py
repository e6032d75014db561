"""Checks the whole configuration before the first array is made.

What a setting means and its default stand in `configs/base.py`.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from etils import epath
from flax.traverse_util import flatten_dict
from ml_collections import ConfigDict

from hue_jax.data.input_pipeline import CROPS
from hue_jax.data.randaugment import RandAugment
from hue_jax.errors import InputError, check_integer, check_number, check_one_of
from hue_jax.models import create_model, tap_shapes
from hue_jax.train.mixing import Mixing
from hue_jax.train.objective import check_classifier, check_terms
from hue_jax.train.optimizer import LEARNING_RATE_SCHEDULES, OPTIMIZERS
from hue_jax.train.parallel import AXIS, FORMS

# By which the best checkpoint is chosen: of all images, or the mean of the classes.
METRICS = ("top1", "mean_per_class")

# More images make a picture that TensorBoard cannot show at its size.
_MOST_COLORED = 64

# Where a run is kept, how often it reports and by which form of the mapping: what a
# run may change in the middle without becoming another run.
_NOT_OF_THE_RUN = (
  "checkpoint_every_steps",
  "data_dir",
  "eval_batch_size",
  "keep_checkpoints",
  "log_every_steps",
  "num_colored_images",
  "parallel",
)


@runtime_checkable
class DatasetFacts(Protocol):
  """What the checks ask of a data set; `hue_jax.data.datasets.Dataset` has it."""

  name: str
  num_classes: int

  def num_examples(self, split: str) -> int:
    """Examples of a split; InputError for an unknown one."""


def check_config(config: ConfigDict, dataset: DatasetFacts) -> None:
  """Raises an InputError that names the first setting that cannot be used.

  Args:
    config: of the fields of `configs/base.py`.
    dataset: that `config.dataset` names.
  """
  _check_numbers(config)
  check_one_of("optimizer", config.optimizer, OPTIMIZERS)
  check_one_of("schedule", config.schedule, LEARNING_RATE_SCHEDULES)
  check_one_of("crop", config.crop, CROPS)
  check_one_of("channels", config.channels, (1, 3))
  check_one_of("metric", config.metric, METRICS)
  check_one_of("parallel", config.parallel, FORMS)
  for name in ("pixel_mean", "pixel_std"):
    _check_pixels(name, config[name], config.channels)
  for name in ("batch_size", "eval_batch_size"):
    _check_divides(name, config[name])
  randaugment(config)
  if mixing(config) and config.batch_size // jax.device_count() % 2:
    raise InputError(
      f"batch_size is {config.batch_size}, which makes "
      f"{config.batch_size // jax.device_count()} images a device; mixing needs pairs, "
      "so it must be an even number."
    )
  if config.num_classes != dataset.num_classes:
    raise InputError(
      f"num_classes is {config.num_classes}, but data set {dataset.name!r} has "
      f"{dataset.num_classes} classes."
    )
  for name in ("train_split", "validation_split", "test_split"):
    split = config[name]
    if split and not dataset.num_examples(split):
      raise InputError(f"{name} is {split!r}, which holds no example.")
    if not split and name != "validation_split":
      raise InputError(f"{name} is empty; it must name a split of the data set.")
  if num_train_steps(config, dataset) < 1:
    raise InputError(
      f"num_epochs is {config.num_epochs:g}, which makes no step of batch_size "
      f"{config.batch_size}."
    )
  shapes = tap_shapes(build_model(config), image_shape(config))
  check_classifier(config.classifier.to_dict())
  for setting in ("terms", "hue.terms"):
    check_terms(
      config[setting].to_dict() if setting == "terms" else hue_terms(config),
      shapes,
      num_classes=config.num_classes,
      setting=setting,
    )


def _check_numbers(config):
  check_integer("seed", config.seed, at_least=0)
  for name in (
    "num_classes",
    "image_size",
    "batch_size",
    "log_every_steps",
    "checkpoint_every_steps",
    "keep_checkpoints",
    "repeats",
  ):
    check_integer(name, config[name], at_least=1)
  for name in ("padding", "eval_batch_size", "eval_image_size", "train_per_class"):
    check_integer(name, config[name], at_least=0)
  check_integer(
    "num_colored_images", config.num_colored_images, at_least=0, at_most=_MOST_COLORED
  )
  check_integer("num_train_steps", config.num_train_steps, at_least=-1)
  for name in ("learning_rate", "num_epochs", "eval_every_epochs"):
    check_number(name, config[name], above=0)
  for name in ("weight_decay", "gradient_clip_norm", "warmup_epochs"):
    check_number(name, config[name], at_least=0)
  for name in ("momentum", "label_smoothing", "ema_decay"):
    check_number(name, config[name], at_least=0, below=1)
  check_number("erase_probability", config.erase_probability, at_least=0, at_most=1)
  for name in ("train_fraction", "eval_crop_ratio", "layer_decay"):
    check_number(name, config[name], above=0, at_most=1)
  if config.train_per_class and config.train_fraction < 1:
    raise InputError(
      f"train_per_class is {config.train_per_class} and train_fraction is "
      f"{config.train_fraction:g}; only one of them may be set."
    )


def _check_pixels(name, values, channels):
  if len(values) not in (1, channels):
    raise InputError(
      f"{name} is {tuple(values)}; images of {channels} channels take 1 or "
      f"{channels} values."
    )
  for value in values:
    if name == "pixel_std":
      check_number(name, value, above=0)
    else:
      check_number(name, value)


def _check_divides(name, batch_size):
  devices = jax.device_count()
  if batch_size % devices:
    raise InputError(
      f"{name} is {batch_size}, which {devices} devices do not divide; it must be a "
      f"multiple of {devices}."
    )


# --- What follows from the settings ---------------------------------------------


def image_shape(config: ConfigDict) -> tuple[int, int, int]:
  """(height, width, channels) of what the network sees."""
  return (config.image_size, config.image_size, config.channels)


def build_model(config: ConfigDict) -> Any:
  """The network that the configuration names."""
  return create_model(
    config.model,
    num_classes=config.num_classes,
    dtype=jnp.bfloat16 if config.half_precision else jnp.float32,
    axis_name=AXIS if config.sync_batch_norm else None,
    **config.model_options,
  )


def eval_image_size(config: ConfigDict) -> int:
  """Side of the images in evaluation."""
  return config.eval_image_size or config.image_size


def randaugment(config: ConfigDict) -> RandAugment:
  """Operations on training images."""
  return RandAugment(**config.randaugment)


def mixing(config: ConfigDict) -> Mixing:
  """How pairs of training images are mixed."""
  return Mixing(**config.mixing)


def hue_terms(config: ConfigDict) -> dict[str, dict[str, Any]]:
  """Settings of the hue terms; none where the hue loss is off."""
  return config.hue.terms.to_dict() if config.hue.enabled else {}


def terms(config: ConfigDict) -> dict[str, dict[str, Any]]:
  """Settings of all terms."""
  return config.terms.to_dict() | hue_terms(config)


def steps(config: ConfigDict, dataset: DatasetFacts, epochs: float) -> int:
  """Steps that so many epochs take, rounded down."""
  return math.floor(epochs * steps_per_epoch(config, dataset))


def steps_per_epoch(config: ConfigDict, dataset: DatasetFacts) -> float:
  """Steps that one epoch takes: batches straddle epochs."""
  num_examples = dataset.num_examples(config.train_split)
  if config.train_per_class:  # a class that has fewer images is counted as if it had
    num_examples = min(num_examples, config.train_per_class * config.num_classes)
  return math.ceil(config.train_fraction * num_examples) / config.batch_size


def num_train_steps(config: ConfigDict, dataset: DatasetFacts) -> int:
  """Length of the run."""
  if config.num_train_steps >= 0:
    return config.num_train_steps
  return steps(config, dataset, config.num_epochs)


def eval_steps(config: ConfigDict, dataset: DatasetFacts) -> frozenset[int]:
  """Steps after which the validation split is evaluated: the last is among them."""
  if not config.validation_split:
    return frozenset()
  last = num_train_steps(config, dataset)
  one = config.eval_every_epochs
  evaluations = math.floor(last / max(steps_per_epoch(config, dataset) * one, 1))
  every = (steps(config, dataset, one * count) for count in range(1, evaluations + 1))
  return frozenset(step for step in every if 0 < step <= last) | {last}


# --- The configuration beside the checkpoints -----------------------------------


def claim_workdir(config: ConfigDict, workdir: epath.Path) -> None:
  """Writes the configuration into the workdir, or checks that it is the one there.

  Args:
    config: of this run.
    workdir: of this run.

  Raises:
    InputError: the workdir holds a run of another configuration.
  """
  path = workdir / "config.json"
  ours = json.loads(config.to_json())
  if path.exists():
    _check_same(ours, _read_json(path), workdir)
  if jax.process_index() == 0:
    workdir.mkdir(parents=True, exist_ok=True)
    partial = workdir / "config.json.partial"
    partial.write_text(json.dumps(ours, indent=2, sort_keys=True) + "\n")
    partial.replace(path)


def read_config(workdir: epath.Path) -> ConfigDict:
  """The configuration that lies beside the checkpoints.

  Args:
    workdir: of a run.

  Returns:
    The configuration.

  Raises:
    InputError: the workdir holds no run, or its configuration cannot be read.
  """
  path = workdir / "config.json"
  if not path.exists():
    raise InputError(f"workdir is {str(workdir)!r}, which holds no run (config.json).")
  return ConfigDict(_read_json(path))


def _read_json(path):
  try:
    return json.loads(path.read_text())
  except json.JSONDecodeError as error:
    raise InputError(
      f"{path} is not JSON ({error}); restore it, or choose another workdir."
    ) from None


def _check_same(ours: Mapping, theirs: Mapping, workdir: epath.Path) -> None:
  ours, theirs = flatten_dict(ours, sep="."), flatten_dict(theirs, sep=".")
  absent = "(not set)"
  differences = [
    f"{name} is {ours.get(name, absent)!r} and was {theirs.get(name, absent)!r}"
    for name in sorted({*ours, *theirs})
    if ours.get(name, absent) != theirs.get(name, absent)
    and name not in _NOT_OF_THE_RUN
  ]
  if differences:
    raise InputError(
      f"workdir {workdir} holds a run of another configuration: "
      f"{'; '.join(differences)}. Choose another workdir, or set these back."
    )
