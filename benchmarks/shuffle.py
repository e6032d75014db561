"""Tells how well an epoch that is read by blocks is mixed, beside a permutation.

    python benchmarks/shuffle.py [--examples 1281167 --files 1024 --bytes 110000]
      [--block_bytes 4000000] [--window 16384] [--batch_size 256] [--json FILE]

No data are read: the order is that of a data set of so many examples of so many bytes,
in files of equal size; by default, of ImageNet. It is measured three times:

- how far apart in the stream examples are that are neighbors in a file, as a part of
  the epoch: a permutation has its median at 0.29, and 0.02 % within a batch of 256;
- how many pairs of a batch are of one block, where a permutation has few;
- how far the order of the epoch after is from that of this one: which part of the
  pairs of examples that stand within a window of each other do so again.
"""

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common
from configs import base
from hue_jax.data.blocks import BlockOrder, blocks_of
from hue_jax.data.order import ShuffledOrder

_CONFIG = base.get_config()
_QUANTILES = (0.01, 0.1, 0.5, 0.9)


def main() -> None:
  args = _arguments()
  num = args.examples
  pieces = np.linspace(0, num, args.files + 1).astype(np.int64)
  blocks = blocks_of(
    pieces, np.arange(num), mean_bytes=args.bytes, block_bytes=args.block_bytes
  )
  by_blocks = BlockOrder(blocks, args.seed, window=args.window)
  orders = {"full": ShuffledOrder(num, args.seed), "blocks": by_blocks}
  rows = [
    {"order": name, **_mixing(order, num, blocks, by_blocks.window, args.batch_size)}
    for name, order in orders.items()
  ]
  lengths = np.diff(blocks)
  notes = [
    f"{num:,} examples of {args.bytes:,} bytes in {args.files:,} files; "
    f"{len(lengths):,} blocks of {lengths.min()} to {lengths.max()} examples; windows "
    f"of {by_blocks.window:,}; batches of {args.batch_size}"
  ]
  common.report("shuffle", rows, json_file=args.json, packages=["numpy"], notes=notes)


def _mixing(order, num, blocks, window, batch_size) -> dict[str, float]:
  stream = order(np.arange(2 * num)).reshape(2, num)
  position = np.argsort(stream[0])
  distances = np.abs(np.diff(position))
  found = {
    f"distance of neighbors, {100 * q:g} %": float(np.quantile(distances, q) / num)
    for q in _QUANTILES
  }
  found["neighbors within a batch"] = float((distances < batch_size).mean())
  found["pairs of a batch of one block"] = _pairs_of_a_block(
    stream[0], blocks, batch_size
  )
  found["near pairs that are near in the next epoch"] = _near_again(stream, window)
  return found


def _pairs_of_a_block(stream, blocks, batch_size) -> float:
  """Returns the part of a batch's pairs that are of one block."""
  whole = stream[: len(stream) // batch_size * batch_size]
  of = np.searchsorted(blocks, whole, side="right").reshape(-1, batch_size)
  of.sort(axis=1)
  # Of k that are alike, each with those before it.
  starts = np.concatenate([np.ones([len(of), 1], bool), np.diff(of) != 0], axis=1)
  places = np.arange(of.size) - np.maximum.accumulate(
    np.where(starts.ravel(), np.arange(of.size), 0)
  )
  return float(places.sum() / (len(of) * batch_size * (batch_size - 1) / 2))


def _near_again(stream, window) -> float:
  """Returns how often two that are near each other in one epoch are so in the next."""
  rng = np.random.default_rng(0)
  num = len(stream[0])
  reach = min(window, num - 1)
  first = rng.integers(0, num - reach, 200_000)
  other = first + rng.integers(1, reach + 1, len(first))
  later = np.argsort(stream[1])
  apart = np.abs(later[stream[0][first]] - later[stream[0][other]])
  return float((apart <= reach).mean())


def _arguments():
  parser = common.parser(__doc__, repeats=None)
  for name, default, help_text in (
    ("examples", 1_281_167, "of an epoch"),
    ("files", 1024, "of the split"),
    ("bytes", 110_000, "of an example"),
    ("block_bytes", _CONFIG.shuffle_block_bytes, "of a block, at most"),
    ("window", _CONFIG.shuffle_window, "examples that are mixed"),
    ("batch_size", 256, "examples of a step"),
    ("seed", 0, "of the order"),
  ):
    parser.add_argument(f"--{name}", type=int, default=default, help=help_text)
  return parser.parse_args()


if __name__ == "__main__":
  main()
