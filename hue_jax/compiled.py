"""Compiled programs are kept from process to process: JAX's persistent cache, bounded.

JAX finds a program by its text, the compiler's options and the versions of JAX, XLA and
the device, so that versions do not disturb each other, and a program that is found is
the one that would be compiled.
"""

import contextlib
import hashlib
import os
import platform
from collections.abc import Mapping
from pathlib import Path

import jax

# Of one kind of machine; what was used longest ago goes first.
_MOST_BYTES = 2 * 2**30
# A program that compiles faster is not worth a file.
_LEAST_SECONDS = 0.1


def keep_compiled(environ: Mapping[str, str] = os.environ) -> Path | None:
  """Lets JAX read what earlier processes compiled, and write what this one compiles.

  Call it before anything is compiled. The folder is `compiled/KIND` in
  $HUE_JAX_CACHE_DIR, or $XDG_CACHE_HOME/hue_jax, or ~/.cache/hue_jax, where KIND tells
  CPUs of other instructions apart, for several may share a home. It holds at most
  2 GiB, may be deleted at any time, and is for this user alone: who can write to it can
  run code.

  Nothing is changed where the user has said what JAX is to do (by
  JAX_COMPILATION_CACHE_DIR, or JAX_ENABLE_COMPILATION_CACHE=false), where the folder
  cannot be written, or where the package `filelock`, by which processes take turns, is
  missing.

  Args:
    environ: The environment variables.

  Returns:
    The folder; None where nothing was changed.
  """
  if (
    jax.config.jax_compilation_cache_dir or not jax.config.jax_enable_compilation_cache
  ):
    return None
  try:
    import filelock
  except ImportError:
    return None
  home = Path(environ.get("XDG_CACHE_HOME") or "~/.cache") / "hue_jax"
  folder = Path(environ.get("HUE_JAX_CACHE_DIR") or home).expanduser()
  folder = folder / "compiled" / _kind_of_cpu()
  try:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with filelock.FileLock(folder / _LOCK, timeout=_LOCK_SECONDS):
      _remove_torn(folder)
  except (OSError, filelock.Timeout):
    return None
  for name, value in (
    ("jax_compilation_cache_dir", str(folder)),
    ("jax_compilation_cache_max_size", _MOST_BYTES),
    ("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS),
    ("jax_persistent_cache_min_entry_size_bytes", -1),
  ):
    jax.config.update(name, value)
  return folder


# JAX's own names: the lock of a bounded cache, an entry, and the time of its last use.
_LOCK, _ENTRY, _USED = ".lockfile", "-cache", "-atime"
_LOCK_SECONDS = 10


def program_memory(compiled: jax.stages.Compiled) -> int | None:
  """Returns a program's bytes on a device: arguments, results and temporaries.

  Args:
    compiled: The compiled program.

  Returns:
    The bytes, as XLA counts them; results that are written where an argument was count
    once. None where the backend does not tell.
  """
  try:
    memory = compiled.memory_analysis()
    return (
      memory.argument_size_in_bytes
      + memory.output_size_in_bytes
      + memory.temp_size_in_bytes
      - memory.alias_size_in_bytes
    )
  except (AttributeError, NotImplementedError, RuntimeError):
    return None


def _remove_torn(folder):
  """Removes entries that a killed process left half-written.

  JAX writes an entry and then its time of use, under the lock that is held here.
  Without that time it would fail to read the entry at each start, and could no longer
  tell which entries to remove.
  """
  for entry in folder.glob(f"*{_ENTRY}"):
    used = entry.with_name(entry.name.removesuffix(_ENTRY) + _USED)
    if not used.exists() or not used.stat().st_size:
      entry.unlink()


def _kind_of_cpu():
  """Returns a name that differs where compiled code may not run."""
  told = platform.processor()
  with contextlib.suppress(OSError, StopIteration):
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    told = next(line for line in lines if line.startswith(("flags", "Features")))
  return f"{platform.machine()}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
