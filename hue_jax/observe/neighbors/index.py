"""The interface, and the search: fast candidates, exact distances, ties in order."""

import functools
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from jaxtyping import Array, Float, Int

from hue_jax.errors import InputError, check_integer, check_one_of
from hue_jax.observe.neighbors.engines import (
  STRUCTURES,
  Engine,
  check_engine,
  create_engine,
)
from hue_jax.observe.neighbors.equal_rows import EqualRows
from hue_jax.observe.neighbors.groups import Groups
from hue_jax.observe.neighbors.space import METRICS, Space, check_finite
from hue_jax.settings import create

# Candidates beyond k that are fetched, so that rounding cannot hide one of the k.
_MARGIN = 4
# Vectors of a query's own group are often its nearest: room for some of them.
_ROOM_FOR_OWN = 32
# A query that needs more candidates is compared with all vectors in float64.
_MOST_CANDIDATES = 1024
_QUERIES_AT_ONCE = 2**14
_MOST_AT_ONCE = 2**14


class Neighbors(NamedTuple):
  """The neighbors of each query, the nearest first.

  Attributes:
    ids: The rows of the index.
    distances: The distances, 1 − cos for "cosine", ‖a − b‖ for "euclidean".
  """

  ids: Int[np.ndarray, "queries k"]
  distances: Float[np.ndarray, "queries k"]


def create_index(
  vectors: Float[np.ndarray, "vectors channels"] | Float[Array, "vectors channels"],
  *,
  groups: Int[np.ndarray, " groups"] | None = None,
  metric: str = "cosine",
  engine: str = "auto",
  structure: str = "flat",
  options: Mapping[str, int] | None = None,
) -> "Index":
  """Makes an index of vectors.

  Under "cosine", a zero vector has the distance 1 from every vector, zero ones too.
  With several processes, each makes the same calls with the same vectors, of which it
  reads those of its devices, and gets the same result.

  Args:
    vectors: The vectors: finite float16 or float32, in memory or memory-mapped. The
      index reads them when it is searched, so that they must not change.
    groups: An integer of at least 0 for each vector, such as its image.
    metric: The metric, "cosine" (1 − cos) or "euclidean" (‖a − b‖, not squared).
    engine: The engine, "faiss", "jax", or "auto": FAISS if JAX computes on a CPU of
      one process and FAISS is installed. FAISS is for one process alone.
    structure: The structure: "flat" is exact; "ivf" and "hnsw" (FAISS alone) are
      approximate and faster: `recall` measures how much they miss.
    options: The settings of the structure: those of `engines.InvertedLists` for "ivf",
      of `engines.Graph` for "hnsw".

  Returns:
    The index.

  Raises:
    InputError: If an argument is not accepted, vectors are not finite, or FAISS is not
      installed or asked for by several processes.
  """
  check_one_of("metric", metric, METRICS)
  engine = check_engine(engine, structure)
  kept_as = create(STRUCTURES[structure], options or {}, "options")
  vectors = np.asarray(vectors)  # a view, of a file that is mapped
  if vectors.ndim != 2 or not vectors.size:
    raise InputError(
      f"vectors have shape {vectors.shape}; [vectors, channels] with at least one of "
      "each is needed."
    )
  groups = None if groups is None else Groups(groups, len(vectors))
  rows = EqualRows(vectors)
  space = Space(vectors, None if rows.all_distinct else rows.first, metric)
  return Index(space, rows, groups, create_engine(engine, space, kept_as))


class Index:
  """Vectors to search; `create_index` makes it.

  The engine finds candidates among the distinct vectors; their distances are computed
  anew in float64, and each stands for all rows that are equal to it.
  """

  def __init__(
    self, space: Space, rows: EqualRows, groups: Groups | None, engine: Engine
  ):
    self._space = space
    self._rows = rows
    self._groups = groups
    self._engine = engine
    self._members = {}

  def __len__(self) -> int:
    return self._rows.num_rows

  @property
  def exact(self) -> bool:
    """Whether `search` misses no neighbor."""
    return self._engine.exact

  def search(
    self,
    queries: Float[np.ndarray, "queries channels"],
    k: int,
    query_groups: Int[np.ndarray, " groups"] | None = None,
    *,
    exact: bool = False,
  ) -> Neighbors:
    """Finds the k nearest vectors of each query.

    Args:
      queries: The vectors to search for, finite.
      k: The number of neighbors.
      query_groups: The group of each query; vectors of its own group are no neighbors.
      exact: Whether every query is compared with all vectors where the structure is
        approximate: slow.

    Returns:
      The rows and distances; of distances that are equal in float32 the lower row comes
      first. Approximate structures may miss some, unless `exact`.

    Raises:
      InputError: If k is larger than the number of vectors of other groups, or queries
        are not finite or of another length.
    """
    queries = self._checked_queries(queries)
    own = self._checked_groups(query_groups, len(queries))
    self._check_k(k, own)
    found = _empty_neighbors(len(queries), k)
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
      here = slice(start, start + _QUERIES_AT_ONCE)
      found.ids[here], found.distances[here] = self._search(
        queries[here], k, _at(own, here), by_engine=self.exact or not exact
      )
    return found

  def _search(self, queries, k, own, *, by_engine) -> Neighbors:
    """Asks for more candidates until the k nearest of every query are certain."""
    found = _empty_neighbors(len(queries), k)

    def keep(places, near):
      found.ids[places], found.distances[places] = near

    left = np.arange(len(queries))
    if self._space.metric == "cosine":
      is_zero = ~queries.any(axis=1)
      keep(is_zero, self._nearest_zero(np.count_nonzero(is_zero), k, _at(own, is_zero)))
      left = left[~is_zero]
    count = k + _MARGIN
    if own is not None:
      count += min(int(self._groups.sizes.max()), _ROOM_FOR_OWN)
    most = max(count, _MOST_CANDIDATES)
    while by_engine and left.size and count <= most:
      near, settled = self._by_engine(queries[left], k, _at(own, left), count)
      keep(left[settled], (near.ids[settled], near.distances[settled]))
      left = left[~settled]
      count *= 4
    if left.size:
      keep(left, self._by_comparison(queries[left], k, _at(own, left)))
    return found

  def _by_engine(self, queries, k, own, count):
    """Returns the k nearest candidates, and for which queries these are certain."""
    count = min(count, len(self._space))
    candidates = self._engine.candidates(queries, count)
    distances = self._space.distances(queries, candidates)
    near = self._expand(candidates, distances, own, k)
    kth = near.distances[:, -1]
    if not self._engine.exact:
      return near, np.isfinite(kth)
    if count == len(self._space) and candidates.min() >= 0:
      return near, np.ones(len(queries), bool)
    # What was not fetched is, but for rounding, at least as far as all that was; where
    # numbers overflowed, candidates are missing.
    settled = self._space.is_nearer(kth, distances.max(axis=1), queries)
    return near, settled & (candidates.min(axis=1) >= 0)

  def _by_comparison(self, queries, k, own) -> Neighbors:
    """Finds the k nearest of all vectors, where many tie but for rounding."""
    found = _empty_neighbors(len(queries), k)
    left_out = functools.lru_cache(maxsize=1)(
      lambda group: self._rows.only_in(self._groups.rows_of(group))
    )
    within_reach = self._space.within_reach(
      queries, k, lambda i: [] if own is None else left_out(int(own[i]))
    )
    for i, candidates in enumerate(within_reach):
      here, candidates = slice(i, i + 1), candidates[None]
      parts = [
        self._space.distances(queries[here], candidates[:, at : at + _MOST_AT_ONCE])
        for at in range(0, candidates.size, _MOST_AT_ONCE)
      ]
      found.ids[here], found.distances[here] = self._expand(
        candidates, np.concatenate(parts, axis=1), _at(own, here), k
      )
    return found

  def _nearest_zero(self, num_queries, k, own) -> Neighbors:
    """Returns the lowest rows for zero vectors, whose distance from all is 1."""
    found = _empty_neighbors(num_queries, k)
    if num_queries:
      lowest = self._rows.lowest(k, None if own is None else self._groups.of_row)
      out = np.zeros((num_queries, len(lowest)), bool)
      if own is not None:
        out = self._groups.of_row[lowest] == own[:, None]
      found.ids[:] = lowest[np.argsort(out, axis=1, kind="stable")[:, :k]]
      found.distances[:] = 1
    return found

  def _expand(self, candidates, distances, own, k) -> Neighbors:
    """Returns the first k rows equal to the candidates, less those of the own group."""
    members = self._members_for(k, own is None)
    rows = members.of(candidates)
    if rows.shape[2] > 1:
      # The k nearest rows are equal to the k candidates whose own first is nearest.
      out = self._is_out(rows, candidates, own)
      first = np.where(out, len(self), rows).min(axis=2)
      distances = np.where(out.all(axis=2), np.inf, distances)
      order = np.lexsort((first, distances), axis=-1)[:, :k]
      candidates, distances = (
        np.take_along_axis(values, order, axis=1) for values in (candidates, distances)
      )
      rows = members.of(candidates)
    out = self._is_out(rows, candidates, own)
    distances = np.where(out, np.inf, distances[:, :, None])
    rows, distances = rows.reshape(len(rows), -1), distances.reshape(len(rows), -1)
    order = np.lexsort((rows, distances), axis=-1)[:, :k]
    return Neighbors(
      np.take_along_axis(rows, order, axis=1),
      np.take_along_axis(distances, order, axis=1),
    )

  def _members_for(self, k, any_group):
    """Returns the members, kept for the next search, which is often for the same k."""
    if (k, any_group) not in self._members:
      groups = None if any_group else self._groups.of_row
      self._members = {(k, any_group): self._rows.members(k, groups)}
    return self._members[k, any_group]

  def _is_out(self, rows, candidates, own):
    out = (rows < 0) | (candidates < 0)[:, :, None]
    if own is not None:
      out |= self._groups.of_row[rows] == own[:, None, None]
    return out

  def _checked_queries(self, queries):
    with np.errstate(over="ignore"):  # becomes infinite, which is refused
      queries = np.ascontiguousarray(queries, np.float32)
    channels = self._space.channels
    if queries.ndim != 2 or queries.shape[1] != channels:
      raise InputError(
        f"queries have shape {queries.shape}; [queries, {channels}] is needed."
      )
    check_finite("queries", queries)
    return queries

  def _checked_groups(self, query_groups, num_queries):
    if query_groups is None:
      return None
    if self._groups is None:
      raise InputError("query_groups are given, but the index was made without groups.")
    return self._groups.numbered(query_groups, num_queries)

  def _check_k(self, k, own):
    check_integer("k", k, at_least=1)
    most_own = 0
    if own is not None:
      most_own = int(self._groups.sizes[own[own >= 0]].max(initial=0))
    if k > len(self) - most_own:
      besides = f", {most_own} of them of a query's own group" if most_own else ""
      raise InputError(
        f"k is {k}; the index has {len(self)} vectors{besides}, so that k can be at "
        f"most {len(self) - most_own}."
      )


def recall(found: Neighbors, exact: Neighbors) -> float:
  """Computes the share of the exact neighbors that were found.

  Args:
    found: The neighbors of an approximate index.
    exact: The neighbors of a flat index, for the same queries and k.

  Returns:
    The share, from 0 to 1.

  Raises:
    InputError: If they are of different queries or k.
  """
  if found.ids.shape != exact.ids.shape or not exact.ids.size:
    raise InputError(
      f"neighbors have shapes {found.ids.shape} and {exact.ids.shape}; the same "
      "[queries, k] with at least one of each is needed."
    )
  same = found.ids[:, :, None] == exact.ids[:, None, :]
  return float(same.any(axis=1).mean())


def _empty_neighbors(num_queries, k) -> Neighbors:
  return Neighbors(
    np.empty((num_queries, k), np.int64), np.empty((num_queries, k), np.float32)
  )


def _at(own, places):
  return None if own is None else own[places]
