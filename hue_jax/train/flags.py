"""From the command line to a configuration, and one line for what cannot be.

A command defines its flags, and gives `run` a function of no arguments:

    _CONFIG = flags.define_config()
    _WORKDIR = flags.define_workdir("Folder of the run.")

    def main():
      return train(_CONFIG.value, _WORKDIR.value)

    if __name__ == "__main__":
      flags.run(main, required=(_CONFIG, _WORKDIR))

What takes seconds to import belongs into that function, so that a mistake in a flag is
told at once.
"""

import ast
import functools
import os
import re
import sys
import traceback
from collections.abc import Callable, Sequence
from typing import Any

import jax
from absl import app, flags, logging
from ml_collections import ConfigDict, config_dict, config_flags
from ml_collections.config_flags import tuple_parser

from hue_jax import command, settings
from hue_jax.compiled import keep_compiled
from hue_jax.errors import InputError, refuse

_CONFIG = "config"


def define_config(
  default: str | os.PathLike[str] | None = None, **options
) -> flags.FlagHolder[ConfigDict]:
  """Defines --config, and with it --config.NAME for every setting.

  Args:
    default: The file of the configuration where none is given.
    **options: Arguments of ml_collections' `DEFINE_config_file`.

  Returns:
    The flag, whose value is the configuration.
  """
  help_text = "File of the configuration; --config.NAME=VALUE sets a field."
  holder = config_flags.DEFINE_config_file(_CONFIG, None, help_text, **options)
  flag_values = options.get("flag_values", flags.FLAGS)
  flag = flag_values[_CONFIG]
  flag.parser = _FileParser(flag.parser, options.get("sys_argv"))
  if default is not None:
    flag_values.set_default(_CONFIG, os.fspath(default))
  return holder


def define_workdir(help_text: str) -> flags.FlagHolder[str | None]:
  """Defines --workdir."""
  return flags.DEFINE_string("workdir", None, help_text)


def define_text(name: str, help_text: str) -> flags.FlagHolder[str | None]:
  """Defines a flag that is text."""
  return flags.DEFINE_string(name, None, help_text)


def define_switch(
  name: str, default: bool, help_text: str
) -> flags.FlagHolder[bool | None]:
  """Defines a flag that is on or off."""
  return flags.DEFINE_bool(name, default, help_text)


def define_mode(modes: Sequence[str], help_text: str) -> flags.FlagHolder[str]:
  """Defines --mode, of which the first is the default."""
  parser = _Parser(flags.EnumParser(list(modes)), settings.Choice(modes))
  return flags.DEFINE(parser, "mode", modes[0], f"<{'|'.join(modes)}>: {help_text}")


def run(
  main: Callable[[], dict[str, Any] | None],
  *,
  required: Sequence[flags.FlagHolder],
  listing: Callable[[], str] | None = None,
) -> None:
  """Runs a command and ends the process.

  Of standard output the command has one line, the result as JSON, of the first process.

  Args:
    main: The function that makes the result.
    required: The flags that must be given.
    listing: The function that makes what `--list` prints, in place of all else.
  """
  parse = functools.partial(_parse, required=required, listing=listing)
  sys.exit(
    command.run(lambda: app.run(lambda _: _print_result(main), flags_parser=parse))
  )


def _print_result(main):
  logging.set_verbosity(logging.WARNING)
  standard_output = command.keep_standard_output()
  keep_compiled()
  result = main()
  if jax.process_index() == 0:
    print(command.json_line(result), file=standard_output, flush=True)


def _parse(arguments, required, listing):
  if listing is not None and "--list" in arguments[1:]:
    print(listing())
    sys.exit(0)
  rest = parse(arguments, flags.FLAGS)
  if rest[1:]:
    raise InputError(f"arguments {rest[1:]} are not flags; see --help.")
  for flag in required:
    require(flag)
  return rest


def require(flag: flags.FlagHolder) -> None:
  """Raises an InputError unless a flag is given."""
  if flag.value is None or flag.value == "":
    raise InputError(f"--{flag.name} is not given; see --help.")


def require_none(flag: flags.FlagHolder, where: str) -> None:
  """Raises an InputError if a flag is given.

  Args:
    flag: The flag.
    where: When it is of no use, as in "--mode is 'train'".
  """
  if flag.value is not None:
    raise InputError(
      f"--{flag.name} is {flag.value!r}; it must be left out where {where}."
    )


def parse(arguments: list[str], flag_values: flags.FlagValues) -> list[str]:
  """Parses flags as absl does.

  Args:
    arguments: The arguments of the command line, the command's name first.
    flag_values: The flags, --config among them.

  Returns:
    The command's name, and the arguments that are no flags.

  Raises:
    InputError: If a flag, a setting or a file cannot be used.
  """
  try:
    rest = flag_values(arguments)
    # Raises what kept the file from being loaded.
    getattr(flag_values[_CONFIG].value, "seed", None)
  except Exception as error:
    raise InputError(_told(error, arguments)) from None
  return rest


# --- Values ---------------------------------------------------------------------

_QUOTES = "'\""

# Stands for the name of the setting, which a parser does not know.
_SETTING = "the setting"


# Groups whose settings depend on others, such as a kind: whoever uses them checks them.
_OPEN = (
  "classifier",
  "extra_tests",
  "hue.terms",
  "model_options",
  "objectives",
  "terms",
)


class _FileParser(flags.ArgumentParser):
  """The configuration of a file, with room for what the flags add to open groups."""

  def __init__(self, parser, arguments):
    self._parser, self._arguments = parser, arguments

  def parse(self, argument):
    config = self._parser.parse(argument)
    if isinstance(config, ConfigDict):
      with config.unlocked():
        for word in self._arguments or sys.argv:
          if found := re.match(rf"--?(?:no)?{_CONFIG}\.([^=]+)", word):
            _make_room(config, found[1])
    return config

  def flag_type(self):
    return self._parser.flag_type()


def _make_room(config, path):
  """Adds a setting of an open group, and the groups around it, if it is missing."""
  group = next((one for one in _OPEN if path.startswith(f"{one}.")), None)
  if group is None:
    return
  for name in group.split("."):
    config = config.get(name)
    if not isinstance(config, ConfigDict):
      return
  *groups, last = path.removeprefix(f"{group}.").split(".")
  for name in groups:
    if name not in config:
      config[name] = ConfigDict()
    config = config[name]
    if not isinstance(config, ConfigDict):
      return
  if last not in config:
    config[last] = config_dict.placeholder(object)


class _Parser(flags.ArgumentParser):
  """Another parser's values; what it cannot read is read or refused as a setting is."""

  def __init__(self, parser, accepts):
    self._parser, self._accepts = parser, accepts

  def parse(self, argument):
    try:
      return self._parser.parse(argument)
    except (TypeError, ValueError):
      return self._accepts(_SETTING, argument)

  def flag_type(self):
    return self._parser.flag_type()


class _TupleParser(tuple_parser.TupleParser):
  """A tuple, and an error that says how one is written."""

  def parse(self, argument):
    try:
      return super().parse(argument)
    except ValueError:
      refuse(_SETTING, argument, "a sequence, as in (0.5, 0.25) or ('stem', 'stage1')")


class _DictParser(flags.ArgumentParser):
  """A group of settings at once."""

  def parse(self, argument):
    if isinstance(argument, ConfigDict):
      return argument
    try:
      return ConfigDict(dict(ast.literal_eval(argument).items()))
    except (AttributeError, SyntaxError, ValueError):
      refuse(_SETTING, argument, "settings by name, as in {'width': 16}")

  def flag_type(self):
    return "dict"


_PARSERS = {
  bool: _Parser(flags.BooleanParser(), settings.Flag()),
  float: _Parser(flags.FloatParser(), settings.Number()),
  int: _Parser(flags.IntegerParser(), settings.Integer()),
  tuple: _TupleParser(),
  ConfigDict: _DictParser(),
}
for _type, _parser in _PARSERS.items():
  config_flags.register_flag_parser_for_type(_type, _parser)


# --- Errors ---------------------------------------------------------------------


def _told(error, arguments):
  """Returns an error of the flags or the configuration's file as an InputError."""
  causes = list(_causes(error))
  for cause in reversed(causes):
    if line := command.missing_package(cause):
      return line
    if isinstance(cause, InputError):
      return str(cause).replace(_SETTING, _name(error), 1)
  file = _config_file(arguments)
  if isinstance(error, OSError) or _is_of_file(causes, file):
    return f"--config is {file!r}, which cannot be loaded: {_reason(causes[-1], file)}."
  if isinstance(error, KeyError | AttributeError):
    while isinstance(error, Exception):  # ml_collections wraps one in the other
      error = error.args[0]
    name, _, hint = error.partition("\n")
    hint = f"; {hint[0].lower()}{hint[1:]}" if hint else ""
    return f"the configuration has no setting {name.split()[-1].strip(_QUOTES)}{hint}"
  text = str(error) or type(error).__name__
  return text[0].lower() + text[1:]


def _causes(error):
  """Returns an error, and those from which it was made, the first one last."""
  while error is not None:
    yield error
    inner = error.args[0] if error.args else None
    wrapped = inner if isinstance(inner, Exception) else None
    error = error.__cause__ or wrapped or error.__context__


def _name(error):
  """Returns the setting's or the flag's name, of absl's error of its value."""
  name = str(error).removeprefix("flag --").partition("=")[0]
  setting = name.removeprefix(f"{_CONFIG}.")
  return setting if setting != name else f"--{name}"


def _config_file(arguments):
  """Returns the value of --config, without what is after the colon."""
  for argument, after in zip(arguments, [*arguments[1:], ""], strict=True):
    flag, equals, value = argument.partition("=")
    if flag in (f"--{_CONFIG}", f"-{_CONFIG}"):
      return (value if equals else after).partition(":")[0]
  return ""


def _is_of_file(causes, file):
  """Returns whether the code of a file raised it, or calling it did."""
  if not os.path.isfile(file):
    return False
  frames = [
    frame for cause in causes for frame in traceback.extract_tb(cause.__traceback__)
  ]
  return any(
    os.path.abspath(frame.filename) == os.path.abspath(file)
    or frame.line.startswith("config = config_module.get_config(")
    for frame in frames
  ) or any(isinstance(cause, SyntaxError) for cause in causes)


def _reason(cause, file):
  lines = str(cause).strip().splitlines() or [""]
  if isinstance(cause, OSError):
    return lines[-1].strip()
  where = [
    frame.lineno
    for frame in traceback.extract_tb(cause.__traceback__)
    if os.path.abspath(frame.filename) == os.path.abspath(file)
  ]
  line = f", line {where[-1]}" if where else ""
  return f"{type(cause).__name__}{line}: {lines[-1].strip()}"
