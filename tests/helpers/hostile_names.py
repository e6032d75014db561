"""Class names that a page must escape."""

import dataclasses

HOSTILE = (
  "<script>alert(1)</script>",
  "\"&'",
  "$x_1$",
  "</script>",
  "é–中",
  "a" * 60,
)


def hostile(observed):
  """The same results, of classes with names that are markup."""
  names = HOSTILE + observed["results"].class_names[len(HOSTILE) :]
  return dataclasses.replace(observed["results"], class_names=names)
