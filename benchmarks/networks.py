"""Counts every network: parameters, operations of a forward pass, taps.

    python benchmarks/networks.py [--networks resnet50 vgg16 …] [--size=PIXELS]

Prints the table of docs/tasks_and_networks.md. Each network is that of
configs/benchmark.py:TASK,NETWORK: for ImageNet at 224 pixels (Inception-v3 at 299), and
for CIFAR-10 at 32 pixels where it is a network for small images. Nothing is computed or
compiled: shapes are traced, and operations are counted in the traced program.

Multiply-adds are those of convolutions and matrix products, as papers count them, zeros
of the padding included. FLOPs are XLA's own count of the program for a TPU: a
multiply-add is two, zeros of the padding are none, and all that is done to single
elements counts too.
"""

import argparse
import math
import os
import sys
from pathlib import Path
from typing import NamedTuple

os.environ.setdefault("JAX_PLATFORMS", "cpu")
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import jax
import jax.numpy as jnp
from jax.extend.core import jaxprs_in_params

from configs import benchmark
from hue_jax.models import create_model, model_names, tap_shapes

_CHANNELS = 3
_SMALL = ("resnet8", "resnet14", "resnet20")
_SIZES = {"inception_v3": 299}

HEADER = (
  "| network | task | pixels | parameters, 10⁶ | multiply-adds, 10⁹ | FLOPs, 10⁹ "
  "| taps, height × width × channels | hue tap |"
)
_RULE = "| --- | --- | --- | --- | --- | --- | --- | --- |"


class Counted(NamedTuple):
  """What the table says of a network.

  Attributes:
    name: of the network.
    task: whose number of classes it has.
    size: side of the images in pixels.
    parameters: numbers that are trained; batch statistics are none of them.
    multiply_adds: of the convolutions and matrix products of one image.
    flops: of one image, as XLA counts them.
    taps: tap name → shape.
    hue_tap: the layer of the hue loss, where none is named.
  """

  name: str
  task: str
  size: int
  parameters: int
  multiply_adds: int
  flops: float
  taps: dict[str, tuple[int, ...]]
  hue_tap: str


def main():
  """Prints a table in Markdown."""
  arguments = _arguments()
  print(f"jax {jax.__version__}\n", file=sys.stderr)
  print(HEADER)
  print(_RULE)
  for name in arguments.networks:
    print(table_row(count(name, arguments.size)), flush=True)


def count(name: str, size: int | None = None) -> Counted:
  """Counts one network.

  Args:
    name: one of `model_names()`.
    size: side of the images in pixels; its usual one if None.

  Returns:
    The counts.
  """
  task = "cifar10" if name in _SMALL else "imagenet"
  chosen = size or _SIZES.get(name)
  names = f"{task},{name},hue" + (f",size={chosen}" if chosen else "")
  config = benchmark.get_config(names)
  model = create_model(
    name, num_classes=config.num_classes, **config.model_options.to_dict()
  )
  shape = (config.image_size, config.image_size, _CHANNELS)
  forward, variables, images = _traceable(model, shape)
  program = jax.make_jaxpr(forward)(variables, images).jaxpr
  (term,) = config.hue.terms.values()
  return Counted(
    name=name,
    task=task,
    size=config.image_size,
    parameters=sum(leaf.size for leaf in jax.tree.leaves(variables["params"])),
    multiply_adds=multiply_adds(program),
    flops=_flops(forward, variables, images),
    taps=tap_shapes(model, shape),
    hue_tap=term.tap,
  )


def _traceable(model, shape):
  """The forward pass in evaluation mode, and the shapes of its arguments."""
  images = jax.ShapeDtypeStruct((1, *shape), jnp.float32)
  variables = dict(
    jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), images)
  )
  del variables["taps"]
  return lambda v, x: model.apply(v, x, train=False), variables, images


def _flops(forward, *arguments):
  """Of the program as it is lowered for a TPU, on whatever machine this runs."""
  lowered = jax.jit(forward).trace(*arguments).lower(lowering_platforms=("tpu",))
  return lowered.cost_analysis()["flops"]


def multiply_adds(program) -> int:
  """Multiply-adds of the convolutions and matrix products of a traced program.

  Args:
    program: a jaxpr.

  Returns:
    The number; zeros of the padding count. Of branches, one for each platform, the
    largest counts.
  """
  total = 0
  for equation in program.eqns:
    result = equation.outvars[0].aval
    if equation.primitive.name == "conv_general_dilated":
      kernel = equation.invars[1].aval
      out = equation.params["dimension_numbers"].rhs_spec[0]
      total += result.size * kernel.size // kernel.shape[out]
    elif equation.primitive.name == "dot_general":
      (contracted, _), _ = equation.params["dimension_numbers"]
      left = equation.invars[0].aval.shape
      total += result.size * math.prod(left[axis] for axis in contracted)
    inner = [multiply_adds(part) for part in jaxprs_in_params(equation.params)]
    branches = equation.primitive.name == "cond"
    total += max(inner, default=0) if branches else sum(inner)
  return total


def table_row(counted: Counted) -> str:
  """One row of the table.

  Args:
    counted: a network.

  Returns:
    A line of Markdown.
  """
  cells = (
    f"`{counted.name}`",
    f"`{counted.task}`",
    str(counted.size),
    f"{counted.parameters / 1e6:.3f}",
    f"{counted.multiply_adds / 1e9:.3f}",
    f"{counted.flops / 1e9:.3f}",
    described_taps(counted.taps),
    f"`{counted.hue_tap}`",
  )
  return f"| {' | '.join(cells)} |"


def described_taps(taps: dict[str, tuple[int, ...]]) -> str:
  """Taps as text; those of one shape that follow each other share it.

  Args:
    taps: tap name → shape, in the order of the network.

  Returns:
    As in "stem, stage1 32×32×16; features 64".
  """
  groups = []
  for tap, shape in taps.items():
    if groups and groups[-1][1] == shape:
      groups[-1][0].append(tap)
    else:
      groups.append(([tap], shape))
  return "; ".join(
    f"{', '.join(names)} {'×'.join(map(str, shape))}" for names, shape in groups
  )


def _arguments():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  names = model_names()
  parser.add_argument("--networks", nargs="+", choices=names, default=names)
  parser.add_argument("--size", type=int, help="pixels, in place of the usual ones")
  return parser.parse_args()


if __name__ == "__main__":
  main()
