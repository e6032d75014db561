"""The one kind of error that a user's input causes, and checks that raise it."""

import difflib
import math
from collections.abc import Iterable
from typing import Any

import numpy as np


class InputError(ValueError):
  """A setting, file or record that hue_jax cannot use.

  The message is one line that names the thing, the value it has and what is
  accepted. `main.py` and the command-line modules print it without a traceback.
  """


def check_one_of(name: str, value: Any, accepted: Iterable[Any]) -> None:
  """Raises an InputError unless the value is among those accepted."""
  accepted = list(accepted)
  if value not in accepted:
    raise InputError(
      f"{name} is {value!r}; it must be one of {', '.join(map(str, accepted))}."
    )


def check_name(what: str, name: str, known: Iterable[str]) -> None:
  """Raises an InputError with the nearest known names unless the name is known."""
  known = list(known)
  if name not in known:
    near = difflib.get_close_matches(name, known, n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    raise InputError(f"{what} is {name!r}; it must be one of {', '.join(known)}.{hint}")


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
  bounds = {
    "at least": at_least,
    "above": above,
    "below": below,
    "at most": at_most,
  }
  text = " and ".join(
    f"{key} {bound}" for key, bound in bounds.items() if bound is not None
  )
  number = isinstance(value, (int, float)) and not isinstance(value, bool)
  if (
    not number
    or not math.isfinite(value)
    or (at_least is not None and value < at_least)
    or (above is not None and value <= above)
    or (below is not None and value >= below)
    or (at_most is not None and value > at_most)
  ):
    raise InputError(
      f"{name} is {value!r}; it must be a finite number {text}.".rstrip()
    )


def check_integer(
  name: str, value: Any, *, at_least: int, at_most: int | None = None
) -> None:
  """Raises an InputError unless the value is an integer within the bounds."""
  integer = isinstance(value, (int, np.integer)) and not isinstance(value, bool)
  if not integer or value < at_least or (at_most is not None and value > at_most):
    bounds = (
      f"of at least {at_least}" if at_most is None else f"{at_least} to {at_most}"
    )
    raise InputError(f"{name} is {value!r}; it must be an integer {bounds}.")
