"""Times the training input pipeline on a bucket beside the same pipeline on a folder.

    python benchmarks/bucket.py [--kind s3|gs] [--delay 0.05] [--drop 0.01]
      [--examples 4096] [--images 2048] [--repeats 5] [--json FILE]

The bucket is a server of the protocol on this machine (moto, or gcp-storage-emulator),
in a process of its own, behind a proxy that makes each request wait and loses some: a
third of these get no answer, a third half of one, a third the status 503. The data are
the photographs of benchmarks/input_pipeline.py, in files of 16 MB, which the server
reads whole for each request. What server and proxy take of the cores is told, for it is
taken from the pipeline.

The sides alternate in one process: both orders from the folder, from the bucket with
its delay, and from the bucket that loses requests too. A side has a pipeline of its own
in each round, which ends, with all that it asks for, before the next side begins. What
is read ahead is taken before the clock starts: eight batches of the full order, and an
epoch by blocks, of which an epoch is timed then. So as much is read ahead at the end as
was at the start, and "kB an image" is the size of an image, but for what is lost and
read again. Rates are those of `--images`.
"""

import contextlib
import gc
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common
from configs import base
from tests.helpers import bucket

_ORDERS = ("full", "blocks")
_BATCHES_AHEAD = 8  # Of the full order: more than a pipeline holds.


def main() -> None:
  args = _arguments()
  with tempfile.TemporaryDirectory() as folder:
    _write_data(folder, args.examples)
    with _server(args.kind) as (environment, ask):
      os.environ.update(environment["network"])
      import fsspec  # Which reads the environment.

      direct, network = (_url(environment[name]) for name in ("direct", "network"))
      fsspec.config.conf[args.kind] = bucket.options(args.kind, network)
      photographs = f"{folder}/photographs"
      bucket.upload(args.kind, direct, photographs, "sets/photographs")
      _report(args, folder, ask)


def _report(args, folder, ask) -> None:
  sides, counts = {}, {}
  for where, drop in (("folder", None), ("bucket", 0.0), ("bucket, losses", args.drop)):
    for order in _ORDERS:
      name = f"{where}, {order}"
      data_dir = folder if drop is None else f"{args.kind}://{bucket.BUCKET}/sets"
      counts[name] = []
      sides[name] = _side(args, data_dir, order, drop or 0.0, ask, counts[name])
  seconds = common.alternate(sides, args.repeats)
  remote = [name for name in sides if name.startswith("bucket")]

  def of(name, what, per):
    # The first round only warms up.
    return sum(one[what] for one in counts[name][1:]) / sum(
      one[per] for one in counts[name][1:]
    )

  more = {
    "requests an image": {name: of(name, "requests", "images") for name in remote},
    "kB an image": {name: of(name, "bytes", "images") / 1000 for name in remote},
    "server's cores": {name: of(name, "cpu", "seconds") for name in remote},
  }
  rows = common.rows(
    f"{args.kind}, {1000 * args.delay:g} ms, {100 * args.drop:g} % lost",
    seconds,
    against=["folder, full", "folder, blocks"],
    per_second=args.images,
    **more,
  )
  packages = (
    "tensorflow-cpu",
    "fsspec",
    "s3fs",
    "gcsfs",
    "moto",
    "gcp-storage-emulator",
  )
  common.report("bucket", rows, json_file=args.json, packages=packages)


def _side(args, data_dir, shuffle, drop, ask, counts):
  """Returns a function that times `--images` images, and appends what they took."""
  from hue_jax.data.datasets import open_dataset
  from hue_jax.data.input_pipeline import train_batches
  from hue_jax.train.config import augmentation, order

  config = base.get_config()
  config.update({"crop": "random_resized", "flip": True, "shuffle": shuffle})
  dataset = open_dataset("photographs", data_dir)
  ahead, timed = _batches(args, shuffle)

  def take():
    ask(delay=args.delay, drop=drop)
    batches = train_batches(
      dataset,
      "train",
      batch_size=args.batch_size,
      image_size=224,
      seed=0,
      augmentation=augmentation(config),
      order=order(config),
    )
    for _ in range(ahead):
      next(batches)
    ask()
    start = time.perf_counter()
    for _ in range(timed):
      next(batches)
    seconds, images = time.perf_counter() - start, timed * args.batch_size
    counts.append({**ask(), "images": images, "seconds": seconds})
    batches.close()
    del batches
    _wait_until_quiet(ask, args.delay)
    return seconds * args.images / images

  return take


def _batches(args, order):
  """Returns how many batches are taken before the clock starts, and after."""
  if order == "full":
    return _BATCHES_AHEAD, -(-args.images // args.batch_size)
  # At most an epoch and a quarter is asked for ahead, and as much of each epoch.
  epoch = -(-args.examples // args.batch_size)
  return epoch, epoch


def _wait_until_quiet(ask, delay):
  """Waits until nothing is asked for any more, by what is gone."""
  gc.collect()
  ask()
  time.sleep(0.2 + 2 * delay)
  while ask()["requests"]:
    time.sleep(0.2 + 2 * delay)


@contextlib.contextmanager
def _server(kind):
  """Starts the bucket; yields its environments, and a function that asks it."""
  with subprocess.Popen(
    [sys.executable, "-m", "tests.helpers.bucket", kind],
    cwd=common.ROOT,
    stdin=subprocess.PIPE,
    stdout=subprocess.PIPE,
    text=True,
  ) as process:

    def ask(**settings):
      print(json.dumps(settings), file=process.stdin, flush=True)
      return json.loads(process.stdout.readline())

    try:
      yield json.loads(process.stdout.readline()), ask
    finally:
      process.stdin.close()


def _url(environment):
  return next(value for name, value in environment.items() if name.endswith("_URL"))


def _write_data(folder, examples) -> None:
  from benchmarks import input_pipeline
  from hue_jax.data import store

  store._SHARD_BYTES = 16 * 2**20
  input_pipeline.write_data(folder, "photographs", examples)


def _arguments():
  parser = common.parser(__doc__, repeats=5)
  parser.add_argument("--kind", choices=("s3", "gs"), default="s3")
  parser.add_argument("--delay", type=float, default=0.05, help="seconds a request")
  parser.add_argument("--drop", type=float, default=0.01, help="part of the requests")
  parser.add_argument("--examples", type=int, default=4096, help="photographs")
  parser.add_argument("--images", type=int, default=2048, help="of a rate")
  parser.add_argument("--batch_size", type=int, default=128)
  return parser.parse_args()


if __name__ == "__main__":
  main()
