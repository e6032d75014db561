"""Times the training step beside those of flax's ImageNet example, PyTorch and timm.

    python benchmarks/step.py [--networks resnet18 …] [--sizes 64] [--batch_sizes 64]
      [--precisions float32 bfloat16] [--sides one_hot sectors flax torch …]
      [--width 64] [--classes 100] [--steps 1] [--repeats 7] [--json FILE]

One step: from images on the device to new weights, forward and backward. Sides are
`one_hot`, hue_jax's step without the hue loss; `sectors`, `memory`, `position` and
`class`, hue_jax's step with that form of it; `flax`, the step of flax's ImageNet
example; `torch` and `timm`, PyTorch's, channels-last; and these two compiled by
torch.compile. Images are random and lie on the device: uint8 for hue_jax and PyTorch,
which normalize them there, and float32 for flax's example, whose host does.

FLOPs are those that XLA counts in hue_jax's step without the hue loss; the share of the
matmul rate is theirs of what a product of two square matrices reaches in the same
precision. Memory is that of the program: arguments, results and what it computes with
(for PyTorch, on a GPU, the most that a step of it alone had allocated). A side for
which there is not enough is left out, and told. It needs JAX 0.6.2, Flax 0.10.6, or
newer ones, Optax, NumPy and jaxtyping, and takes PyTorch and timm where they are
installed.
"""

import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

# JAX would take three quarters of a GPU for itself, and leave PyTorch the rest.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common, peers
from hue_jax.compiled import program_memory
from hue_jax.models import create_model, tap_shapes
from hue_jax.models.resnet import VARIANTS, Bottleneck
from hue_jax.objective import create_objective
from hue_jax.train.optimizer import create_optimizer
from hue_jax.train.state import create_state
from hue_jax.train.step import make_train_step

_RATE = 0.01
PIXELS = {"pixel_mean": (0.5,), "pixel_std": (0.25,)}
_SECTORS = {
  "kind": "angular_consistency",
  "weight": 0.3,
  "sectors": 8,
  "rings": 2,
  "temperature": 0.1,
}
# Those of configs/base.py, which needs ml_collections, and the class hue.
TERMS = {
  "one_hot": None,
  "sectors": _SECTORS,
  "memory": {**_SECTORS, "prototypes": "memory", "decay": 0.9},
  "position": {"kind": "position_hue", "weight": 0.1, "weighting": "activation"},
  "class": {"kind": "class_hue", "weight": 0.1},
}
PEERS = ("flax", "torch", "torch_compiled", "timm", "timm_compiled")
SIDES = (*TERMS, *PEERS)


class Case(NamedTuple):
  """What all sides train.

  Attributes:
    network: The name of a ResNet.
    size: The side of the images in pixels.
    batch_size: The images of a step.
    precision: "float32" or "bfloat16".
    width: The channels of its first stage.
    num_classes: The number of classes.
  """

  network: str = "resnet18"
  size: int = 64
  batch_size: int = 64
  precision: str = "float32"
  width: int = 64
  num_classes: int = 100

  def describe(self) -> str:
    """Returns the case as a line."""
    width = "" if self.width == 64 else f" of width {self.width}"
    return (
      f"{self.network}{width}, {self.size} px, batch {self.batch_size}, "
      f"{self.precision}"
    )

  @property
  def stem(self) -> str:
    """The stem: that of small images where the other would leave little."""
    return "small" if self.size < 64 else "imagenet"

  def model(self, axis_name: str | None = None) -> Any:
    """Returns the network in Flax."""
    return create_model(
      self.network,
      num_classes=self.num_classes,
      dtype=jnp.dtype(self.precision),
      stem=self.stem,
      width=self.width,
      axis_name=axis_name,
    )

  def batch(self) -> dict[str, np.ndarray]:
    """Returns random images and labels."""
    rng = np.random.default_rng(0)
    shape = (self.batch_size, self.size, self.size, 3)
    labels = rng.integers(0, self.num_classes, self.batch_size, np.int32)
    return {"image": rng.integers(0, 256, shape, np.uint8), "label": labels}


def main() -> None:
  """Prints a table in Markdown."""
  arguments = _arguments()
  found, notes = [], [f"{arguments.steps} step(s) a round"]
  for case in _cases(arguments):
    rows, told = measure(
      case, arguments.sides, repeats=arguments.repeats, steps=arguments.steps
    )
    found += rows
    notes += told
  packages = ("jax", "jaxlib", "flax", "optax", "numpy", "torch", "timm")
  common.report("step", found, json_file=arguments.json, packages=packages, notes=notes)


def measure(
  case: Case,
  sides: tuple[str, ...] = SIDES,
  *,
  repeats: int = 7,
  steps: int = 1,
  enough: Callable[[], bool] = lambda: False,
) -> tuple[list[dict[str, Any]], list[str]]:
  """Times the sides of a case.

  Args:
    case: What is trained.
    sides: Some of `SIDES`.
    repeats: The rounds.
    steps: The steps of a round.
    enough: A function that tells whether time is up; the rounds then end.

  Returns:
    The rows, and what is to be said of sides that are missing.
  """
  peers.free_memory()
  ready, notes = {}, []
  for side in sides:
    if enough() and ready:
      notes.append(f"{case.describe()}: no time for {side}")
      continue
    made = _made(case, side)
    if isinstance(made, str):
      notes.append(f"{case.describe()}: no {side}: {made}")
    else:
      ready[side] = made
  taken = common.alternate(
    {side: lambda step=step: _seconds(step, steps) for side, step in ready.items()},
    repeats,
    enough=enough,
  )
  memory = {side: step.peak_memory() for side, step in ready.items()}
  more = {
    "memory, MB": {k: v / 1e6 for k, v in memory.items() if v},
  }
  if taken.get("one_hot"):
    more |= _of_one_hot(case, ready, taken["one_hot"], steps)
  rows = common.rows(
    case.describe(),
    taken,
    against=("one_hot", "flax", "torch", "torch_compiled", "timm", "timm_compiled"),
    per_second=case.batch_size * steps,
    **more,
  )
  return rows, notes


def _made(case, side):
  """Returns a side's step, which was taken once; or in words why there is none."""
  try:
    made = _peer(case, side) if side in PEERS else HueStep(case, TERMS[side])
    if not isinstance(made, str):
      _seconds(made, 1)
    return made
  except Exception as error:
    if not common.is_out_of_memory(error):
      raise
    return "out of memory"


def _of_one_hot(case, ready, seconds, steps):
  """Returns columns of hue_jax's step without the hue loss alone."""
  flops = ready["one_hot"].flops()
  if not flops:
    return {}
  rate = matmul_rate(case.precision)
  reached = flops * steps / float(np.median(seconds))
  return {
    "GFLOP a step": {"one_hot": flops / 1e9},
    "share of the matmul rate": {"one_hot": reached / rate},
    "matmul, TFLOP/s": {"one_hot": rate / 1e12},
  }


def _seconds(step, count):
  start = time.perf_counter()
  for _ in range(count):
    step()
  step.wait()
  return time.perf_counter() - start


# --- Sides ------------------------------------------------------------------------


def step_of(
  case: Case, term: Mapping[str, Any] | None, axis_name: str | None = None
) -> tuple[Callable, Any]:
  """Returns hue_jax's step, and the state at step 0.

  Args:
    case: What is trained.
    term: The hue term; None for none.
    axis_name: The mapped axis, over which batch norm takes its statistics, too.
  """
  model = case.model(axis_name)
  shape = (case.size, case.size, 3)
  shapes = tap_shapes(model, shape)
  objective = create_objective(
    num_classes=case.num_classes,
    terms={} if term is None else {"hue": {**term, "tap": _tap(term, shapes)}},
    tap_shapes=shapes,
    num_train_steps=1000,
    warmup_steps=0,
    seed=0,
  )
  optimizer = create_optimizer("sgd", _RATE, weight_decay=peers.DECAY)
  state = create_state(model, objective, optimizer, image_shape=shape, seed=0)
  return make_train_step(objective, seed=0, axis_name=axis_name, **PIXELS), state


class HueStep:
  """hue_jax's step, compiled."""

  def __init__(
    self,
    case: Case,
    term: Mapping[str, Any] | None,
    device: jax.Device | None = None,
  ):
    """Compiles the step.

    Args:
      case: What is trained.
      term: The hue term; None for none.
      device: Where; JAX's default if None.
    """
    with jax.default_device(device):
      step, state = step_of(case, term)
      self._batch = jax.device_put(case.batch(), device)
      self._lowered = jax.jit(step, donate_argnums=0).lower(state, self._batch)
      self._compiled = self._lowered.compile()
    self.state, self.sums = state, None

  def __call__(self) -> None:
    """Takes a step, which may still be at work."""
    self.state, self.sums = self._compiled(self.state, self._batch)

  def wait(self) -> None:
    """Waits for the steps that were taken."""
    jax.block_until_ready((self.state, self.sums))

  def flops(self) -> float | None:
    """Returns what XLA counts before it optimizes, for a library's calls count 0."""
    return (self._lowered.cost_analysis() or {}).get("flops")

  def peak_memory(self) -> int | None:
    """Returns the memory of the program in bytes."""
    return program_memory(self._compiled)


class _FlaxStep:
  """The step of flax's ImageNet example, compiled."""

  def __init__(self, case):
    model, batch = case.model(), case.batch()
    images = (batch["image"].astype(np.float32) / 255 - 0.5) / 0.25
    self._batch = jax.device_put((images, batch["label"]))
    variables = dict(
      jax.jit(lambda: model.init(jax.random.key(0), self._batch[0][:1], train=False))()
    )
    params = variables["params"]
    momentum = jax.tree.map(jnp.zeros_like, params)
    self._state = (params, momentum, variables["batch_stats"])
    step = jax.jit(peers.flax_example_step(model, _RATE))
    self._compiled = step.lower(self._state, *self._batch).compile()

  def __call__(self):
    self._state, self._measured = self._compiled(self._state, *self._batch)

  def wait(self):
    jax.block_until_ready((self._state, self._measured))

  def peak_memory(self):
    return program_memory(self._compiled)


def _peer(case, side):
  """Returns the step of another, or in words why there is none."""
  if side == "flax":
    return _FlaxStep(case)
  name, _, compiled = side.partition("_")
  if peers.torch_or_none() is None:
    return "torch is not installed"
  if name == "timm":
    if case.stem == "small" or case.width != 64:
      return "it has no such network"
    network = peers.timm_network(case.network, case.num_classes)
    if network is None:
      return "timm cannot be imported"
  else:
    network = torch_network_of(case)
  batch = case.batch()
  try:
    return peers.TorchStep(
      network,
      batch["image"],
      batch["label"],
      half_precision=case.precision == "bfloat16",
      compiled=bool(compiled),
      learning_rate=_RATE,
    )
  except Exception as error:
    if not compiled or common.is_out_of_memory(error):
      raise
    # Of a compiler that is missing, or too old, torch tells by many kinds of errors.
    return f"torch.compile failed: {type(error).__name__}"


def torch_network_of(case: Case) -> Any:
  """Returns the network of a case in PyTorch."""
  options = VARIANTS[case.network][1]
  return peers.torch_network(
    options["stage_sizes"],
    bottleneck=options["block"] is Bottleneck,
    num_classes=case.num_classes,
    width=case.width,
    small_stem=case.stem == "small",
  )


def _tap(term, shapes):
  if term["kind"] == "class_hue":
    return "features"
  planes = [tap for tap, s in shapes.items() if len(s) == 3 and min(s[:2]) >= 4]
  return planes[-1]


# --- The machine ------------------------------------------------------------------


def matmul_rate(precision: str, size: int | None = None) -> float:
  """Returns the FLOPs a second of a product of two square matrices, the best of ten.

  Args:
    precision: The type of the factors.
    size: The number of rows; what fills the device if None.
  """
  size = size or (1024 if jax.default_backend() == "cpu" else 8192)
  x = jnp.ones((size, size), precision)
  product = jax.jit(lambda x: x @ x)
  return 2 * size**3 / _best_seconds(product, x)


def copy_bandwidth(megabytes: int | None = None) -> float:
  """Returns the bytes a second that a copy reads and writes, the best of ten.

  Args:
    megabytes: The size of the array; what no cache holds if None.
  """
  megabytes = megabytes or (256 if jax.default_backend() == "cpu" else 1024)
  x = jnp.ones((megabytes * 2**18,), jnp.float32)
  return 2 * x.nbytes / _best_seconds(jax.jit(lambda x: x + 1), x)


def _best_seconds(call, *arguments, repeats=10):
  jax.block_until_ready(call(*arguments))
  seconds = []
  for _ in range(repeats):
    start = time.perf_counter()
    jax.block_until_ready(call(*arguments))
    seconds.append(time.perf_counter() - start)
  return min(seconds)


def _cases(arguments):
  for network in arguments.networks:
    for size in arguments.sizes:
      for batch_size in arguments.batch_sizes:
        for precision in arguments.precisions:
          yield Case(
            network, size, batch_size, precision, arguments.width, arguments.classes
          )


def _arguments():
  parser = common.parser(__doc__)
  names = [name for name in VARIANTS if name.startswith("resnet")]
  several = {"nargs": "+"}
  parser.add_argument("--networks", **several, choices=names, default=["resnet18"])
  parser.add_argument("--sizes", **several, type=int, default=[64])
  parser.add_argument("--batch_sizes", **several, type=int, default=[64])
  parser.add_argument(
    "--precisions", **several, choices=("float32", "bfloat16"), default=["float32"]
  )
  parser.add_argument("--sides", **several, choices=SIDES, default=SIDES)
  parser.add_argument("--width", type=int, default=64, help="of the first stage")
  parser.add_argument("--classes", type=int, default=100)
  parser.add_argument("--steps", type=int, default=1, help="of a round")
  return parser.parse_args()


if __name__ == "__main__":
  main()
