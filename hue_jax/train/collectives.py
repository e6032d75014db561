"""What devices send each other in a step, read from a compiled program's text."""

import dataclasses
import re
from collections import Counter

_KINDS = (
  "all-reduce",
  "all-gather",
  "reduce-scatter",
  "all-to-all",
  "collective-permute",
  "collective-broadcast",
)
# As in: %x = (f32[2,16]{1,0}, f32[]) all-reduce-start(%a, %b), channel_id=1, …
_CALL = re.compile(
  rf"^\s*(?:ROOT )?%?[\w.\-]+ = (?P<shapes>\(.*\)|\S+) (?P<kind>{'|'.join(_KINDS)})"
  r"(?P<start>-start)?\(",
  re.MULTILINE,
)
_SHAPE = re.compile(r"\b(?P<type>[a-z]+\d*\w*)\[(?P<sides>[\d,]*)\]")
_BITS = re.compile(r"[a-z]+(\d+)")


@dataclasses.dataclass(frozen=True)
class Collective:
  """Collectives of one kind and size.

  Attributes:
    kind: The operation, as "all-reduce".
    bytes: The bytes of the arrays that one of them makes on a device.
    count: How many of them the program has.
  """

  kind: str
  bytes: int
  count: int


def read_collectives(text: str) -> list[Collective]:
  """Finds the collectives of a program.

  What is in the body of a loop counts once, for the text does not tell how often it
  runs.

  Args:
    text: The optimized HLO, as `compiled.as_text()` has it.

  Returns:
    The collectives by kind, and of each kind the largest first.
  """
  found = Counter(
    (call["kind"], _num_bytes(call["kind"], call["shapes"], bool(call["start"])))
    for call in _CALL.finditer(text)
  )
  rows = (Collective(*which, count) for which, count in found.items())
  return sorted(rows, key=lambda row: (_KINDS.index(row.kind), -row.bytes))


def total_bytes(collectives: list[Collective]) -> int:
  """Returns the bytes of all collectives together."""
  return sum(row.bytes * row.count for row in collectives)


def _num_bytes(kind, shapes, is_start):
  sizes = [_size(shape["type"], shape["sides"]) for shape in _SHAPE.finditer(shapes)]
  if is_start and kind != "all-reduce":
    # The start of the others returns (operand, result, perhaps what it waits by).
    sizes = sizes[1:2]
  return sum(sizes)


def _size(kind, sides):
  number = 1
  for side in filter(None, sides.split(",")):
    number *= int(side)
  bits = _BITS.fullmatch(re.sub(r"(?<=\d)[a-z]\w*$", "", kind))
  return number * (int(bits[1]) if bits else 8) // 8  # a pred has a byte
