"""How a network hands out its layers, and what is known of them without weights."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

# The collection of layers that stand in the place of the network's own.
_GIVEN = "given_taps"


def sow_tap(
  module: nn.Module, tap: str, layer: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
  """Sows a layer into the collection `taps`, where it replaces an earlier one.

  Args:
    module: The module that computes the layer.
    tap: The name of the tap.
    layer: The layer, any array.

  Returns:
    The layer, with which the module must go on: `Taps` gives another in its place.
  """
  if module.has_variable(_GIVEN, tap):
    layer = module.get_variable(_GIVEN, tap).astype(layer.dtype)
  module.sow("taps", tap, layer, reduce_fn=lambda _, new: new, init_fn=lambda: None)
  return layer


def head_of(params: Mapping[str, Any]) -> dict[str, Any]:
  """Returns the parameters of the layer from features to logits: z = a · kernel + bias.

  Args:
    params: The parameters of a network, or their shapes.

  Returns:
    `kernel` [channels, classes] and `bias` [classes], 0 where the layer has none; empty
    where the network has no dense layer of the name `head`.
  """
  head = params.get("head", {})
  kernel = head.get("kernel") if isinstance(head, Mapping) else None
  if kernel is None or len(kernel.shape) != 2:
    return {}
  bias = head.get("bias")
  bias = jnp.zeros(kernel.shape[-1], kernel.dtype) if bias is None else bias
  return {"kernel": kernel, "bias": bias}


class Taps(dict[str, tuple[int, ...]]):
  """Tap name → shape of one example's layer, in the order of the network.

  What else is asked of the layers is found by giving the network random layers and
  weights: it holds for all, and needs no word of the network's author.
  """

  def __init__(
    self,
    shapes: Mapping[str, tuple[int, ...]],
    model: nn.Module,
    image_shape: tuple[int, int, int],
  ):
    """Takes what `tap_shapes` found.

    Args:
      shapes: Tap name → shape.
      model: The network.
      image_shape: (height, width, channels) of an image.
    """
    super().__init__(shapes)
    self._model, self._image_shape = model, image_shape
    self._known: dict[tuple[str, str], bool] = {}

  def is_averaged(self, tap: str) -> bool:
    """Returns whether the features are the mean over the positions of a layer.

    Args:
      tap: The name of the layer; that of the features themselves is one.
    """
    if "features" not in self or self[tap][-1:] != self["features"]:
      return False
    if tap == "features":
      return True

    def pair(layer, features, logits, params):
      del logits, params
      return features, layer.mean(axis=tuple(range(1, layer.ndim - 1)))

    return self._holds("is averaged", tap, pair)

  def has_head(self) -> bool:
    """Returns whether the logits are those of the features by `head_of`."""
    if "features" not in self:
      return False

    def pair(layer, features, logits, params):
      del layer
      head = head_of(params)
      if not head or head["kernel"].shape != (features.shape[-1], logits.shape[-1]):
        return logits, jnp.full_like(logits, jnp.nan)
      return logits, features @ head["kernel"] + head["bias"]

    return self._holds("has a head", "features", pair)

  def _holds(self, what, tap, pair):
    """Returns whether two arrays that follow from a layer are equal, and keeps it."""
    if (what, tap) not in self._known:
      self._known[what, tap] = self._are_equal(tap, pair)
    return self._known[what, tap]

  def _are_equal(self, tap, pair):
    """Returns whether two arrays that follow from a layer are equal, to rounding."""
    model = _evaluated(self._model)

    def compared(start):
      # What reaches neither array is not computed: the network before the layer.
      shape = jax.ShapeDtypeStruct
      images, layer = shape((2, *self._image_shape), "f"), shape((2, *self[tap]), "f")
      key = jax.random.key(0)
      variables = jax.eval_shape(lambda x: model.init(key, x, train=False), images)
      del variables["taps"]
      variables, images, layer = jax.tree.map(
        lambda x: x + start, _random((variables, images, layer))
      )
      logits, sown = model.apply(
        variables | {_GIVEN: {tap: layer}}, images, train=False, mutable=["taps"]
      )
      features = sown["taps"]["features"]
      first, second = pair(layer, features, logits, variables["params"])
      apart = jnp.abs(first - second).max()
      return apart <= 1e-4 * jnp.abs(second).max()

    with jax.default_matmul_precision("highest"):
      return bool(jax.jit(compared)(0.1))


def tap_shapes(model: nn.Module, image_shape: tuple[int, int, int]) -> Taps:
  """Finds the shape of every tap for one image, without computing anything.

  Args:
    model: A network of `create_model`.
    image_shape: (height, width, channels) of an image.

  Returns:
    Tap name → (height, width, channels), or (channels,) of a pooled layer, in the
    order of the network.
  """
  images = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
  names = []

  def forward(images):
    variables = model.clone(axis_name=None).init(jax.random.key(0), images, train=False)
    names.extend(variables["taps"])  # jax.eval_shape sorts the keys of its result
    return variables["taps"]

  shapes = jax.eval_shape(forward, images)
  return Taps({name: shapes[name].shape[1:] for name in names}, model, image_shape)


def _evaluated(model):
  """Returns the network of one device in float32."""
  fields = {"axis_name": None, "dtype": jnp.float32}
  return model.clone(**{k: v for k, v in fields.items() if hasattr(model, k)})


def _random(shapes):
  """Returns arrays of many different numbers, which are quick to compile."""
  leaves, structure = jax.tree.flatten(shapes)
  return jax.tree.unflatten(
    structure,
    [
      jnp.sin(1.7 * jnp.arange(leaf.size) + number).reshape(leaf.shape)
      for number, leaf in enumerate(leaves, start=1)
    ],
  )
