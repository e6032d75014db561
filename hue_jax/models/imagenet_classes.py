"""The names of ImageNet's 1000 classes, where an installed package has them."""

import ast
import functools
import importlib.util
from pathlib import Path

NUM_CLASSES = 1000


@functools.cache
def imagenet_class_names() -> tuple[str, ...] | None:
  """Returns the names of the classes in the order of their synsets.

  They are torchvision's words ("tabby"); where torchvision is not installed, the
  synsets of WordNet that TFDS lists ("n02123045"); None without both. Neither package
  is imported, which would take seconds.
  """
  return _words() or _synsets()


def _words():
  file = _file_of("torchvision", "models/_meta.py")
  if file is None:
    return None
  for node in ast.parse(file.read_text("utf-8")).body:
    if isinstance(node, ast.Assign) and node.targets[0].id == "_IMAGENET_CATEGORIES":
      return _whole(ast.literal_eval(node.value))
  return None


def _synsets():
  file = _file_of("tensorflow_datasets", "datasets/imagenet2012/labels.txt")
  return _whole(file.read_text("utf-8").split()) if file else None


def _file_of(package, path):
  spec = importlib.util.find_spec(package)
  for folder in (spec and spec.submodule_search_locations) or ():
    if (Path(folder) / path).is_file():
      return Path(folder) / path
  return None


def _whole(names):
  """Returns the names, unless another version of the package has other ones."""
  return tuple(names) if len(names) == NUM_CLASSES else None
