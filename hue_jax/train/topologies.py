"""TPU slices that are not at hand: their chips, and devices to compile for."""

import dataclasses
import math
import os
import re
from typing import Any, NoReturn

from hue_jax.errors import InputError, refuse


@dataclasses.dataclass(frozen=True)
class Chip:
  """A generation of TPU chips, with its maker's figures for one chip.

  Source: Google Cloud's pages of TPU v4, v5e, v5p and v6e (system architecture).

  Attributes:
    types: The beginnings of the names that gcloud has for its slices.
    cores: The TensorCores of a chip, by which gcloud counts v4 and v5p; JAX has one
      device a chip.
    dimensions: The numbers of a layout, as in 4x4.
    hbm_bytes: The memory.
    flops: The operations a second, in bfloat16.
    hbm_bandwidth: The bytes a second between memory and cores.
    link_bandwidth: The bytes a second that a chip can send to its neighbors.
    clock: The cycles a second, which are published for v4; for v5e and v5p those that
      the operations amount to, with 4 and 8 units of 128 × 128 multiplications and
      additions each. None where that is not known.
    config: The name that libtpu has for the use of a chip as one device.
  """

  types: tuple[str, ...]
  cores: int
  dimensions: int
  hbm_bytes: int
  flops: float
  hbm_bandwidth: float
  link_bandwidth: float
  clock: float | None = None
  config: str = "default"


_GB, _GIB = 1e9, 2**30
CHIPS = {
  "v4": Chip(
    types=("v4",),
    cores=2,
    dimensions=3,
    hbm_bytes=32 * _GIB,
    flops=275e12,
    hbm_bandwidth=1200 * _GB,
    link_bandwidth=300 * _GB,
    clock=1.05e9,
    config="megacore",
  ),
  "v5e": Chip(
    types=("v5litepod", "v5e"),
    cores=1,
    dimensions=2,
    hbm_bytes=16 * _GIB,
    flops=197e12,
    hbm_bandwidth=819 * _GB,
    link_bandwidth=200 * _GB,
    clock=1.5e9,
  ),
  "v5p": Chip(
    types=("v5p",),
    cores=2,
    dimensions=3,
    hbm_bytes=95 * _GIB,
    flops=459e12,
    hbm_bandwidth=2765 * _GB,
    link_bandwidth=600 * _GB,
    clock=1.75e9,
  ),
  "v6e": Chip(
    types=("v6e",),
    cores=1,
    dimensions=2,
    hbm_bytes=32 * _GIB,
    flops=918e12,
    hbm_bandwidth=1640 * _GB,
    link_bandwidth=400 * _GB,
  ),
}

# gcloud's layouts of so many chips.
_LAYOUTS = {
  2: {
    1: "1x1", 4: "2x2", 8: "2x4", 16: "4x4", 32: "4x8", 64: "8x8",
    128: "8x16", 256: "16x16",
  },
  3: {
    4: "2x2x1", 8: "2x2x2", 16: "2x2x4", 32: "2x4x4", 64: "4x4x4", 128: "4x4x8",
    256: "4x8x8", 512: "8x8x8", 1024: "8x8x16", 2048: "8x16x16",
  },
}  # fmt: skip

# Of libtpu: no TPU is used, so that another process may have it, and no service of the
# cloud is asked for one.
_WITHOUT_TPU = {
  "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
  "TPU_SKIP_MDS_QUERY": "1",
  "TPU_ACCELERATOR_TYPE": "v5litepod-1",
  "TPU_WORKER_HOSTNAMES": "localhost",
}


@dataclasses.dataclass(frozen=True)
class Topology:
  """A slice of chips.

  Attributes:
    generation: The name in `CHIPS`.
    layout: The chips along each axis.
  """

  generation: str
  layout: tuple[int, ...]

  def __str__(self) -> str:
    """Returns the name, as "v5e:4x4"."""
    return f"{self.generation}:{'x'.join(map(str, self.layout))}"

  @property
  def chip(self) -> Chip:
    """The kind of the chips."""
    return CHIPS[self.generation]

  @property
  def num_chips(self) -> int:
    """The number of chips, and of JAX's devices."""
    return math.prod(self.layout)

  def devices(self) -> list[Any]:
    """Returns devices for which programs compile, and on which none runs.

    Raises:
      InputError: If libtpu is not installed, or knows no such layout.
    """
    import libtpu  # noqa: F401  (JAX finds it by itself, and says less of its lack)
    from jax.experimental import topologies

    for name, value in _WITHOUT_TPU.items():
      os.environ.setdefault(name, value)
    options = {} if self.num_chips > 1 else {"chips_per_host_bounds": (1, 1, 1)}
    try:
      description = topologies.get_topology_desc(
        platform="tpu",
        topology_name=str(self),
        chip_config_name=self.chip.config,
        **options,
      )
    except Exception as error:
      reason = str(error).partition(": ")[2] or str(error)
      raise InputError(
        f"--topology is {str(self)!r}, which libtpu does not compile for: {reason}"
      ) from None
    return list(description.devices)


def parse_topology(name: str) -> Topology:
  """Returns the slice of a name.

  Args:
    name: A generation and a layout of chips, as "v5e:4x4" or "v4:2x2x4"; or what
      gcloud calls its type, as "v5litepod-16" or "v4-32", where v4 and v5p count
      TensorCores, two a chip.

  Raises:
    InputError: If it is neither.
  """
  if layout := re.fullmatch(r"(\w+):(\d+(?:x\d+)+)", name):
    generation, numbers = layout.groups()
    numbers = tuple(map(int, numbers.split("x")))
    chip = CHIPS.get(generation)
    if chip and len(numbers) == chip.dimensions and all(numbers):
      return Topology(generation, numbers)
  if accelerator := re.fullmatch(r"(\w+)-(\d+)", name):
    kind, size = accelerator[1], int(accelerator[2])
    for generation, chip in CHIPS.items():
      if kind in chip.types:
        return _of_gcloud(name, generation, size)
  _refuse(name)


def _of_gcloud(name, generation, size):
  chip = CHIPS[generation]
  layouts = _LAYOUTS[chip.dimensions]
  if size % chip.cores or size // chip.cores not in layouts:
    sizes = [f"{chip.types[0]}-{number * chip.cores}" for number in layouts]
    refuse("--topology", name, f"one of {', '.join(sizes)}, or a layout of chips")
  numbers = layouts[size // chip.cores].split("x")
  return Topology(generation, tuple(map(int, numbers)))


def _refuse(name) -> NoReturn:
  refuse(
    "--topology",
    name,
    "a TPU generation and a layout of chips, as in v4:2x2x4, v5e:4x4, v5p:2x4x4 or "
    "v6e:4x4, or gcloud's type, as in v4-32, v5litepod-16, v5p-64 or v6e-16",
  )
