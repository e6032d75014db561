"""PyTorch state dicts to Flax variables and back, each name and shape checked.

    variables = import_state_dict(create_model("resnet50", num_classes=1000),
                                  read_state_dict("resnet50.safetensors"))

Names are those of torchvision, timm and others: `torch_names` has them.
"""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors.numpy import load_file

from hue_jax.errors import InputError, check_one_of
from hue_jax.models.torch_names import names_of
from hue_jax.models.torch_names.naming import TorchArray

StateDict = dict[str, np.ndarray]

SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")

_LISTED = 8
# Changes no parameter but the learned position embedding of a transformer.
_IMAGE_SIZE = 224
# Keys under which training scripts put the state dict, beside optimizers and epochs.
_WRAPPERS = ("state_dict", "model", "model_state_dict")


def read_state_dict(path: str | os.PathLike[str]) -> StateDict:
  """Reads a file of PyTorch weights; none of its code is run.

  Args:
    path: The file: `.safetensors`, or another, which is read with `weights_only=True`.

  Returns:
    Name → array, without the prefix that `DataParallel` adds.

  Raises:
    InputError: If there is no such file, or it does not hold named arrays alone.
  """
  path = os.fspath(path)
  if not os.path.isfile(path):
    raise InputError(f"weights {path!r} cannot be read: there is no such file.")
  read = _read_safetensors if path.endswith(".safetensors") else _read_torch
  loaded = read(path)
  if not loaded:
    raise InputError(f"weights {path!r} hold no array.")
  return {name.removeprefix("module."): array for name, array in loaded.items()}


def import_state_dict(
  module: nn.Module,
  state_dict: Mapping[str, np.ndarray],
  *,
  image_size: int = _IMAGE_SIZE,
  channels: int = 3,
  source: str | os.PathLike[str] = "",
) -> dict[str, Any]:
  """Makes the variables of a network from PyTorch weights.

  Args:
    module: A network of `create_model`.
    state_dict: Name → array, as PyTorch has them; whose names they are is found out.
    image_size: The side of the images that the network is for.
    channels: The channels of these images.
    source: The file of the weights, for errors.

  Returns:
    The variables, `{"params": …, "batch_stats": …}`, float32; `batch_stats` where
    there is batch norm.

  Raises:
    InputError: If the network's names in PyTorch are not known, or the weights do not
      fit: all that is missing, left over, or of another shape is named.
  """
  ignored = getattr(names_of(module), "IGNORED", ())
  arrays = _flax_arrays(module, (image_size, image_size, channels))
  given = {
    name: array
    for name, array in state_dict.items()
    if not name.startswith(ignored) and not name.endswith("num_batches_tracked")
  }
  of_libraries = (_entries(module, arrays, name) for name in _libraries(module))
  entries = max(of_libraries, key=lambda found: sum(e.name in given for e in found))
  _check_fit(module, entries, given, source)
  flat = {
    entry.path: np.asarray(given[entry.name], np.float32)
    .reshape(entry.unpacked)
    .transpose(entry.axes)
    .reshape(arrays[entry.path].shape)
    .copy()
    for entry in entries
  }
  return unflatten_dict(flat)


def export_state_dict(
  module: nn.Module,
  variables: Mapping[str, Any],
  *,
  library: str | None = None,
) -> StateDict:
  """Makes PyTorch weights of a network: what `import_state_dict` takes.

  Args:
    module: A network of `create_model`.
    variables: The variables, `{"params": …, "batch_stats": …}`.
    library: The library whose names the weights get: "torchvision", "timm", …; if
      None, the first that has the network.

  Returns:
    Name → float32 array.

  Raises:
    InputError: If the network's names in PyTorch are not known.
  """
  libraries = _libraries(module)
  check_one_of("library", library or libraries[0], libraries)
  kept = {name: part for name, part in variables.items() if name != "taps"}
  flat = flatten_dict(kept)
  state_dict = {}
  for entry in _entries(module, flat, library or libraries[0]):
    permuted = np.asarray(flat[entry.path], np.float32).reshape(
      [entry.unpacked[axis] for axis in entry.axes]
    )
    array = permuted.transpose(np.argsort(entry.axes)).reshape(entry.shape)
    state_dict[entry.name] = np.ascontiguousarray(array)
  return state_dict


def _read_safetensors(path):
  try:
    return load_file(path)
  except Exception as error:  # its own, and those of types that NumPy lacks
    raise InputError(f"weights {path!r} cannot be read: {error}.") from error


def _read_torch(path):
  try:
    import torch
  except ModuleNotFoundError as error:
    raise InputError(
      f"weights {path!r} need PyTorch to be read: pip install 'hue_jax[pretrained]'; "
      "a .safetensors file does not."
    ) from error
  try:
    loaded = _unwrapped(torch.load(path, map_location="cpu", weights_only=True))
    if not all(
      isinstance(name, str) and isinstance(value, torch.Tensor)
      for name, value in loaded.items()
    ):
      raise TypeError("there are values that are no arrays")
    return {name: _as_array(tensor) for name, tensor in loaded.items()}
  except Exception as error:  # pickle, zip and torch each have their own
    reason = str(error).partition("\n")[0]
    raise InputError(
      f"weights {path!r} cannot be read as a state dict, which is names and arrays "
      f"alone ({type(error).__name__}: {reason.rstrip('.')})."
    ) from error


def _unwrapped(loaded):
  """Returns the state dict in what a training script has saved."""
  for key in _WRAPPERS:
    if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
      loaded = loaded[key]
      break
  if not isinstance(loaded, dict):
    raise TypeError(f"it holds a {type(loaded).__name__}")
  return loaded


def _as_array(tensor):
  # NumPy has no bfloat16, and no gradients, which saved parameters may ask for.
  tensor = tensor.detach()
  return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


# --- What corresponds to what ---------------------------------------------------


class _Entry(NamedTuple):
  """One array: where Flax keeps it, and what it is in PyTorch (see `TorchArray`)."""

  path: tuple[str, ...]
  name: str
  shape: tuple[int, ...]
  unpacked: tuple[int, ...]
  axes: tuple[int, ...]


_LEAVES = {
  "kernel": "weight",
  "scale": "weight",
  "bias": "bias",
  "mean": "running_mean",
  "var": "running_var",
}
# PyTorch's axes in the order of Flax, by their number.
_AXES = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}


def _libraries(module):
  return list(names_of(module).LIBRARIES)


def _flax_arrays(module, image_shape):
  """Returns path → shape and type of all arrays of a network, in its order."""
  images = jnp.zeros((1, *image_shape))
  variables = jax.eval_shape(
    lambda: module.clone(axis_name=None).init(jax.random.key(0), images, train=False)
  )
  variables.pop("taps", None)
  return flatten_dict(variables)


def _entries(module, arrays, library) -> list[_Entry]:
  """Returns all arrays of a network by the names of a library."""
  naming = names_of(module).LIBRARIES[library](module)
  return [
    _Entry(path, *_in_pytorch(naming, path, x.shape)) for path, x in arrays.items()
  ]


def _in_pytorch(naming, path, shape) -> TorchArray:
  _, *modules, leaf = path
  found = naming("/".join((*modules, leaf)))
  if isinstance(found, TorchArray):
    return found
  name = found or f"{naming('/'.join(modules))}.{_LEAVES[leaf]}"
  axes = _AXES.get(len(shape)) if found is None else tuple(range(len(shape)))
  torch_shape = tuple(np.array(shape)[np.argsort(axes)].tolist())
  return TorchArray(name, torch_shape, torch_shape, axes)


def _check_fit(module, entries, state_dict, source):
  shapes = {entry.name: entry.shape for entry in entries}
  given = {name: tuple(np.shape(array)) for name, array in state_dict.items()}
  other = [
    f"{name} is {given[name]}, not {shape}"
    for name, shape in shapes.items()
    if name in given and given[name] != shape
  ]
  misfits = {
    "missing": [name for name in shapes if name not in given],
    "left over": [name for name in given if name not in shapes],
    "of another shape": other,
  }
  told = [f"{len(m)} {kind} ({_first(m)})" for kind, m in misfits.items() if m]
  if told:
    weights = f"weights {os.fspath(source)!r}" if source else "weights"
    raise InputError(
      f"{weights} do not fit {type(module).__name__} with {module.num_classes} "
      f"classes: {'; '.join(told)}."
    )


def _first(names):
  rest = len(names) - _LISTED
  return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")
