"""Drawings that are compared."""

import re


def without_ids(drawing):
  """An SVG of Matplotlib's without the names of its parts, digests of their content."""
  return re.sub(r"\b[A-Za-z]?[0-9a-f]{10}\b", "id", drawing)
