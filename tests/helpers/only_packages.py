"""Runs a script as on a machine that has some packages and no others.

`python -m tests.helpers.only_packages jax,numpy FILE …` runs FILE with its arguments.
The packages, what they depend on and this project can be imported, and nothing else
that is installed.
"""

import os
import runpy
import subprocess
import sys
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_ROOT = Path(__file__).resolve().parents[2]
_PROJECT = "hue-jax"


def run(packages: Iterable[str], *command: str) -> subprocess.CompletedProcess:
  """Runs a script in a process of its own, and returns what it printed."""
  program = [sys.executable, "-m", "tests.helpers.only_packages", ",".join(packages)]
  return subprocess.run(
    [*program, *command],
    cwd=_ROOT,
    env=os.environ | {"PYTHONPATH": str(_ROOT)},
    capture_output=True,
    text=True,
    check=False,
  )


def with_what_they_need(packages: Iterable[str]) -> set[str]:
  """Returns packages and, as far as these are installed, what they depend on."""
  found, left = set(), list(packages)
  while left:
    name = canonicalize_name(left.pop())
    if name in found:
      continue
    found.add(name)
    try:
      needed = map(Requirement, metadata.requires(name) or ())
    except metadata.PackageNotFoundError:
      continue
    left += [r.name for r in needed if not r.marker or r.marker.evaluate({"extra": ""})]
  return found


class _Without:
  """A finder that does not find some modules."""

  def __init__(self, finder, refused):
    self._finder, self._refused = finder, refused

  def find_spec(self, name, path=None, target=None):
    if name.partition(".")[0] in self._refused:
      return None
    return self._finder.find_spec(name, path, target)

  def __getattr__(self, name):
    return getattr(self._finder, name)


def _modules_beside(packages):
  """Returns the modules that are installed and of no package that is allowed."""
  allowed = with_what_they_need(packages) | {_PROJECT}
  return {
    module
    for module, owners in metadata.packages_distributions().items()
    if not allowed & set(map(canonicalize_name, owners))
  }


def main() -> None:
  packages, script, *arguments = sys.argv[1:]
  refused = _modules_beside(packages.split(","))
  for name in list(sys.modules):  # Those of this file.
    if name.partition(".")[0] in refused:
      del sys.modules[name]
  sys.meta_path[:] = [_Without(finder, refused) for finder in sys.meta_path]
  sys.argv = [script, *arguments]
  runpy.run_path(script, run_name="__main__")


if __name__ == "__main__":
  main()
