"""Where the workers of a study are."""

import re

from hue_jax.errors import InputError


def address_of_workers(workers: str, *, name: str = "workers") -> str | None:
  """Returns the address of a cluster's scheduler; None for "local".

  Args:
    workers: What says who does the runs.
    name: What it is called, for the error.

  Raises:
    InputError: If it is neither.
  """
  if workers == "local":
    return None
  if not re.fullmatch(r"(tcp|tls)://[^\s/]+:\d+", workers):
    raise InputError(
      f"{name} is {workers!r}; it must be local, or the address of the scheduler of a "
      "Dask cluster, as in tcp://HOST:8786."
    )
  return workers
