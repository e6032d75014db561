"""What a process was given to run: configuration, code and data."""

import functools
import hashlib
import importlib.metadata
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from flax.traverse_util import flatten_dict

import hue_jax

# Whose versions decide what is compiled, and how what is saved looks.
_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "orbax-checkpoint")

# A path of the host: what lies there is known by the identity of the data.
_OF_THE_HOST = ("data_dir",)


def facts(
  settings: Mapping[str, Any], data: Mapping[str, str]
) -> dict[str, str | None]:
  """Returns what must be the same in every process of a run.

  Args:
    settings: The settings of the run, groups of them as mappings.
    data: Data set → what identifies its content.

  Returns:
    Name → value: each setting, the code with its packages, and each data set; None for
    what is not known.
  """
  settings = flatten_dict(settings, sep=".")
  return {
    **{f"data set {name!r}": identity for name, identity in data.items()},
    **_code(),
    **{
      name: repr(value) for name, value in settings.items() if name not in _OF_THE_HOST
    },
  }


@functools.cache
def _code():
  package = Path(hue_jax.__file__).parent
  digest = hashlib.sha256()
  for path in sorted(package.rglob("*.py")):
    digest.update(f"{path.relative_to(package)}\n".encode() + path.read_bytes())
  return {
    "the version of hue_jax": hue_jax.__version__,
    "its commit": _commit(package.parent / ".git"),
    "the digest of its files": digest.hexdigest()[:16],
    **{f"the version of {name}": _version(name) for name in _PACKAGES},
  }


def _version(package):
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return None


def _commit(git: Path) -> str | None:
  """Returns the commit of a checkout; None where there is none, or it is a linked one.

  It is read from Git's files, for Git need not be installed on every host.
  """
  try:
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref: "):
      return head
    name = head.removeprefix("ref: ")
    if (git / name).exists():
      return (git / name).read_text().strip()
    packed = (git / "packed-refs").read_text().splitlines()
    return next(line.split()[0] for line in packed if line.endswith(f" {name}"))
  except (OSError, StopIteration):
    return None
