"""Weights to start from: of a published network, of a PyTorch file, of another run."""

import os
from collections.abc import Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from hue_jax.errors import InputError
from hue_jax.models.torch_weights import import_state_dict, read_state_dict
from hue_jax.train.networks import kind_of_source, load_network
from hue_jax.train.state import TrainState

_SETTING = "init_from"
_LISTED = 6


class Transferred(NamedTuple):
  """A state that starts from other weights.

  Attributes:
    state: The state at step 0.
    loaded: Arrays of the source that it has, by their paths.
    replaced: Arrays that the source has in another shape: the head of other classes.
    new: Arrays that the source lacks.
    unused: Arrays of the source for which the network has no place.
  """

  state: TrainState
  loaded: tuple[str, ...]
  replaced: tuple[str, ...]
  new: tuple[str, ...]
  unused: tuple[str, ...]

  def describe(self, source: str) -> str:
    """Returns one line that says what was loaded and what was not."""
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
    state: The state of the network, initialized.
    model: The network.
    source: A published network (`published_names()`), a file of PyTorch weights, or the
      workdir of a run.
    model_name: The name of the network, as `create_model` takes it.
    image_size: The side of the images that it sees.

  Returns:
    The state and what it took.

  Raises:
    InputError: If the source cannot be read, or nothing of it fits.
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
  kind_of_source(source, _SETTING)


def _load(source, model, model_name, image_size) -> Mapping[str, Any]:
  kind = kind_of_source(source, _SETTING)
  if kind == "published" and source != model_name:
    raise InputError(
      f"init_from is {source!r}; it must be a file or a workdir, or model must be "
      f"{source!r}, too, and is {model_name!r}."
    )
  if kind == "file":
    return _read_file(os.path.expanduser(source), model, image_size)
  return load_network(source, setting=_SETTING).variables


def _read_file(path, model, image_size):
  """Returns PyTorch weights, whatever the number of classes of their head."""
  state_dict = read_state_dict(path)
  heads = {len(array) for name, array in state_dict.items() if _is_head_bias(name)}
  for num_classes in (*sorted(heads), model.num_classes):
    try:
      theirs = model.clone(num_classes=int(num_classes))
      return import_state_dict(theirs, state_dict, image_size=image_size, source=path)
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
