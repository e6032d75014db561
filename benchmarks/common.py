"""What the benchmarks share: sides that alternate, what is said of them, the machine.

A benchmark times its sides in one process and in alternation, first in one round and
last in the next, so that what else the machine does falls on each. A ratio is the
median of those of the rounds.
"""

import argparse
import contextlib
import datetime
import importlib.metadata
import json
import os
import platform
import signal
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]


def parser(description: str, *, repeats: int | None = 7) -> argparse.ArgumentParser:
  """Returns a parser with what every benchmark has.

  Args:
    description: The docstring of the benchmark.
    repeats: The default of `--repeats`; None where nothing is repeated.
  """
  found = argparse.ArgumentParser(
    description=description, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  if repeats is not None:
    help_text = "rounds that are counted"
    found.add_argument("--repeats", type=int, default=repeats, help=help_text)
  found.add_argument("--json", metavar="FILE", help="also write the rows as JSON")
  return found


# --- Timing -----------------------------------------------------------------------


def alternate(
  sides: Mapping[str, Callable[[], Any]],
  repeats: int,
  *,
  warmup: int = 1,
  enough: Callable[[], bool] = lambda: False,
) -> dict[str, list[float]]:
  """Returns what each side gives in each round.

  Args:
    sides: Name → a function that does the work once. It may return the seconds of
      what counts, or else the seconds of the whole call are taken.
    repeats: The rounds that are counted.
    warmup: The rounds before these: files, compilers and clocks are cold.
    enough: A function that tells, after a round that counts, whether time is up.

  Returns:
    Name → seconds, one for each round; none of a side that ran out of memory, with
    which the rounds after do without it.
  """
  seconds = {name: [] for name in sides}
  left = list(sides)
  for number in range(-warmup, repeats):
    for name in left[:: 1 if number % 2 else -1]:
      try:
        start = time.perf_counter()
        told = sides[name]()
        taken = time.perf_counter() - start
      except Exception as error:
        if not is_out_of_memory(error):
          raise
        left.remove(name)
        seconds[name] = []
        continue
      if number >= 0:
        seconds[name].append(told if isinstance(told, float) else taken)
    if number >= 0 and enough():
      break
  return seconds


def is_out_of_memory(error: Exception) -> bool:
  """Tells whether an error of JAX or PyTorch is that a device has no memory left."""
  told = f"{type(error).__name__} {error}".lower()
  return any(words in told for words in _OUT_OF_MEMORY)


# JAX's, PyTorch's, and those of the libraries below.
_OUT_OF_MEMORY = ("resource_exhausted", "outofmemory", "out of memory", "alloc_failed")


def rows(
  case: str,
  seconds: Mapping[str, Sequence[float]],
  *,
  against: Sequence[str] = (),
  per_second: float | None = None,
  **more: Mapping[str, Any],
) -> list[dict[str, Any]]:
  """Returns one row for each side of a case.

  Args:
    case: What was done, by all sides.
    seconds: Side → seconds of each round; none if it ran out of memory, which is then
      told in their place.
    against: The sides to which the others are compared, as far as they were timed:
      the ratio is how many times as fast as these a side is.
    per_second: The units of work in a call; the rows then have a `rate`.
    **more: Name of a column → side → its value.
  """
  found = []
  for side, values in seconds.items():
    if not values:
      found.append({"case": case, "side": side, "seconds": "out of memory"})
      continue
    row = {"case": case, "side": side, "seconds": spread(values)}
    if per_second:
      row["rate"] = spread([per_second / value for value in values])
    for other in against:
      if seconds.get(other) and other != side:
        pairs = zip(seconds[other], values, strict=True)
        row[f"times as fast as {other}"] = spread([a / b for a, b in pairs])
    for name, of_side in more.items():
      if of_side.get(side) is not None:
        row[name] = of_side[side]
    found.append(row)
  return found


def spread(values: Sequence[float]) -> dict[str, float]:
  """Returns the median, least and most of what the rounds gave."""
  return {
    "median": statistics.median(values),
    "min": min(values),
    "max": max(values),
    "rounds": len(values),
  }


class TimeIsUp(BaseException):
  """Ends what is done, wherever it is."""


@contextlib.contextmanager
def within(minutes: float) -> Iterator[Callable[[], bool]]:
  """Ends what is in its block after some minutes, with a line on standard error.

  An exception that comes while Python runs a destructor or the callback of a library is
  lost there: so it is raised again each second until the block ends.

  Args:
    minutes: The minutes.

  Yields:
    A function that tells whether nine tenths of them are over: to begin nothing anew.
  """
  start = time.monotonic()

  def end(*_):
    raise TimeIsUp

  before = signal.signal(signal.SIGALRM, end)
  signal.setitimer(signal.ITIMER_REAL, 60 * minutes, 1)
  try:
    yield lambda: time.monotonic() - start > 54 * minutes
  except TimeIsUp:
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(f"The {minutes:g} minutes are over.", file=sys.stderr)
  finally:
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


# --- What is said -----------------------------------------------------------------


def report(
  name: str,
  found: Sequence[Mapping[str, Any]],
  *,
  json_file: str | None = None,
  packages: Sequence[str] = ("jax", "numpy"),
  notes: Sequence[str] = (),
) -> None:
  """Prints a table in Markdown, and writes the same as JSON where that is asked for.

  Args:
    name: The name of the benchmark.
    found: The rows, of `rows`.
    json_file: The file; none if empty.
    packages: The packages whose versions count.
    notes: What else is to be said, such as which side is missing.
  """
  said = conditions(packages)
  print("; ".join(said.values()) + "\n")
  for note in notes:
    print(f"- {note}")
  if notes:
    print()
  print(markdown(found), flush=True)
  if json_file:
    write_json(
      json_file, {"benchmark": name, **said, "notes": list(notes), "rows": list(found)}
    )


def conditions(packages: Sequence[str]) -> dict[str, str]:
  """Returns when, on what and with which versions something is measured."""
  return {
    "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
    "hardware": hardware(),
    "versions": ", ".join(
      [f"Python {platform.python_version()}", *map(version, packages)]
    ),
    "command": " ".join(["python", *sys.argv]),
  }


def hardware() -> str:
  """Returns the processor, its cores, and accelerators where JAX was imported."""
  words = f"{os.cpu_count()} cores, {_processor()}"
  if "jax" in sys.modules:
    devices = sys.modules["jax"].devices()
    if devices[0].platform != "cpu":
      words = f"{len(devices)} × {devices[0].device_kind}, {words}"
  return words


def version(package: str) -> str:
  """Returns a package with its version."""
  try:
    return f"{package} {importlib.metadata.version(package)}"
  except importlib.metadata.PackageNotFoundError:
    return f"no {package}"


def _processor():
  try:
    with open("/proc/cpuinfo") as lines:
      return next(line for line in lines if "model name" in line).split(": ")[1].strip()
  except (OSError, StopIteration):
    return platform.processor() or platform.machine()


def markdown(found: Sequence[Mapping[str, Any]]) -> str:
  """Returns rows as one table; what a row lacks is an empty cell."""
  columns = list(dict.fromkeys(name for row in found for name in row))
  lines = [columns, ["---"] * len(columns)]
  lines += [[_cell(row.get(name, "")) for name in columns] for row in found]
  return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(value):
  if isinstance(value, Mapping):
    low, high = _number(value["min"]), _number(value["max"])
    return f"{_number(value['median'])} ({low} – {high})"
  return _number(value) if isinstance(value, float) else str(value)


def _number(value):
  return f"{value:.0f}" if 100 <= abs(value) < 1e6 else f"{value:.3g}"


def write_json(path: str | os.PathLike[str], content: Any) -> None:
  """Writes a file of JSON, whole or not at all."""
  path = Path(path)
  path.parent.mkdir(parents=True, exist_ok=True)
  part = path.with_name(path.name + ".part")
  part.write_text(json.dumps(content, indent=1) + "\n")
  part.replace(path)
