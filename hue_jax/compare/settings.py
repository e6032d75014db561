"""Checks a study's settings before the first network is trained."""

from collections.abc import Mapping
from typing import Any

from hue_jax.compare.measures.predictions import hierarchy_distances
from hue_jax.compare.task import Task
from hue_jax.compare.training import num_train_steps
from hue_jax.errors import InputError, check_integer, check_number, check_one_of
from hue_jax.models import create_model, tap_shapes
from hue_jax.train.objective import check_class_order, check_classifier, check_terms
from hue_jax.train.optimizer import OPTIMIZERS

_OF_AN_OBJECTIVE = (
  "label_smoothing",
  "smoothing_concentration",
  "class_order",
  "classifier",
  "terms",
)


def check_settings(settings: Mapping[str, Any]) -> None:
  """Raises an InputError for the first setting that no data set could bear.

  Args:
    settings: of the fields of `configs/compare_base.py`.
  """
  check_one_of("optimizer", settings["optimizer"], OPTIMIZERS)
  check_one_of("channels", settings["channels"], (1, 3))
  for name in (
    "image_size",
    "batch_size",
    "num_seeds",
    "num_evaluations",
    "curve_images",
  ):
    check_integer(name, settings[name], at_least=1)
  for name in ("train_per_class", "padding", "first_seed", "workers"):
    check_integer(name, settings[name], at_least=0)
  for name in ("learning_rate", "num_epochs"):
    check_number(name, settings[name], above=0)
  for name in ("weight_decay", "gradient_clip_norm", "warmup_epochs"):
    check_number(name, settings[name], at_least=0)
  check_number("momentum", settings["momentum"], at_least=0, below=1)
  for name in (
    "num_seeds",
    "corrupted_images",
    "attacked_images",
    "observed_images_per_class",
  ):
    check_integer(f"measures.{name}", settings["measures"][name], at_least=0)
  for epsilon in settings["measures"]["attack_epsilons"]:
    check_number("measures.attack_epsilons", epsilon, above=0)
  for name in ("pixel_mean", "pixel_std"):
    if len(settings[name]) not in (1, settings["channels"]):
      raise InputError(
        f"{name} is {tuple(settings[name])}; images of {settings['channels']} "
        f"channels take 1 or {settings['channels']} values."
      )
  check_one_of("baseline", settings["baseline"], settings["objectives"])
  for pair in settings["contrasts"]:
    if len(pair) != 2:
      raise InputError(
        f"contrasts has {tuple(pair)}; each of them is two names of objectives."
      )
    for name in pair:
      check_one_of("contrasts", name, settings["objectives"])


def check_objectives(settings: Mapping[str, Any], task: Task) -> None:
  """Raises an InputError for the first setting that this data set cannot bear.

  Args:
    settings: with class orders as lists of classes.
    task: of the study.
  """
  if settings["hierarchy"]:
    hierarchy_distances(settings["hierarchy"], task.class_names)
  model = create_model(
    settings["model"], num_classes=task.num_classes, **settings["model_options"]
  )
  shapes = tap_shapes(model, task.image_shape)
  size = len(task.training_set(settings["train_per_class"], seed=0))
  if num_train_steps(settings, size) < settings["num_evaluations"]:
    raise InputError(
      f"num_epochs is {settings['num_epochs']:g}, which makes "
      f"{num_train_steps(settings, size)} steps of batch_size "
      f"{settings['batch_size']} from {size} images; num_evaluations, "
      f"{settings['num_evaluations']}, is the least."
    )
  for name, objective in settings["objectives"].items():
    here = f"objectives.{name}"
    for key in objective:
      if key not in _OF_AN_OBJECTIVE:
        raise InputError(
          f"{here}.{key} is not a setting; an objective takes "
          f"{', '.join(_OF_AN_OBJECTIVE)}."
        )
    smoothing = objective.get("label_smoothing", 0.0)
    check_number(f"{here}.label_smoothing", smoothing, at_least=0, below=1)
    concentration = objective.get("smoothing_concentration", 0.0)
    check_number(f"{here}.smoothing_concentration", concentration, at_least=0)
    check_class_order(here, objective.get("class_order", ()), task.num_classes)
    check_classifier(objective.get("classifier", {}), setting=f"{here}.classifier")
    check_terms(
      objective.get("terms", {}),
      shapes,
      num_classes=task.num_classes,
      setting=f"{here}.terms",
    )
