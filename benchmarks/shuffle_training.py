"""Trains with both orders of an epoch, with paired seeds, and compares the accuracy.

    python benchmarks/shuffle_training.py --data_dir DIR [--seeds 8] [--epochs 4]
      [--dataset fashion_mnist] [--block_bytes 5000] [--window 2560] [--json FILE]

A ResNet-8 of width 8 learns all training images of a small data set from the same first
weights, in a full permutation and by blocks. So that blocks could do harm, they are
small and their window is a small part of the data: by default 10 images of
Fashion-MNIST, and a twentieth of the 50,000.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common
from configs import base
from hue_jax.train import loop


def main() -> None:
  args = _arguments()
  accuracy = {order: [] for order in ("full", "blocks")}
  for seed in range(args.seeds):
    for order in accuracy:
      accuracy[order].append(_train(args, order, seed))
      print(f"seed {seed}, {order}: {accuracy[order][-1]:.2f} %", file=sys.stderr)
  gains = np.subtract(accuracy["blocks"], accuracy["full"])
  half = stats.t.ppf(0.975, len(gains) - 1) * stats.sem(gains)
  rows = [{"order": name, "accuracy, %": np.mean(of)} for name, of in accuracy.items()]
  notes = [
    f"{args.dataset}, {args.epochs:g} epochs, blocks of {args.block_bytes} bytes, "
    f"windows of {args.window}, {args.seeds} paired seeds",
    f"blocks − full: {gains.mean():+.2f} points, 95 % [{gains.mean() - half:+.2f}, "
    f"{gains.mean() + half:+.2f}]",
  ]
  packages = ("jax", "flax", "numpy")
  common.report(
    "shuffle_training", rows, json_file=args.json, packages=packages, notes=notes
  )


def _train(args, order: str, seed: int) -> float:
  """Returns the accuracy on the test images in percent."""
  config = base.get_config()
  config.update(
    {
      "seed": seed,
      "dataset": args.dataset,
      "data_dir": args.data_dir,
      "num_classes": 0,
      "channels": 0,
      "train_split": args.train_split,
      "validation_split": "",
      "image_size": args.image_size,
      "padding": 2,
      "model": "resnet8",
      "shuffle": order,
      "shuffle_block_bytes": args.block_bytes,
      "shuffle_window": args.window,
      "num_epochs": args.epochs,
      "warmup_epochs": args.epochs / 8,
      "batch_size": 128,
      "num_colored_images": 0,
      "checkpoint_every_steps": 1_000_000,
    }
  )
  config.model_options.width = 8
  config.hue.enabled = False
  with tempfile.TemporaryDirectory() as workdir:
    return 100 * loop.train(config, workdir)["test_top1"]


def _arguments():
  parser = common.parser(__doc__, repeats=None)
  parser.add_argument("--data_dir", help="the folder of prepared data sets")
  parser.add_argument("--dataset", default="fashion_mnist")
  parser.add_argument("--train_split", default="train[:50000]")
  for name, default in (
    ("seeds", 8),
    ("image_size", 28),
    ("block_bytes", 5000),
    ("window", 2560),
  ):
    parser.add_argument(f"--{name}", type=int, default=default)
  parser.add_argument("--epochs", type=float, default=4.0)
  return parser.parse_args()


if __name__ == "__main__":
  main()
