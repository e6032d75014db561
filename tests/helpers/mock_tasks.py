"""Prepared data sets of a few mocked examples, in the features of TFDS's builders."""

import re

import numpy as np
import tensorflow_datasets as tfds

from configs import tasks
from hue_jax.data import store
from hue_jax.data.datasets import registered_names

# The others have no builder in TFDS, for hue_jax.data.prepare makes them.
OF_TFDS = tuple(
  name
  for name, task in tasks.TASKS.items()
  if re.match(r"\w+", task.dataset)[0] in registered_names()
)

_SPLIT_NAME = re.compile(r"[a-z]+")


def split_names(task) -> set[str]:
  """The splits of its data set that a task reads."""
  expressions = (task.train, task.validation, task.test)
  return {_SPLIT_NAME.match(expression)[0] for expression in expressions}


def builder_of(dataset: str, data_dir: str):
  """TFDS's builder of a data set, whose data are not there."""
  return tfds.builder(dataset.split(":")[0], data_dir=data_dir)


def write_mocked(dataset: str, data_dir: str, splits, num_examples: int = 10) -> None:
  """Writes mocked examples of a data set as if TFDS had prepared it.

  Args:
    dataset: its name, as a task has it.
    data_dir: the folder of prepared data sets.
    splits: names of its splits.
    num_examples: of each split.
  """
  builder = builder_of(dataset, data_dir)
  features = builder.info.features
  config = builder.builder_config
  folder = store.write_dataset(
    data_dir,
    builder.name,
    features,
    {
      split: store.Split.of(_examples(builder.name, config, features, num_examples))
      for split in sorted(splits)
    },
    description="Mocked examples.",
    config=config.name if config else None,
    version=str(builder.version),
  )
  if builder.info.as_proto.HasField("supervised_keys"):
    info = tfds.core.dataset_info.read_proto_from_builder_dir(folder)
    info.supervised_keys.CopyFrom(builder.info.as_proto.supervised_keys)
    tfds.core.dataset_info.write_dataset_info_proto(
      info, dataset_info_dir=tfds.core.Path(folder)
    )


def _examples(name, config, features, num_examples):
  full_name = f"{name}/{config.name}" if config else name
  with tfds.testing.mock_data(num_examples=num_examples):
    examples = tfds.load(full_name, split="train", download=False)
    for number, example in enumerate(tfds.as_numpy(examples)):
      yield number, _to_encode(features, example)


def _to_encode(feature, value):
  """A decoded value as its feature encodes it."""
  if isinstance(feature, tfds.features.FeaturesDict):
    return {name: _to_encode(feature[name], value[name]) for name in feature}
  if isinstance(feature, tfds.features.Sequence):
    if isinstance(feature.feature, tfds.features.ClassLabel):
      return [int(label) for label in value]
    return []
  if isinstance(feature, tfds.features.BBoxFeature):
    low, high = np.sort(np.random.default_rng(0).random((2, 2)), axis=0)
    return tfds.features.BBox(*low.tolist(), *high.tolist())
  return value
