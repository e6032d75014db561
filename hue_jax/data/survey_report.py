"""What was found in a data set, and how it is told."""

import dataclasses
from collections.abc import Sequence

import numpy as np

_SHOWN_CLASSES = 50  # More are told by the fewest and the most.
_SHOWN_DAMAGE = 20


@dataclasses.dataclass(frozen=True)
class Damage:
  """A record that cannot be used.

  Attributes:
    file: The name of its file.
    record: Its number in the file, from 0.
    reason: What is wrong with it.
  """

  file: str
  record: int
  reason: str


@dataclasses.dataclass(frozen=True)
class SplitSurvey:
  """What was found in a split.

  Attributes:
    split: Its name.
    files: The number of its files.
    records: The records that the data set says it has.
    read: The records that can be used.
    bytes: Their size.
    seconds: How long they were read and looked at.
    class_counts: The number of images of each class.
    unlabeled: The number of images without a label.
    record_bytes: Sizes of records: least, median and greatest.
    heights: Likewise, heights of images in pixels.
    widths: Likewise, widths.
    channels: Number of channels → number of images; those with alpha, on its ground.
    damaged: What cannot be used.
  """

  split: str
  files: int
  records: int
  read: int
  bytes: int
  seconds: float
  class_counts: list[int]
  unlabeled: int
  record_bytes: list[float]
  heights: list[float]
  widths: list[float]
  channels: dict[int, int]
  damaged: list[Damage]

  @property
  def lost(self) -> int:
    """The records that cannot be used: also those after one that hides them."""
    return max(self.records - self.read, len(self.damaged))


def spread(values: Sequence[int]) -> list[float]:
  """Returns the least, the median and the greatest of some numbers; [] of none."""
  if not len(values):
    return []
  return [float(one) for one in (min(values), np.median(values), max(values))]


def text_of(found: SplitSurvey, class_names: Sequence[str]) -> str:
  """Returns what was found in a split, in lines.

  Args:
    found: What was found.
    class_names: The name of each class.
  """
  seconds = max(found.seconds, 1e-9)
  lines = [
    f"{found.split}: {found.read:,} of {found.records:,} records in {found.files:,} "
    f"file{'s' * (found.files > 1)}, {found.bytes / 1e6:,.1f} MB",
    f"  read in {found.seconds:,.1f} s: {found.read / seconds:,.0f} images/s, "
    f"{found.bytes / 1e6 / seconds:,.1f} MB/s",
  ]
  if found.read:
    channels = ", ".join(f"{n:,} of {c}" for c, n in found.channels.items())
    lines += [
      f"  bytes of a record: {_spread(found.record_bytes)}",
      f"  pixels: height {_spread(found.heights)}; width {_spread(found.widths)}",
      f"  channels: {channels}",
      *_classes(found, class_names),
    ]
  lines.append(f"  damaged: {len(found.damaged):,}")
  lines += [
    f"    {one.file} record {one.record}: {one.reason}"
    for one in found.damaged[:_SHOWN_DAMAGE]
  ]
  if len(found.damaged) > _SHOWN_DAMAGE:
    more = len(found.damaged) - _SHOWN_DAMAGE
    lines.append(f"    and {more:,} more, all of which --json tells")
  return "\n".join(lines)


def _classes(found, class_names):
  counts = found.class_counts
  lines = [
    f"  classes: {sum(map(bool, counts)):,} of {len(counts):,} have images, "
    f"{_spread(spread(counts))} each"
  ]
  if found.unlabeled:
    lines.append(f"  without a label: {found.unlabeled:,}")
  if len(counts) <= _SHOWN_CLASSES:
    pairs = zip(class_names, counts, strict=True)
    return [*lines, *(f"    {name}: {count:,}" for name, count in pairs)]
  order = np.argsort(counts, kind="stable").tolist()
  for what, some in (("fewest", order[:5]), ("most", order[:-6:-1])):
    told = ", ".join(f"{class_names[c]} {counts[c]:,}" for c in some)
    lines.append(f"    {what}: {told}")
  return lines


def _spread(values):
  low, middle, high = values
  if low == high:
    return f"{low:,.0f}"
  return f"{low:,.0f} to {high:,.0f}, median {middle:,.0f}"
