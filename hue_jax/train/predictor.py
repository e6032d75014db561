"""Trained networks as classifiers: what evaluation computes, for images of one's own.

    predictor = load_predictor("runs/digits_hue")
    scores = predictor.scores(predictor.network.variables, images)

What is exported and what predicts is loaded here. TensorFlow is not needed, but for the
class names of a run that an older version trained.
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from etils import epath
from jaxtyping import Array, Float, UInt8
from ml_collections import ConfigDict

from hue_jax.errors import InputError
from hue_jax.models import head_of
from hue_jax.models.imagenet_classes import imagenet_class_names
from hue_jax.objective.classifiers import CLASSIFIERS, Classifier, Softmax
from hue_jax.settings import Kind
from hue_jax.train.networks import Network, kind_of_source, load_network
from hue_jax.train.workdir import folder_of, read_config, read_data_set


@dataclasses.dataclass(frozen=True, eq=False)
class Predictor:
  """A network, and what makes its outputs a decision.

  Attributes:
    network: The network, which computes in float32.
    architecture: The name of the network in `model_names()`.
    options: The options with which `create_model` makes it.
    classifier: What classes are chosen by.
    class_names: The name of each class; None where nobody tells.
    source: Where it comes from: "published", "workdir" or "file".
    workdir: The folder of the run; None of others.
    config: The configuration of the run; None of others.
  """

  network: Network
  architecture: str
  options: Mapping[str, Any]
  classifier: Classifier
  class_names: tuple[str, ...] | None
  source: str
  workdir: epath.Path | None = None
  config: ConfigDict | None = None

  @property
  def num_classes(self) -> int:
    """The number of classes."""
    return self.network.model.num_classes

  def scores(
    self,
    variables: Mapping[str, Any],
    images: UInt8[Array, "batch height width channels"],
  ) -> Float[Array, "batch classes"]:
    """Computes what evaluation chooses classes by: a pure function, to be jitted.

    Args:
      variables: The variables of the network.
      images: Pixels in [0, 255].

    Returns:
      The logits, for a softmax; see `Classifier.scores` for others.
    """
    return self.scores_and_taps(variables, images)[0]

  def scores_and_taps(
    self,
    variables: Mapping[str, Any],
    images: UInt8[Array, "batch height width channels"],
  ) -> tuple[Float[Array, "batch classes"], dict[str, Float[Array, "batch ..."]]]:
    """Computes `scores`, and tap → layer."""
    logits, taps = self.network.apply(variables, images)
    head = head_of(variables["params"])
    return self.classifier.decide(logits, taps, head), taps

  def predict(
    self, images: UInt8[np.ndarray, "batch height width channels"]
  ) -> tuple[
    Float[Array, "batch classes"],
    Float[Array, "batch classes"] | None,
    dict[str, Float[Array, "batch ..."]],
  ]:
    """Returns scores, probabilities (None where scores are none) and tap → layer."""
    return self._jitted(dict(self.network.variables), images)

  @functools.cached_property
  def _jitted(self):
    def predict(variables, images):
      scores, taps = self.scores_and_taps(variables, images)
      return scores, self.classifier.probabilities(scores), taps

    return jax.jit(predict)

  def name_of_class(self, number: int) -> str:
    """Returns the name of a class; its number, where there are no names."""
    return self.class_names[number] if self.class_names else str(number)


def load_predictor(
  name: str,
  *,
  model: str = "",
  setting: str = "network",
  model_setting: str = "network_model",
) -> Predictor:
  """Loads a trained network with its classifier and the names of its classes.

  Args:
    name: A published network, a file of PyTorch weights, or a workdir of `main.py`.
    model: The network that the weights are of, for a file of weights.
    setting: The setting that has the name, for errors.
    model_setting: The setting that has the model.

  Returns:
    The predictor. Of a file of weights, the head's logits decide.

  Raises:
    InputError: If there is nothing of that name, or it cannot be read.
  """
  source = kind_of_source(name, setting)
  network = load_network(
    name, model=model, setting=setting, model_setting=model_setting
  )
  if getattr(network.model, "dtype", jnp.float32) != jnp.float32:
    whole = network.model.clone(dtype=jnp.float32)
    network = dataclasses.replace(network, model=whole)
  if source != "workdir":
    names = imagenet_class_names() if source == "published" else None
    architecture = name if source == "published" else model
    return Predictor(network, architecture, {}, Softmax(), names, source)
  folder = folder_of(name)
  config = read_config(folder)
  classifier = Kind(CLASSIFIERS, default="softmax")("classifier", config.classifier)
  return Predictor(
    network,
    config.model,
    config.model_options.to_dict(),
    classifier,
    _class_names(read_data_set(folder), config),
    source,
    folder,
    config,
  )


def _class_names(data_set, config) -> tuple[str, ...] | None:
  names = data_set.get("class_names") or _names_in_data_set(config)
  return tuple(names) if names and len(names) == config.num_classes else None


def _names_in_data_set(config) -> Sequence[str] | None:
  """Asks the data set itself: older versions wrote no names into the workdir."""
  try:
    from hue_jax.data.datasets import open_dataset

    return open_dataset(config.dataset, config.data_dir).class_names
  except (InputError, ImportError):
    return None
