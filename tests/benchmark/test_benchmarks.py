"""The benchmarks in a small form: an hour with a GPU is not to be spent on mending."""

import contextlib
import json
import re
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import (
  common,
  convolution,
  gpu,
  loss,
  neighbors,
  peers,
  pillow_batches,
  startup,
)
from benchmarks import step as step_benchmark
from tests.helpers import only_packages

_PACKAGES = ("JAX", "Flax", "Optax", "NumPy", "jaxtyping", "SciPy", "tqdm")
# What gpu.py says that it needs.
_ON_A_GPU_MACHINE = ("jax", "flax", "optax", "numpy", "jaxtyping")


@pytest.mark.slow
def test_all_that_needs_a_gpu_runs_small_and_goes_on(tmp_path):
  command = ["--small", f"--out={tmp_path}"]
  assert gpu.main([*command, "--sections", "identities", "losses_in_double"]) == 0
  first = json.loads((tmp_path / "gpu.json").read_text())
  assert set(first["sections"]) == {"identities", "losses_in_double"}
  done = only_packages.run(_ON_A_GPU_MACHINE, "benchmarks/gpu.py", *command)
  assert done.returncode == 0, done.stderr
  found = json.loads((tmp_path / "gpu.json").read_text())
  sections = found["sections"]
  assert set(sections) == set(gpu.SECTIONS)
  assert sections["identities"] == first["sections"]["identities"]  # not done again
  for name, section in sections.items():
    assert not section.get("wrong"), name
  assert len(sections["losses_in_double"]["right"]) == 6
  assert len(sections["forms"]["right"]) == 2
  sides = {row["side"] for row in sections["step"]["rows"]}
  assert sides == {"one_hot", "sectors", "flax"}
  (one_hot,) = (row for row in sections["step"]["rows"] if row["side"] == "one_hot")
  assert one_hot["GFLOP a step"] > 0
  assert {row["side"] for row in sections["index"]["rows"]} >= {"matmul alone"}
  page = (tmp_path / "gpu.md").read_text()
  assert all(f"## {name}" in page for name in gpu.SECTIONS)
  for what in ("wrong", "failed", "missing"):
    assert f"{what}: nothing" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
  "file", ["step", "loss", "convolution", "neighbors", "gpu", "gpu_study"]
)
def test_what_is_for_a_gpu_is_imported_with_what_it_names(file):
  path = Path(common.ROOT, "benchmarks", f"{file}.py")
  (named,) = re.findall(r"It needs\s(.*?)\.\s", path.read_text(), re.DOTALL)
  packages = [name.lower() for name in _PACKAGES if name in named]
  done = only_packages.run(packages, str(path), "--help")
  assert done.returncode == 0, done.stderr


def test_a_wrong_loss_is_told(tmp_path, monkeypatch, capsys):
  right = gpu.hue_loss
  monkeypatch.setattr(gpu, "hue_loss", lambda a, target: right(a, target) + 0.01)
  command = ["--small", f"--out={tmp_path}"]
  assert gpu.main([*command, "--sections", "losses_in_double", "losses"]) == 1
  assert "hue_loss, float32: differs by 1.0e-02" in capsys.readouterr().err
  stopped = json.loads((tmp_path / "gpu.json").read_text())
  assert "losses" not in stopped["sections"]
  # What was wrong is not taken for done: the next run ends there again.
  assert gpu.main([*command, "--sections", "losses_in_double", "losses"]) == 1
  stopped = json.loads((tmp_path / "gpu.json").read_text())
  assert "losses" not in stopped["sections"]
  monkeypatch.setattr(gpu, "hue_loss", right)
  assert gpu.main([*command, "--sections", "losses_in_double"]) == 0


_NO_MEMORY = {
  "JAX": jax.errors.JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 B"),
  "PyTorch": type("OutOfMemoryError", (RuntimeError,), {})("CUDA: tried 9 GiB"),
  "CUDA": RuntimeError("CUDA error: out of memory"),
  "cuBLAS": RuntimeError("CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate"),
}


@pytest.mark.parametrize("error", _NO_MEMORY.values(), ids=_NO_MEMORY)
def test_a_side_without_memory_is_left_out_and_the_others_are_timed(error, monkeypatch):
  calls = []

  def large():
    calls.append("large")
    if len(calls) > 1:
      raise error

  seconds = common.alternate({"small": lambda: 2.0, "large": large}, repeats=3)
  assert seconds == {"small": [2.0, 2.0, 2.0], "large": []}
  assert len(calls) == 2
  large_row = common.rows("any", seconds, against=("small",), per_second=1)[1]
  assert large_row == {"case": "any", "side": "large", "seconds": "out of memory"}
  (row, _) = common.rows("any", seconds, against=("large",))
  assert "times as fast as large" not in row
  assert loss._of_floor({loss.FLOOR: [], "large": []}, 8)["GB/s"] == {}

  def no_memory(*_):
    raise error

  monkeypatch.setattr(step_benchmark, "_FlaxStep", no_memory)
  rows, notes = step_benchmark.measure(gpu.SMALL.case, ("one_hot", "flax"), repeats=1)
  assert [row["side"] for row in rows] == ["one_hot"]
  assert notes == [f"{gpu.SMALL.case.describe()}: no flax: out of memory"]


def test_other_errors_of_a_side_are_raised():
  with pytest.raises(ZeroDivisionError):
    common.alternate({"any": lambda: 1 / 0}, repeats=1)


def test_a_section_that_fails_is_told_and_the_others_go_on(
  tmp_path, monkeypatch, capsys
):
  def fails(sizes, enough):
    raise ValueError("no such device")

  monkeypatch.setitem(gpu.SECTIONS, "forms", fails)
  command = ["--small", f"--out={tmp_path}", "--sections", "forms", "identities"]
  assert gpu.main(command) == 1
  assert "failed: forms" in capsys.readouterr().err
  found = json.loads((tmp_path / "gpu.json").read_text())["sections"]
  assert "no such device" in found["forms"]["failed"]
  assert found["identities"]["right"]
  monkeypatch.setitem(gpu.SECTIONS, "forms", lambda *_: {"right": ["all"]})
  assert gpu.main(command) == 0
  found = json.loads((tmp_path / "gpu.json").read_text())["sections"]
  assert found["forms"]["right"] == ["all"]


def test_every_side_is_warm_before_the_first_round_counts(monkeypatch):
  calls, compiled = [], []

  def watched(sides, repeats, *, warmup=1, **_):
    assert warmup > 0
    for side in sides.values():
      side()
    with _compilations() as again:
      for side in sides.values():
        side()
        calls.append(side)
    compiled.extend(again)
    return {name: [1.0] for name in sides}

  monkeypatch.setattr(common, "alternate", watched)
  neighbors.measure(*neighbors.data(64, 8, 8), "cosine", indices=("jax-flat",))
  loss.measure(2, 4, 8, num_classes=5, calls=2)
  step_benchmark.measure(gpu.SMALL.case, ("one_hot", "flax"))
  convolution.measure((convolution.Layer(2, 4, 6, 3),), batch_size=2)
  assert len(calls) > 15
  assert not compiled


@contextlib.contextmanager
def _compilations():
  """Yields the names of what JAX compiles in the block."""
  found = []

  def heard(event, *_, **__):
    if event == "/jax/core/compile/backend_compile_duration":
      found.append(event)

  jax.monitoring.register_event_duration_secs_listener(heard)
  try:
    yield found
  finally:
    jax.monitoring.unregister_event_duration_listener(heard)


def test_each_side_of_the_losses_is_one_program(monkeypatch):
  found = {}

  def watched(sides, repeats, **_):
    found.update(sides)
    return {name: [1.0] for name in sides}

  monkeypatch.setattr(common, "alternate", watched)
  loss.measure(2, 4, 3, num_classes=5, precision="bfloat16")
  for name, side in found.items():
    jitted, values, given, _ = side.args
    assert hasattr(jitted, "lower"), name  # No array is made beside it.
    if name == loss.FLOOR:
      copied = jitted(values, given)
      assert copied.dtype == values.dtype
      np.testing.assert_array_equal(copied, values + 1)


def test_the_memory_of_a_step_of_pytorch_is_its_own():
  class Cuda(types.SimpleNamespace):
    """PyTorch's counters, of a process that had 900 bytes once."""

    now, peak = 100, 900

    def synchronize(self):
      pass

    def reset_peak_memory_stats(self):
      self.peak = self.now

    def max_memory_allocated(self):
      return self.peak

  cuda = Cuda()

  def step():
    cuda.peak = max(cuda.peak, cuda.now + 40)

  assert peers.peak_of(step, cuda) == 140


def test_sides_alternate_and_ratios_are_of_rounds():
  calls = []
  times = {"a": iter([9.0, 1.0, 2.0, 4.0]), "b": iter([9.0, 2.0, 2.0, 12.0])}

  def side(name):
    calls.append(name)
    return next(times[name])

  seconds = common.alternate(
    {name: lambda name=name: side(name) for name in "ab"}, repeats=3
  )
  assert seconds == {"a": [1.0, 2.0, 4.0], "b": [2.0, 2.0, 12.0]}
  assert "".join(calls) in ("abbaabba", "baabbaab")
  _, b = common.rows("case", seconds, against=("a", "absent"), per_second=6)
  assert b["times as fast as a"] == {"median": 0.5, "min": 1 / 3, "max": 1, "rounds": 3}
  assert b["rate"]["median"] == 3
  table = common.markdown([{"case": "x"}, b])
  assert table.splitlines()[2].startswith("| x |  |")
  assert "0.5 (0.333 – 1)" in table


def test_layers_are_convolved_and_pooled_both_ways():
  layers = (
    convolution.Layer(2, 4, 6, 3),
    convolution.Layer(5, 4, 4, 3, 2, groups=4),
    convolution.Layer(5, 4, 0, 3, 2),
  )
  found = convolution.measure(layers, batch_size=2, repeats=1)
  assert len(found) == 3 * 2 * 2
  assert {row["side"] for row in found} == {"hue_jax", "XLA"}
  assert "convolution 3×3 / 1, 2×2×4 to 6, batch 2, forward" in found[0]["case"]
  seconds = found[0]["seconds"]["median"]
  # 2 images of 2 × 2 places, 6 channels made of 3 · 3 · 4 products and sums.
  assert found[0]["GFLOP/s"] * seconds == pytest.approx(2 * 2 * 4 * 6 * 36 / 1e9)
  assert "GFLOP/s" not in found[-1]


def test_time_ends_what_is_done():
  with common.within(1 / 1200) as enough:
    while True:
      pass
  assert enough()


def test_time_ends_what_lost_the_first_exception():
  lost = []
  with common.within(1 / 1200):
    while True:
      try:
        while True:
          pass
      except common.TimeIsUp:
        if lost:
          raise
        lost.append("as in a destructor or the callback of a library")
  assert lost


def test_a_command_is_timed_to_its_end_or_to_a_line():
  program = "import sys, time; print('  step   1/2', file=sys.stderr, flush=True); "
  seconds, megabytes, line = startup.timed(["-c", program + "print(1); print(2)"])
  assert line == "2"
  assert seconds > 0
  # Linux counts what the process that starts it holds, too.
  assert megabytes > 1
  waits = program + "time.sleep(60)"
  seconds, _, line = startup.timed(["-c", waits], {"ANY": "1"}, until="step 1/")
  assert seconds < 60
  assert line == ""


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_networks_of_pytorch_are_ours(name):
  pytest.importorskip("torch")
  case = step_benchmark.Case(name, 64, 2, num_classes=10)
  theirs = step_benchmark.torch_network_of(case)
  found = sum(parameter.numel() for parameter in theirs.parameters())
  shapes = jax.eval_shape(
    lambda: case.model().init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)), train=False)
  )
  assert found == sum(leaf.size for leaf in jax.tree.leaves(shapes["params"]))


def test_a_step_of_pytorch_trains():
  torch = pytest.importorskip("torch")
  network = peers.torch_network((1,), bottleneck=False, num_classes=3, width=4)
  batch = step_benchmark.Case(size=16, batch_size=4, num_classes=3).batch()
  step = peers.TorchStep(
    network,
    batch["image"],
    batch["label"],
    half_precision=True,
    compiled=False,
    learning_rate=0.1,
  )
  losses = [float(step._loss(step._images).detach()) for _ in range(5) if not step()]
  assert losses[-1] < losses[0]
  assert next(network.parameters()).dtype == torch.float32


def test_pictures_for_pytorch_and_grain(tmp_path):
  from PIL import Image

  path = tmp_path / "red.jpg"
  Image.new("RGB", (60, 40), "red").save(path)
  image, label = pillow_batches.Pictures([path], 16)[0]
  assert (image.shape, image.dtype, label) == ((16, 16, 3), np.float32, 0)
  np.testing.assert_allclose(image[..., 0], (1 - 0.485) / 0.229, atol=0.1)
  np.testing.assert_allclose(image[..., 1], -0.456 / 0.224, atol=0.1)
  rng = np.random.default_rng(0)
  boxes = np.array([pillow_batches._random_box(rng, 60, 40) for _ in range(300)])
  assert (boxes[:, :2] >= 0).all()
  assert (boxes[:, 2:] <= (60, 40)).all()
  shares = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1) / 2400
  assert shares.min() > 0.07
  assert shares.max() > 0.8
