"""What a compiled step means for ImageNet on one GPU, a v4-32 and a v5e-256.

Arithmetic alone, on what was compiled (by benchmarks/compile_table.py, which calls it)
and on what was measured elsewhere: the rate at which a core decodes. docs/scaling.md
has the result.
"""

import dataclasses
import re
import sys
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from hue_jax.train.topologies import CHIPS

# Measured: docs/performance.md, `goyal90`, two cores.
DECODED_BY_A_CORE = 817 / 2
# Known: the bytes of the training archive, its images, the two parts that are tested.
BYTES_OF_AN_IMAGE = 147_897_477_120 / 1_281_167
TRAINED, VALIDATED, TESTED = 1_268_355, 12_812, 50_000
STEPS_TO_A_CHECKPOINT = 2000


@dataclasses.dataclass(frozen=True)
class Machine:
  """Where ImageNet is trained, with its makers' figures.

  Attributes:
    name: In the table.
    generation: Of TPU chips, in `CHIPS`; or "".
    chips: How many.
    hosts: How many machines feed them.
    cores: The cores of a host (two virtual CPUs are one).
    batch: The images of a chip.
    flops: The bfloat16 operations a second of a chip.
    bandwidth: The bytes a second of its memory.
    link: The bytes a second that it sends to its neighbors; None for one chip.
  """

  name: str
  generation: str
  chips: int
  hosts: int
  cores: int
  batch: int
  flops: float
  bandwidth: float
  link: float | None


def _slice(name, generation, *, chips, cores, batch):
  chip = CHIPS[generation]
  rates = chip.flops, chip.hbm_bandwidth, chip.link_bandwidth
  return Machine(name, generation, chips, chips // 4, cores, batch, *rates)


MACHINES = (
  Machine("one A100, 80 GB", "", 1, 1, 16, 256, 312e12, 2.04e12, None),
  _slice("v4-32", "v4", chips=16, cores=120, batch=64),
  _slice("v5e-256", "v5e", chips=256, cores=56, batch=32),
)


def table(rows: list[dict]) -> str:
  """Returns the figures of a run of ResNet-50 with the hue terms.

  Args:
    rows: What was compiled, as `compile_table.py` keeps it.
  """
  found = [
    row for row in rows if row["asked"]["network"] == "resnet50" and "hue" in row
  ]
  # Of equal batches that which moves most, whatever was compiled last.
  found.sort(key=lambda r: (r["batch_size_of_a_chip"], _of_image(r, "bytes_accessed")))
  figures = []
  for machine in MACHINES:
    # Of the same chips, where such a step was compiled.
    same = [
      row for row in found if row["topology"].startswith(f"{machine.generation}:")
    ]
    figures.append(_figures(machine, (same or found)[-1], is_same=bool(same)))
  names = " | ".join(f"computed: {machine.name}" for machine in MACHINES)
  lines = [
    f"| | measured, compiled or published | {names} |",
    f"|{' --- |' * (len(MACHINES) + 2)}",
  ]
  for of_machines in zip(*figures, strict=True):
    names, sources, cells = zip(*of_machines, strict=True)
    source = "; ".join(dict.fromkeys(sources))
    lines.append(f"| {' | '.join([names[0], source, *cells])} |")
  return "\n".join(lines)


class _Step(NamedTuple):
  """A step on a machine, in seconds and bytes.

  Attributes:
    operations: At the chips' peak.
    memory: The bytes accessed, at the peak of the chips' memory.
    schedule: Of the compiler, by the image; None where it is not known of these chips.
    sent: The bytes of the collectives.
    exchange: Of these, in a ring, at the peak of the links.
    state: The bytes of weights, optimizer's state and prototypes.
  """

  operations: float
  memory: float
  schedule: float | None
  sent: int
  exchange: float
  state: int

  @property
  def compute(self) -> float:
    """What the chips take by themselves."""
    return self.schedule or max(self.operations, self.memory)

  @property
  def whole(self) -> float:
    """The time of the step."""
    return self.compute + self.exchange


def _step(machine, row, is_same):
  sent = sum(one["bytes"] * one["count"] for one in row["hue"]["collectives"])
  around = 2 * (machine.chips - 1) / machine.chips * sent
  images = row["batch_size_of_a_chip"]
  return _Step(
    operations=machine.batch * _of_image(row, "flops") / machine.flops,
    memory=machine.batch * _of_image(row, "bytes_accessed") / machine.bandwidth,
    schedule=machine.batch * _of_image(row, "scheduled_seconds") if is_same else None,
    sent=sent,
    exchange=around / machine.link if machine.link else 0.0,
    # All arguments but the batch.
    state=row["hue"]["argument_bytes"] - images * 224 * 224 * 3,
  )


def _figures(machine, row, *, is_same):
  """Returns (name, what it is computed from, figure) of one machine."""
  step = _step(machine, row, is_same)
  images = machine.chips * machine.batch / step.whole
  cores = images / machine.hosts / DECODED_BY_A_CORE
  read = images * BYTES_OF_AN_IMAGE
  epoch = TRAINED / images
  validation = VALIDATED / images / 3  # a forward pass is a third of a step
  gigabytes = _of_image(row, "bytes_accessed") / 1e9
  compiled = f"compiled for {row['asked']['slice']}"
  return [
    (
      "chips, hosts, cores of a host",
      "published",
      f"{machine.chips}, {machine.hosts}, {machine.cores}",
    ),
    (
      "images of a chip, of a step",
      "chosen",
      f"{machine.batch}, {machine.batch * machine.chips:,}",
    ),
    (
      "operations at peak",
      f"{_of_image(row, 'flops') / 1e9:.1f} GFLOP an image, {compiled}",
      _ms(step.operations),
    ),
    (
      "bytes accessed at peak",
      f"{gigabytes:.2f} GB an image, {compiled}",
      _ms(step.memory),
    ),
    (
      "compiler's schedule",
      "by the image, compiled for the same chips",
      _ms(step.schedule) if is_same else "not measured",
    ),
    (
      "collectives at the links' peak",
      f"{step.sent / 1e6:.1f} MB, {compiled}",
      _ms(step.exchange) if machine.link else "none",
    ),
    (
      "time of a step",
      "not measured",
      f"{_ms(step.whole)} ({'schedule' if is_same else 'bytes'} and collectives)",
    ),
    (
      "images a second; of a host",
      "not measured",
      f"{images:,.0f}; {images / machine.hosts:,.0f}",
    ),
    (
      "cores of a host that decode them",
      f"measured: {2 * DECODED_BY_A_CORE:,.0f} images/s on two cores",
      f"{cores:.1f} of {machine.cores}",
    ),
    (
      "read from storage; by a host",
      f"published: {BYTES_OF_AN_IMAGE / 1e3:.0f} kB an image",
      f"{read / 1e9:.2f} GB/s; {read / machine.hosts / 1e6:,.0f} MB/s",
    ),
    (
      "checkpoints, on the average",
      f"{step.state / 1e6:.0f} MB each, {compiled}",
      f"{step.state / STEPS_TO_A_CHECKPOINT / step.whole / 1e6:.1f} MB/s",
    ),
    (
      "an epoch; its validation; the test",
      "not measured",
      f"{epoch:.1f} s; {validation:.2f} s; {TESTED / images / 3:.1f} s",
    ),
    ("90 epochs", "not measured", f"{90 * (epoch + validation) / 3600:.2f} h"),
    (
      "what binds first",
      "not measured",
      _binds(step, step.whole * cores / machine.cores),
    ),
  ]


def _of_image(row, name):
  return row["hue"][name] / row["batch_size_of_a_chip"]


def _binds(step, decoding):
  """Returns the longest of the times of a step, in words."""
  within = "units" if step.compute <= 2 * step.operations else "memory"
  times = {
    f"the chips' {within}": step.compute,
    "the collectives": step.exchange,
    "decoding": decoding,
  }
  return max(times, key=times.get)


def _ms(seconds):
  return f"{seconds * 1e3:.2f} ms"


def write(page: Path, name: str, text: str) -> None:
  """Puts text between two marks of a page, <!-- NAME --> and <!-- end of NAME -->."""
  marks = f"<!-- {name} -->", f"<!-- end of {name} -->"
  pattern = rf"{re.escape(marks[0])}\n.*?{re.escape(marks[1])}"
  before = page.read_text()
  assert re.search(pattern, before, re.DOTALL), f"{page} has no place for {name}"
  new = f"{marks[0]}\n\n{text}\n\n{marks[1]}"
  page.write_text(re.sub(pattern, lambda _: new, before, flags=re.DOTALL))
