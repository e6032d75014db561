"""All that is measured of one trained network, as plain numbers."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from hue_jax.compare.measures.attacks import fgsm, pgd, to_pixels
from hue_jax.compare.measures.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from hue_jax.compare.measures.observations import observe_layers
from hue_jax.compare.measures.predictions import (
  accuracy,
  expected_calibration_error,
  hierarchy_distances,
  mistake_distance,
  negative_log_likelihood,
)
from hue_jax.compare.measures.transfer import linear_accuracy, read_tasks
from hue_jax.compare.task import ArrayTask, Examples, class_balanced
from hue_jax.compare.trainer import Trainer, Training, batched
from hue_jax.models import head_of
from hue_jax.models.batch_statistics import batch_statistics
from hue_jax.observe.matches import vote
from hue_jax.observe.neighbors import create_index

_NUM_NEIGHBORS = 10


class Measuring:
  """Measures the networks of a study on the same images.

  Args:
    settings: The settings of the study; those of `measures` say what is measured.
    task: The data of the study.
    trainer: The trainer of its networks.
  """

  def __init__(self, settings: Mapping[str, Any], task: ArrayTask, trainer: Trainer):
    self._settings = settings["measures"]
    first = settings["first_seed"]
    self._seeds = range(first, first + self._settings["num_seeds"])
    self._per_class = settings["train_per_class"]
    self._task, self._trainer = task, trainer
    self._pixels = [jnp.array(settings[name]) for name in ("pixel_mean", "pixel_std")]
    self._distances = None
    if settings["hierarchy"]:
      self._distances = hierarchy_distances(settings["hierarchy"], task.class_names)
    # Settings of studies before this measure lack it.
    transfer_to = self._settings.get("transfer_to", ())
    self._others = read_tasks(transfer_to, task.image_shape)
    self._attack = jax.jit(self._attacked_scores, static_argnums=4)

  def validation(self, trained: Training) -> dict[str, Any]:
    """Measures the validation examples: accuracy, calibration, mistakes."""
    return self._of_predictions(trained, self._task.validation)[0]

  def test(self, trained: Training, seed: int) -> dict[str, Any]:
    """Measures the test examples: the same, and for the first seeds what is asked.

    Of a training that diverged there is no more to measure.
    """
    test, settings = self._task.test, self._settings
    measured, features = self._of_predictions(trained, test)
    if seed not in self._seeds or not np.isfinite(features).all():
      return measured
    if settings["knn"]:
      measured["knn_accuracy"] = self._knn_accuracy(trained, seed, features)
    if settings["corrupted_images"]:
      measured["corruption_accuracy"] = self._under_corruption(trained)
    if settings["attacked_images"]:
      measured["attack_accuracy"] = self._under_attack(trained)
    if settings["observed_images_per_class"]:
      measured["observations"] = self._observations(trained)
    if self._others:
      measured["transfer_accuracy"] = {
        name: linear_accuracy(lambda images: self._predict(trained, images)[1], other)
        for name, other in self._others.items()
      }
    return measured

  def _of_predictions(self, trained, examples):
    scores, features = self._predict(trained, examples.images)
    measured = {"accuracy": accuracy(scores, examples.labels)}
    # Calibration is not defined where scores are no log-odds.
    if trained.objective.classifier.log_odds:
      measured["nll"] = negative_log_likelihood(scores, examples.labels)
      measured["ece"] = expected_calibration_error(scores, examples.labels)
    if self._distances is not None:
      measured["mistake_distance"] = mistake_distance(
        scores, examples.labels, self._distances
      )
    return measured, features

  def _predict(self, trained, images):
    return self._trainer.predict(trained.objective, trained.state, images)

  def _knn_accuracy(self, trained, seed, features):
    """Returns the share of test features that the nearest training ones vote right."""
    examples = self._task.training_set(self._per_class, seed)
    _, known = self._predict(trained, examples.images)
    found = create_index(known, engine="jax").search(features, _NUM_NEIGHBORS)
    named = np.asarray(vote(examples.labels[np.asarray(found.ids)]))
    return float(np.mean(named == self._task.test.labels))

  def _some(self, count) -> Examples:
    """Returns so many test examples, of all classes alike."""
    task = self._task
    per_class = max(count // task.num_classes, 1)
    return task.test[class_balanced(task.test.labels, task.num_classes, per_class, 0)]

  @functools.cached_property
  def _corrupted(self):
    some = self._some(self._settings["corrupted_images"])
    worse = {
      name: [corrupt(some.images, name, severity) for severity in SEVERITIES]
      for name in CORRUPTIONS
    }
    return worse, some.labels

  def _under_corruption(self, trained):
    worse, labels = self._corrupted
    return {
      name: [accuracy(self._predict(trained, images)[0], labels) for images in series]
      for name, series in worse.items()
    }

  def _under_attack(self, trained):
    some = self._some(self._settings["attacked_images"])
    found = {}
    for kind in ("fgsm", "pgd"):
      found[kind] = {}
      for epsilon in self._settings["attack_epsilons"]:
        scores = [
          np.asarray(
            self._attack(
              trained.objective,
              trained.state,
              to_pixels(images),
              (jnp.asarray(_filled(labels, len(images))), epsilon / 255),
              kind,
            )
          )[:count]
          for (images, count), (labels, _) in zip(
            batched(some.images), batched(some.labels), strict=True
          )
        ]
        found[kind][f"{epsilon:g}/255"] = accuracy(np.concatenate(scores), some.labels)
    return found

  def _attacked_scores(self, objective, state, images, labels_and_epsilon, kind):
    labels, epsilon = labels_and_epsilon

    def scores(pixels):
      mean, std = self._pixels
      logits, taps = self._trainer.apply(
        state.params, state.batch_stats, (pixels - mean) / std
      )
      head = head_of(state.params["network"])
      return objective.classifier.decide(logits, taps, head)

    if kind == "fgsm":
      return scores(fgsm(scores, images, labels, epsilon))
    return scores(pgd(scores, images, labels, epsilon, key=jax.random.key(0)))

  def _observations(self, trained):
    per_class = self._settings["observed_images_per_class"]
    some = self._some(per_class * self._task.num_classes)
    state = trained.state
    return observe_layers(
      self._layers(state.params["network"], state.batch_stats, some.images),
      self._layers(
        trained.initial["params"], self._calibrated(trained, some.images), some.images
      ),
      some.labels,
      seed=0,
    )

  def _layers(self, network, batch_stats, images):
    found = {}
    for batch, count in batched(images):
      _, taps = self._trainer.forward({"network": network}, batch_stats, batch)
      for tap in self._trainer.tap_shapes:
        found.setdefault(tap, []).append(np.asarray(taps[tap])[:count])
    return {tap: np.concatenate(parts) for tap, parts in found.items()}

  def _calibrated(self, trained, images):
    """Computes the images' batch statistics: with initial ones activations vanish."""
    if not trained.initial["batch_stats"]:
      return {}
    pixels = self._trainer.normalized(jnp.asarray(images[:64]))
    return batch_statistics(self._trainer.model, trained.initial, pixels)


def _filled(values, length):
  return np.concatenate([values, np.zeros(length - len(values), values.dtype)])
