"""Numbers and settings of studies in words, as reports have them."""

import datetime
import math
from collections.abc import Mapping
from typing import Any

from markupsafe import Markup

from hue_jax.compare.analysis import Gain
from hue_jax.compare.rates import OPTIMIZATION, Rates


def _digits(value: int | float) -> int:
  return 2 if abs(value) >= 0.1 or value == 0 else 3


def number(value: int | float | None, digits: int | None = None) -> str:
  """Returns a number with two digits after the point, or three of a small one."""
  if value is None or not math.isfinite(value):
    return "—"
  digits = _digits(value) if digits is None else digits
  return f"{value:.{digits}f}".replace("-", "−")


def signed(value: int | float, digits: int | None = None) -> str:
  """Returns a difference: a number with its sign."""
  if not math.isfinite(value):
    return "—"
  digits = _digits(value) if digits is None else digits
  return f"{round(value, digits) + 0.0:+.{digits}f}".replace("-", "−")


def interval(gain: Gain) -> str:
  """Returns the mean difference with its t interval."""
  low, high = gain.paired.t_interval
  digits = min(max(_digits(bound) for bound in (low, high, gain.paired.mean)), 3)
  if gain.measure.unit == 100:
    digits = 2
  values = (signed(value, digits) for value in (low, high))
  return f"{signed(gain.paired.mean, digits)} [{', '.join(values)}]"


def p(value: int | float) -> str:
  """Returns a p-value."""
  if not math.isfinite(value):
    return "—"
  return "< 0.001" if value < 0.001 else f"{value:.3f}"


def verdict(gain: Gain) -> str:
  """Returns better, worse, or even: where the 95 % interval lies."""
  return side(gain.paired.t_interval, gain.measure.better)


def side(interval: tuple[float, float], better: int = 1) -> str:
  """Returns better, worse, or even: where an interval lies, by the sign of better."""
  low, high = interval
  if not better or not (low > 0 or high < 0):
    return "even"
  return "better" if (low > 0) == (better > 0) else "worse"


def share(mean: int | float, interval: tuple[float, float]) -> str:
  """Returns a share with its interval, in percent; "no errors" for a share of none."""
  return f"{_percent(mean)} {ends(interval)}" if math.isfinite(mean) else "no errors"


def ends(interval: tuple[float, float]) -> str:
  """Returns an interval of a share, in percent; a dash where there is none."""
  if not all(map(math.isfinite, interval)):
    return "—"
  return f"[{', '.join(map(_percent, interval))}]"


def _percent(value):
  return signed(100 * value, 1)


def breakable(name: str) -> Markup:
  """Returns a name as markup that may go on in another line after an underscore."""
  return Markup("_<wbr>").join(name.split("_"))


def network(settings: Mapping[str, Any]) -> str:
  """Returns the network of a study: "resnet8 (stem small, width 8)"."""
  options = ", ".join(f"{k} {v}" for k, v in settings["model_options"].items())
  return f"{settings['model']} ({options})" if options else settings["model"]


def rates(settings: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
  """Returns objective → its learning rate and weight decay.

  Args:
    settings: The settings of a study.

  Returns:
    Those of every objective; nothing where all have the study's.
  """
  own = {
    objective: found.get(OPTIMIZATION, {})
    for objective, found in settings["objectives"].items()
  }
  if not any(own.values()):
    return {}
  return {
    objective: tuple(found.get(name, settings.get(name)) for name in Rates._fields)
    for objective, found in own.items()
  }


def day(seconds: int | float) -> str:
  """Returns the day of a time in seconds since 1970, in UTC."""
  return datetime.datetime.fromtimestamp(seconds, datetime.UTC).strftime("%Y-%m-%d")
