"""Classes in the order of their hues, as a user gives them."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from hue_jax import hue
from hue_jax.errors import refuse
from hue_jax.settings import Integer, Several, setting


class _ClassOrder(Several):
  """Classes in some order; no order where there are none.

  An array in a JAX tree: orders share a compilation.
  """

  static = False

  def __call__(self, name, value):
    """Returns a tuple, or None."""
    return super().__call__(name, value) or None


def class_order(*, named: str | None = None) -> Any:
  """Declares a setting that is an order of the classes: None for their own order."""
  return setting(None, _ClassOrder(Integer(at_least=0)), named=named)


def check_class_order(here: str, order: Sequence[int], num_classes: int) -> None:
  """Raises an InputError unless an order is empty or names every class once.

  Args:
    here: The name in the error of that which has the setting `class_order`.
    order: The classes in their order.
    num_classes: The number of classes C.
  """
  order = tuple(order)
  if order and sorted(order) != list(range(num_classes)):
    refuse(
      f"{here}.class_order" if here else "class_order",
      order,
      f"a list of each of the classes 0 to {num_classes - 1} once",
    )


def hues_in_order(order: Sequence[int] | None) -> Any:
  """Returns the angle of each class that stands so in a circle; None for its own place.

  Args:
    order: The classes in the order of their angles.
  """
  if not order:
    return None
  places = np.argsort(np.asarray(order))
  return np.asarray(hue.hue_labels(places, len(order)))
