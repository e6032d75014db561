"""All that needs an accelerator, in one run of under nine minutes: right, then fast.

    python benchmarks/gpu.py --out=DIR [--minutes 8.5] [--sections losses step …]

Writes DIR/gpu.json and DIR/gpu.md after each section. The same command goes on with the
sections that are missing, so that a run that was cut off loses one at most; compiled
programs are kept in DIR as well. What is wrong ends it, and is computed again the next
time: times of wrong numbers say nothing. A section that fails is told, and the others
go on; a side for which the memory is not enough is left out. It needs JAX 0.6.2, Flax
0.10.6, or newer ones, Optax, NumPy and jaxtyping, and takes PyTorch and timm where they
are installed. `--small` is the same in a size for a CPU.
"""

import argparse
import json
import os
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

# JAX would take three quarters of a GPU for itself, and leave PyTorch the rest.
os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common, loss, neighbors, step
from hue_jax import angular_consistency_loss, hue_angle, hue_labels, hue_loss

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "numpy", "torch", "timm")
_TWO_PI = 2 * np.pi


class Sizes(NamedTuple):
  """What the sections compute with.

  Attributes:
    layer: (batch, side, channels) of the losses.
    case: The step that is timed beside its peers.
    sides: The sides of it.
    growth: The batch sizes of the step that grows.
    vectors: The numbers of vectors of the index.
    queries: The queries of the index.
    repeats: The rounds.
  """

  layer: tuple[int, int, int] = (1024, 7, 2048)
  case: step.Case = step.Case("resnet50", 224, 256, "bfloat16", num_classes=1000)
  sides: tuple[str, ...] = step.SIDES
  growth: tuple[int, ...] = (64, 256, 1024)
  vectors: tuple[int, ...] = (10_000, 100_000, 1_000_000)
  queries: int = 2048
  repeats: int = 7


SMALL = Sizes(
  layer=(4, 4, 16),
  case=step.Case("resnet8", 8, 4, "float32", width=4, num_classes=5),
  sides=("one_hot", "sectors", "flax"),
  growth=(2,),
  vectors=(64,),
  queries=8,
  repeats=2,
)


def main(argv: list[str] | None = None) -> int:
  """Runs the sections that are missing; returns 1 if one is wrong or failed."""
  arguments = _arguments(argv)
  out = Path(arguments.out)
  if not arguments.small:
    _keep_compiled(out)
  sizes = SMALL if arguments.small else Sizes()
  said = common.conditions(_PACKAGES)
  found = _before(out / "gpu.json", said)
  with common.within(arguments.minutes) as enough:
    for name in arguments.sections:
      if name in found["sections"] or enough():
        continue
      print(f"{name} …", file=sys.stderr, flush=True)
      start = time.perf_counter()
      section = _section(name, sizes, enough)
      section["seconds"] = round(time.perf_counter() - start, 1)
      found["sections"][name] = section
      common.write_json(out / "gpu.json", found)
      (out / "gpu.md").write_text(_page(found))
      if _wrong(section):
        break
  told = {
    "wrong": [line for part in found["sections"].values() for line in _wrong(part)],
    "failed": [name for name, part in found["sections"].items() if "failed" in part],
    "missing": [name for name in arguments.sections if name not in found["sections"]],
  }
  print(_page(found))
  for what, lines in told.items():
    print(f"{what}: {'; '.join(lines) or 'nothing'}", file=sys.stderr)
  return 1 if told["wrong"] or told["failed"] else 0


def _section(name, sizes, enough):
  """Returns what a section found, or why it failed."""
  try:
    return SECTIONS[name](sizes, enough)
  except Exception as error:
    traceback.print_exc()
    what = "out of memory" if common.is_out_of_memory(error) else f"{error!r:.500}"
    return {"failed": what}


def _wrong(section):
  return section.get("wrong", ())


def _keep_compiled(out):
  for name, value in (
    ("jax_compilation_cache_dir", str(out / "compiled")),
    ("jax_persistent_cache_min_compile_time_secs", 1.0),
  ):
    jax.config.update(name, value)


def _before(path, said):
  """Returns what an earlier run found with the same hardware and versions.

  What was wrong or failed is left out, for it is to be done again.
  """
  if path.exists():
    found = json.loads(path.read_text())
    if all(found[name] == said[name] for name in ("hardware", "versions")):
      found["sections"] = {
        name: section
        for name, section in found["sections"].items()
        if not _wrong(section) and "failed" not in section
      }
      return found
  return {**said, "sections": {}}


def _page(found):
  """Returns what was found in Markdown."""
  lines = [f"{found['date']}; {found['hardware']}; {found['versions']}", ""]
  for name, section in found["sections"].items():
    lines += [f"## {name} ({section['seconds']} s)", ""]
    lines += [f"- {note}" for note in section.get("notes", ())]
    lines += [f"- right: {line}" for line in section.get("right", ())]
    lines += [f"- WRONG: {line}" for line in _wrong(section)]
    if "failed" in section:
      lines.append(f"- FAILED: {section['failed']}")
    if section.get("rows"):
      lines += ["", common.markdown(section["rows"])]
    lines.append("")
  return "\n".join(lines)


# --- Right ------------------------------------------------------------------------


class _Checks:
  """What was compared, and whether it agrees."""

  def __init__(self):
    self.right, self.wrong = [], []

  def near(self, what: str, value: Any, expected: Any, tolerance: float) -> None:
    """Compares values, of which the largest difference counts; NaN is wrong."""
    difference = np.max(
      np.abs(np.asarray(value, np.float64) - np.asarray(expected, np.float64))
    )
    told = f"{what}: differs by {difference:.1e} (at most {tolerance:g})"
    (self.right if difference <= tolerance else self.wrong).append(told)

  def section(self) -> dict[str, Any]:
    """Returns the section."""
    return {"right": self.right, "wrong": self.wrong}


def _identities(sizes, enough):
  """The identities of the hue, which every device must keep."""
  del enough
  checks = _Checks()
  batch, _, channels = sizes.layer
  rng = np.random.default_rng(0)
  a = jnp.asarray(rng.normal(size=(batch, channels)), jnp.float32)
  angle = jax.jit(hue_angle)
  classes = jnp.arange(channels)
  one_hot = jnp.eye(channels, dtype=jnp.float32)
  around = _turned(angle(one_hot), hue_labels(classes, channels))
  checks.near("the hue of a one-hot label is the class hue", around, 0, 1e-4)
  around = _turned(angle(a + 3), angle(a))
  strong = np.abs(around)[_chroma(a) > 0.1]
  checks.near("gray added changes nothing", strong, 0, 1e-3)
  around = _turned(angle(5 * a), angle(a))
  checks.near("nor does a factor", around, 0, 1e-4)
  around = _turned(angle(jnp.roll(a, 1, axis=-1)), angle(a) + _TWO_PI / channels)
  checks.near("channels rolled by one turn the hue by 2π/N", around, 0, 1e-2)
  red_green_blue = angle(jnp.eye(3, dtype=jnp.float32))
  checks.near(
    "red, green, blue", red_green_blue, [0, _TWO_PI / 3, 2 * _TWO_PI / 3], 1e-5
  )
  zero = jax.jit(jax.grad(lambda a: hue_loss(a, 1.0).sum()))(jnp.zeros((2, channels)))
  checks.near("the gradient of gray is finite", np.isfinite(zero), True, 0)
  return checks.section()


def _turned(angle, other):
  """Returns the difference of two angles, in (−π, π]."""
  return np.asarray(jnp.angle(jnp.exp(1j * (angle - other))))


def _chroma(a):
  a = np.asarray(a, np.float64)
  return np.abs(a @ np.exp(1j * _TWO_PI * np.arange(a.shape[-1]) / a.shape[-1]))


def _losses_in_double(sizes, enough):
  """Losses and gradients against their definitions in float64 NumPy."""
  del enough
  checks = _Checks()
  batch, side, channels = np.minimum(sizes.layer, (8, 7, 64)).tolist()
  rng = np.random.default_rng(0)
  layer = rng.normal(size=(batch, side, side, channels))
  labels = np.arange(batch) % max(batch // 2, 1)
  target = rng.uniform(0, _TWO_PI, (batch, side, side))
  for precision, tolerance in (("float32", 1e-5), ("bfloat16", 2e-2)):
    a = jnp.asarray(layer, precision)
    exact = np.asarray(a.astype(jnp.float32), np.float64)
    value, gradient = jax.jit(
      jax.value_and_grad(lambda a: hue_loss(a, target.astype(np.float32)).sum())
    )(a)
    expected, slope = _hue_loss(exact, target)
    size = target.size
    checks.near(f"hue_loss, {precision}", value / size, expected / size, tolerance)
    checks.near(f"its gradient, {precision}", gradient, slope, tolerance)
    value = jax.jit(
      lambda a: angular_consistency_loss(
        a, labels, num_classes=batch, sectors=4, temperature=0.5
      )
    )(a)
    expected = _angular_consistency(exact, labels, sectors=4, temperature=0.5)
    checks.near(f"angular_consistency_loss, {precision}", value, expected, tolerance)
  return checks.section()


def _hue_loss(a, target, epsilon=1e-4):
  """1 − z·(cos θ*, sin θ*) / √(‖z‖² + ε²), summed, and its gradient."""
  n = a.shape[-1]
  phase = _TWO_PI * np.arange(n) / n
  plane = np.sqrt(2 / n) * np.stack([np.cos(phase), np.sin(phase)], axis=-1)
  z = a @ plane
  toward = np.stack([np.cos(target), np.sin(target)], axis=-1)
  length = np.sqrt((z**2).sum(-1, keepdims=True) + epsilon**2)
  along = (z * toward).sum(-1, keepdims=True)
  slope = -(toward / length - z * along / length**3)
  return (1 - along / length).sum(), slope @ plane.T


def _angular_consistency(layer, labels, *, sectors, temperature):
  """The definition of docs/method.md, image by image and sector by sector."""
  batch, height, width, _ = layer.shape
  y, x = np.mgrid[:height, :width]
  y, x = y - (height - 1) / 2, x - (width - 1) / 2
  angle = np.arctan2(y, x) % _TWO_PI
  sector = np.floor(angle * sectors / _TWO_PI + 1e-6).astype(int) % sectors
  sector[(x == 0) & (y == 0)] = -1
  means = np.stack([layer[:, sector == s].sum(axis=1) for s in range(sectors)], axis=1)
  means /= np.linalg.norm(means, axis=-1, keepdims=True)
  found = np.zeros(batch)
  for image in range(batch):
    others = np.arange(batch) != image
    classes = np.unique(labels[others])
    prototypes = [means[others & (labels == c)].mean(axis=0) for c in classes]
    for s in range(sectors):
      logits = np.array([means[image, s] @ p[s] for p in prototypes]) / temperature
      own = logits[classes == labels[image]][0]
      found[image] += (np.log(np.exp(logits).sum()) - own) / sectors
  return found


def _step_on_cpu(sizes, enough):
  """Steps on this device against the same steps on the CPU, in float32."""
  del enough
  checks = _Checks()
  case = SMALL.case._replace(batch_size=16)
  terms = ("sectors",) if sizes is SMALL else ("one_hot", "sectors", "position")
  try:
    cpu = jax.devices("cpu")[0]
  except RuntimeError:
    return {"notes": ["JAX has no CPU beside this device"]}
  with jax.default_matmul_precision("highest"):
    for name in terms:
      here, there = (step.HueStep(case, step.TERMS[name], at) for at in (None, cpu))
      losses = []
      for one in (here, there):
        for _ in range(3):
          one()
        total, count = one.sums["loss"]
        losses.append(float(total / count))
      checks.near(f"the loss of the third step, {name}", *losses, 1e-3)
  return checks.section()


def _forms(sizes, enough):
  """The step mapped over devices by pmap and by shard_map, against the plain one."""
  del sizes, enough
  from hue_jax.train.parallel import AXIS, FORMS

  checks = _Checks()
  case = SMALL.case._replace(batch_size=2 * len(jax.devices()))
  with jax.default_matmul_precision("highest"):
    plain = step.HueStep(case, step.TERMS["sectors"])
    plain()
    total, count = plain.sums["loss"]
    for name, form in FORMS.items():
      mapped = form()
      make, state = step.step_of(case, step.TERMS["sectors"], axis_name=AXIS)
      state = mapped.replicate(jax.device_get(state))
      _, sums = mapped.map(make)(state, mapped.shard(case.batch()))
      its_total, its_count = mapped.unreplicate(sums)["loss"]
      checks.near(f"the loss by {name}", its_total / its_count, total / count, 1e-4)
  return checks.section()


# --- Fast -------------------------------------------------------------------------


def _machine(sizes, enough):
  """What the device reaches: products of matrices, and copies."""
  del enough
  small = sizes is SMALL
  rows = [
    {
      "what": f"product of square matrices, {precision}",
      "TFLOP/s": step.matmul_rate(precision, 128 if small else None) / 1e12,
    }
    for precision in ("bfloat16", "float32")
  ]
  bandwidth = step.copy_bandwidth(1 if small else None)
  rows.append({"what": "copy, read and written", "GB/s": bandwidth / 1e9})
  return {"rows": rows}


def _losses(sizes, enough):
  """The losses alone, over their floor."""
  batch, side, channels = sizes.layer
  precisions = ("float32",) if sizes is SMALL else ("bfloat16", "float32")
  rows = []
  for precision in precisions:
    rows += loss.measure(
      batch,
      side,
      channels,
      precision=precision,
      num_classes=sizes.case.num_classes,
      repeats=sizes.repeats,
      enough=enough,
    )
  return {"rows": rows}


def _step(sizes, enough):
  """The step beside its peers."""
  steps = 1 if sizes is SMALL else 5
  rows, notes = step.measure(
    sizes.case, sizes.sides, repeats=sizes.repeats, steps=steps, enough=enough
  )
  return {"rows": rows, "notes": notes}


def _growth(sizes, enough):
  """The step at other batch sizes."""
  rows, notes = [], []
  for batch_size in sizes.growth:
    case = sizes.case._replace(batch_size=batch_size)
    found, told = step.measure(
      case, ("one_hot", "sectors"), repeats=sizes.repeats, steps=2, enough=enough
    )
    rows += found
    notes += told
    if enough():
      break
  return {"rows": rows, "notes": notes}


def _index(sizes, enough):
  """The index of nearest neighbors, against its product."""
  rows, notes = [], []
  for count in sizes.vectors:
    vectors, queries = neighbors.data(
      count, 64 if sizes is SMALL else 256, sizes.queries
    )
    try:
      rows += neighbors.measure(
        vectors,
        queries,
        "cosine",
        indices=("jax-flat",),
        repeats=min(sizes.repeats, 5),
        enough=enough,
      )
    except Exception as error:
      if not common.is_out_of_memory(error):
        raise
      notes.append(f"{count} vectors: out of memory")
    if notes or enough():
      break
  return {"rows": rows, "notes": notes}


SECTIONS: dict[str, Callable[[Sizes, Callable[[], bool]], dict[str, Any]]] = {
  "identities": _identities,
  "losses_in_double": _losses_in_double,
  "step_on_cpu": _step_on_cpu,
  "forms": _forms,
  "machine": _machine,
  "losses": _losses,
  "step": _step,
  "growth": _growth,
  "index": _index,
}


def _arguments(argv):
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--out", required=True, help="the folder of what is found")
  parser.add_argument("--minutes", type=float, default=8.5, help="after which it ends")
  parser.add_argument("--small", action="store_true", help="in a size for a CPU")
  parser.add_argument(
    "--sections", nargs="+", choices=list(SECTIONS), default=list(SECTIONS)
  )
  return parser.parse_args(argv)


if __name__ == "__main__":
  status = main()
  sys.stdout.flush()
  os._exit(status)  # a compilation that was cut off may still have its threads
