"""With what arguments a function is called."""

import inspect
from types import ModuleType
from typing import Any

import pytest


def asked_of(
  patch: pytest.MonkeyPatch, module: ModuleType, name: str, **returned: Any
) -> dict[str, Any]:
  """Records the arguments of a function as a module calls it.

  Args:
    patch: What puts the function back.
    module: The module that calls it, by its own name for it.
    name: That name.
    **returned: `value`, where the function is not to be called.

  Returns:
    Parameter → argument of the last call; what was left at its default is not there.
  """
  function, found = getattr(module, name), {}
  signature = inspect.signature(function)

  def recorded(*arguments, **named):
    found.clear()
    found.update(signature.bind(*arguments, **named).arguments)
    return returned["value"] if returned else function(*arguments, **named)

  patch.setattr(module, name, recorded)
  return found


def parameters_of(module: ModuleType, name: str) -> set[str]:
  """The names of a function's parameters."""
  return set(inspect.signature(getattr(module, name)).parameters)
