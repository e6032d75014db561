"""A network by name, with weights: published, of a state dict, of a workdir, or none.

network = load_network("efficientnet_lite0")
layers = network.layers(images)  # tap → [batch, height, width, channels]
"""

import dataclasses
import functools
import os
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, UInt8

from hue_jax.errors import InputError, check_integer, check_one_of
from hue_jax.models import create_model, tap_shapes
from hue_jax.models.batch_statistics import batch_statistics
from hue_jax.models.published import load_published, published_names
from hue_jax.models.torch_weights import import_state_dict, read_state_dict
from hue_jax.train.build import load_trained
from hue_jax.train.state import quick_to_compile
from hue_jax.train.step import normalize
from hue_jax.trees import tree_digest

# torchvision's, for a state dict of which nothing else is said.
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)

_STATE_DICT_SUFFIXES = (".safetensors", ".pth", ".pt")


@dataclasses.dataclass(frozen=True, eq=False)
class Network:
  """A network with weights, and how its images are made.

  Attributes:
    name: what a report calls it.
    model: the Flax module.
    variables: `{"params": …, "batch_stats": …}`.
    image_size: side of its square images in pixels.
    channels: of its images, 1 or 3.
    crop: how an image becomes a square, as `eval_batches` has it.
    pixel_mean: subtracted from pixels in [0, 1].
    pixel_std: by which the difference is divided.
    trained: whether the weights are more than initial ones.
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

  @functools.cached_property
  def tap_shapes(self) -> dict[str, tuple[int, ...]]:
    """Tap → (height, width, channels), or (channels,) of a pooled layer, in order."""
    return tap_shapes(self.model, (self.image_size, self.image_size, self.channels))

  @functools.cached_property
  def fingerprint(self) -> str:
    """A digest of the weights and of how images are made: equal for equal layers."""
    how = (self.image_size, self.channels, self.crop, self.pixel_mean, self.pixel_std)
    about = repr((type(self.model).__name__, how))
    return tree_digest(dict(self.variables), about)[:16]

  def check_taps(self, taps: Sequence[str]) -> tuple[str, ...]:
    """The taps in the network's order, all if none is given.

    Raises:
      InputError: a tap that the network lacks.
    """
    for tap in taps:
      if tap not in self.tap_shapes:
        raise InputError(
          f"tap {tap!r} is not of network {self.name}, which has "
          f"{', '.join(self.tap_shapes)}."
        )
    return tuple(tap for tap in self.tap_shapes if tap in taps or not taps)

  def apply(
    self,
    variables: Mapping[str, Any],
    images: UInt8[Array, "batch height width channels"],
  ) -> tuple[Float[Array, "batch classes"], dict[str, Float[Array, "batch ..."]]]:
    """Logits and taps of images as stored: a pure function, to be jitted.

    Args:
      variables: in place of the network's own, so that they can be placed on devices.
      images: pixels in [0, 255].

    Returns:
      Logits, and tap → layer.
    """
    logits, updates = self.model.apply(
      variables,
      normalize(images, self.pixel_mean, self.pixel_std),
      train=False,
      mutable=["taps"],
    )
    return logits, dict(updates["taps"])

  def layers(
    self, images: UInt8[np.ndarray, "batch height width channels"]
  ) -> dict[str, Float[Array, "batch ..."]]:
    """Tap → layer of a few images, in the order of the network."""
    layers = self._jitted(dict(self.variables), images)[1]
    return {tap: layers[tap] for tap in self.tap_shapes}

  def logits(
    self, images: UInt8[np.ndarray, "batch height width channels"]
  ) -> Float[Array, "batch classes"]:
    """Logits of a few images."""
    return self._jitted(dict(self.variables), images)[0]

  @functools.cached_property
  def _jitted(self):
    return jax.jit(self.apply)


def load_network(
  name: str, *, model: str = "", options: Mapping[str, Any] | None = None
) -> Network:
  """A trained network.

  Args:
    name: a published network (`published_names()`), a file of PyTorch weights
      (.safetensors, .pth), or a workdir of `main.py`.
    model: for a file of weights, the network that they are of.
    options: for a file of weights, what differs from ImageNet's usual: num_classes,
      image_size, crop, pixel_mean, pixel_std, and options of the model.

  Returns:
    The network.

  Raises:
    InputError: nothing of that name, or weights that do not fit.
  """
  if name in published_names():
    return _published(name)
  path = os.path.expanduser(name)
  if os.path.isfile(path) or path.endswith(_STATE_DICT_SUFFIXES):
    return _from_state_dict(path, model, dict(options or {}))
  if os.path.isdir(path):
    return _from_workdir(path)
  raise InputError(
    f"network is {name!r}; it must be one of {', '.join(published_names())}, a file of "
    "weights (.safetensors, .pth), or a workdir of main.py."
  )


def untrained(
  network: Network,
  images: UInt8[np.ndarray, "batch height width channels"],
  seed: int = 0,
) -> Network:
  """The same network with its initial weights, as a control.

  The running statistics of batch norm are those of the images given: with the initial
  ones (mean 0, variance 1) the activations of a deep network would vanish.

  Args:
    network: whose architecture and images are meant.
    images: a batch of typical images.
    seed: of the weights.

  Returns:
    The network.
  """
  key = jax.random.key(seed)
  pixels = normalize(jnp.asarray(images), network.pixel_mean, network.pixel_std)
  model = network.model.clone(axis_name=None)
  initialize = jax.jit(
    lambda key, pixels: model.init(key, pixels, train=False),
    compiler_options=quick_to_compile(),
  )
  variables = jax.device_get(initialize(key, pixels[:1]))
  variables = {name: variables[name] for name in variables if name != "taps"}
  if "batch_stats" in variables:
    variables["batch_stats"] = batch_statistics(model, variables, pixels)
  return dataclasses.replace(
    network, name=f"{network.name}, untrained", variables=variables, trained=False
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


def _from_workdir(path):
  trained = load_trained(path)
  config = trained.config
  return Network(
    name=f"{os.path.basename(os.path.normpath(path))} (step {trained.step})",
    model=trained.model,
    variables=trained.variables,
    image_size=config.get("eval_image_size", 0) or config.image_size,
    channels=config.channels,
    crop=config.crop,
    pixel_mean=tuple(config.pixel_mean),
    pixel_std=tuple(config.pixel_std),
  )


def _from_state_dict(path, model, options):
  if not model:
    raise InputError(f"weights {path!r} need the name of their network, as model.")
  size = options.pop("image_size", 224)
  crop = options.pop("crop", "random_resized")
  mean = tuple(options.pop("pixel_mean", _IMAGENET_MEAN))
  std = tuple(options.pop("pixel_std", _IMAGENET_STD))
  check_integer("image_size", size, at_least=1)
  check_one_of("crop", crop, ("random_resized", "pad", "none"))
  module = create_model(model, num_classes=options.pop("num_classes", 1000), **options)
  return Network(
    name=f"{model} of {os.path.basename(path)}",
    model=module,
    variables=import_state_dict(module, read_state_dict(path)),
    image_size=size,
    channels=3,
    crop=crop,
    pixel_mean=mean,
    pixel_std=std,
  )
