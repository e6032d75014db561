"""Imports run one way: a file uses the rooms below its own, never those above."""

import ast
from pathlib import Path

import pytest

_PACKAGE = Path(__file__).resolve().parents[1] / "hue_jax"

# From the top down. Rooms of one floor do not import one another. Commands, the
# `__main__` files, stand above all, as main.py does.
_FLOORS = (
  ("compare", "export", "predict", "runs"),
  ("observe",),
  ("train",),
  ("objective",),
  ("pages", "color", "data"),
  ("models", "losses", "circular"),
  ("hue", "picture_files"),
  (
    *("preprocessing", "numerics", "philox", "balance"),
    *("pictures", "picture_arguments"),
  ),
  ("settings", "command", "compiled", "progress", "trees", "files", "cores"),
  ("errors",),
)
_FLOOR = {room: floor for floor, rooms in enumerate(_FLOORS) for room in rooms}

# Package → the rooms that may import it; `__main__` files, and the configurations that
# they take where none is given, may import the second.
_HEAVY = {
  "tensorflow": {"data"},
  "tensorflow_datasets": {"data"},
  "ml_collections": {"train", "__main__"},
  "clu": {"train", "__main__"},
}


def _files():
  return sorted(_PACKAGE.rglob("*.py"))


def _room(path):
  """The room of a file; `__main__` for a command, `__init__` for the package."""
  if path.name in ("__main__.py", "defaults.py"):
    return "__main__"
  return path.relative_to(_PACKAGE).parts[0].removesuffix(".py")


def _imported(path):
  """Dotted names of all that a file imports, inside functions, too."""
  for node in ast.walk(ast.parse(path.read_text())):
    if isinstance(node, ast.Import):
      yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
      yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _rooms_used(path):
  found = {
    name.split(".")[1] for name in _imported(path) if name.startswith("hue_jax.")
  }
  return found & {_room(other) for other in _files()}


def test_every_room_has_a_floor():
  rooms = {_room(path) for path in _files()} - {"__main__", "__init__"}
  assert rooms == set(_FLOOR)


@pytest.mark.parametrize("path", _files(), ids=lambda p: str(p.relative_to(_PACKAGE)))
def test_no_import_runs_up(path):
  room = _room(path)
  if room in ("__main__", "__init__"):
    return
  for used in _rooms_used(path) - {room}:
    assert _FLOOR[used] > _FLOOR[room], f"{room} imports {used}"


@pytest.mark.parametrize("package", _HEAVY)
def test_what_is_heavy_is_imported_where_it_may_be(package):
  users = {
    _room(path)
    for path in _files()
    if any(name.split(".")[0] == package for name in _imported(path))
  }
  assert users <= _HEAVY[package]
