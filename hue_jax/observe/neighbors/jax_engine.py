"""Candidates by matrix products and a running top-k, over all devices and processes.

Each device holds a part of the vectors and goes through it in blocks: the products of
a block of queries with a block of vectors, then the best of these and of those before.
The candidates of all devices are then gathered and the best of them kept.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from hue_jax.observe.neighbors.space import Space

_QUERIES = 1024
_VECTORS = 8192


class JaxEngine:
  """The distinct vectors, spread over all devices of all processes.

  Args:
    space: The vectors.
  """

  exact = True

  def __init__(self, space: Space):
    self._space = space
    self._mesh = Mesh(np.array(jax.devices()), ("part",))
    per_device = -(-len(space) // self._mesh.size)
    self._block = min(_VECTORS, _next_power_of_2(per_device))
    self._vectors = self._placed(-(-per_device // self._block) * self._block)

  def candidates(self, queries: np.ndarray, count: int) -> np.ndarray:
    """Returns the rows nearest to each query."""
    prepared = self._space.prepared(queries)
    # Few sizes, since each is compiled.
    size = min(_QUERIES, _next_power_of_2(len(queries)))
    search = _jitted_search(self._mesh, self._block, count, self._space.metric)
    everywhere = NamedSharding(self._mesh, PartitionSpec())
    found = []
    for start in range(0, len(queries), size):
      block = np.zeros((size, prepared.shape[1]), np.float32)
      part = prepared[start : start + size]
      block[: len(part)] = part
      operands = jax.device_put((block, np.int32(len(self._space))), everywhere)
      rows = search(*operands, self._vectors)
      found.append(np.asarray(rows.addressable_data(0))[: len(part)])
    return np.concatenate(found)

  def _placed(self, per_device):
    """Places the vectors, of which each process reads those of its devices."""
    shape = (per_device * self._mesh.size, self._space.channels)

    def rows(index):
      start, stop, _ = index[0].indices(shape[0])
      part, filled = np.zeros((stop - start, shape[1]), np.float32), 0
      for block in self._space.prepared_blocks(start, stop):
        part[filled : filled + len(block)] = block
        filled += len(block)
      return part

    sharding = NamedSharding(self._mesh, PartitionSpec("part"))
    return jax.make_array_from_callback(shape, sharding, rows)


@functools.lru_cache(maxsize=64)
def _jitted_search(mesh, block, count, metric):
  search = functools.partial(_search_part, block=block, count=count, metric=metric)
  all_of_it, parts = PartitionSpec(), PartitionSpec("part")
  return jax.jit(
    jax.shard_map(
      search,
      mesh=mesh,
      in_specs=(all_of_it, all_of_it, parts),
      out_specs=all_of_it,
      check_vma=False,  # that all devices end with the same is not seen by types
    )
  )


def _search_part(queries, num_vectors, vectors, *, block, count, metric):
  """Finds the nearest rows of all parts; every device ends with the same."""
  per_device, channels = vectors.shape
  first = jax.lax.axis_index("part") * per_device

  def merge(best, step):
    """Returns the best of those before and of a block."""
    start, rows = step
    likeness = _likeness(queries, rows, metric)
    ids = first + start + jnp.arange(block)
    likeness = jnp.where(ids < num_vectors, likeness, -jnp.inf)
    top, place = jax.lax.top_k(likeness, min(count, block))
    return _best(*best, top, ids[place], count), None

  nothing = (
    jnp.full((len(queries), count), -jnp.inf),
    jnp.full((len(queries), count), -1),
  )
  starts = jnp.arange(0, per_device, block)
  steps = (starts, vectors.reshape(-1, block, channels))
  best, _ = jax.lax.scan(merge, nothing, steps)
  likeness, ids = (
    jax.lax.all_gather(part, "part", axis=1, tiled=True) for part in best
  )
  top, place = jax.lax.top_k(likeness, count)
  ids = jnp.take_along_axis(ids, place, axis=1)
  return jnp.where(jnp.isfinite(top), ids, -1)


def _likeness(queries, vectors, metric):
  """Returns a number that is larger for nearer vectors."""
  products = jnp.matmul(queries, vectors.T, precision="highest")
  if metric == "cosine":
    return products
  return products - jnp.sum(vectors * vectors, axis=1) / 2


def _best(likeness, ids, other_likeness, other_ids, count):
  likeness = jnp.concatenate([likeness, other_likeness], axis=1)
  ids = jnp.concatenate([ids, other_ids], axis=1)
  top, place = jax.lax.top_k(likeness, count)
  return top, jnp.take_along_axis(ids, place, axis=1)


def _next_power_of_2(number):
  return 2 ** (number - 1).bit_length()
