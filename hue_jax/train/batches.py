"""The data sets of a run, and their batches: this process's part of each."""

import dataclasses
import itertools
from collections.abc import Iterator, Mapping
from typing import Any

import jax
import numpy as np
from jaxtyping import UInt8
from ml_collections import ConfigDict

from hue_jax.data.datasets import Dataset, NotPreparedError, open_dataset
from hue_jax.data.input_pipeline import (
  Batch,
  Share,
  check_order,
  eval_batches,
  train_batches,
)
from hue_jax.data.sample import class_balanced_sample, random_sample
from hue_jax.errors import InputError
from hue_jax.train import config as settings


@dataclasses.dataclass(frozen=True)
class RunData:
  """The data of a run: its own data set, and those of its extra tests.

  Attributes:
    config: The configuration of the run.
    dataset: The data set that the configuration names.
    extra_tests: Test name → data set, of those that are prepared.
  """

  config: ConfigDict
  dataset: Dataset
  extra_tests: Mapping[str, Dataset]

  def train_batches(self, start_step: int) -> Iterator[Batch]:
    """Returns endless batches from a step on: a function of seed and step alone."""
    config = self.config
    return train_batches(
      self.dataset,
      config.train_split,
      batch_size=config.batch_size,
      image_size=config.image_size,
      seed=config.seed,
      start_step=start_step,
      augmentation=settings.augmentation(config),
      order=settings.order(config),
      channels=config.channels,
      indices=self._train_indices(),
      share=_share(),
    )

  def numbered_batches(
    self, start_step: int, end_step: int
  ) -> Iterator[tuple[int, Batch]]:
    """Yields the steps after one and up to another, each with its batch."""
    if start_step < end_step:
      batches = itertools.islice(self.train_batches(start_step), end_step - start_step)
      yield from enumerate(batches, start_step + 1)

  def eval_batches(self, name: str) -> Iterator[Batch]:
    """Returns batches of every example of a split once, in order.

    Args:
      name: "validation", "test", or the name of an extra test.
    """
    return self._eval_batches(
      name,
      batch_size=self.config.eval_batch_size or self.config.batch_size,
      share=_share(),
    )

  def about(self) -> dict[str, Any]:
    """Returns what is known of the data set, and of each split how many examples."""
    config = self.config
    splits = (config.train_split, config.validation_split, config.test_split)
    counts = {split: self.dataset.num_examples(split) for split in splits if split}
    return {**self.dataset.about(), "examples": counts}

  def first_images(
    self, name: str, count: int
  ) -> UInt8[np.ndarray, "images height width channels"]:
    """Returns the first images of a split, by its name in `eval_batches`, or fewer."""
    return self.first_examples(name, count)["image"]

  def first_examples(self, name: str, count: int) -> Batch:
    """Returns the first examples of a split as one batch, or fewer."""
    dataset, split = self._split(name)
    count = min(count, dataset.num_examples(split))
    batches = self._eval_batches(name, batch_size=count, indices=np.arange(count))
    return next(batches)

  def left_out(self) -> list[str]:
    """Returns the names of the extra tests whose data sets are not prepared."""
    return sorted(set(self.config.extra_tests) - set(self.extra_tests))

  def identities(self) -> dict[str, str]:
    """Returns data set → what identifies its content."""
    datasets = (self.dataset, *self.extra_tests.values())
    return {
      dataset.name: dataset.identity()
      for dataset in datasets
      if hasattr(dataset, "identity")
    }

  def _split(self, name):
    if name in self.extra_tests:
      return self.extra_tests[name], self.config.extra_tests[name].split
    return self.dataset, self.config[f"{name}_split"]

  def _eval_batches(self, name, **batches):
    dataset, split = self._split(name)
    return eval_batches(
      dataset,
      split,
      image_size=settings.eval_image_size(self.config),
      crop=self.config.crop,
      crop_ratio=self.config.eval_crop_ratio,
      channels=self.config.channels,
      **batches,
    )

  def _train_indices(self):
    """Returns the training examples that are used; None for all."""
    config = self.config
    sample = {"split": config.train_split, "seed": config.seed}
    if config.train_per_class:
      indices, _ = class_balanced_sample(
        self.dataset, per_class=config.train_per_class, **sample
      )
      return indices
    if config.train_fraction < 1:
      return random_sample(self.dataset, fraction=config.train_fraction, **sample)
    return None


def _share():
  return Share(jax.process_index(), jax.process_count())


def open_data(config: ConfigDict) -> RunData:
  """Opens the data sets of a run, after a check of the whole configuration.

  Args:
    config: A configuration with the fields of `configs/base.py`.

  Returns:
    The data.

  Raises:
    InputError: If a setting or a data set cannot be used.
  """
  dataset = open_dataset(config.dataset, config.data_dir)
  settings.follow_dataset(config, dataset)
  settings.check_config(config, dataset)
  check_order(dataset, config.train_split, settings.order(config))
  return RunData(config, dataset, _open_extra_tests(config))


def _open_extra_tests(config):
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
