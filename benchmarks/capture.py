"""Captures 2 million vectors of 256 channels, killed on the way, and tells the memory.

    python benchmarks/capture.py --data_dir=DIR [--images=2560] [--channels=256]

Fashion-MNIST must be prepared in DIR. The network is a random convolution of 28 × 28
positions. One capture is killed (SIGKILL) half-way and started again; another is left
alone; the files of the two must be equal.
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def main():
  """Prints what was measured."""
  arguments = _arguments()
  if arguments.into:
    _capture(arguments)
    return
  with tempfile.TemporaryDirectory(dir=arguments.scratch) as scratch:
    whole = _run(arguments, Path(scratch) / "whole")
    killed = _run(arguments, Path(scratch) / "killed", kill_at=arguments.images // 2)
    resumed = _run(arguments, Path(scratch) / "killed")
    same = _digest(Path(scratch) / "whole") == _digest(Path(scratch) / "killed")
  vectors = arguments.images * 28 * 28
  print(f"{vectors} vectors of {arguments.channels} channels, float16")
  print(f"undisturbed: {whole['seconds']:.1f} s, peak memory {whole['peak_gb']:.2f} GB")
  print(f"killed at image {killed['num_done']} of {arguments.images}")
  print(
    f"resumed: {resumed['seconds']:.1f} s, peak memory {resumed['peak_gb']:.2f} GB; "
    f"files {'equal' if same else 'DIFFER'}"
  )
  sys.exit(0 if same else 1)


def _run(arguments, folder, kill_at=None):
  """Captures in a process of its own; kills it when so many images are done."""
  command = [sys.executable, __file__, f"--into={folder}", *sys.argv[1:]]
  start = time.perf_counter()
  process = subprocess.Popen(
    command, stdout=subprocess.PIPE, env=os.environ | {"PYTHONPATH": str(ROOT)}
  )
  while kill_at is not None and process.poll() is None:
    done = _num_done(folder)
    if done >= kill_at:
      process.send_signal(signal.SIGKILL)
      process.wait()
      return {"num_done": _num_done(folder)}
    time.sleep(0.05)
  out, _ = process.communicate()
  if process.returncode:
    raise SystemExit(f"the capture ended with status {process.returncode}")
  if kill_at is not None:
    raise SystemExit("the capture ended before it was killed; it needs more --images")
  return json.loads(out) | {"seconds": time.perf_counter() - start}


def _num_done(folder):
  manifest = folder / "manifest.json"
  return json.loads(manifest.read_text())["num_done"] if manifest.exists() else 0


def _digest(folder):
  sha = hashlib.sha256()
  with open(folder / "stem" / "vectors.npy", "rb") as file:
    while block := file.read(2**24):
      sha.update(block)
  return sha.hexdigest()


def _capture(arguments):
  import jax
  import jax.numpy as jnp
  import numpy as np

  from hue_jax.data.datasets import open_dataset
  from hue_jax.models.resnet import BasicBlock, ResNet
  from hue_jax.observe.capture import Sample, capture
  from hue_jax.train.networks import Network

  model = ResNet(
    num_classes=10,
    block=BasicBlock,
    stage_sizes=(1,),
    stem="small",
    width=arguments.channels,
  )
  variables = model.init(jax.random.key(0), jnp.zeros((1, 28, 28, 1)), train=False)
  network = Network(
    name="stem",
    model=model,
    variables={name: variables[name] for name in ("params", "batch_stats")},
    image_size=28,
    channels=1,
    crop="none",
    pixel_mean=(0.286,),
    pixel_std=(0.353,),
  )
  indices = np.arange(arguments.images)
  dataset = open_dataset("fashion_mnist", arguments.data_dir)
  sample = Sample(dataset, "train", indices, np.zeros(len(indices), int))
  capture(network, sample, arguments.into, taps=("stem",), batch_size=32)
  print(json.dumps({"peak_gb": _peak_memory() / 2**30}))


def _peak_memory() -> int:
  """The largest resident memory of this process, in bytes."""
  for line in Path("/proc/self/status").read_text().splitlines():
    if line.startswith("VmHWM"):
      return int(line.split()[1]) * 1024
  raise SystemExit("this system does not tell the peak memory")


def _arguments():
  parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
  parser.add_argument("--data_dir")
  parser.add_argument("--images", type=int, default=2560)
  parser.add_argument("--channels", type=int, default=256)
  parser.add_argument("--scratch", help="folder for the files, of about 2 GB")
  parser.add_argument("--into", help=argparse.SUPPRESS)
  return parser.parse_args()


if __name__ == "__main__":
  main()
