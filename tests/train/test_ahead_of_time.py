"""A step compiled for a TPU slice that is not there."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import jax
import pytest

from hue_jax import command
from hue_jax.errors import InputError
from hue_jax.train import ahead_of_time
from hue_jax.train.ahead_of_time import DoesNotFit, Program, check, compile_run, table
from hue_jax.train.build import build, train_step
from hue_jax.train.collectives import Collective, read_collectives, total_bytes
from hue_jax.train.parallel import AXIS
from hue_jax.train.topologies import CHIPS, Topology, parse_topology

_ROOT = Path(__file__).resolve().parents[2]
_NETWORK = "--config=configs/benchmark.py:digits,resnet8,hue"


def _config(*, width=4, batch_size=64):
  config = importlib.import_module("configs.benchmark").get_config("digits,resnet8,hue")
  config.model_options.width = width
  config.batch_size = batch_size
  return config


def _main(*flags):
  return subprocess.run(
    [sys.executable, "main.py", "--mode=compile", *flags],
    cwd=_ROOT,
    env=os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false", "XLA_FLAGS": ""},
    capture_output=True,
    text=True,
    check=False,
  )


# --- Slices -----------------------------------------------------------------------


@pytest.mark.parametrize(
  ("name", "topology", "chips"),
  [
    ("v4-32", "v4:2x2x4", 16),  # TensorCores, two a chip
    ("v4-8", "v4:2x2x1", 4),
    ("v5litepod-16", "v5e:4x4", 16),
    ("v5e-256", "v5e:16x16", 256),
    ("v5p-64", "v5p:2x4x4", 32),
    ("v6e-1", "v6e:1x1", 1),
    ("v5e:2x2", "v5e:2x2", 4),
    ("v4:4x4x4", "v4:4x4x4", 64),
  ],
)
def test_a_slice_has_the_chips_that_its_name_says(name, topology, chips):
  found = parse_topology(name)
  assert str(found) == topology
  assert found.num_chips == chips
  assert parse_topology(str(found)) == found


@pytest.mark.parametrize(
  "name",
  [
    "",
    "v5e",
    "v5x:4x4",
    "v5e:4x4x4",
    "v4:4x4",
    "v5e:0x4",
    "h100-8",
    "v5e:4x",
    "v5e:-1",
  ],
)
def test_what_is_no_slice_is_told_with_what_is(name):
  with pytest.raises(InputError) as told:
    parse_topology(name)
  assert str(told.value) == (
    f"--topology is {name!r}; it must be a TPU generation and a layout of chips, as in "
    "v4:2x2x4, v5e:4x4, v5p:2x4x4 or v6e:4x4, or gcloud's type, as in v4-32, "
    "v5litepod-16, v5p-64 or v6e-16."
  )


@pytest.mark.parametrize(("name", "least"), [("v4-9", "v4-8"), ("v5e-5", "v5lite")])
def test_a_size_that_gcloud_does_not_have_is_told_with_those_it_has(name, least):
  with pytest.raises(InputError, match=f"^--topology is '{name}'; .* one of {least}"):
    parse_topology(name)


def test_the_peak_of_a_chip_is_that_of_its_units():
  """v4 and v5p have 8 units of 128 × 128, v5e has 4: each adds and multiplies."""
  for name, units in (("v4", 8), ("v5e", 4), ("v5p", 8)):
    peak = units * 2 * 128**2 * CHIPS[name].clock
    assert CHIPS[name].flops == pytest.approx(peak, rel=0.01)


def test_without_libtpu_its_extra_is_named(monkeypatch):
  monkeypatch.setitem(sys.modules, "libtpu", None)
  with pytest.raises(ModuleNotFoundError) as error:
    parse_topology("v5e:2x2").devices()
  assert command.missing_package(error.value) == (
    "package libtpu is not installed: pip install 'hue_jax[tpu]'."
  )


# --- What cannot be compiled ------------------------------------------------------


@pytest.mark.parametrize(
  ("name", "value", "line"),
  [
    ("batch_size", 60, "batch_size is 60, which 16 devices do not divide; it must be "),
    ("num_classes", 0, "num_classes is 0, which leaves it to the data set; --mode=com"),
    ("channels", 0, "channels is 0, which leaves it to the data set; --mode=compile "),
    ("model", "resnet9", "model is 'resnet9'; it must be one of "),
  ],
)
def test_a_setting_that_cannot_be_compiled_is_named(name, value, line):
  config = _config()
  config[name] = value
  with pytest.raises(InputError) as told:
    check(config, parse_topology("v5e:4x4"))
  assert str(told.value).startswith(line)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("flags", "line"),
  [
    ((_NETWORK,), "error: --topology is not given; see --help."),
    ((_NETWORK, "--topology=v5e"), "error: --topology is 'v5e'; it must be a TPU gen"),
    (
      (_NETWORK, "--topology=v5e:2x2", "--mode=train", "--workdir=/nowhere/run"),
      "error: --topology is 'v5e:2x2'; it must be left out where --mode is 'train'.",
    ),
  ],
)
def test_a_flag_that_cannot_be_used_is_one_line(flags, line):
  done = _main(*flags)
  assert (done.returncode, done.stdout) == (2, "")
  assert done.stderr.startswith(line)
  assert done.stderr.count("\n") == 1


# --- Collectives ------------------------------------------------------------------

_TEXT = """
  %a = f32[2,16]{1,0:T(2,128)S(1)} all-reduce(%x), channel_id=1, to_apply=%sum
  %b = (f32[10]{0}, bf16[3,5]{1,0}, /*index=2*/pred[8]{0}) all-reduce(%x, %y, %z), ch
  ROOT %c = (s32[], s32[]) all-reduce-start(%x, %y), channel_id=3
  %d = (f32[4]{0}, f32[64]{0:T(128)}) all-gather-start(%x), channel_id=4
  %d.2 = f32[64]{0} all-gather-done(%d)
  %e = f32[2,16]{1,0} all-reduce(%x), channel_id=5
  %f = f32[128]{0} fusion(%all-reduce.1), kind=kLoop, calls=%all-reduce-scatter.1
  %g = bf16[1,4]{1,0} reduce-scatter(%x), channel_id=6
  %h = f32[] get-tuple-element(%b), index=0, metadata={op_name="psum = all-reduce("}
"""


def test_collectives_are_counted_by_kind_and_size():
  assert read_collectives(_TEXT) == [
    Collective("all-reduce", 2 * 16 * 4, 2),
    Collective("all-reduce", 10 * 4 + 15 * 2 + 8, 1),
    Collective("all-reduce", 8, 1),
    Collective("all-gather", 64 * 4, 1),
    Collective("reduce-scatter", 8, 1),
  ]
  assert total_bytes(read_collectives(_TEXT)) == 2 * 128 + 78 + 8 + 256 + 8


def test_the_collectives_of_a_program_of_the_cpu_are_those_that_it_has():
  mesh = jax.make_mesh((8,), ("i",), axis_types=(jax.sharding.AxisType.Auto,))
  spec = jax.sharding.PartitionSpec

  def sums(x):
    return jax.lax.psum(x, "i"), jax.lax.all_gather(x[:, :3], "i")

  mapped = jax.shard_map(
    sums, mesh=mesh, in_specs=spec("i"), out_specs=spec(), check_vma=False
  )
  text = jax.jit(mapped).lower(jax.numpy.ones((16, 5))).compile().as_text()
  # Of each device 2 × 5 numbers are summed, and 2 × 3 of each of 8 are gathered.
  assert set(read_collectives(text)) == {
    Collective("all-reduce", 2 * 5 * 4, 1),
    Collective("all-gather", 8 * 2 * 3 * 4, 1),
  }


# --- The largest batch ------------------------------------------------------------


def _program(peak_bytes, **fields):
  zero = {"argument_bytes": 0, "temporary_bytes": 0, "code_bytes": 0, "flops": 1.0}
  more = {"bytes_accessed": 1.0, "scheduled_seconds": 1.0, "collectives": []}
  return Program(peak_bytes=peak_bytes, compile_seconds=0.0, **zero | more | fields)


@pytest.mark.parametrize("is_told", [True, False])
@pytest.mark.parametrize(
  ("at_none", "of_an_image", "power"),
  [(2**28, 2**24, 1), (2**30, 3 * 2**26, 1), (2**25, 2**17, 1.3), (0, 2**31 - 1, 1)],
)
def test_the_largest_batch_fits_and_a_sixteenth_more_does_not(
  monkeypatch, at_none, of_an_image, power, is_told
):
  topology, tried = parse_topology("v5e:2x2"), {}
  limit = 2 * topology.chip.hbm_bytes if of_an_image > 2**30 else 2**34

  def needed(images):
    return int(at_none + of_an_image * images**power)

  def compiled(images, _):
    assert images % 8 == 0
    assert images not in tried
    tried[images] = needed(images) <= limit
    if not tried[images]:
      used = f"Used {needed(images) / 2**30:.2f}G of 15.75G hbm" if is_told else "no"
      raise DoesNotFit(f"RESOURCE_EXHAUSTED: {used}")
    return _program(needed(images))

  monkeypatch.setattr(
    ahead_of_time, "_lowered", lambda config, devices: ("", config.batch_size // 4)
  )
  monkeypatch.setattr(ahead_of_time, "_compile", compiled)
  largest = ahead_of_time._largest_batch(_config(), [], topology)
  assert tried[largest]
  least_too_many = min(images for images, fits in tried.items() if not fits)
  assert largest == max(images for images, fits in tried.items() if fits)
  assert least_too_many - largest <= max(8, largest / 16)
  assert len(tried) <= 14


def test_a_batch_that_does_not_fit_is_one_line(monkeypatch):
  def compiled(*_):
    raise DoesNotFit("RESOURCE_EXHAUSTED: Used 17.5G of 15.75G hbm.\n  More.")

  monkeypatch.setattr(Topology, "devices", lambda self: jax.devices()[:4])
  monkeypatch.setattr(ahead_of_time, "_compile", compiled)
  with pytest.raises(InputError) as told:
    compile_run(_config(), parse_topology("v5e:2x2"))
  assert str(told.value) == (
    "batch_size is 64, 16 images of each of the 4 chips of v5e:2x2, which do not fit: "
    "RESOURCE_EXHAUSTED: Used 17.5G of 15.75G hbm. More."
  )
  assert DoesNotFit("Used 17.5G of").needed_bytes == int(17.5 * 2**30)


# --- The whole --------------------------------------------------------------------


def test_the_table_says_what_the_terms_add():
  hue = _program(3 * 2**33, flops=3e9, collectives=[Collective("all-reduce", 6, 2)])
  twin = _program(2**34, flops=2e9, scheduled_seconds=None)
  lines = table({"hue": hue, "one_hot": twin}, parse_topology("v5e:2x2")).splitlines()
  rows = {line[:20].strip(): " ".join(line[20:].split()) for line in lines}
  assert rows["of a chip"] == "with hue terms one-hot twin the terms add"
  assert rows["operations"] == "3 GFLOP 2 GFLOP +1 GFLOP (+50.0%)"
  assert "compiler's schedule" not in rows  # it is not known of both
  assert lines[-2:] == [
    "with hue terms: 150.0% of 16 GiB; 2 all-reduce (2 × 6 bytes)",
    "one-hot twin: 100.0% of 16 GiB; no collectives",
  ]


@pytest.mark.slow
def test_a_small_network_compiles_for_four_chips():
  pytest.importorskip("libtpu")
  done = _main(
    _NETWORK,
    "--topology=v5e:2x2",
    "--config.model_options.width=4",
    "--config.batch_size=64",
  )
  assert done.returncode == 0, done.stderr[-3000:]
  (line,) = done.stdout.splitlines()
  result = json.loads(line)
  assert result["chips"] == 4
  assert result["batch_size_of_a_chip"] == 16
  assert "angular_consistency" in result["objective"]
  hue, twin = result["hue"], result["one_hot"]
  # Each chip has the whole state and a quarter of the batch, and sums all gradients.
  config = _config()
  built = build(config, 100, 1, abstract=True)
  state = sum(x.size * x.dtype.itemsize for x in jax.tree.leaves(built.initial_state))
  images = 16 * 8 * 8
  assert state + images <= hue["argument_bytes"] <= 3 * (state + images) + 2**20
  weights = jax.tree.leaves(built.initial_state.params)
  gradients = 4 * sum(x.size for x in weights)
  sent = sum(row["bytes"] * row["count"] for row in twin["collectives"])
  assert {row["kind"] for row in twin["collectives"]} == {"all-reduce"}
  assert gradients <= sent <= 1.1 * gradients + 10_000
  # The prototypes of 10 classes in 16 cells are summed, forwards and backwards.
  more = sum(row["bytes"] * row["count"] for row in hue["collectives"]) - sent
  assert more > 0
  for name in ("flops", "bytes_accessed", "scheduled_seconds"):
    assert 0 < twin[name] < hue[name] < 2 * twin[name]
  # The operations are those that XLA counts before it compiles for anything.
  batch = {
    "image": jax.ShapeDtypeStruct((16, 8, 8, 1), jax.numpy.uint8),
    "label": jax.ShapeDtypeStruct((16,), jax.numpy.int32),
  }
  step = jax.vmap(train_step(config, built.objective), axis_name=AXIS, axis_size=1)
  one = jax.tree.map(
    lambda x: jax.ShapeDtypeStruct((1, *x.shape), x.dtype), (built.initial_state, batch)
  )
  counted = jax.jit(step).lower(*one).cost_analysis()["flops"]
  assert hue["flops"] == pytest.approx(counted, rel=0.5)
  assert "the terms add" in done.stderr


_DEVICES = """
import json, sys
from hue_jax.errors import InputError
from hue_jax.train.topologies import parse_topology

found = {}
for name in json.loads(sys.argv[1]):
  try:
    found[name] = len(parse_topology(name).devices())
  except InputError as error:
    found[name] = str(error)
print(json.dumps(found))
"""


@pytest.mark.slow
def test_libtpu_has_a_device_for_each_chip():
  pytest.importorskip("libtpu")
  chips = {
    **{"v4-8": 4, "v4-32": 16, "v5e-1": 1, "v5litepod-8": 8, "v5e-16": 16},
    **{"v5e-256": 256, "v5p-8": 4, "v5p-64": 32, "v6e-1": 1, "v6e-16": 16},
  }
  asked = json.dumps([*chips, "v5e:3x3"])
  done = subprocess.run(
    [sys.executable, "-c", _DEVICES, asked],
    cwd=_ROOT,
    env=os.environ | {"JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    check=True,
  )
  found = json.loads(done.stdout)
  assert found.pop("v5e:3x3").startswith(
    "--topology is 'v5e:3x3', which libtpu does not compile for: "
  )
  assert found == chips
