"""Weights to start from: of a published network, of a PyTorch file, of another run."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from hue_jax.errors import InputError
from hue_jax.models.published import load_published, published_names
from hue_jax.models.torch_weights import import_state_dict, read_state_dict
from hue_jax.train.build import load_trained
from hue_jax.train.state import TrainState

_STATE_DICT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_LISTED = 6


class Transferred(NamedTuple):
  """A state that starts from other weights.

  Attributes:
    state: at step 0.
    loaded: arrays of the source that it has, by their paths.
    replaced: arrays that the source has in another shape: the head of other classes.
    new: arrays that the source lacks.
    unused: arrays of the source for which the network has no place.
  """

  state: TrainState
  loaded: tuple[str, ...]
  replaced: tuple[str, ...]
  new: tuple[str, ...]
  unused: tuple[str, ...]

  def describe(self, source: str) -> str:
    """What was loaded and what was not, as one line."""
    parts = [f"{len(self.loaded)} arrays of {source}"]
    for name in ("replaced", "new", "unused"):
      paths = getattr(self, name)
      if paths:
        rest = len(paths) - _LISTED
        more = f" and {rest} more" if rest > 0 else ""
        parts.append(f"{len(paths)} {name} ({', '.join(paths[:_LISTED])}{more})")
    return "; ".join(parts)


def transfer(
  state: TrainState, model: nn.Module, source: str, *, model_name: str, image_size: int
) -> Transferred:
  """Puts the weights of another network into a state at step 0.

  An array is taken where name and shape agree. The head is always new, for its classes
  are others, unless it comes from a run or file of equally many classes: then it too is
  taken.

  Args:
    state: of the network, initialized.
    model: the network.
    source: a published network (`published_names()`), a file of PyTorch weights, or the
      workdir of a run.
    model_name: of the network, as of `create_model`.
    image_size: side of the images that it sees.

  Returns:
    The state and what it took.

  Raises:
    InputError: a source that cannot be read, or of which nothing fits.
  """
  found = _load(source, model, model_name, image_size)
  ours = {"params": state.params["network"], "batch_stats": state.batch_stats}
  ours, theirs = flatten_dict(ours, sep="/"), flatten_dict(dict(found), sep="/")
  fits = {
    path
    for path, array in ours.items()
    if path in theirs and np.shape(theirs[path]) == np.shape(array)
  }
  if not fits:
    raise InputError(
      f"init_from is {source!r}, of whose {len(theirs)} arrays none fits {model_name}: "
      f"it has {_first(theirs)}, the network {_first(ours)}."
    )
  merged = {
    path: jax.numpy.asarray(theirs[path], array.dtype) if path in fits else array
    for path, array in ours.items()
  }
  variables = unflatten_dict(merged, sep="/")
  params = {**state.params, "network": variables["params"]}
  batch_stats = variables.get("batch_stats", {})
  state = state.replace(params=params, batch_stats=batch_stats)
  if state.ema:
    state = state.replace(ema={"params": params, "batch_stats": batch_stats})
  return Transferred(
    state,
    loaded=tuple(path for path in ours if path in fits),
    replaced=tuple(path for path in ours if path in theirs and path not in fits),
    new=tuple(path for path in ours if path not in theirs),
    unused=tuple(path for path in theirs if path not in ours),
  )


def check_source(source: str) -> None:
  """Raises an InputError unless something of that name is there to start from."""
  path = os.path.expanduser(source)
  if source in published_names() or os.path.isfile(path) or os.path.isdir(path):
    return
  raise InputError(
    f"init_from is {source!r}; it must be one of {', '.join(published_names())}, a "
    f"file of weights ({', '.join(_STATE_DICT_SUFFIXES)}), or a workdir of main.py."
  )


def _load(source, model, model_name, image_size) -> Mapping[str, Any]:
  check_source(source)
  path = os.path.expanduser(source)
  if source in published_names():
    if source != model_name:
      raise InputError(
        f"init_from is {source!r}, but model is {model_name!r}; they must agree."
      )
    return load_published(source).variables
  if os.path.isdir(path):
    return load_trained(path).variables
  return _read_file(path, model, image_size)


def _read_file(path, model, image_size):
  """PyTorch weights, whatever the number of classes of their head."""
  state_dict = read_state_dict(path)
  heads = {len(array) for name, array in state_dict.items() if _is_head_bias(name)}
  for num_classes in (*sorted(heads), model.num_classes):
    try:
      theirs = model.clone(num_classes=int(num_classes))
      return import_state_dict(theirs, state_dict, image_size=image_size)
    except InputError as error:
      reason = error
  raise reason


_HEADS = ("fc", "_fc", "head", "classifier", "head.fc", "heads.head")


def _is_head_bias(name):
  module, _, leaf = name.rpartition(".")
  is_head = module in _HEADS or module.startswith("classifier.")
  return is_head and leaf == "bias"


def _first(arrays):
  return ", ".join(list(arrays)[:3]) + ", …"
