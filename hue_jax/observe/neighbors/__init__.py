"""k nearest neighbors: one interface, FAISS on CPUs and JAX on accelerators.

index = create_index(vectors, groups=image_of_vector, metric="cosine")
ids, distances = index.search(queries, k=10, query_groups=image_of_query)
"""

from hue_jax.observe.neighbors.engines import ENGINES, STRUCTURES, check_engine
from hue_jax.observe.neighbors.index import Index, Neighbors, create_index, recall
from hue_jax.observe.neighbors.space import METRICS

__all__ = [
  "ENGINES",
  "METRICS",
  "STRUCTURES",
  "Index",
  "Neighbors",
  "check_engine",
  "create_index",
  "recall",
]
