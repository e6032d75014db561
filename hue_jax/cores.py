"""The CPU cores of this process."""

import os


def available_cores() -> list[int]:
  """Returns the cores that this process may use; all, where the system does not say."""
  if hasattr(os, "sched_getaffinity"):  # macOS has none.
    return sorted(os.sched_getaffinity(0))
  return list(range(os.cpu_count() or 1))
