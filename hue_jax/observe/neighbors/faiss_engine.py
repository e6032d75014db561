"""Candidates by FAISS, on the CPU."""

import faiss
import numpy as np

from hue_jax.observe.neighbors.space import Space

_LISTS_PROBED = 0.05  # share of the inverted lists …
_LEAST_PROBED = 16  # … and at least so many
_LINKS = 32
_EF = 128  # candidates of the graph search; at least as many as are asked for


class FaissEngine:
  """A FAISS index of the distinct vectors.

  Args:
    space: the vectors.
    structure: "flat", "ivf" (inverted lists, as many as 4 √n, 5 % of them probed)
      or "hnsw" (a graph of 32 links a vector).
  """

  def __init__(self, space: Space, structure: str):
    self.exact = structure == "flat"
    self._space = space
    metric = faiss.METRIC_INNER_PRODUCT if space.metric == "cosine" else faiss.METRIC_L2
    self._index = _empty_index(structure, space.vectors.shape[1], len(space), metric)
    if not self._index.is_trained:
      self._index.train(_training_sample(space, self._index.nlist))
    for block in space.prepared_blocks():
      self._index.add(block)

  def candidates(self, queries: np.ndarray, count: int) -> np.ndarray:
    """Rows about nearest to each query; −1 for none."""
    if isinstance(self._index, faiss.IndexHNSW):
      self._index.hnsw.efSearch = max(_EF, count)
    return self._index.search(self._space.prepared(queries), count)[1]


def _empty_index(structure, channels, num_vectors, metric):
  if structure != "ivf":
    name = {"flat": "Flat", "hnsw": f"HNSW{_LINKS}"}[structure]
    return faiss.index_factory(channels, name, metric)
  # FAISS wants 39 vectors a list to place its center.
  num_lists = max(min(int(4 * num_vectors**0.5), num_vectors // 39), 1)
  index = faiss.index_factory(channels, f"IVF{num_lists},Flat", metric)
  index.nprobe = min(max(int(_LISTS_PROBED * num_lists), _LEAST_PROBED), num_lists)
  return index


def _training_sample(space, num_lists):
  """Vectors evenly spread over the rows, as many as k-means uses."""
  count = min(256 * num_lists, len(space))
  rows = np.arange(count) * len(space) // count
  return space.prepared(space.vectors[rows])
