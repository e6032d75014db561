"""The interface, and the search: fast candidates, exact distances, ties in order."""

import importlib.util
from collections.abc import Sequence
from typing import NamedTuple, Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float, Int

from hue_jax.errors import InputError, check_integer, check_one_of
from hue_jax.observe.neighbors.equal_rows import EqualRows
from hue_jax.observe.neighbors.space import METRICS, Space, check_finite

ENGINES = ("auto", "faiss", "jax")
STRUCTURES = ("flat", "ivf", "hnsw")

# Candidates beyond k that are fetched, so that rounding cannot hide one of the k.
_MARGIN = 4
# Vectors of a query's own group are often its nearest: room for some of them.
_ROOM_FOR_OWN = 32
# A query that needs more candidates is compared with all vectors in float64.
_MOST_CANDIDATES = 1024
_QUERIES_AT_ONCE = 2**14


class Neighbors(NamedTuple):
  """The neighbors of each query, the nearest first.

  Attributes:
    ids: rows of the index.
    distances: 1 − cos for "cosine", ‖a − b‖ for "euclidean".
  """

  ids: Int[np.ndarray, "queries k"]
  distances: Float[np.ndarray, "queries k"]


@runtime_checkable
class Engine(Protocol):
  """Finds candidates fast, in float32; `Index` makes them exact."""

  exact: bool

  def candidates(
    self, queries: Float[np.ndarray, "queries channels"], count: int
  ) -> Int[np.ndarray, "queries candidates"]:
    """Rows of the distinct vectors nearest to each query, in any order; −1 for none."""


class Index:
  """Vectors to search; `create_index` makes it.

  The engine finds candidates among the distinct vectors; their distances are computed
  anew in float64, and each stands for all rows that are equal to it.
  """

  def __init__(self, space: Space, rows: EqualRows, groups, engine: Engine):
    self._space = space
    self._rows = rows
    self._groups = groups
    self._engine = engine
    self._group_sizes = None if groups is None else np.bincount(groups)

  def __len__(self) -> int:
    return self._rows.num_rows

  def search(
    self,
    queries: Float[np.ndarray, "queries channels"],
    k: int,
    query_groups: Int[np.ndarray, "groups"] | None = None,
  ) -> Neighbors:
    """The k nearest vectors of each query.

    Args:
      queries: finite vectors.
      k: how many.
      query_groups: of each query; vectors of its own group are no neighbors of it.

    Returns:
      Rows and distances; of distances that are equal in float32 the lower row comes
      first. Approximate structures may miss some.

    Raises:
      InputError: k larger than the number of vectors of other groups, or queries
        that are not finite or of another length.
    """
    queries = np.ascontiguousarray(queries, np.float32)
    channels = self._space.vectors.shape[1]
    if queries.ndim != 2 or queries.shape[1] != channels:
      raise InputError(
        f"queries have shape {queries.shape}; [queries, {channels}] is needed."
      )
    check_finite("queries", queries)
    query_groups = self._checked_groups(query_groups, len(queries))
    self._check_k(k, query_groups)
    members = self._rows.members(k, None if query_groups is None else self._groups)
    found = Neighbors(
      np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    )
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
      here = slice(start, start + _QUERIES_AT_ONCE)
      own = None if query_groups is None else query_groups[here]
      found.ids[here], found.distances[here] = self._search(
        queries[here], k, own, members
      )
    return found

  def _search(self, queries, k, own, members) -> Neighbors:
    """Asks for more candidates until the k nearest of every query are certain."""
    found = Neighbors(
      np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    )
    most_own = 0 if own is None else int(self._group_sizes.max())
    count = k + _MARGIN + min(most_own, _ROOM_FOR_OWN)
    left = np.arange(len(queries))
    while left.size:
      asked, groups = queries[left], None if own is None else own[left]
      by_engine = count <= _MOST_CANDIDATES
      if not by_engine:
        count = k + _MARGIN + most_own
      count = min(count, len(self._space))
      nearest = self._engine.candidates if by_engine else self._space.nearest
      candidates = nearest(asked, count)
      distances = self._space.distances(asked, candidates)
      near = self._expand(candidates, distances, groups, k, members)
      settled = np.ones(len(left), bool)
      if by_engine and count < len(self._space):
        settled = self._is_settled(asked, near.distances[:, -1], candidates, distances)
      found.ids[left[settled]] = near.ids[settled]
      found.distances[left[settled]] = near.distances[settled]
      left = left[~settled]
      count *= 4
    return found

  def _expand(self, candidates, distances, groups, k, members) -> Neighbors:
    """The first k rows that equal the candidates, less those of one's own group."""
    rows = members[candidates]
    if rows.shape[2] > 1:
      # The k nearest rows are equal to the k candidates whose own first is nearest.
      out = self._is_out(rows, candidates, groups)
      first = np.where(out, len(self), rows).min(axis=2)
      distances = np.where(out.all(axis=2), np.inf, distances)
      order = np.lexsort((first, distances), axis=-1)[:, :k]
      candidates, distances = (
        np.take_along_axis(values, order, axis=1) for values in (candidates, distances)
      )
      rows = members[candidates]
    out = self._is_out(rows, candidates, groups)
    distances = np.where(out, np.inf, distances[:, :, None])
    rows, distances = rows.reshape(len(rows), -1), distances.reshape(len(rows), -1)
    order = np.lexsort((rows, distances), axis=-1)[:, :k]
    return Neighbors(
      np.take_along_axis(rows, order, axis=1),
      np.take_along_axis(distances, order, axis=1),
    )

  def _is_out(self, rows, candidates, groups):
    out = (rows < 0) | (candidates < 0)[:, :, None]
    if groups is not None:
      out |= self._groups[rows] == groups[:, None, None]
    return out

  def _is_settled(self, queries, kth, candidates, distances):
    """Whether none that was not fetched can be among the k nearest.

    What was not fetched is, but for rounding, at least as far as all that was.
    """
    if not self._engine.exact:
      return np.isfinite(kth)
    farthest = np.where(candidates < 0, np.inf, distances).max(axis=1)
    return self._space.is_nearer(kth, farthest, queries)

  def _checked_groups(self, query_groups, num_queries):
    if query_groups is None:
      return None
    if self._groups is None:
      raise InputError("query_groups are given, but the index was made without groups.")
    query_groups = np.asarray(query_groups)
    if query_groups.shape != (num_queries,):
      raise InputError(
        f"query_groups have shape {query_groups.shape}; ({num_queries},) is needed."
      )
    return query_groups

  def _check_k(self, k, query_groups):
    check_integer("k", k, at_least=1)
    own = 0
    if query_groups is not None:
      known = query_groups[
        (query_groups >= 0) & (query_groups < len(self._group_sizes))
      ]
      own = int(self._group_sizes[known].max(initial=0))
    if k > len(self) - own:
      besides = f", {own} of them of a query's own group" if own else ""
      raise InputError(
        f"k is {k}; the index has {len(self)} vectors{besides}, so that k can be at "
        f"most {len(self) - own}."
      )


def create_index(
  vectors: Float[np.ndarray, "vectors channels"],
  *,
  groups: Int[np.ndarray, "groups"] | None = None,
  metric: str = "cosine",
  engine: str = "auto",
  structure: str = "flat",
  devices: Sequence[jax.Device] | None = None,
) -> Index:
  """An index of vectors.

  Under "cosine", a zero vector has the distance 1 from every vector.

  Args:
    vectors: finite float16 or float32, in memory or memory-mapped.
    groups: of each vector, an integer of at least 0, such as its image.
    metric: "cosine" (1 − cos) or "euclidean".
    engine: "faiss", "jax", or "auto": FAISS if JAX computes on a CPU and FAISS is
      installed.
    structure: "flat" is exact; "ivf" and "hnsw" (FAISS alone) are approximate and
      faster: `recall` measures how much they miss.
    devices: of the JAX engine, over which the vectors are spread; all of them, of all
      processes, if None. With several processes each makes the same calls.

  Returns:
    The index.

  Raises:
    InputError: an argument that is not accepted, vectors that are not finite, or
      FAISS that is not installed.
  """
  check_one_of("metric", metric, METRICS)
  check_one_of("engine", engine, ENGINES)
  check_one_of("structure", structure, STRUCTURES)
  if vectors.ndim != 2 or not vectors.size:
    raise InputError(
      f"vectors have shape {vectors.shape}; [vectors, channels] with at least one of "
      "each is needed."
    )
  if groups is not None:
    groups = _checked_group_ids(groups, len(vectors))
  engine = _chosen_engine(engine, structure)
  rows = EqualRows(vectors)
  space = Space(rows.distinct(vectors), metric)
  return Index(space, rows, groups, _make_engine(engine, space, structure, devices))


def recall(found: Neighbors, exact: Neighbors) -> float:
  """Share of the exact neighbors that were found.

  Args:
    found: of an approximate index.
    exact: of a flat one, for the same queries and k.

  Returns:
    From 0 to 1.
  """
  same = found.ids[:, :, None] == exact.ids[:, None, :]
  return float(same.any(axis=1).mean())


def _chosen_engine(engine: str, structure: str) -> str:
  has_faiss = importlib.util.find_spec("faiss") is not None
  if engine == "auto":
    on_cpu = jax.default_backend() == "cpu"
    engine = "faiss" if structure != "flat" or (on_cpu and has_faiss) else "jax"
  if engine == "jax" and structure != "flat":
    raise InputError(f"structure is {structure!r}; the JAX engine has 'flat' alone.")
  if engine == "faiss" and not has_faiss:
    raise InputError("engine 'faiss' needs FAISS: pip install 'hue_jax[observe]'.")
  return engine


def _make_engine(engine: str, space: Space, structure: str, devices) -> Engine:
  # Imported when used: FAISS need not be installed.
  if engine == "faiss":
    from hue_jax.observe.neighbors.faiss_engine import FaissEngine

    return FaissEngine(space, structure)
  from hue_jax.observe.neighbors.jax_engine import JaxEngine

  return JaxEngine(space, devices)


def _checked_group_ids(groups, num_vectors):
  groups = np.asarray(groups)
  if groups.shape != (num_vectors,) or groups.dtype.kind not in "iu":
    raise InputError(
      f"groups are {groups.dtype} of shape {groups.shape}; integers of shape "
      f"({num_vectors},) are needed."
    )
  if groups.min() < 0:
    raise InputError(f"groups hold {groups.min()}; they must be at least 0.")
  return groups
