"""How far something is: a bar on a terminal, a line now and then anywhere else."""

import sys
import time
from collections.abc import Iterator, Sequence
from typing import TypeVar

from tqdm import tqdm

_Item = TypeVar("_Item")

# Seconds between the lines of a file or a pipe: a tenth of the time that has passed,
# within these bounds, so that a minute gives a few lines and a week a thousand.
_SHORTEST, _LONGEST = 10.0, 600.0


class Progress:
  """The progress of something that is counted, on standard error.

  Use as a context manager: leaving ends the bar, or tells in a last line what was done.
  The rate, and the time that is left by it, are means of all since the first were
  done: what these took is the time of reading and compiling, and what comes now and
  then, as evaluations do, comes again.
  """

  def __init__(
    self,
    total: int,
    *,
    unit: str,
    title: str = "",
    initial: int = 0,
    silent: bool = False,
    lines: bool = True,
  ):
    """Starts the clock.

    Args:
      total: How many there are.
      unit: What is counted, in the plural.
      title: What is done with them.
      initial: How many are done already.
      silent: Whether nothing is said, as by all processes but the first.
      lines: Whether a file or a pipe gets lines; False where others tell there.
    """
    terminal = sys.stderr.isatty()
    self._tells = lines and not silent and not terminal
    self._title, self._unit, self._total = title, unit, total
    self._initial = self._done = initial
    self._start = self._last = time.monotonic()
    self._first: tuple[int, float] | None = None  # done, and when, at the first update
    self._bar = tqdm(
      total=total,
      initial=initial,
      desc=title or None,
      unit=f" {unit}",
      file=sys.stderr,
      dynamic_ncols=True,
      smoothing=0,
      disable=silent or not terminal,
    )

  def __enter__(self) -> "Progress":
    """Returns the progress itself."""
    return self

  def __exit__(self, *_) -> None:
    """Ends the bar as `close` does."""
    self.close()

  def close(self) -> None:
    """Ends the bar, or tells what was done."""
    self._bar.close()
    if self._tells:
      elapsed = tqdm.format_interval(time.monotonic() - self._start)
      self.note(f"{self._so_far()} in {elapsed}")

  def update(self, count: int = 1) -> None:
    """Counts so many more as done.

    Args:
      count: How many more.
    """
    now, first = time.monotonic(), self._first is None
    self._done += count
    if first:
      self._first = (self._done, now)
      self._bar.unpause()
    self._bar.update(count)
    if first and not self._bar.disable:
      # What was done until now, and its time, is no part of the bar's rate.
      self._bar.initial = self._bar.last_print_n = self._bar.n
    wait = min(max((now - self._start) / 10, _SHORTEST), _LONGEST)
    if self._tells and now - self._last >= wait and self._done < self._total:
      self._last = now
      rate = self._rate(now)
      told = f", {rate:.3g} a second, {self.left()} left" if rate else ""
      self.note(f"{self._so_far()}{told}")

  def left(self) -> str:
    """Returns the time that is left, as in "03:20"; "?" before there is a rate."""
    rate = self._rate(time.monotonic())
    return tqdm.format_interval((self._total - self._done) / rate) if rate else "?"

  def note(self, text: str) -> None:
    """Writes a line of text to standard error, above the bar where there is one.

    Args:
      text: The line.
    """
    tqdm.write(text, file=sys.stderr)

  def _so_far(self):
    title = f"{self._title}: " if self._title else ""
    return f"{title}{self._done:,} of {self._total:,} {self._unit}"

  def _rate(self, now):
    """Returns how many a second were done since the first; None before the second."""
    done, since = self._first or (self._done, now)
    if done == self._done or now <= since:
      return None
    return (self._done - done) / (now - since)


def track(items: Sequence[_Item], *, unit: str, title: str = "") -> Iterator[_Item]:
  """Yields the items, each counted as done when the next one is asked for.

  Args:
    items: What is gone through.
    unit: What they are, in the plural.
    title: What is done with them.

  Yields:
    The items, in their order.
  """
  with Progress(len(items), unit=unit, title=title) as progress:
    for item in items:
      yield item
      progress.update()
