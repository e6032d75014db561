"""Joins the processes of a run, where the environment says that there are several."""

import os
from collections.abc import Mapping

import jax

from hue_jax.errors import InputError

# Set by launchers that start one process a host: TPU pods (see launch/tpu_pod.sh),
# Slurm, Open MPI. JAX itself finds the addresses there.
_SWITCH = "HUE_JAX_DISTRIBUTED"
_SIZES = ("SLURM_NTASKS", "OMPI_COMM_WORLD_SIZE")
# A process that fails alone ends so many seconds later, and the others with it: they
# wait in a collective for what it would have sent.
_SHUTDOWN_SECONDS = 60


def initialize(
  environ: Mapping[str, str] = os.environ,
  *,
  shutdown_timeout_seconds: int = _SHUTDOWN_SECONDS,
) -> None:
  """Calls `jax.distributed.initialize` if the environment asks for it.

  It does so by JAX_COORDINATOR_ADDRESS (host:port), with JAX_NUM_PROCESSES and
  JAX_PROCESS_ID; or by HUE_JAX_DISTRIBUTED=1, or a Slurm or Open MPI job of more
  than one task, where JAX finds the addresses itself.

  Args:
    environ: The environment variables.
    shutdown_timeout_seconds: How long a process that ends waits for the others to end.

  Raises:
    InputError: If the address lacks the two numbers, or they are no numbers.
  """
  arguments = None
  if "JAX_COORDINATOR_ADDRESS" in environ:
    arguments = {
      "coordinator_address": environ["JAX_COORDINATOR_ADDRESS"],
      "num_processes": _number(environ, "JAX_NUM_PROCESSES"),
      "process_id": _number(environ, "JAX_PROCESS_ID"),
    }
  elif environ.get(_SWITCH) == "1" or any(
    environ.get(name, "1") not in ("", "0", "1") for name in _SIZES
  ):
    arguments = {}
  if arguments is not None:
    # The only collectives between processes that JAX has on CPUs; ignored elsewhere.
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    jax.distributed.initialize(
      **arguments, shutdown_timeout_seconds=shutdown_timeout_seconds
    )


def _number(environ, name):
  value = environ.get(name, "")
  if not value.isdigit():
    raise InputError(
      f"environment variable {name} is {value!r}; beside JAX_COORDINATOR_ADDRESS it "
      "must be a whole number."
    )
  return int(value)
