"""Times how fast pictures become a prepared data set, and tells the memory.

    python benchmarks/prepare.py [--pictures=4000] [--photographs=1000]

The pictures are made on the spot: JPEGs of 64 × 64 pixels, JPEGs of 500 × 375 and about
100 kB, and BMPs of 64 × 64, which are decoded and stored as PNG. Each kind is imported
by the command that a user types, in a process of its own, from its start to its end;
"of a second" leaves out the start, which is that of the smallest import. Peak memory is
that of a tenth of the files and of all: what grows is their difference. An import
before these, which is not counted, reads the programs from the disk.
"""

import argparse
import datetime
import os
import platform
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
_CLASSES = 8


def main():
  """Prints a table in Markdown."""
  arguments = _arguments()
  print(
    f"{datetime.date.today()}; {os.cpu_count()} cores; Python "
    f"{platform.python_version()}\n"
  )
  print("| files | pictures | seconds | of a second | peak memory, MB (a tenth, all) |")
  print("| --- | --- | --- | --- | --- |")
  with tempfile.TemporaryDirectory() as scratch:
    _write_files(Path(scratch) / "first", "jpg", (64, 64), 2 * _CLASSES)
    _import(scratch, "first")
  for kind, size, count in (
    ("jpg", (64, 64), arguments.pictures),
    ("bmp", (64, 64), arguments.pictures),
    ("jpg", (500, 375), arguments.photographs),
  ):
    with tempfile.TemporaryDirectory() as scratch:
      _write_files(Path(scratch) / "all", kind, size, count)
      _write_files(Path(scratch) / "tenth", kind, size, count // 10)
      few, few_memory = _import(scratch, "tenth")
      seconds, memory = _import(scratch, "all")
    more = count - count // 10
    # Of few pictures the start hides what they take.
    rate = f"{more / (seconds - few):.0f}" if seconds > few else "not told"
    name = f"{kind} {size[0]} × {size[1]}"
    print(
      f"| {name} | {count} | {seconds:.1f} | {rate} | {few_memory:.0f}, {memory:.0f} |",
      flush=True,
    )


def _import(scratch, name):
  """Seconds and megabytes of one import."""
  command = [sys.executable, "-m", "hue_jax.data.prepare", "folder"]
  command += [f"--name={name}", f"--data_dir={scratch}/out", f"{scratch}/{name}"]
  start = time.perf_counter()
  # The parent's peak is the largest of its children: each has a parent of its own.
  measured = subprocess.run(
    [sys.executable, "-c", _MEASURE, *command],
    env=os.environ | {"PYTHONPATH": str(ROOT)},
    stdout=subprocess.PIPE,
    stderr=subprocess.DEVNULL,
    check=True,
  )
  return time.perf_counter() - start, int(measured.stdout.split()[-1]) / 1024


_MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


def _write_files(folder, kind, size, count):
  """Smooth pictures with some grain, so that files have an ordinary size."""
  rng = np.random.default_rng(0)
  for i in range(count):
    coarse = Image.fromarray(rng.integers(0, 256, (6, 8, 3), np.uint8))
    smooth = np.asarray(coarse.resize(size, Image.Resampling.BICUBIC), np.float32)
    pixels = smooth + rng.normal(0, 12, (size[1], size[0], 1))
    path = folder / f"class{i % _CLASSES}" / f"{i:05d}.{kind}"
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))
    picture.save(path, **({"quality": 92} if kind == "jpg" else {}))


def _arguments():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--pictures", type=int, default=4000)
  parser.add_argument("--photographs", type=int, default=1000)
  return parser.parse_args()


if __name__ == "__main__":
  main()
