"""Groups of vectors, such as the image that each is of, numbered without gaps."""

import numpy as np
from jaxtyping import Int

from hue_jax.errors import InputError


class Groups:
  """Which group each row is of.

  Args:
    groups: integers of at least 0, of each row.
    num_rows: how many they must be.

  Attributes:
    of_row: numbers of the groups, from 0 on, [rows].
    sizes: rows of each, [groups].

  Raises:
    InputError: other than that.
  """

  def __init__(self, groups: Int[np.ndarray, "rows"], num_rows: int):
    groups = _checked("groups", groups, num_rows)
    if groups.min() < 0:
      raise InputError(f"groups hold {groups.min()}; they must be at least 0.")
    self._names, self.of_row, self.sizes = np.unique(
      groups, return_inverse=True, return_counts=True
    )

  def numbered(
    self, query_groups: Int[np.ndarray, "groups"], num_queries: int
  ) -> Int[np.ndarray, "queries"]:
    """Numbers of the groups of queries, −1 for groups without a row.

    Raises:
      InputError: no integers, or not one for each query.
    """
    names = _checked("query_groups", query_groups, num_queries)
    number = np.searchsorted(self._names, names).clip(max=len(self._names) - 1)
    return np.where(self._names[number] == names, number, -1)

  def rows_of(self, number: int) -> Int[np.ndarray, "rows"]:
    """Rows of one group."""
    return np.flatnonzero(self.of_row == number)


def _checked(name, groups, count):
  groups = np.asarray(groups)
  if groups.shape != (count,) or groups.dtype.kind not in "iu":
    raise InputError(
      f"{name} are {groups.dtype} of shape {groups.shape}; integers of shape "
      f"({count},) are needed."
    )
  return groups
