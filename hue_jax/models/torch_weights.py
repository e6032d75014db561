"""PyTorch state dicts into Flax variables and back, each name and shape checked.

    variables = import_state_dict(create_model("resnet50", num_classes=1000),
                                  read_state_dict("resnet50.safetensors"))

ResNets have torchvision's names, EfficientNet-Lites those of lukemelas's PyTorch
EfficientNet, with which their weights were published.
"""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict
from safetensors import SafetensorError
from safetensors.numpy import load_file

from hue_jax.errors import InputError
from hue_jax.models.efficientnet_lite import EfficientNetLite
from hue_jax.models.resnet import ResNet

StateDict = dict[str, np.ndarray]

_LISTED = 8
_IMAGE_SIZE = 64  # does not change a parameter
# Keys under which training scripts put the state dict, beside optimizers and epochs.
_WRAPPERS = ("state_dict", "model", "model_state_dict")


def read_state_dict(path: str | os.PathLike[str]) -> StateDict:
  """Reads a file of PyTorch weights; none of its code is run.

  Args:
    path: `.safetensors`, or `.pth`, `.pt` or `.bin`, read with `weights_only=True`.

  Returns:
    Name → array. The prefix that `DataParallel` adds is taken off.

  Raises:
    InputError: no such file, or one that does not hold named arrays alone.
  """
  path = os.fspath(path)
  if not os.path.isfile(path) or not os.path.getsize(path):
    raise InputError(f"weights {path!r} is not a file, or an empty one.")
  if path.endswith(".safetensors"):
    try:
      loaded = load_file(path)
    except (SafetensorError, OSError) as error:
      raise InputError(f"weights {path!r} cannot be read: {error}") from error
  else:
    loaded = _load_torch(path)
  if not loaded:
    raise InputError(f"weights {path!r} holds no array.")
  return {name.removeprefix("module."): array for name, array in loaded.items()}


def import_state_dict(
  module: nn.Module, state_dict: Mapping[str, np.ndarray]
) -> dict[str, Any]:
  """The variables of a network from PyTorch weights.

  Args:
    module: of `create_model`.
    state_dict: name → array, as PyTorch has them.

  Returns:
    `{"params": …, "batch_stats": …}`, float32.

  Raises:
    InputError: a network whose names in PyTorch are not known, or weights that do not
      fit: all that is missing, left over, or of another shape is named.
  """
  entries = list(_entries(module))
  _check_fit(module, entries, state_dict)
  flat = {
    entry.path: np.asarray(state_dict[entry.name], np.float32)
    .transpose(entry.axes)
    .copy()
    for entry in entries
  }
  return unflatten_dict(flat)


def export_state_dict(module: nn.Module, variables: Mapping[str, Any]) -> StateDict:
  """PyTorch weights of a network: what `import_state_dict` takes.

  Args:
    module: of `create_model`.
    variables: `{"params": …, "batch_stats": …}`.

  Returns:
    Name → float32 array.

  Raises:
    InputError: a network whose names in PyTorch are not known.
  """
  flat = flatten_dict(dict(variables))
  return {
    entry.name: np.ascontiguousarray(
      np.asarray(flat[entry.path], np.float32).transpose(np.argsort(entry.axes))
    )
    for entry in _entries(module)
  }


def _load_torch(path):
  try:
    import torch
  except ModuleNotFoundError as error:
    raise InputError(
      f"weights {path!r} need PyTorch to be read: pip install 'hue_jax[pretrained]'; "
      "a .safetensors file does not."
    ) from error
  try:
    loaded = torch.load(path, map_location="cpu", weights_only=True)
  except Exception as error:  # pickle, zip and torch each have their own
    raise InputError(
      f"weights {path!r} cannot be read as names and arrays alone "
      f"({type(error).__name__})."
    ) from error
  for key in _WRAPPERS:
    if isinstance(loaded, dict) and isinstance(loaded.get(key), dict):
      loaded = loaded[key]
      break
  if not isinstance(loaded, dict) or not all(
    isinstance(name, str) and isinstance(value, torch.Tensor)
    for name, value in loaded.items()
  ):
    raise InputError(f"weights {path!r} is not a state dict: names and arrays alone.")
  return {name: _as_array(tensor) for name, tensor in loaded.items()}


def _as_array(tensor):
  # NumPy has no bfloat16, and no gradients, which saved parameters may ask for.
  tensor = tensor.detach()
  return (tensor.float() if tensor.is_floating_point() else tensor).numpy()


# --- What corresponds to what ---------------------------------------------------


class _Entry(NamedTuple):
  """One array: where Flax keeps it, how PyTorch names it, and its shape there.

  `axes` are PyTorch's axes in the order of Flax.
  """

  path: tuple[str, ...]
  name: str
  shape: tuple[int, ...]
  axes: tuple[int, ...]


_LEAVES = {"kernel": "weight", "scale": "weight", "bias": "bias"}
_STATISTICS = {"mean": "running_mean", "var": "running_var"}
_AXES = {4: (2, 3, 1, 0), 2: (1, 0), 1: (0,)}


def _entries(module) -> Iterator[_Entry]:
  """All arrays of a network."""
  names = _module_names(module)
  images = jnp.zeros((1, _IMAGE_SIZE, _IMAGE_SIZE, 3))
  variables = jax.eval_shape(
    lambda: module.clone(axis_name=None).init(jax.random.key(0), images, train=False)
  )
  for path, leaf in flatten_dict(variables).items():
    collection, *modules, last = path
    if collection == "taps":
      continue
    kind = (_LEAVES if collection == "params" else _STATISTICS)[last]
    axes = _AXES[leaf.ndim]
    shape = tuple(np.array(leaf.shape)[np.argsort(axes)].tolist())
    yield _Entry(path, f"{names('/'.join(modules))}.{kind}", shape, axes)


def _module_names(module):
  """A function from a module's path in Flax to its name in PyTorch."""
  if isinstance(module, ResNet):
    return _resnet_name
  if isinstance(module, EfficientNetLite):
    first = np.cumsum([0, *module.stage_sizes])
    return lambda path: _efficientnet_name(path, first)
  raise InputError(
    f"networks of {type(module).__name__} have no PyTorch names here; ResNet and "
    "EfficientNetLite have."
  )


def _resnet_name(path: str) -> str:
  if match := re.fullmatch(r"stage(\d+)_block(\d+)/(\w+)", path):
    stage, block, part = match.groups()
    part = {"conv_shortcut": "downsample.0", "norm_shortcut": "downsample.1"}.get(
      part, part.replace("norm", "bn")
    )
    return f"layer{stage}.{int(block) - 1}.{part}"
  return {"stem_conv": "conv1", "stem_norm": "bn1", "head": "fc"}[path]


_BLOCK_PARTS = {
  "expand_conv": "_expand_conv",
  "expand_norm": "_bn0",
  "depthwise_conv": "_depthwise_conv",
  "depthwise_norm": "_bn1",
  "project_conv": "_project_conv",
  "project_norm": "_bn2",
}


def _efficientnet_name(path: str, first_block_of_stage) -> str:
  if match := re.fullmatch(r"stage(\d+)_block(\d+)/(\w+)", path):
    stage, block, part = match.groups()
    number = first_block_of_stage[int(stage) - 1] + int(block) - 1
    return f"_blocks.{number}.{_BLOCK_PARTS[part]}"
  return {
    "stem_conv": "_conv_stem",
    "stem_norm": "_bn0",
    "top_conv": "_conv_head",
    "top_norm": "_bn1",
    "head": "_fc",
  }[path]


def _check_fit(module, entries, state_dict):
  shapes = {entry.name: entry.shape for entry in entries}
  given = {
    name: tuple(np.shape(array))
    for name, array in state_dict.items()
    if not name.endswith("num_batches_tracked")
  }
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
    raise InputError(
      f"weights do not fit {type(module).__name__} with {module.num_classes} classes: "
      + "; ".join(told)
      + "."
    )


def _first(names):
  rest = len(names) - _LISTED
  return ", ".join(names[:_LISTED]) + (f" and {rest} more" if rest > 0 else "")
