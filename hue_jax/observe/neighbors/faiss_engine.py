"""Candidates by FAISS, on the CPU."""

from collections.abc import Mapping

import faiss
import numpy as np

from hue_jax.observe.neighbors.space import Space

_LISTS_PROBED = 0.05  # share of the inverted lists …
_LEAST_PROBED = 16  # … and at least so many
_VECTORS_A_LIST = 39  # of which FAISS wants to know, to place a list's center
_LINKS = 32
_EF_CONSTRUCTION = 40
_EF_SEARCH = 128  # at least as many as are asked for


class FaissEngine:
  """A FAISS index of the distinct vectors.

  Args:
    space: the vectors.
    structure: "flat", "ivf" (inverted lists, some of which are searched) or "hnsw"
      (a graph).
    options: `create_index` names them.
  """

  def __init__(self, space: Space, structure: str, options: Mapping[str, int]):
    self.exact = structure == "flat"
    self._space = space
    self._ef_search = options.get("ef_search", _EF_SEARCH)
    self._index = _empty_index(structure, space, options)
    if not self._index.is_trained:
      self._index.train(_training_sample(space, self._index.nlist))
    for block in space.prepared_blocks():
      self._index.add(block)

  def candidates(self, queries: np.ndarray, count: int) -> np.ndarray:
    """Rows about nearest to each query; −1 for none."""
    if isinstance(self._index, faiss.IndexHNSW):
      self._index.hnsw.efSearch = max(self._ef_search, count)
    return self._index.search(self._space.prepared(queries), count)[1]


def _empty_index(structure, space, options):
  channels = space.channels
  metric = faiss.METRIC_INNER_PRODUCT if space.metric == "cosine" else faiss.METRIC_L2
  if structure == "flat":
    return faiss.IndexFlat(channels, metric)
  if structure == "hnsw":
    index = faiss.IndexHNSWFlat(channels, options.get("links", _LINKS), metric)
    index.hnsw.efConstruction = options.get("ef_construction", _EF_CONSTRUCTION)
    return index
  most_lists = max(len(space) // _VECTORS_A_LIST, 1)
  num_lists = min(options.get("num_lists", int(4 * len(space) ** 0.5)), most_lists)
  index = faiss.index_factory(channels, f"IVF{num_lists},Flat", metric)
  probed = max(int(_LISTS_PROBED * num_lists), _LEAST_PROBED)
  index.nprobe = min(options.get("lists_probed", probed), num_lists)
  return index


def _training_sample(space, num_lists):
  """Vectors evenly spread over the rows, enough for the lists."""
  count = min(2 * _VECTORS_A_LIST * num_lists, len(space))
  return space.prepared(space.take(np.arange(count) * len(space) // count))
