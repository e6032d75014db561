"""Times the training input pipeline on a bucket beside the same pipeline on a folder.

    python benchmarks/bucket.py [--kind s3|gs] [--delay 0.05] [--drop 0.01]
      [--examples 4096] [--images 1024] [--repeats 5] [--json FILE]

The bucket is a server of the protocol on this machine (moto, or gcp-storage-emulator),
in a process of its own, behind a proxy that makes each request wait and loses some: a
third of these get no answer, a third half of one, a third the status 503. The data are
the photographs of benchmarks/input_pipeline.py, in files of 16 MB, which the server
reads whole for each request. What server and proxy take of the cores is told, for it is
taken from the pipeline.

The sides alternate in one process: both orders from the folder, from the bucket with
its delay, and from the bucket that loses requests too.
"""

import contextlib
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common
from configs import base
from tests.helpers import bucket

_ORDERS = ("full", "blocks")


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
      counts[name] = {"requests": 0, "bytes": 0, "cpu": 0.0}
      sides[name] = _side(args, data_dir, order, drop or 0.0, ask, counts[name])
  seconds = common.alternate(sides, args.repeats)
  images = args.images * (args.repeats + 1)  # Those of the first round, too.
  remote = [name for name in sides if name.startswith("bucket")]
  more = {
    "requests an image": {n: counts[n]["requests"] / images for n in remote},
    "kB an image": {n: counts[n]["bytes"] / 1000 / images for n in remote},
    "server's cores": {
      n: counts[n]["cpu"] / sum(seconds[n]) * args.repeats / (args.repeats + 1)
      for n in remote
    },
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
  """Returns a function that takes so many images, and adds up what was asked for."""
  from hue_jax.data.datasets import open_dataset
  from hue_jax.data.input_pipeline import train_batches
  from hue_jax.train.config import augmentation, order

  config = base.get_config()
  config.update({"crop": "random_resized", "flip": True, "shuffle": shuffle})
  ask(delay=0.0, drop=0.0)
  batches = train_batches(
    open_dataset("photographs", data_dir),
    "train",
    batch_size=args.batch_size,
    image_size=224,
    seed=0,
    augmentation=augmentation(config),
    order=order(config),
  )

  def take():
    ask(delay=args.delay, drop=drop)
    for _ in range(args.images // args.batch_size):
      next(batches)
    for name, value in ask().items():
      counts[name] += value

  return take


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
  parser.add_argument("--images", type=int, default=1024, help="taken in a round")
  parser.add_argument("--batch_size", type=int, default=128)
  return parser.parse_args()


if __name__ == "__main__":
  main()
