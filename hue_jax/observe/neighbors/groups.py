"""Groups of vectors, such as the image that each is of, numbered without gaps."""

import numpy as np
from jaxtyping import Int

from hue_jax.errors import InputError


class Groups:
  """The group of each row.

  Args:
    groups: An integer of at least 0 for each row.
    num_rows: The number of rows.

  Attributes:
    of_row: The number of each row's group, from 0 on, [rows].
    sizes: The rows of each group, [groups].

  Raises:
    InputError: If the groups are no such integers, or not one for each row.
  """

  def __init__(self, groups: Int[np.ndarray, " rows"], num_rows: int):
    groups = _checked("groups", groups, num_rows)
    if groups.min() < 0:
      raise InputError(f"groups hold {groups.min()}; they must be at least 0.")
    self._names, self.of_row, self.sizes = np.unique(
      groups, return_inverse=True, return_counts=True
    )

  def numbered(
    self, query_groups: Int[np.ndarray, " groups"], num_queries: int
  ) -> Int[np.ndarray, " queries"]:
    """Returns the numbers of the groups of queries, −1 for groups without a row.

    Raises:
      InputError: If they are no integers, or not one for each query.
    """
    names = _checked("query_groups", query_groups, num_queries)
    number = np.searchsorted(self._names, names).clip(max=len(self._names) - 1)
    return np.where(self._names[number] == names, number, -1)

  def rows_of(self, number: int) -> Int[np.ndarray, " rows"]:
    """Returns the rows of one group."""
    return np.flatnonzero(self.of_row == number)


def _checked(name, groups, count):
  groups = np.asarray(groups)
  if groups.shape != (count,) or groups.dtype.kind not in "iu":
    raise InputError(
      f"{name} are {groups.dtype} of shape {groups.shape}; integers of shape "
      f"({count},) are needed."
    )
  return groups
