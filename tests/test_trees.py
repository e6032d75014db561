"""Digests of trees of arrays."""

import hashlib

import jax.numpy as jnp
import numpy as np

from hue_jax.trees import tree_digest

TREE = {"b": np.arange(6.0).reshape(2, 3), "a": {"x": np.int32(3)}}


class TestTreeDigest:
  def test_is_that_of_names_types_shapes_and_bytes(self):
    text = b"about['a']['x']int32(1,)" + np.int32(3).tobytes()
    text += b"['b']float64(2, 3)" + np.arange(6.0).tobytes()
    assert tree_digest(TREE, "about") == hashlib.sha256(text).hexdigest()

  def test_does_not_depend_on_where_arrays_are_or_on_their_layout(self):
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    digest = tree_digest({"a": array})
    assert tree_digest({"a": jnp.asarray(array)}) == digest
    assert tree_digest({"a": np.asfortranarray(array)}) == digest

  def test_differs_by_anything(self):
    others = [
      {"b": TREE["b"], "a": {"y": np.int32(3)}},
      {"b": TREE["b"], "a": {"x": np.int64(3)}},
      {"b": TREE["b"].reshape(3, 2), "a": TREE["a"]},
      {"b": TREE["b"] + np.spacing(TREE["b"]), "a": TREE["a"]},
      {"b": TREE["b"]},
    ]
    digests = {tree_digest(tree) for tree in [TREE, *others]}
    assert len(digests) == 6
    assert tree_digest(TREE, "about") not in digests
