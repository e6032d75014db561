"""The step of a run, compiled for a TPU slice on a machine that has none.

libtpu compiles for a slice that it is told of, so that what a step needs of memory and
time, and whether a batch fits, is known before a machine is rented. No data set is
read: what it would tell is in the configuration, and the number of steps is in the
compiled program a constant.
"""

import dataclasses
import re
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
from ml_collections import ConfigDict

from hue_jax.compiled import program_memory
from hue_jax.errors import InputError
from hue_jax.train import config as settings
from hue_jax.train.build import build, lowered_step
from hue_jax.train.collectives import Collective, read_collectives, total_bytes
from hue_jax.train.topologies import Topology

# Constants of the program's schedules, where the configuration leaves them to the data.
_NUM_TRAIN_STEPS, _WARMUP_STEPS = 10_000, 100

# A batch is found to within this part of itself, in steps of so many images a chip.
_NEAR, _STEP = 16, 8


@dataclasses.dataclass(frozen=True)
class Program:
  """What the compiler says of a step, for one chip.

  Attributes:
    argument_bytes: The state and the chip's part of the batch, as they lie in memory.
    temporary_bytes: What is kept between operations.
    code_bytes: The program itself.
    peak_bytes: All of that and the results that take no argument's place.
    flops: The operations, a multiplication and an addition counted as two.
    bytes_accessed: What the operations read and write, each by itself.
    scheduled_seconds: The cycles that the TPU's compiler expects of the operations in
      its schedule, one after the other, without collectives; None where the chip's
      clock is not known. (XLA's own `optimal_seconds` is not told: of a ResNet-50 it
      is negative.)
    collectives: What the chips send each other.
    compile_seconds: The time that compiling took here.
  """

  argument_bytes: int
  temporary_bytes: int
  code_bytes: int
  peak_bytes: int
  flops: float
  bytes_accessed: float
  scheduled_seconds: float | None
  collectives: list[Collective]
  compile_seconds: float


class DoesNotFit(Exception):
  """A program that needs more memory than a chip has.

  Attributes:
    needed_bytes: What it needs, where the compiler says it; else None.
    told: The compiler's words.
  """

  def __init__(self, told: str):
    """Takes the compiler's message."""
    super().__init__(told)
    self.told = " ".join(told.split())
    found = re.search(r"Used ([\d.]+)([KMGT]?) of", told)
    self.needed_bytes = None
    if found:
      self.needed_bytes = int(float(found[1]) * 1024 ** "_KMGT".index(found[2] or "_"))


def compile_run(
  config: ConfigDict,
  topology: Topology,
  *,
  twin: bool = True,
  largest_batch: bool = False,
) -> dict[str, Any]:
  """Compiles the step of a run for a slice, and tells what it takes.

  It is compiled with the hue terms, where the configuration has any, and without them:
  the difference is what they add.

  Args:
    config: A configuration with the fields of `configs/base.py`.
    topology: The slice.
    twin: Whether to compile the one-hot twin of a step that has hue terms.
    largest_batch: Whether to search for the largest batch that fits, in place of
      compiling with the configuration's own.

  Returns:
    The result: task, model, objective, topology, chips, batch_size, …, and of each
    program what it needs.

  Raises:
    InputError: If a setting cannot be used, libtpu is not installed or knows no such
      slice, or the batch does not fit.
  """
  check(config, topology)
  devices = topology.devices()
  if largest_batch:
    config = config.copy_and_resolve_references()
    config.batch_size = topology.num_chips * _largest_batch(config, devices, topology)
  steps = {"hue" if settings.hue_terms(config) else "step": config}
  if twin and settings.hue_terms(config):
    steps["one_hot"] = _without_hue(config)
  programs, described = {}, {}
  for name, of_step in steps.items():
    described[name], lower = _lowered(of_step, devices)
    _tell(f"compiling {described[name]}, {_batch_of(config, topology)}")
    try:
      programs[name] = _compile(lower, topology)
    except DoesNotFit as error:
      raise InputError(
        f"batch_size is {config.batch_size}, {_batch_of(config, topology)}, which do "
        f"not fit: {error.told}"
      ) from None
  _tell(table(programs, topology))
  first = next(iter(programs))
  return {
    "task": config.dataset,
    "model": config.model,
    "objective": described[first],
    "topology": str(topology),
    "chips": topology.num_chips,
    "batch_size": config.batch_size,
    "batch_size_of_a_chip": config.batch_size // topology.num_chips,
    "hbm_bytes": topology.chip.hbm_bytes,
    **{name: dataclasses.asdict(program) for name, program in programs.items()},
    "jax": jax.__version__,
    "libtpu": _libtpu_version(),
  }


def check(config: ConfigDict, topology: Topology) -> None:
  """Raises an InputError for the first setting that cannot be compiled.

  Args:
    config: A configuration with the fields of `configs/base.py`.
    topology: The slice.
  """
  settings.check_settings(config, num_devices=topology.num_chips)
  for name in ("num_classes", "channels"):
    if not config[name]:
      raise InputError(
        f"{name} is 0, which leaves it to the data set; --mode=compile reads none, so "
        f"give --config.{name}."
      )


def _without_hue(config):
  config = config.copy_and_resolve_references()
  config.hue.enabled = False
  return config


def _lowered(config, devices):
  """Returns the objective in words, and a function that lowers the step."""
  num_train_steps = max(config.num_train_steps, 0) or _NUM_TRAIN_STEPS
  built = build(
    config, num_train_steps, min(_WARMUP_STEPS, num_train_steps), abstract=True
  )
  return built.objective.describe(), lambda: lowered_step(config, built, devices)


def _compile(lower: Callable[[], Any], topology: Topology) -> Program:
  started = time.perf_counter()
  try:
    compiled = lower().compile()
  except jax.errors.JaxRuntimeError as error:
    if "RESOURCE_EXHAUSTED" in str(error):
      raise DoesNotFit(str(error)) from None
    raise
  memory, cost = compiled.memory_analysis(), compiled.cost_analysis()
  text = compiled.as_text()
  cycles = sum(map(int, re.findall(r'"estimated_cycles":"(\d+)"', text)))
  clock = topology.chip.clock
  return Program(
    argument_bytes=memory.argument_size_in_bytes,
    temporary_bytes=memory.temp_size_in_bytes,
    code_bytes=memory.generated_code_size_in_bytes,
    peak_bytes=program_memory(compiled) + memory.generated_code_size_in_bytes,
    flops=cost["flops"],
    bytes_accessed=cost["bytes accessed"],
    scheduled_seconds=cycles / clock if clock and cycles else None,
    collectives=read_collectives(text),
    compile_seconds=round(time.perf_counter() - started, 1),
  )


# --- The largest batch --------------------------------------------------------------


def _largest_batch(config, devices, topology):
  """Returns the images of a chip that fit, where a sixteenth more does not."""
  each = max(_STEP, config.batch_size // topology.num_chips // _STEP * _STEP)
  fits, needed, too_many = 0, {0: 0}, None
  while too_many is None or too_many - fits > max(_STEP, fits // _NEAR):
    candidate = config.copy_and_resolve_references()
    candidate.batch_size = each * topology.num_chips
    _, lower = _lowered(candidate, devices)
    try:
      needed[each] = _compile(lower, topology).peak_bytes
      fits, verdict = each, "fits"
    except DoesNotFit as error:
      too_many, verdict = each, "does not fit"
      if error.needed_bytes:
        needed[each] = error.needed_bytes
    _tell(f"{each} images a chip: {verdict}")
    if each == _STEP and not fits:
      raise InputError(
        f"model is {config.model!r}, of which not even {_STEP} images a chip fit into "
        f"the memory of {topology}."
      )
    each = _next(needed, fits, too_many, topology.chip.hbm_bytes)
  return fits


def _next(needed, fits, too_many, limit):
  """Returns the images to try next: where the line of the last two needs the limit."""
  (low, at_low), (high, at_high) = sorted(needed.items())[-2:]
  slope = (at_high - at_low) / (high - low)
  guess = int(high + (limit - at_high) / slope) if slope > 0 else 2 * high
  if too_many is None:
    return max(min(guess, 4 * fits) // _STEP * _STEP, fits + _STEP)
  middle = (fits + too_many) // 2
  inside = guess if fits < guess < too_many else middle
  return min(max(inside // _STEP * _STEP, fits + _STEP), too_many - _STEP)


# --- Words --------------------------------------------------------------------------


def _batch_of(config, topology):
  return (
    f"{config.batch_size // topology.num_chips} images of each of the "
    f"{topology.num_chips} chips of {topology}"
  )


def table(programs: dict[str, Program], topology: Topology) -> str:
  """Returns what programs need, and what the first has more than the second."""
  columns = [_HEADS[name] for name in programs]
  columns += ["the terms add"] * (len(programs) > 1)
  rows = [("of a chip", *columns)]
  for name, value, unit, scale in _rows(topology):
    values = [value(program) for program in programs.values()]
    if None in values:
      continue
    cells = [f"{_number(one / scale)} {unit}" for one in values]
    if len(values) > 1:
      part = f" ({values[0] / values[1] - 1:+.1%})" if values[1] else ""
      more = (values[0] - values[1]) / scale
      cells.append(f"{'+' if more >= 0 else ''}{_number(more)} {unit}{part}")
    rows.append((name, *cells))
  widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
  lines = [
    "  ".join(
      cell.rjust(width) if place else cell.ljust(width)
      for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    for row in rows
  ]
  hbm = topology.chip.hbm_bytes
  lines += [
    f"{_HEADS[name]}: {program.peak_bytes / hbm:.1%} of {hbm / 2**30:.0f} GiB; "
    f"{_of_collectives(program.collectives)}"
    for name, program in programs.items()
  ]
  return "\n".join(lines)


_HEADS = {"hue": "with hue terms", "one_hot": "one-hot twin", "step": "the step"}


def _number(value):
  return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _rows(topology):
  """Yields the name of a figure, the figure, its unit and what the unit stands for."""
  chip = topology.chip
  yield "arguments", lambda p: p.argument_bytes, "MiB", 2**20
  yield "temporaries", lambda p: p.temporary_bytes, "MiB", 2**20
  yield "program", lambda p: p.code_bytes, "MiB", 2**20
  yield "peak memory", lambda p: p.peak_bytes, "MiB", 2**20
  yield "operations", lambda p: p.flops, "GFLOP", 1e9
  yield "bytes accessed", lambda p: p.bytes_accessed, "GB", 1e9
  yield "collectives", lambda p: total_bytes(p.collectives), "MB", 1e6
  yield "compiler's schedule", lambda p: p.scheduled_seconds, "ms", 1e-3
  yield "operations at peak", lambda p: p.flops / chip.flops, "ms", 1e-3
  yield "memory at peak", lambda p: p.bytes_accessed / chip.hbm_bandwidth, "ms", 1e-3


def _of_collectives(collectives):
  kinds = dict.fromkeys(row.kind for row in collectives)
  texts = []
  for kind in kinds:
    rows = [row for row in collectives if row.kind == kind]
    sizes = ", ".join(f"{row.count} × {row.bytes:,} bytes" for row in rows[:3])
    rest = sum(row.count for row in rows[3:])
    texts.append(
      f"{sum(row.count for row in rows)} {kind} ({sizes}"
      + (f", {rest} smaller)" if rest else ")")
    )
  return "; ".join(texts) or "no collectives"


def _tell(text):
  print(text, file=sys.stderr, flush=True)


def _libtpu_version():
  import libtpu

  return libtpu.__version__
