"""Which engine finds candidates: FAISS on CPUs, JAX on accelerators."""

import importlib.util
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import jax
import numpy as np
from jaxtyping import Float, Int

from hue_jax.errors import InputError, check_integer, check_one_of, refuse
from hue_jax.observe.neighbors.space import Space

ENGINES = ("auto", "faiss", "jax")
STRUCTURES = ("flat", "ivf", "hnsw")
_OPTIONS = {
  "flat": (),
  "ivf": ("num_lists", "lists_probed"),
  "hnsw": ("links", "ef_construction", "ef_search"),
}


@runtime_checkable
class Engine(Protocol):
  """Finds candidates fast, in float32; `Index` makes them exact."""

  exact: bool

  def candidates(
    self, queries: Float[np.ndarray, "queries channels"], count: int
  ) -> Int[np.ndarray, "queries candidates"]:
    """Rows of the distinct vectors nearest to each query, in any order; −1 for none."""


def create_engine(
  engine: str,
  space: Space,
  structure: str,
  options: Mapping[str, int],
  devices: Sequence[jax.Device] | None,
) -> Engine:
  """Returns an engine of the vectors of a space.

  Args:
    engine: "faiss" or "jax", as `check_engine` returns it.
    space: The distinct vectors.
    structure: One of `STRUCTURES`.
    options: Those of the structure, as `check_options` returns them.
    devices: The devices of the JAX engine; all of them if None.
  """
  # Imported when used: FAISS need not be installed.
  if engine == "faiss":
    from hue_jax.observe.neighbors.faiss_engine import FaissEngine

    return FaissEngine(space, structure, options)
  from hue_jax.observe.neighbors.jax_engine import JaxEngine

  return JaxEngine(space, devices)


def check_engine(engine: str, structure: str = "flat") -> str:
  """Returns the engine that is used: "faiss" or "jax".

  Args:
    engine: One of `ENGINES`.
    structure: One of `STRUCTURES`.

  Raises:
    InputError: An engine that lacks the structure, or that is not installed.
  """
  check_one_of("engine", engine, ENGINES)
  check_one_of("structure", structure, STRUCTURES)
  has_faiss = importlib.util.find_spec("faiss") is not None
  if engine == "auto":
    on_cpu = jax.default_backend() == "cpu"
    engine = "faiss" if structure != "flat" or (on_cpu and has_faiss) else "jax"
  if engine == "jax" and structure != "flat":
    refuse("structure", structure, "flat, which alone the engine jax has")
  if engine == "faiss" and not has_faiss:
    wanted = "jax, for FAISS is not installed (pip install 'hue_jax[observe]')"
    refuse("engine", engine, wanted)
  return engine


def check_options(structure: str, options: Mapping[str, int] | None) -> dict[str, int]:
  """Returns the options of a structure.

  Args:
    structure: One of `STRUCTURES`.
    options: Name → value, as `create_index` has them.

  Raises:
    InputError: An option that the structure lacks, or a value that it cannot have.
  """
  options = dict(options or {})
  for name, value in options.items():
    if name not in _OPTIONS[structure]:
      accepted = ", ".join(_OPTIONS[structure]) or "no options"
      raise InputError(
        f"option {name!r} is not of structure {structure!r}, which takes {accepted}."
      )
    # A graph of one link a vector is none.
    check_integer(f"options[{name!r}]", value, at_least=2 if name == "links" else 1)
  return options
