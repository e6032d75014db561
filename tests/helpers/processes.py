"""Commands in processes of their own, forked from one that has main.py's imports.

Each is the command as a user gives it, but for the seconds of its imports.
"""

import atexit
import contextlib
import functools
import json
import multiprocessing
import os
import runpy
import socket
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from multiprocessing import forkserver
from pathlib import Path
from unittest import mock

ROOT = Path(__file__).resolve().parents[2]

# What is read when JAX is imported, and so is of all processes.
_ENVIRONMENT = {
  "JAX_PLATFORMS": "cpu",
  "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
  "PYTHONPATH": str(ROOT),
}
_IMPORTED = [
  "configs.benchmark",
  "hue_jax.train.distributed",
  "hue_jax.train.flags",
  "hue_jax.train.loop",
  "tests.helpers.processes",
]


class Run:
  """A process of main.py that was started."""

  def __init__(self, process, folder: Path):
    self._process, self._folder = process, folder

  @property
  def pid(self) -> int:
    """The process."""
    return self._process.pid

  def send(self, signum: int) -> None:
    """Sends a signal, if the process lives."""
    if self._process.is_alive():
      os.kill(self.pid, signum)

  def status(self, timeout: float | None = None) -> int | None:
    """Waits for the end; returns the status, −9 after SIGKILL, None if it lives."""
    self._process.join(timeout)
    return self._process.exitcode

  def errors(self) -> str:
    """Returns what it has said on standard error."""
    return (self._folder / "stderr").read_text(errors="replace")

  def result(self) -> dict:
    """Returns the result, which is the last line on standard output."""
    return self.outcomes()[-1]

  def outcomes(self) -> list[dict]:
    """Returns the JSON objects that it has printed, each a line."""
    lines = (self._folder / "stdout").read_text().splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


def run_main() -> None:
  """Runs main.py; what a process does if nothing else is said."""
  runpy.run_path("main.py", run_name="__main__")


def run_observe() -> None:
  """Runs `python -m hue_jax.observe`."""
  runpy.run_module("hue_jax.observe", run_name="__main__")


def start(
  folder: Path,
  flags: Sequence[str],
  *,
  environ: Mapping[str, str] | None = None,
  call: Callable[[], None] = run_main,
) -> Run:
  """Starts main.py, or another function in a process of its own.

  Args:
    folder: A folder for what it says; it is made.
    flags: The flags of main.py.
    environ: Environment variables beside those of this process.
    call: The function that is called in the process, of a module or an object of one.
  """
  folder.mkdir(parents=True, exist_ok=True)
  for name in ("stdout", "stderr"):
    (folder / name).write_text("")
  environ = {"XLA_FLAGS": xla_flags(1), **(environ or {})}
  arguments = (str(folder), list(flags), environ, call)
  process = _server().Process(target=_main, args=arguments)
  process.start()
  return Run(process, folder)


@contextlib.contextmanager
def joined(
  folder: Path,
  flags_of: Sequence[Sequence[str]],
  *,
  environ: Mapping[str, str] | None = None,
  calls: Sequence[Callable[[], None]] | None = None,
) -> Iterator[list[Run]]:
  """Starts the processes of one run, joined as the hosts of a pod are; ends them.

  Args:
    folder: A folder for what they say.
    flags_of: The flags of each process.
    environ: Environment variables beside those of this process.
    calls: The function that each process calls; `run_main` if None.
  """
  calls = calls or [run_main] * len(flags_of)
  address, runs = free_address(), []
  try:
    for number, (flags, call) in enumerate(zip(flags_of, calls, strict=True)):
      environ_of_one = {
        "JAX_COORDINATOR_ADDRESS": address,
        "JAX_NUM_PROCESSES": str(len(flags_of)),
        "JAX_PROCESS_ID": str(number),
        **(environ or {}),
      }
      said = folder / str(number)
      runs.append(start(said, flags, environ=environ_of_one, call=call))
    yield runs
  finally:
    for run in runs:
      run.send(9)
      run.status()


def free_address() -> str:
  """Returns an address of this machine at which nothing listens."""
  with socket.socket() as free:
    free.bind(("127.0.0.1", 0))
    return f"127.0.0.1:{free.getsockname()[1]}"


def xla_flags(devices: int) -> str:
  """Returns XLA's flags for so many devices, and for compilation that is quick."""
  return (
    f"--xla_force_host_platform_device_count={devices} "
    "--xla_backend_optimization_level=0"
  )


@functools.cache
def _server():
  """Starts the process that is forked, once; it ends with this one."""
  context = multiprocessing.get_context("forkserver")
  context.set_forkserver_preload(_IMPORTED)
  with mock.patch.dict(os.environ, _ENVIRONMENT):
    forkserver.ensure_running()
  return context


def _main(folder, flags, environ, call):
  os.chdir(ROOT)
  os.environ.update(environ)
  for number, name in ((1, "stdout"), (2, "stderr")):
    file = os.open(f"{folder}/{name}", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(file, number)
  sys.argv = ["main.py", *flags]
  status = 1
  try:
    call()
    status = 0
  except SystemExit as ended:
    status = ended.code
  except BaseException:
    traceback.print_exc()
  # Of a forked process they are not called.
  atexit._run_exitfuncs()
  sys.stderr.flush()
  os._exit(status or 0)
