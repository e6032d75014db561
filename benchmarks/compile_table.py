"""Compiles the ImageNet steps of networks for TPU slices, and writes a table of them.

    pip install -e '.[train,tpu]'
    python benchmarks/compile_table.py [--networks resnet50 …] [--topologies v4-32 …]
      [--batch=64] [--one_hot] [--largest_batch] [--table_only] [--out=FILE.jsonl]

No TPU is needed, and no data set. Each step is that of
`configs/benchmark.py:imagenet,NETWORK,hue`, in a process of its own; with --one_hot its
one-hot twin is compiled, too, and with --largest_batch the largest batch that fits is
searched for, by four or more compilations. One takes three to five minutes of a core.

What is in FILE, docs/studies/compiled/imagenet.jsonl if none is named, is not compiled
again, so that the command may be stopped. It ends by writing all that this FILE holds
into docs/scaling.md: the steps, and what they mean for a run, for which
benchmarks/scaling.py has the arithmetic.
"""

import argparse
import datetime
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import scaling  # noqa: E402  (not installed: a folder here)

PAGE = ROOT / "docs" / "scaling.md"
COMPILED = ROOT / "docs" / "studies" / "compiled" / "imagenet.jsonl"
NETWORKS = ("resnet50", "efficientnet_b0", "vit_s16")
TOPOLOGIES = ("v5e-16", "v4-32", "v5p-64", "v5e-256")


def main():
  """Compiles what FILE lacks, and writes the tables."""
  arguments = _arguments()
  out = Path(arguments.out)
  found = _read(out)
  for topology in () if arguments.table_only else arguments.topologies:
    for network in arguments.networks:
      key = _key(network, topology, arguments)
      if any(_covers(row, key) for row in found):
        continue
      # What failed has told why, and is tried again the next time.
      if row := _compiled(key):
        found.append(row)
        with open(out, "a") as file:
          file.write(json.dumps(row) + "\n")
  if out == COMPILED:
    scaling.write(PAGE, "compiled", table(found, arguments.networks))
    scaling.write(PAGE, "runs", scaling.table(found))
  print(table(found, arguments.networks))


def _key(network, topology, arguments):
  return {
    "network": network,
    "slice": topology,
    "batch": None if arguments.largest_batch else arguments.batch,
    "one_hot": arguments.one_hot,
  }


def _covers(row, key):
  """Whether a row has what is asked for; a twin more does no harm."""
  same = all(row["asked"][name] == key[name] for name in ("network", "slice", "batch"))
  return same and row["asked"]["one_hot"] >= key["one_hot"]


def _compiled(key):
  """Returns what main.py says of one network, slice and batch; None if it failed."""
  from hue_jax.train.topologies import parse_topology

  chips = parse_topology(key["slice"]).num_chips
  command = [
    sys.executable,
    "main.py",
    "--mode=compile",
    f"--config=configs/benchmark.py:imagenet,{key['network']},hue",
    f"--topology={key['slice']}",
    f"--config.batch_size={chips * (key['batch'] or 64)}",
  ]
  if key["batch"] is None:
    command.append("--largest_batch")
  if not key["one_hot"]:
    command.append("--notwin")
  print(" ".join(command[1:]), file=sys.stderr, flush=True)
  environment = os.environ | {"JAX_ENABLE_COMPILATION_CACHE": "false"}
  done = subprocess.run(
    command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True, check=False
  )
  if done.returncode:
    return None
  return {
    "asked": key,
    "date": str(datetime.date.today()),
    **json.loads(done.stdout),
  }


def _read(path):
  lines = path.read_text().splitlines() if path.exists() else []
  return [json.loads(line) for line in lines]


def table(rows: list[dict], networks: Sequence[str] = NETWORKS) -> str:
  """Returns what was compiled, and for which networks and slices nothing was."""
  lines = [
    "| network | slice | images of a chip | operations | bytes accessed | arguments | "
    "temporaries | peak memory | of the chip's | collectives | compiler's schedule | "
    "the hue terms add |",
    f"|{' --- |' * 12}",
  ]
  for topology in TOPOLOGIES:
    for network in networks:
      asked = {"network": network, "slice": topology}
      found = [row for row in rows if asked.items() <= row["asked"].items()]
      lines += [_line(row) for row in found]
      if not found:
        lines.append(f"| {network} | {topology} | not measured |{' – |' * 9}")
  return "\n".join(lines)


def _line(row):
  program = row.get("hue") or row["step"]
  of_all = sum(one["bytes"] * one["count"] for one in program["collectives"])
  batch = f"{row['batch_size_of_a_chip']:,}"
  cells = [
    row["asked"]["network"],
    f"{row['asked']['slice']} ({row['topology']})",
    batch if row["asked"]["batch"] else f"{batch}, the most that fit",
    f"{program['flops'] / 1e12:.2f} TFLOP",
    f"{program['bytes_accessed'] / 1e9:.1f} GB",
    f"{program['argument_bytes'] / 2**30:.2f} GiB",
    f"{program['temporary_bytes'] / 2**30:.2f} GiB",
    f"{program['peak_bytes'] / 2**30:.2f} GiB",
    f"{program['peak_bytes'] / row['hbm_bytes']:.0%}",
    f"{of_all / 1e6:.0f} MB",
    f"{program['scheduled_seconds'] * 1e3:.1f} ms",
    _added(row),
  ]
  return f"| {' | '.join(cells)} |"


def _added(row):
  if "one_hot" not in row:
    return "not compiled"
  hue, twin = row["hue"], row["one_hot"]
  names = {
    "flops": "operations",
    "bytes_accessed": "bytes",
    "peak_bytes": "memory",
    "scheduled_seconds": "time",
  }
  added = [f"{name} {hue[one] / twin[one] - 1:+.1%}" for one, name in names.items()]
  sums = [
    sum(one["bytes"] * one["count"] for one in program["collectives"])
    for program in (hue, twin)
  ]
  return ", ".join([*added, f"collectives {(sums[0] - sums[1]) / 1e6:+.0f} MB"])


def _arguments():
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument(
    "--out", default=str(COMPILED), help="the file of what was compiled"
  )
  parser.add_argument("--networks", nargs="+", default=NETWORKS)
  parser.add_argument("--topologies", nargs="+", default=TOPOLOGIES)
  parser.add_argument("--batch", type=int, default=64, help="images of a chip")
  parser.add_argument("--one_hot", action="store_true", help="the one-hot twin, too")
  parser.add_argument("--largest_batch", action="store_true")
  parser.add_argument("--table_only", action="store_true", help="compile nothing")
  return parser.parse_args()


if __name__ == "__main__":
  main()
