"""Trees of arrays."""

import hashlib
from typing import Any

import jax
import numpy as np


def tree_digest(tree: Any, about: str = "") -> str:
  """Returns a SHA-256 of the names, types, shapes and numbers of a tree's arrays.

  Args:
    tree: A tree of arrays, on the host or on devices.
    about: A text that enters the digest before the arrays.

  Returns:
    The digest in 64 hexadecimal digits, equal for equal trees.
  """
  sha = hashlib.sha256(about.encode())
  for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
    leaf = np.ascontiguousarray(leaf)
    sha.update(f"{jax.tree_util.keystr(path)}{leaf.dtype}{leaf.shape}".encode())
    sha.update(leaf.tobytes())
  return sha.hexdigest()
