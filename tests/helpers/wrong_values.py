"""Values that no setting accepts, by what it is declared to accept."""

import dataclasses
from typing import Any

from hue_jax.settings import (
  Choice,
  Flag,
  Group,
  Integer,
  Number,
  Options,
  Several,
  Text,
)

_WRONG = {
  Number: ["much", "", None, True, float("nan"), float("inf"), (1.0,)],
  Integer: [-1, 1.5, "ten", "", None, True, float("nan"), (1,)],
  Choice: ["nothing", 3, None, True, ("cosine",)],
  Flag: [3, None, "perhaps", (True,)],
  Text: [3, None, ("a",)],
  Several: ["stem", 3, None, (3,), ("",), {"stem": 1}],
  Options: [3, None, "width=4", (1,)],
  Group: [3, None, "grid=4"],
}


def wrong_values(field: dataclasses.Field) -> list[Any]:
  """Values that the setting must refuse: of other types, and beyond its bounds."""
  accepts = field.metadata["accepts"]
  values = list(_WRONG[type(accepts)])
  if field.default is None:
    values.remove(None)
  if isinstance(accepts, Text) and not accepts.empty:
    values.append("")
  if isinstance(accepts, Several) and accepts.at_least:
    values.append(())
  for bound, step in (("at_least", -1), ("above", 0), ("below", 0), ("at_most", 1)):
    if isinstance(accepts, Integer | Number):
      limit = getattr(accepts, bound, None)
      values += [] if limit is None else [limit + step]
  return values
