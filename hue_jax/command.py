"""What every command does: one line for what stops it, an exit status, a result."""

import errno
import json
import math
import os
import sys
from collections.abc import Callable, Mapping
from typing import Any, TextIO

from hue_jax.errors import Stopped

# What a machine's disk, folders and limits cause, whatever the program does.
_OF_THE_MACHINE = frozenset(
  getattr(errno, name)
  for name in (
    "EACCES",
    "EDQUOT",
    "EFBIG",
    "EIO",
    "EISDIR",
    "EMFILE",
    "ENAMETOOLONG",
    "ENOSPC",
    "ENOTDIR",
    "EPERM",
    "EROFS",
  )
)


def run(call: Callable[[], Any]) -> int:
  """Calls a command's function; what stops it becomes one line on standard error.

  Args:
    call: The function, whose result is not used.

  Returns:
    The exit status: 0, or the status that stands for what stopped it.
  """
  try:
    call()
  except Stopped as stopped:
    print(f"{stopped.word}: {stopped}", file=sys.stderr)
    return stopped.status
  except KeyboardInterrupt:
    print("interrupted", file=sys.stderr)
    return 130
  except OSError as error:
    if error.errno not in _OF_THE_MACHINE:
      raise
    name = "a file" if error.filename is None else error.filename
    print(f"error: {name} cannot be used: {error.strerror}.", file=sys.stderr)
    return 2
  return 0


def keep_standard_output() -> TextIO:
  """Returns standard output, for the result alone; what else is printed goes to error.

  The descriptor itself is exchanged, for some libraries print from C++.

  Returns:
    The file to which the result goes.
  """
  standard_output = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)
  return standard_output


def json_line(result: Mapping[str, Any]) -> str:
  """Returns a line of JSON, in which a number that is not finite is null."""
  return json.dumps(
    {
      name: None if isinstance(value, float) and not math.isfinite(value) else value
      for name, value in result.items()
    }
  )
