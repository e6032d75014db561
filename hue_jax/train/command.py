"""What every command does: flags, a configuration, one line for an error, a result."""

import json
import math
import os
import sys
from collections.abc import Callable
from typing import Any, TextIO

from absl import app, flags
from ml_collections import ConfigDict, config_flags

from hue_jax.errors import InputError


def define_config() -> flags.FlagHolder[ConfigDict]:
  """The flag --config, for `load_config`."""
  return config_flags.DEFINE_config_file(
    "config", None, "File of the configuration; --config.NAME=VALUE sets a field."
  )


def parse_flags(
  arguments: list[str], *, listing: Callable[[], str] | None = None
) -> list[str]:
  """As absl does it, and with one line for a setting that cannot be.

  Args:
    arguments: of the command line.
    listing: what `--list` prints, in place of everything else.

  Returns:
    What are not flags.
  """
  if listing is not None and "--list" in arguments[1:]:
    print(listing())
    sys.exit(0)
  try:
    try:
      return flags.FLAGS(arguments)
    except flags.Error as error:
      _, found, message = str(error).partition(f"{InputError.__name__}: ")
      if found:  # of a configuration's own file
        print(f"error: {message.strip()}", file=sys.stderr)
        sys.exit(2)
      return app.parse_flags_with_usage(arguments)
  except (AttributeError, KeyError) as error:
    message = error
    while isinstance(message, Exception):  # ml_collections wraps one in the other
      message = message.args[0]
    name, _, hint = message.partition("\n")
    text = name.strip("'") + (f"; {hint[0].lower()}{hint[1:]}" if hint else "")
    print(f"error: the configuration has no setting {text}", file=sys.stderr)
    sys.exit(2)


def check_arguments(argv: list[str]) -> None:
  """Raises an InputError for arguments that are not flags."""
  if argv[1:]:
    raise InputError(f"arguments {argv[1:]} are not flags; see --help.")


def load_config(flag: flags.FlagHolder[ConfigDict]) -> ConfigDict:
  """The configuration that a flag names.

  Args:
    flag: of `define_config`.

  Returns:
    The configuration.

  Raises:
    InputError: a file that cannot be loaded.
  """
  config = flag.value
  try:
    getattr(
      config, "seed", None
    )  # The error of a file comes when a field is asked for.
  except OSError as error:
    name = config_flags.get_config_filename(flags.FLAGS["config"])
    reason = str(error.__cause__ or error).strip().splitlines()[-1].strip()
    raise InputError(
      f"--config is {name!r}, which cannot be loaded: {reason}"
    ) from None
  return config


def keep_standard_output() -> TextIO:
  """Standard output for the result alone: libraries that print write to the error.

  The descriptor itself is exchanged, for some of them print from C++.

  Returns:
    Where the result goes.
  """
  standard_output = os.fdopen(os.dup(1), "w")
  os.dup2(2, 1)
  return standard_output


def json_line(result: dict[str, Any]) -> str:
  """One line of JSON, in which a number that is not finite is null."""
  return json.dumps(
    {
      name: None if isinstance(value, float) and not math.isfinite(value) else value
      for name, value in result.items()
    }
  )
