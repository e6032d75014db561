"""What a network is exported as: weights by name, or the whole function of images.

A function takes images as they are stored, uint8 [batch, height, width, channels], of
any batch size; it normalizes them itself and returns the classifier's scores in
float32. Weights are the network's alone: `snippets.py` has the rest.
"""

import dataclasses
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict
from jax import export as jax_export
from safetensors.numpy import save_file

from hue_jax.errors import InputError
from hue_jax.files import replacing
from hue_jax.models.torch_names import names_of
from hue_jax.models.torch_weights import export_state_dict
from hue_jax.train.predictor import Predictor

PLATFORMS = ("cpu", "cuda", "rocm", "tpu")


@dataclasses.dataclass(frozen=True)
class Format:
  """A format of an exported network.

  Attributes:
    file: The name of the file or folder.
    library: The library that a model card names.
    whole: Whether it is the function from images to scores, and not weights alone.
    write: A function that writes it to a path.
  """

  file: str
  library: str
  whole: bool
  write: Callable[[Predictor, Path], None]


def library_of(predictor: Predictor) -> str:
  """Returns the library whose names the weights of a network get in PyTorch.

  It is the one that has a network which computes the same: torchvision, but for
  transformers, and for EfficientNets whose padding is TensorFlow's, which timm has.

  Args:
    predictor: The network.

  Raises:
    InputError: If the network's names in PyTorch are not known.
  """
  model = predictor.network.model
  try:
    first, *others = names_of(model).LIBRARIES
  except InputError as error:
    raise InputError(f"--to is 'torch'; {error}") from None
  if getattr(model, "padding", "") == "same":
    return "timm"
  return first if first == "timm" or "torchvision" not in others else "torchvision"


def _write_safetensors(predictor, path):
  flat = flatten_dict(dict(predictor.network.variables), sep="/")
  _save({name: np.asarray(array) for name, array in flat.items()}, path)


def _write_torch(predictor, path):
  model, variables = predictor.network.model, predictor.network.variables
  library = library_of(predictor)
  _save(export_state_dict(model, variables, library=library), path)


def _save(arrays, path):
  contiguous = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
  save_file(contiguous, path)


def _write_stablehlo(predictor, path):
  exported = jax_export.export(_function(predictor), platforms=PLATFORMS)(
    jax.ShapeDtypeStruct(_symbolic_shape(predictor), jnp.uint8)
  )
  with replacing(path) as file:
    file.write(exported.serialize())


def _write_tf_saved_model(predictor, path):
  from jax.experimental import jax2tf

  # Alone in hue_jax.data TensorFlow is imported, silenced, and kept off the GPUs.
  from hue_jax.data.host_tensorflow import tf

  size, channels = predictor.network.image_size, predictor.network.channels
  converted = jax2tf.convert(
    predictor.scores,
    polymorphic_shapes=[None, f"(batch, {size}, {size}, {channels})"],
    native_serialization_platforms=["cpu", "cuda", "tpu"],
    with_gradient=False,
  )
  module = tf.Module()
  arrays = jax.tree.map(np.asarray, dict(predictor.network.variables))
  module.weights = tf.nest.map_structure(tf.Variable, arrays)
  images = tf.TensorSpec((None, size, size, channels), tf.uint8, name="images")
  module.__call__ = tf.function(
    lambda images: {"scores": converted(module.weights, images)},
    input_signature=[images],
    autograph=False,
  )
  tf.saved_model.save(
    module, str(path), signatures={"serving_default": module.__call__}
  )


def _function(predictor):
  """Returns images → scores, with the weights as constants."""
  variables = jax.tree.map(jnp.asarray, dict(predictor.network.variables))
  return jax.jit(lambda images: predictor.scores(variables, images))


def _symbolic_shape(predictor):
  size, channels = predictor.network.image_size, predictor.network.channels
  return jax_export.symbolic_shape(f"batch, {size}, {size}, {channels}")


FORMATS = {
  "safetensors": Format("model.safetensors", "hue_jax", False, _write_safetensors),
  "torch": Format("model.safetensors", "pytorch", False, _write_torch),
  "stablehlo": Format("model.stablehlo", "jax", True, _write_stablehlo),
  "tf_saved_model": Format("saved_model", "tensorflow", True, _write_tf_saved_model),
}
