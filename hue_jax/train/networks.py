"""Trained networks by name: published ones, files of PyTorch weights, and workdirs.

    network = load_network("efficientnet_lite0")
    layers = network.layers(images)  # tap → [batch, height, width, channels]

Whatever starts from a network, looks at it or colors its layers loads it here.
TensorFlow is not needed.
"""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jaxtyping import Array, Float, UInt8

from hue_jax.errors import InputError, check_name, one_of, refuse
from hue_jax.files import is_local
from hue_jax.models import checked_options, create_model, tap_shapes
from hue_jax.models.published import load_published, published_names
from hue_jax.models.torch_weights import SUFFIXES, import_state_dict, read_state_dict
from hue_jax.preprocessing import CROPS, EVAL_CROP_RATIO
from hue_jax.settings import Number, choice, create, fields_of, integer, several
from hue_jax.train.build import load_trained
from hue_jax.train.step import forward, normalize
from hue_jax.train.workdir import folder_of, holds_run
from hue_jax.trees import tree_digest

# torchvision's, for a state dict of which nothing else is said.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

_OPTIONS = "network_options"


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
  """A network with weights, and how its images are made.

  Attributes:
    name: The name by which a report calls it.
    model: The Flax module.
    variables: `{"params": …, "batch_stats": …}`.
    image_size: The side of its square images in pixels.
    channels: The channels of its images, 1 or 3.
    crop: How an image becomes a square, as `eval_batches` has it.
    crop_ratio: The side of the central square that "random_resized" cuts out, over the
      shorter side of the image.
    pixel_mean: What is subtracted from pixels in [0, 1].
    pixel_std: What the difference is divided by.
    trained: Whether the weights are more than initial ones.
    step: The step of the checkpoint, of a run's workdir; None of others.
  """

  name: str
  model: nn.Module
  variables: Mapping[str, Any]
  image_size: int
  channels: int
  crop: str
  pixel_mean: tuple[float, ...]
  pixel_std: tuple[float, ...]
  trained: bool = True
  crop_ratio: int | float = EVAL_CROP_RATIO
  step: int | None = None

  @functools.cached_property
  def tap_shapes(self) -> dict[str, tuple[int, ...]]:
    """Tap → (height, width, channels), or (channels,) of a pooled layer, in order."""
    return tap_shapes(self.model, (self.image_size, self.image_size, self.channels))

  @functools.cached_property
  def fingerprint(self) -> str:
    """A digest of the weights and of how images are made: equal for equal layers."""
    how = (self.image_size, self.channels, self.crop, self.pixel_mean, self.pixel_std)
    if self.crop == "random_resized" and self.crop_ratio != EVAL_CROP_RATIO:
      how += (self.crop_ratio,)  # Only then: what was captured before is found again.
    about = repr((type(self.model).__name__, how))
    return tree_digest(dict(self.variables), about)[:16]

  def check_taps(self, taps: Sequence[str]) -> tuple[str, ...]:
    """Returns the taps in the network's order, all if none is given.

    Raises:
      InputError: If the network lacks a tap.
    """
    for tap in taps:
      check_name(f"a tap of network {self.name}", tap, self.tap_shapes)
    return tuple(tap for tap in self.tap_shapes if tap in taps or not taps)

  def apply(
    self,
    variables: Mapping[str, Any],
    images: UInt8[Array, "batch height width channels"],
  ) -> tuple[Float[Array, "batch classes"], dict[str, Float[Array, "batch ..."]]]:
    """Computes logits and taps of images as stored: a pure function, to be jitted.

    Args:
      variables: The variables of the network, or their copies on devices.
      images: Pixels in [0, 255].

    Returns:
      The logits, and tap → layer.
    """
    pixels = normalize(images, self.pixel_mean, self.pixel_std)
    return forward(self.model.apply, variables, pixels)

  def layers(
    self, images: UInt8[np.ndarray, "batch height width channels"]
  ) -> dict[str, Float[Array, "batch ..."]]:
    """Returns tap → layer of a few images, in the order of the network."""
    layers = self._jitted(dict(self.variables), images)[1]
    return {tap: layers[tap] for tap in self.tap_shapes}

  def logits(
    self, images: UInt8[np.ndarray, "batch height width channels"]
  ) -> Float[Array, "batch classes"]:
    """Returns the logits of a few images."""
    return self._jitted(dict(self.variables), images)[0]

  @functools.cached_property
  def _jitted(self):
    return jax.jit(self.apply)


@dataclasses.dataclass(frozen=True)
class _FileOptions:
  """What differs from ImageNet's usual, of a file of PyTorch weights."""

  num_classes: int = integer(1000, at_least=1)
  image_size: int = integer(224, at_least=1)
  crop: str = choice("random_resized", CROPS)
  pixel_mean: tuple[int | float, ...] = several(
    _IMAGENET_MEAN, Number(), lengths=(1, 3)
  )
  pixel_std: tuple[int | float, ...] = several(
    _IMAGENET_STD, Number(above=0), lengths=(1, 3)
  )


def load_network(
  name: str,
  *,
  model: str = "",
  options: Mapping[str, Any] | None = None,
  setting: str = "network",
  model_setting: str = "network_model",
) -> Network:
  """Loads a trained network.

  Args:
    name: A published network (`published_names()`), a file of PyTorch weights
      (.safetensors, .pth, .pt, .bin), or a workdir of `main.py`, which may be at gs://.
    model: The network that the weights are of, for a file of weights.
    options: What differs from ImageNet's usual, for a file of weights: num_classes,
      image_size, crop, pixel_mean, pixel_std, and options of the model.
    setting: The setting that has the name, for errors.
    model_setting: The setting that has the model.

  Returns:
    The network.

  Raises:
    InputError: If there is nothing of that name, or the weights cannot be read or do
      not fit.
  """
  options = dict(options or {})
  kind = kind_of_source(name, setting)
  if kind != "file" and (model or options):
    given = (model_setting, model) if model else (_OPTIONS, options)
    refuse(*given, f"left out, for {setting} is {name!r}, which is no file of weights")
  if kind == "published":
    return _published(name)
  path = os.path.expanduser(name)
  if kind == "workdir":
    return _from_workdir(path, setting)
  if not model:
    raise InputError(
      f"{setting} is {name!r}, a file of weights; {model_setting} must name the "
      "network that they are of."
    )
  return _from_file(path, model, options)


def kind_of_source(name: str, setting: str) -> str:
  """Returns what a name of weights stands for: "published", "workdir" or "file".

  Args:
    name: A published network, a folder, or a file.
    setting: The setting that has the name, for errors.

  Raises:
    InputError: If nothing of that name is there.
  """
  path = os.path.expanduser(name)
  if name in published_names():
    return "published"
  if not is_local(name):
    if not holds_run(folder_of(name, setting)):
      refuse(setting, name, "a workdir of main.py, where it is in a bucket")
    return "workdir"
  if os.path.isdir(path):
    return "workdir"
  if os.path.isfile(path):
    return "file"
  suffixes = ", ".join(SUFFIXES)
  refuse(
    setting,
    name,
    f"{one_of(published_names())}, a file of PyTorch weights ({suffixes}) that exists, "
    "or a workdir of main.py",
  )


# --- Where weights come from ----------------------------------------------------


def _published(name):
  published = load_published(name)
  return Network(
    name=name,
    model=published.model,
    variables=published.variables,
    image_size=published.image_size,
    channels=3,
    crop="random_resized",
    pixel_mean=tuple(published.pixel_mean),
    pixel_std=tuple(published.pixel_std),
  )


def _from_workdir(path, setting):
  try:
    trained = load_trained(path)
  except (AttributeError, KeyError, TypeError) as error:
    raise InputError(
      f"{setting} is {path!r}, whose config.json is not that of a run: "
      f"{type(error).__name__}, {str(error).splitlines()[0]}."
    ) from error
  config = trained.config
  return Network(
    name=f"{os.path.basename(os.path.abspath(path))} (step {trained.step})",
    model=trained.model,
    variables=trained.variables,
    image_size=config.get("eval_image_size", 0) or config.image_size,
    channels=config.channels,
    crop=config.crop,
    pixel_mean=tuple(config.pixel_mean),
    pixel_std=tuple(config.pixel_std),
    crop_ratio=config.get("eval_crop_ratio", EVAL_CROP_RATIO),
    step=trained.step,
  )


def _from_file(path, model, options):
  own = fields_of(_FileOptions)
  of_images = {name: value for name, value in options.items() if name in own}
  of_model = {name: value for name, value in options.items() if name not in own}
  usual = create(_FileOptions, of_images, _OPTIONS)
  of_model = checked_options(model, of_model, _OPTIONS, beside=own)
  module = create_model(model, num_classes=usual.num_classes, **of_model)
  return Network(
    name=f"{model} of {os.path.basename(path)}",
    model=module,
    variables=import_state_dict(
      module, read_state_dict(path), image_size=usual.image_size, source=path
    ),
    image_size=usual.image_size,
    channels=3,
    crop=usual.crop,
    pixel_mean=usual.pixel_mean,
    pixel_std=usual.pixel_std,
  )
