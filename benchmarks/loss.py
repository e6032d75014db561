"""Times the losses alone, forward and backward, beside a copy of what they read.

    python benchmarks/loss.py [--batch_size 64] [--side 7] [--channels 512]
      [--classes 1000] [--precision float32] [--calls 5] [--repeats 7] [--json FILE]

A loss must read a layer once and write its gradient once: the floor is a copy, which
does the same, timed in the same rounds. `hue_loss` of a layer has a target angle for
each position (position hue) or image (class hue); the angular consistency loss cuts the
plane into 8 sectors and 2 rings. Losses of pooled features stand beside center loss and
ArcFace, and beside cross entropy with smoothed labels of logits that a matrix product
makes of them, as in ArcFace. It needs JAX, NumPy, Optax and jaxtyping.
"""

import functools
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common
from hue_jax import hue_labels, losses, position_hue

FLOOR = "floor: a copy"


def main() -> None:
  """Prints a table in Markdown."""
  arguments = _arguments()
  found = measure(
    arguments.batch_size,
    arguments.side,
    arguments.channels,
    num_classes=arguments.classes,
    precision=arguments.precision,
    calls=arguments.calls,
    repeats=arguments.repeats,
  )
  common.report(
    "loss",
    found,
    json_file=arguments.json,
    packages=("jax", "jaxlib", "optax", "numpy"),
  )


def measure(
  batch_size: int,
  side: int,
  channels: int,
  *,
  num_classes: int = 1000,
  precision: str = "float32",
  calls: int = 5,
  repeats: int = 7,
  enough: Callable[[], bool] = lambda: False,
) -> list[dict[str, Any]]:
  """Times the losses of a layer, and those of pooled features.

  Args:
    batch_size: The number of images.
    side: The rows of the layer, and its columns.
    channels: The channels of the layer.
    num_classes: The number of classes.
    precision: The type of the layer.
    calls: The calls of a round, which follow each other without waiting.
    repeats: The rounds.
    enough: A function that tells whether time is up; the rounds then end.

  Returns:
    The rows.
  """
  given = _given(batch_size, side, channels, num_classes)
  rng = np.random.default_rng(0)
  layer = jnp.asarray(rng.normal(size=(batch_size, side, side, channels)), precision)
  features = jnp.asarray(rng.normal(size=(batch_size, channels)), precision)
  found = []
  for values, sides in ((layer, LAYER_LOSSES), (features, FEATURE_LOSSES)):
    shape = "×".join(map(str, values.shape))
    seconds = common.alternate(
      {
        name: functools.partial(_call, jitted, values, given, calls)
        for name, jitted in {FLOOR: jax.jit(_copy), **_differentiated(sides)}.items()
      },
      repeats,
      enough=enough,
    )
    case = f"{shape} {precision}, forward and backward, {calls} calls"
    found += common.rows(case, seconds, **_of_floor(seconds, 2 * values.nbytes * calls))
  return found


def _of_floor(seconds, num_bytes):
  """Returns columns: seconds over those of the copy, by rounds, and its rate."""
  floor = seconds[FLOOR]
  over = {
    name: common.spread([a / b for a, b in zip(taken, floor, strict=True)])
    for name, taken in seconds.items()
    if taken and floor and name != FLOOR
  }
  rate = {FLOOR: common.spread([num_bytes / s / 1e9 for s in floor])} if floor else {}
  return {"times the floor": over, "GB/s": rate}


def _given(batch_size, side, channels, num_classes):
  """Returns what losses take beside activations, which the compiler must not know."""
  rng = np.random.default_rng(1)
  labels = jnp.asarray(rng.integers(0, num_classes, batch_size, np.int32))
  return {
    "one": jnp.ones(()),
    "labels": labels,
    "hue": hue_labels(labels, num_classes),
    "position": jnp.asarray(position_hue(side, side)),
    "kernel": jnp.asarray(rng.normal(size=(channels, num_classes)), jnp.float32),
  }


def _angular_consistency(a, given):
  return losses.angular_consistency_loss(
    a, given["labels"], num_classes=given["kernel"].shape[1], sectors=8, rings=2
  )


def _label_smoothing(a, given):
  logits = a.astype(jnp.float32) @ given["kernel"]
  targets = losses.smoothed_labels(given["labels"], logits.shape[-1], smoothing=0.1)
  return optax.softmax_cross_entropy(logits, targets)


# Name → loss of each image, or position, by activations and what is given.
LAYER_LOSSES = {
  "hue_loss, position hue": lambda a, given: losses.hue_loss(a, given["position"]),
  "hue_loss, class hue": lambda a, given: losses.hue_loss(
    a, given["hue"][:, None, None]
  ),
  "von_mises_loss, class hue": lambda a, given: losses.von_mises_loss(
    a, given["hue"][:, None, None]
  ),
  "angular_consistency_loss, 8 × 2": _angular_consistency,
}
FEATURE_LOSSES = {
  "hue_loss, class hue": lambda a, given: losses.hue_loss(a, given["hue"]),
  "label smoothing, with its logits": _label_smoothing,
  "center_loss": lambda a, given: losses.center_loss(
    a, given["labels"], given["kernel"].T
  ),
  "ArcFace, with its logits": lambda a, given: losses.additive_angular_margin_loss(
    a, given["labels"], kernel=given["kernel"]
  ),
}


def _differentiated(sides):
  return {
    name: jax.jit(jax.value_and_grad(lambda a, given, loss=loss: loss(a, given).mean()))
    for name, loss in sides.items()
  }


def _copy(a, given):
  # The number is not known to the compiler, which so has to read and write.
  return a + given["one"].astype(a.dtype)


def _call(jitted, values, given, calls):
  start = time.perf_counter()
  for _ in range(calls):
    result = jitted(values, given)
  jax.block_until_ready(result)
  return time.perf_counter() - start


def _arguments():
  parser = common.parser(__doc__)
  for name, default in (
    ("batch_size", 64),
    ("side", 7),
    ("channels", 512),
    ("classes", 1000),
    ("calls", 5),
  ):
    parser.add_argument(f"--{name}", type=int, default=default)
  parser.add_argument(
    "--precision", choices=("float32", "bfloat16", "float16"), default="float32"
  )
  return parser.parse_args()


if __name__ == "__main__":
  main()
