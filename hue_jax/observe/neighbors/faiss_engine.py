"""Candidates by FAISS, on the CPU."""

import faiss
import numpy as np

from hue_jax.observe.neighbors.engines import Flat, Graph, InvertedLists
from hue_jax.observe.neighbors.space import Space

_LISTS_PROBED = 0.05  # share of the inverted lists …
_LEAST_PROBED = 16  # … and at least so many
_VECTORS_A_LIST = 39  # of which FAISS wants to know, to place a list's center


class FaissEngine:
  """A FAISS index of the distinct vectors.

  Args:
    space: The vectors.
    structure: The structure that keeps them.
  """

  def __init__(self, space: Space, structure: Flat | InvertedLists | Graph):
    self.exact = isinstance(structure, Flat)
    self._space = space
    self._structure = structure
    self._index = _empty_index(structure, space)
    if not self._index.is_trained:
      self._index.train(_training_sample(space, self._index.nlist))
    for block in space.prepared_blocks():
      self._index.add(block)

  def candidates(self, queries: np.ndarray, count: int) -> np.ndarray:
    """Returns the rows about nearest to each query; −1 for none."""
    if isinstance(self._structure, Graph):
      self._index.hnsw.efSearch = max(self._structure.ef_search, count)
    return self._index.search(self._space.prepared(queries), count)[1]


def _empty_index(structure, space):
  channels = space.channels
  metric = faiss.METRIC_INNER_PRODUCT if space.metric == "cosine" else faiss.METRIC_L2
  if isinstance(structure, Flat):
    return faiss.IndexFlat(channels, metric)
  if isinstance(structure, Graph):
    index = faiss.IndexHNSWFlat(channels, structure.links, metric)
    index.hnsw.efConstruction = structure.ef_construction
    return index
  most_lists = max(len(space) // _VECTORS_A_LIST, 1)
  num_lists = min(structure.num_lists or int(4 * len(space) ** 0.5), most_lists)
  index = faiss.index_factory(channels, f"IVF{num_lists},Flat", metric)
  probed = max(int(_LISTS_PROBED * num_lists), _LEAST_PROBED)
  index.nprobe = min(structure.lists_probed or probed, num_lists)
  return index


def _training_sample(space, num_lists):
  """Returns vectors evenly spread over the rows, enough for the lists."""
  count = min(2 * _VECTORS_A_LIST * num_lists, len(space))
  return space.prepared(space.take(np.arange(count) * len(space) // count))
