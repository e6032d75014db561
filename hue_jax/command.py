"""What every command does: one line for what stops it, an exit status, a result."""

import argparse
import contextlib
import errno
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, TextIO

from hue_jax.errors import InputError, Stopped

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

# Extra of the package → what its requirements are imported as.
EXTRAS = {
  "train": (
    *("absl", "array_record", "clu", "etils", "filelock", "flax", "google_crc32c"),
    *("importlib_resources", "ml_collections", "optax", "orbax", "PIL", "safetensors"),
    *("scipy", "sklearn", "tensorboard", "tensorflow", "tensorflow_datasets", "tqdm"),
    *("fsspec", "rich", "yaml"),
  ),
  "observe": ("faiss", "jinja2", "markupsafe", "matplotlib"),
  "pretrained": ("torch",),
  "gcs": ("gcsfs",),
  "s3": ("s3fs",),
  "tpu": ("libtpu",),
  "cluster": ("distributed",),
}


def run(call: Callable[[], Any]) -> int:
  """Calls a command's function; what stops it becomes one line on standard error.

  Args:
    call: The function, whose result is not used.

  Returns:
    The exit status: 0, or the status that stands for what stopped it.
  """
  try:
    with _telling_what_is_missing():
      call()
  except Stopped as stopped:
    return _tell(stopped)
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


@contextlib.contextmanager
def packages() -> Iterator[None]:
  """Ends the process with a line where a package of an extra is not installed.

  It is for what a command imports before `run`.
  """
  try:
    with _telling_what_is_missing():
      yield
  except InputError as error:
    sys.exit(_tell(error))


def missing_package(error: BaseException) -> str | None:
  """Returns the line of a package that is not installed; None for other errors."""
  if not isinstance(error, ModuleNotFoundError):
    return None
  package = (error.name or "").partition(".")[0]
  for extra, packages_of_extra in EXTRAS.items():
    if package in packages_of_extra:
      return f"package {package} is not installed: pip install 'hue_jax[{extra}]'."
  return None


@contextlib.contextmanager
def _telling_what_is_missing():
  try:
    yield
  except ModuleNotFoundError as error:
    line = missing_package(error)
    if line is None:
      raise
    raise InputError(line) from None


def _tell(stopped):
  print(f"{stopped.word}: {stopped}", file=sys.stderr)
  return stopped.status


# --- Arguments of commands that have no configuration -----------------------------


class Parser(argparse.ArgumentParser):
  """A parser of arguments that raises an InputError for what it cannot use."""

  def __init__(self, **options):
    """Takes argparse's options; a description keeps its lines."""
    super().__init__(
      formatter_class=argparse.RawDescriptionHelpFormatter,
      allow_abbrev=False,
      exit_on_error=False,
      **options,
    )

  @classmethod
  def of(cls, module: str, text: str) -> "Parser":
    """Returns a parser for a module that is run, with its docstring as the help."""
    summary, _, details = text.partition("\n\n")
    return cls(prog=f"python -m {module}", description=summary, epilog=details)

  def parse_args(self, args: Sequence[str] | None = None, namespace: Any = None) -> Any:
    """Returns the arguments; see argparse.

    Raises:
      InputError: If there are unknown ones, some are missing, or a value is not
        accepted.
    """
    try:
      return super().parse_args(args, namespace)
    except argparse.ArgumentError as error:
      # What a setting says names it itself.
      if isinstance(error.__context__, argparse.ArgumentTypeError):
        raise InputError(error.message) from None
      return self.error(str(error))

  def error(self, message: str):
    """Raises the message of argparse as an InputError."""
    raise InputError(f"{message}; see --help.") from None


def add_setting(
  parser: Any, name: str, accepts: Callable[[str, str], Any], **options: Any
) -> None:
  """Adds an argument whose value is read and refused as a setting is.

  Args:
    parser: The parser, or a group of its arguments.
    name: The flag, as "--seed".
    accepts: What it accepts, one of `hue_jax.settings`.
    **options: argparse's options.
  """

  def read(text):
    try:
      return accepts(name, text)
    except InputError as error:
      raise argparse.ArgumentTypeError(str(error)) from None

  parser.add_argument(name, type=read, **options)


# --- The result -------------------------------------------------------------------


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
