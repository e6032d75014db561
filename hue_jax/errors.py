"""The one kind of error that a user's input causes, and checks that raise it."""

import contextlib
import difflib
import math
import numbers
import os
from collections.abc import Iterable, Iterator
from typing import Any, NoReturn

# Characters of a value in an error.
_LONGEST = 200


class Stopped(Exception):
  """What stops a command, and is told in one line without a traceback.

  Attributes:
    word: The word with which the line begins.
    status: The exit status of the command.
  """

  word = "error"
  status = 1

  def __init__(self, message: str):
    """Makes one line of the message, with a full stop.

    Args:
      message: What happened, perhaps in the words of another library.
    """
    lines = (line.strip() for line in str(message).splitlines())
    text = " ".join(line for line in lines if line)
    super().__init__(text if text.endswith((".", "?", "!")) else f"{text}.")


class InputError(Stopped, ValueError):
  """A setting, file or record that hue_jax cannot use.

  The message names the thing, the value it has and what is accepted.
  """

  status = 2


@contextlib.contextmanager
def naming(path: str | os.PathLike[str]) -> Iterator[None]:
  """Gives the name of a file to an OSError that has none, as of a full disk.

  Args:
    path: The file that is read or written.
  """
  try:
    yield
  except OSError as error:
    if error.filename is None:
      error.filename = os.fspath(path)
    raise


def check_one_of(name: str, value: Any, accepted: Iterable[Any]) -> None:
  """Raises an InputError unless the value is among those accepted."""
  accepted = list(accepted)
  if value not in accepted:
    refuse(name, value, one_of(accepted))


def check_name(what: str, name: str, known: Iterable[str]) -> None:
  """Raises an InputError with the nearest known names unless the name is known."""
  known = list(known)
  if name not in known:
    raise InputError(
      f"{what} is {shown(name)}; it must be {one_of(known)}.{nearest(name, known)}"
    )


def check_not_taken(what: str, name: str, known: type | None, cls: type) -> None:
  """Raises an InputError if another class has a name by which users call a class.

  A class of the same module and name is the same, loaded once more.

  Args:
    what: What the name is, as in "kind".
    name: The name.
    known: The class that has it; None where none has.
    cls: The class that is to have it.
  """
  if known and (known.__module__, known.__qualname__) != (
    cls.__module__,
    cls.__qualname__,
  ):
    refuse(what, name, f"another, for {known.__module__}.{known.__qualname__} has it")


def one_of(accepted: Iterable[Any]) -> str:
  """Returns what is accepted, as in "one of batch, memory"; one alone is named."""
  accepted = [str(one) or "''" for one in accepted]
  return accepted[0] if len(accepted) == 1 else f"one of {', '.join(accepted)}"


def nearest(name: Any, known: Iterable[str]) -> str:
  """Returns the question for the nearest known names, with a blank before it, or ""."""
  near = difflib.get_close_matches(str(name), list(known), n=3)
  return f" Did you mean {' or '.join(near)}?" if near else ""


def check_number(
  name: str,
  value: Any,
  *,
  at_least: int | float | None = None,
  above: int | float | None = None,
  below: int | float | None = None,
  at_most: int | float | None = None,
) -> None:
  """Raises an InputError unless the value is a finite number within the bounds."""
  bounds = {"at_least": at_least, "above": above, "below": below, "at_most": at_most}
  finite = _is_number(value, numbers.Real) and _is_finite(value)
  if not (finite and _is_within(value, **bounds)):
    refuse(name, value, bounded("a finite number", **bounds))


def check_integer(
  name: str, value: Any, *, at_least: int | None = None, at_most: int | None = None
) -> None:
  """Raises an InputError unless the value is an integer within the bounds."""
  bounds = {"at_least": at_least, "at_most": at_most}
  if not (_is_number(value, numbers.Integral) and _is_within(value, **bounds)):
    refuse(name, value, bounded("an integer", **bounds))


def refuse(name: str, value: Any, wanted: str) -> NoReturn:
  """Raises the InputError of a value that is not what is wanted.

  Args:
    name: The name of that which has the value, in the user's words.
    value: The value.
    wanted: What is accepted, as in "a finite number above 0".

  Raises:
    InputError: Always.
  """
  raise InputError(f"{name} is {shown(value)}; it must be {wanted}.")


def shown(value: Any) -> str:
  """Returns a value as an error shows it: on one line, and not a page of it."""
  text = " ".join(repr(value).split())
  return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def bounded(
  what: str,
  *,
  at_least: int | float | None = None,
  above: int | float | None = None,
  below: int | float | None = None,
  at_most: int | float | None = None,
) -> str:
  """Returns what is accepted with its bounds, as in "an integer from 1 to 3"."""
  if at_least is not None and at_most is not None:
    return f"{what} from {at_least} to {at_most}"
  low = [f"of at least {at_least}"] * (at_least is not None)
  low += [f"above {above}"] * (above is not None)
  high = [f"below {below}"] * (below is not None)
  high += [f"{'' if low else 'of '}at most {at_most}"] * (at_most is not None)
  return " ".join([what, *([" and ".join(low + high)] if low + high else [])])


def _is_number(value, kind):
  return isinstance(value, kind) and not isinstance(value, bool)


def _is_within(value, at_least=None, above=None, below=None, at_most=None):
  return (
    (at_least is None or value >= at_least)
    and (above is None or value > above)
    and (below is None or value < below)
    and (at_most is None or value <= at_most)
  )


def _is_finite(value):
  try:
    return math.isfinite(value)
  except OverflowError:  # an integer that no float can hold
    return False
