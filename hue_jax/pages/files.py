"""Files of a report: whole or not at all, JSON without NaN, data inside a page."""

import base64
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from hue_jax.errors import naming


def write_text(path: Path, text: str) -> None:
  """Writes a file whole or not at all."""
  partial = path.with_name(path.name + ".partial")
  with naming(path):
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)


def plain(value: Any) -> Any:
  """As JSON has it: arrays are lists, and what is not a finite number is null."""
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
  """JSON of what `plain` makes of a value."""
  return json.dumps(plain(value), allow_nan=False, **options)


def data_uri(kind: str, data: bytes) -> str:
  """Data as an address that a page can hold."""
  return f"data:{kind};base64,{base64.b64encode(data).decode()}"
