"""What the files of a report hold: JSON without NaN, and data inside a page."""

import base64
import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np


def plain(value: Any) -> Any:
  """Returns a value as JSON has it: arrays as lists, and NaN and infinity as null."""
  if dataclasses.is_dataclass(value):
    return {f.name: plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
  if isinstance(value, dict):
    return {str(key): plain(item) for key, item in value.items()}
  if isinstance(value, np.ndarray):
    return plain(value.tolist())
  if isinstance(value, (list, tuple)):
    return [plain(item) for item in value]
  if isinstance(value, np.generic):
    return plain(value.item())
  if isinstance(value, float) and not math.isfinite(value):
    return None
  return value


def json_text(value: Any, **options) -> str:
  """Returns the JSON of what `plain` makes of a value."""
  return json.dumps(plain(value), allow_nan=False, **options)


def in_words(value: Any) -> str:
  """Returns a setting as a page shows it: "stem small, width 8", "none", "yes"."""
  if isinstance(value, bool):
    return "yes" if value else "no"
  if isinstance(value, Mapping):
    parts = (f"{name} {_inner(one)}" for name, one in value.items())
    return ", ".join(parts) or "none"
  if isinstance(value, list | tuple):
    return ", ".join(map(_inner, value)) or "none"
  return "none" if value in (None, "") else str(value)


def _inner(value):
  text = in_words(value)
  nested = isinstance(value, Mapping | list | tuple) and value
  return f"({text})" if nested else text


def data_uri(kind: str, data: bytes) -> str:
  """Returns data as an address that a page can hold."""
  return f"data:{kind};base64,{base64.b64encode(data).decode()}"
