"""Which engine finds candidates: FAISS on CPUs, JAX on accelerators."""

import dataclasses
import importlib.util
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float, Int

from hue_jax.errors import check_one_of, refuse
from hue_jax.observe.neighbors.space import Space
from hue_jax.settings import integer

ENGINES = ("auto", "faiss", "jax")


@dataclasses.dataclass(frozen=True)
class Flat:
  """All vectors are compared: exact."""


@dataclasses.dataclass(frozen=True)
class InvertedLists:
  """Lists of vectors that lie together, some of which are searched: approximate.

  Attributes:
    num_lists: The number of lists; 4 √vectors if None, and never so many that a list
      has fewer than 39 vectors.
    lists_probed: The lists that are searched; 5 % of them, at least 16, if None.
  """

  num_lists: int | None = integer(None, at_least=1)
  lists_probed: int | None = integer(None, at_least=1)


@dataclasses.dataclass(frozen=True)
class Graph:
  """Links between near vectors, which are followed: approximate.

  Attributes:
    links: The links of a vector.
    ef_construction: The candidates that are held when the graph is built.
    ef_search: The candidates that are held when it is searched; at least as many as
      are asked for.
  """

  links: int = integer(32, at_least=2)  # of one link a vector none is made
  ef_construction: int = integer(40, at_least=1)
  ef_search: int = integer(128, at_least=1)


STRUCTURES = {"flat": Flat, "ivf": InvertedLists, "hnsw": Graph}


@runtime_checkable
class Engine(Protocol):
  """Finds candidates fast, in float32; `Index` makes them exact."""

  exact: bool

  def candidates(
    self, queries: Float[np.ndarray, "queries channels"], count: int
  ) -> Int[np.ndarray, "queries candidates"]:
    """Returns the rows nearest to each query, in any order; −1 for none."""


def create_engine(
  engine: str,
  space: Space,
  structure: Flat | InvertedLists | Graph,
) -> Engine:
  """Returns an engine of the vectors of a space.

  Args:
    engine: The engine, "faiss" or "jax", as `check_engine` returns it.
    space: The distinct vectors.
    structure: The structure of the FAISS engine.
  """
  # Imported when used: FAISS need not be installed.
  if engine == "faiss":
    from hue_jax.observe.neighbors.faiss_engine import FaissEngine

    return FaissEngine(space, structure)
  from hue_jax.observe.neighbors.jax_engine import JaxEngine

  return JaxEngine(space)


def check_engine(engine: str, structure: str = "flat") -> str:
  """Returns the engine that is used: "faiss" or "jax".

  Args:
    engine: One of `ENGINES`.
    structure: One of `STRUCTURES`.

  Raises:
    InputError: If the engine lacks the structure, is not installed, or cannot share a
      search with other processes.
  """
  check_one_of("engine", engine, ENGINES)
  check_one_of("structure", structure, STRUCTURES)
  has_faiss = importlib.util.find_spec("faiss") is not None
  num_processes = jax.process_count()
  if engine == "auto":
    for_faiss = structure != "flat" or (jax.default_backend() == "cpu" and has_faiss)
    engine = "faiss" if for_faiss and num_processes == 1 else "jax"
  if engine == "jax" and structure != "flat":
    refuse("structure", structure, "flat, which alone the engine jax has")
  if engine == "faiss" and num_processes > 1:
    refuse(
      "engine", engine, f"jax, which alone searches with {num_processes} processes"
    )
  if engine == "faiss" and not has_faiss:
    wanted = "jax, for FAISS is not installed (pip install 'hue_jax[observe]')"
    refuse("engine", engine, wanted)
  return engine
