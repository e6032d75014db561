"""What is compiled is kept from process to process, and what that must not disturb."""

import os
import subprocess
import sys

import jax
import pytest

from hue_jax.compiled import keep_compiled

_OPTIONS = (
  "jax_compilation_cache_dir",
  "jax_compilation_cache_max_size",
  "jax_enable_compilation_cache",
  "jax_persistent_cache_min_compile_time_secs",
  "jax_persistent_cache_min_entry_size_bytes",
)

_PROGRAM = """
import jax, jax.numpy as jnp
from jax import monitoring
from hue_jax.compiled import keep_compiled

folder = keep_compiled()
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0)
hits = []
monitoring.register_event_listener(
  lambda name, **_: hits.append(name) if name.endswith("/cache_hits") else None
)
x = jax.jit(lambda x: jnp.sin(jnp.cumsum(x) @ jnp.outer(x, x)))(jnp.arange(9.0))
print(folder, len(hits), x.tobytes().hex())
"""


@pytest.fixture
def unset():
  """JAX as it is where nobody said what to keep; afterwards as the tests have it."""
  before = {name: getattr(jax.config, name) for name in _OPTIONS}
  jax.config.update("jax_compilation_cache_dir", None)
  yield
  for name, value in before.items():
    jax.config.update(name, value)


def _run(home):
  ours = ("JAX_COMPILATION", "JAX_PERSISTENT", "HUE_JAX_CACHE_DIR")
  environment = {k: v for k, v in os.environ.items() if not k.startswith(ours)}
  done = subprocess.run(
    [sys.executable, "-c", _PROGRAM],
    env=environment | {"XDG_CACHE_HOME": str(home)},
    capture_output=True,
    text=True,
    check=True,
  )
  folder, hits, result = done.stdout.split()
  return folder, int(hits), result, done.stderr


def test_a_second_process_compiles_nothing_and_gets_the_same_bits(tmp_path):
  folder, hits, result, _ = _run(tmp_path)
  assert folder.startswith(str(tmp_path / "hue_jax" / "compiled"))
  assert hits == 0
  entries = sorted(os.listdir(folder))
  # As a process leaves it that is killed while it writes.
  torn = next(name for name in entries if name.endswith("-cache"))
  os.truncate(os.path.join(folder, torn), 20)
  os.remove(os.path.join(folder, torn.removesuffix("-cache") + "-atime"))
  whole = sum(name.endswith("-cache") for name in entries) - 1
  again, hits, same, told = _run(tmp_path)
  assert (again, hits, same) == (folder, whole, result)
  assert "rror" not in told
  assert sorted(os.listdir(folder)) == entries


@pytest.mark.usefixtures("unset")
def test_it_is_bounded_and_private_and_where_it_is_said(tmp_path):
  folder = keep_compiled({"XDG_CACHE_HOME": str(tmp_path)})
  assert jax.config.jax_compilation_cache_dir == str(folder)
  assert jax.config.jax_compilation_cache_max_size == 2 * 2**30
  assert folder.stat().st_mode & 0o077 == 0
  jax.config.update("jax_compilation_cache_dir", None)
  own = keep_compiled({"HUE_JAX_CACHE_DIR": str(tmp_path / "own")})
  assert own == tmp_path / "own" / "compiled" / folder.name


@pytest.mark.usefixtures("unset")
def test_what_the_user_has_said_holds(tmp_path):
  own, other = str(tmp_path / "own"), {"XDG_CACHE_HOME": str(tmp_path / "other")}
  jax.config.update("jax_compilation_cache_dir", own)
  assert keep_compiled(other) is None
  assert jax.config.jax_compilation_cache_dir == own
  jax.config.update("jax_compilation_cache_dir", None)
  jax.config.update("jax_enable_compilation_cache", False)
  assert keep_compiled(other) is None
  assert jax.config.jax_compilation_cache_dir is None
  assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("unset")
def test_a_folder_that_cannot_be_written_stops_nothing(tmp_path):
  (tmp_path / "hue_jax").write_text("a file where the folder would be")
  assert keep_compiled({"XDG_CACHE_HOME": str(tmp_path)}) is None
  assert jax.config.jax_compilation_cache_dir is None
