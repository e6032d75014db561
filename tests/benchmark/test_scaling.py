"""The tables of docs/scaling.md: of what was compiled, and rightly computed."""

import json
import re

import pytest

from benchmarks import compile_table, scaling

_ROWS = [json.loads(line) for line in compile_table.COMPILED.read_text().splitlines()]


def _between(name):
  text = compile_table.PAGE.read_text()
  return re.search(rf"<!-- {name} -->\n(.*?)<!-- end of {name} -->", text, re.S)[1]


def test_the_page_has_what_was_compiled():
  assert _between("compiled").strip() == compile_table.table(_ROWS)
  assert _between("runs").strip() == scaling.table(_ROWS)


def _row(slice_name, topology, images, flops, moved=1e9):
  program = {
    "flops": flops * images,
    "bytes_accessed": moved * images,
    "scheduled_seconds": 1e-3 * images,
    "argument_bytes": 300_000_000 + images * 224 * 224 * 3,
    "collectives": [{"kind": "all-reduce", "bytes": 100_000_000, "count": 2}],
  }
  asked = {"network": "resnet50", "slice": slice_name, "batch": images}
  return {
    "asked": asked,
    "topology": topology,
    "batch_size_of_a_chip": images,
    "hue": program,
  }


def test_a_step_takes_what_its_chips_expect_and_what_they_exchange():
  lines = scaling.table([_row("v5e-16", "v5e:4x4", 16, 24e9)]).splitlines()
  rows = {line.split(" | ")[0][2:]: line.strip("| ").split(" | ")[2:] for line in lines}
  # 256 images of 1 GB by an A100's 2.04 TB/s; 64 by a v4's 1.2, and a ring of 16 chips
  # that sends 200 MB twice, but for a sixteenth, at 300 GB/s; 32 ms by the schedule of
  # a v5e, and the same by 256 chips at 200 GB/s.
  gpu = 256 / 2040
  v4 = 64 / 1200 + 2 * 15 / 16 * 0.2 / 300
  v5e = 32e-3 + 2 * 255 / 256 * 0.2 / 200
  told = [float(cell.split()[0]) for cell in rows["time of a step"]]
  assert told == pytest.approx([1e3 * gpu, 1e3 * v4, 1e3 * v5e], abs=0.006)
  a_second = [256 / gpu, 16 * 64 / v4, 256 * 32 / v5e]
  told = [
    float(cell.split(";")[0].replace(",", ""))
    for cell in rows["images a second; of a host"]
  ]
  assert told == pytest.approx(a_second, abs=1)
  hosts, cores = (1, 4, 64), (16, 120, 56)
  decoding = [one / host / 408.5 for one, host in zip(a_second, hosts, strict=True)]
  assert rows["cores of a host that decode them"] == [
    f"{one:.1f} of {there}" for one, there in zip(decoding, cores, strict=True)
  ]
  assert rows["what binds first"] == ["the chips' memory"] * 3


def test_of_several_steps_the_largest_of_the_same_chips_counts():
  rows = [
    _row("v5e-16", "v5e:4x4", 64, 24e9),
    _row("v5e-16", "v5e:4x4", 16, 48e9),
    _row("v4-32", "v4:2x2x4", 32, 96e9),
  ]
  (line,) = re.findall(r"^\| operations at peak.*", scaling.table(rows), re.M)
  told = [float(found) for found in re.findall(r"([\d.]+) ms", line)]
  # Of no chips of an A100's kind; of a v4's; of a v5e's.
  expected = [256 * 24e9 / 312e12, 64 * 96e9 / 275e12, 32 * 24e9 / 197e12]
  assert told[1:] == pytest.approx([1e3 * one for one in expected[1:]], abs=0.006)


def test_what_else_was_compiled_changes_nothing_for_other_chips():
  rows = [
    _row("v4-32", "v4:2x2x4", 64, 24e9, moved=2e9),
    _row("v5p-64", "v5p:2x4x4", 64, 24e9),
  ]
  first, *others = (scaling.table(some) for some in (rows[:1], rows, rows[::-1]))
  assert others == [first, first]
