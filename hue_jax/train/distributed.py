"""Joins the processes of a run, where the environment says that there are several, and
ends each of them with a line when one has failed.

JAX's coordination service notices a process that died, or a host that is gone, by its
heartbeat, and aborts the others. Where a process fails by itself it says so in the
service's store, so that the others need not wait for that.
"""

import atexit
import contextlib
import ctypes
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping

import jax

from hue_jax.errors import InputError, refuse
from hue_jax.settings import Integer
from hue_jax.train import peers
from hue_jax.train.peers import Lost
from hue_jax.train.preemption import Preempted

# Set by launchers that start one process a host: TPU pods (see launch/tpu_pod.sh),
# Slurm, Open MPI. JAX itself finds the addresses there.
_SWITCH = "HUE_JAX_DISTRIBUTED"
_SIZES = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")

# Environment variable → argument of `jax.distributed.initialize`, seconds by default.
_TIMEOUTS = {
  # For all processes to come.
  "HUE_JAX_START_SECONDS": ("initialization_timeout", 300),
  # A process that was not heard of for so long is given up, and the others end.
  "HUE_JAX_HEARTBEAT_SECONDS": ("heartbeat_timeout_seconds", 100),
  # For all processes to end after the first; that one may still draw.
  "HUE_JAX_SHUTDOWN_SECONDS": ("shutdown_timeout_seconds", 300),
}

# A process that was told of another's failure has so many seconds to end by itself, for
# it may be about to say the same.
_GRACE_SECONDS = 5
_ASK_SECONDS = 1
_FAILED, _ENDED = "hue_jax/failed", "hue_jax/ended"

_GOES_ON = "what was saved is whole, and the same command goes on"

# What JAX and its collectives say when another process does not answer.
_OF_OTHERS = re.compile(
  r"^(UNAVAILABLE|DEADLINE_EXCEEDED|ABORTED|CANCELLED): |^[A-Z_]+: .*"
  r"(Gloo|[NR]CCL|coordination|barrier|heartbeat|[Cc]onnection (reset|closed))"
)


@contextlib.contextmanager
def joined(environ: Mapping[str, str] = os.environ) -> Iterator[None]:
  """Joins the processes of the run, if the environment asks for it, until it is left.

  A process that leaves by an error ends without waiting for the others, and they end
  with a line that says so, within seconds. When one dies without a word, the others
  end as soon as a collective fails, or after HUE_JAX_HEARTBEAT_SECONDS.

  Args:
    environ: The environment variables.

  Raises:
    InputError: If the environment variables cannot be used.
    Lost: If another process does not come or no longer answers.
  """
  if not initialize(environ):
    yield
    return
  notice = _Notice()
  try:
    yield
  except Preempted:  # at the same step in all of them
    notice.over.set()
    raise
  except BaseException as error:
    notice.over.set()
    told = notice.fail(error)
    if told is error:
      raise
    raise told from None
  notice.over.set()


def initialize(environ: Mapping[str, str] = os.environ) -> bool:
  """Calls `jax.distributed.initialize` if the environment asks for it.

  It does so by JAX_COORDINATOR_ADDRESS (host:port), with JAX_NUM_PROCESSES and
  JAX_PROCESS_ID; or by HUE_JAX_DISTRIBUTED=1, or a Slurm or Open MPI job of more
  than one task, where JAX finds the addresses itself. HUE_JAX_START_SECONDS,
  HUE_JAX_HEARTBEAT_SECONDS and HUE_JAX_SHUTDOWN_SECONDS set its time-outs.

  Args:
    environ: The environment variables.

  Returns:
    Whether it did.

  Raises:
    InputError: If the address is none or lacks the two numbers, a number cannot be
      used, or JAX finds no addresses.
    Lost: If not all processes come.
  """
  if "JAX_COORDINATOR_ADDRESS" in environ:
    count = _number(environ, "JAX_NUM_PROCESSES", at_least=1)
    arguments = {
      "coordinator_address": _address(environ["JAX_COORDINATOR_ADDRESS"]),
      "num_processes": count,
      "process_id": _number(environ, "JAX_PROCESS_ID", at_least=0, at_most=count - 1),
    }
  elif _asks_for_processes(environ):
    arguments = {}
  else:
    return False
  for name, (argument, default) in _TIMEOUTS.items():
    seconds = {name: str(default)} | dict(environ)
    arguments[argument] = _number(seconds, name, at_least=1)
  # The only collectives between processes that JAX has on CPUs; ignored elsewhere.
  jax.config.update("jax_cpu_collectives_implementation", "gloo")
  _end_with_a_line_when_aborted()
  try:
    jax.distributed.initialize(**arguments)
  except jax.errors.JaxRuntimeError as error:
    where = arguments.get("coordinator_address", "the address that JAX found")
    raise Lost(
      f"the processes of the run did not come together at {where} within "
      f"{arguments['initialization_timeout']} s ({str(error).partition(chr(10))[0]})"
    ) from None
  except (ValueError, LookupError) as error:  # of what JAX reads in the environment
    if "coordinator_address" in arguments:
      raise
    raise _no_addresses(_asks_for_processes(environ), environ, error) from None
  return True


def _asks_for_processes(environ):
  """Returns the variable by which the environment asks for several processes, or ""."""
  if environ.get(_SWITCH) == "1":
    return _SWITCH
  sizes = (name for name in _SIZES if environ.get(name, "1") not in ("", "0", "1"))
  return next(sizes, "")


def _no_addresses(name, environ, error):
  """Returns the error of a variable that asks for processes which JAX does not find."""
  return InputError(
    f"environment variable {name} is {environ[name]!r}, which asks for several "
    f"processes, and JAX finds no addresses of them ({str(error).rstrip('.')}); start "
    "them by srun or mpirun or on every host of a TPU pod, or give "
    "JAX_COORDINATOR_ADDRESS, JAX_NUM_PROCESSES and JAX_PROCESS_ID; or unset it, for "
    "one process."
  )


def _address(address):
  host, _, port = address.rpartition(":")
  if not host or not port.isdecimal():
    refuse("environment variable JAX_COORDINATOR_ADDRESS", address, "host:port")
  return address


def _number(environ, name, **bounds):
  return Integer(**bounds)(f"environment variable {name}", environ.get(name, ""))


class _Notice:
  """Tells the other processes of this one's failure, and hears of theirs.

  Attributes:
    over: Set when this process ends by itself.
  """

  def __init__(self):
    self.over = threading.Event()
    threading.Thread(target=self._listen, daemon=True).start()

  def fail(self, error: BaseException) -> BaseException:
    """Tells the others, and has this process end without waiting for them.

    Args:
      error: What ends this process.

    Returns:
      The error; a `Lost` in its place where others are the cause.
    """
    if reason := _of_others(error):
      told = peers.get(_FAILED)
      error = (
        _heard(told)
        if told
        else Lost(
          f"another process of the run no longer answers ({reason}); {_GOES_ON}"
        )
      )
    status = getattr(error, "status", 1)
    if isinstance(error, SystemExit):
      status = error.code if isinstance(error.code, int) else 1
    word = getattr(error, "word", type(error).__name__)
    told = {"process": peers.number(), "status": status, "line": f"{word}: {error}"}
    peers.put(_FAILED, json.dumps(told))
    atexit.register(_leave, status)
    return error

  def _listen(self):
    # It asks now and then, for a thread that waits in JAX cannot be ended.
    while not self.over.wait(_ASK_SECONDS):
      if told := peers.get(_FAILED):
        break
    if not self.over.wait(_GRACE_SECONDS):
      error = _heard(told)
      os.write(2, f"{error.word}: {error}\n".encode())
      _leave(error.status)


def _heard(told):
  """Returns what ends this process, of what another said."""
  told = json.loads(told)
  error = Lost(
    f"process {told['process']} of {peers.count()} ended ({told['line']}), and this "
    "one with it"
  )
  error.status = told["status"] or Lost.status
  return error


def _leave(status):
  """Ends this process, without JAX's barrier for the end."""
  peers.put(f"{_ENDED}/{peers.number()}", "")
  if peers.number() == 0:
    # The store goes with this process, and the others are told by it.
    deadline = time.monotonic() + _GRACE_SECONDS + 5
    for other in range(1, peers.count()):
      peers.wait_for(f"{_ENDED}/{other}", deadline - time.monotonic())
    time.sleep(1)
  sys.stdout.flush()
  sys.stderr.flush()
  os._exit(status)


def _of_others(error: BaseException | None) -> str:
  """Returns what JAX says of other processes in an error, or in those that it is of."""
  while error is not None:
    # Of a program that is being started JAX makes a ValueError.
    if isinstance(error, jax.errors.JaxRuntimeError | ValueError):
      line = str(error).partition("\n")[0]
      if _OF_OTHERS.search(line):
        return line
    error = error.__cause__ or error.__context__
  return ""


def _end_with_a_line_when_aborted():
  """Says a line where JAX's coordination service aborts this process.

  It does so from a thread of its own, where no exception can be caught.
  """
  libc = ctypes.CDLL(None)
  # Once: an abort while Python ends could not call it again and again.
  handle = getattr(libc, "sysv_signal", libc.signal)
  handle(signal.SIGABRT, _aborted)


@ctypes.CFUNCTYPE(None, ctypes.c_int)
def _aborted(_):
  line = "another process of the run died, or cannot be reached (see the lines above)"
  os.write(2, f"{Lost.word}: {line}; {_GOES_ON}.\n".encode())
  os._exit(Lost.status)
