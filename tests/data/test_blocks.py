"""The order by blocks, and what is read for it."""

import itertools
import math
import shutil

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import shuffle
from hue_jax.data import record_index, shards
from hue_jax.data.blocks import LANES, BlockOrder, blocks_of
from hue_jax.data.datasets import open_dataset
from hue_jax.data.order import ShuffledOrder
from hue_jax.data.read_ahead import BlockReader
from hue_jax.data.records import RecordSource
from hue_jax.errors import InputError
from tests.helpers.streams import train_batches

_SETTINGS = {
  "batch_size": 32,
  "image_size": 8,
  "crop": "pad",
  "flip": False,
  "seed": 5,
  "shuffle": "blocks",
  "shuffle_block_bytes": 3000,
  "shuffle_window": 300,
}


def take(batches, count):
  return list(itertools.islice(batches, count))


def assert_same(found, expected):
  for one, other in zip(found, expected, strict=True):
    for key in other:
      np.testing.assert_array_equal(one[key], other[key])


def order_of(sizes, seed=0, window=100, mean_bytes=100, block_bytes=1000):
  """The order of a split whose files have so many examples."""
  pieces = np.cumsum([0, *sizes])
  num = pieces[-1]
  blocks = blocks_of(
    pieces, np.arange(num), mean_bytes=mean_bytes, block_bytes=block_bytes
  )
  return BlockOrder(blocks, seed, window=window)


_RECORDED = [764, 314, 502, 956, 552, 433, 1, 173]


class TestOrder:
  @settings(max_examples=25, deadline=None)
  @given(
    st.lists(st.integers(1, 400), min_size=1, max_size=6),
    st.integers(0, 2**64 - 1),
    st.integers(1, 2000),
    st.integers(1, 5000),
  )
  def test_epochs_are_permutations_read_in_runs_of_one_file(
    self, sizes, seed, window, block_bytes
  ):
    order = order_of(sizes, seed, window, block_bytes=block_bytes)
    num = sum(sizes)
    stream = order(np.arange(3 * num)).reshape(3, num)
    np.testing.assert_array_equal(
      np.sort(stream, axis=1), np.tile(np.arange(num), (3, 1))
    )
    epoch, ends = order.epoch(2), np.cumsum(sizes)
    for window in range(len(epoch.sizes)):
      runs = epoch.runs[slice(*epoch.first_runs[window : window + 2])]
      # No run crosses a file, and a window's runs are its examples.
      file = np.searchsorted(ends, runs[:, 0], side="right")
      assert (runs[:, 1] <= ends[file]).all()
      places = np.concatenate([np.arange(*run) for run in runs])
      here = epoch.windows == window
      np.testing.assert_array_equal(np.sort(epoch.places[here]), np.sort(places))
      np.testing.assert_array_equal(epoch.ranks[here], np.arange(epoch.sizes[window]))
      # It is of one lane, and lanes alternate.
      positions = np.flatnonzero(here) + 2 * num
      assert set(positions % LANES) == {epoch.lanes[window]}

  def test_any_position_at_once(self):
    order = order_of([300, 500])
    positions = np.array([10**15 + 3, 12, 10**15 + 3, 0])
    expected = [order_of([300, 500])(np.array([p]))[0] for p in positions]
    np.testing.assert_array_equal(order(positions), expected)

  def test_seeds_and_epochs_differ(self):
    one, other = (order_of([2000], seed)(np.arange(4000)) for seed in (1, 2))
    assert (one == other).mean() < 0.01
    assert (one[:2000] == one[2000:]).mean() < 0.01

  def test_the_order_does_not_change(self):
    """What a seed means: recorded runs are repeated by it."""
    found = order_of([1000], 7)(np.arange(1000))
    assert found[:8].tolist() == _RECORDED

  def test_windows_are_as_large_as_asked_for_and_of_many_blocks(self):
    order = order_of([100_000, 60_000], window=16_384)
    sizes = order.epoch(0).sizes
    assert sizes.mean() * LANES >= 16_384
    assert sizes.min() * LANES > 0.9 * 16_384 - LANES * 10  # But for a block a lane.
    runs = np.diff(order.epoch(0).first_runs)
    assert runs.min() >= 20

  def test_neighbors_of_a_file_are_as_far_apart_as_in_a_permutation(self):
    """Within a window; each place and its next are hardly ever near each other."""
    num = 20_000
    near = []
    for order in (order_of([num], window=16_384), ShuffledOrder(num, 0)):
      position = np.argsort(order(np.arange(num)))
      near.append((np.abs(np.diff(position)) < 128).mean())
    assert near[1] == pytest.approx(2 * 128 / num, rel=0.2)
    assert near[0] < 2 * near[1]

  def test_a_batch_has_examples_of_all_over_the_split(self):
    order = order_of([50_000], window=16_384)
    batch = np.sort(order(np.arange(256)))
    # As if drawn at random: 256 of 50,000 fall into 100 parts alike.
    counts = np.bincount(batch * 100 // 50_000, minlength=100)
    assert counts.max() < 14

  def test_the_benchmark_counts_what_it_says(self):
    order, num = order_of([3000], window=1024), 3000
    blocks = order._blocks
    told = shuffle._mixing(order, num, blocks, order.window, 50)
    stream = order(np.arange(num))
    pairs = []
    for batch in stream.reshape(-1, 50):
      of = np.searchsorted(blocks, batch, side="right")
      pairs += [one == other for one, other in itertools.combinations(of, 2)]
    assert told["pairs of a batch of one block"] == pytest.approx(np.mean(pairs))
    position = np.argsort(stream)
    near = [abs(position[i + 1] - position[i]) < 50 for i in range(num - 1)]
    assert told["neighbors within a batch"] == pytest.approx(np.mean(near))


class TestBatches:
  def test_epochs_have_each_image_once(self, digits):
    num = digits.num_examples("train")
    seen = [
      image.tobytes()
      for batch in take(train_batches(digits, "train", padding=0, **_SETTINGS), 45)
      for image in batch["image"]
    ][:num]
    full = _SETTINGS | {"shuffle": "full"}
    expected = [
      image.tobytes()
      for batch in take(train_batches(digits, "train", padding=0, **full), 45)
      for image in batch["image"]
    ][:num]
    # The last batch of the epoch has images of the next, in an order of its own.
    assert len(set(seen) ^ set(expected)) <= 2 * 32

  @pytest.mark.parametrize("repeats", [1, 3])
  def test_processes_and_threads_change_nothing(self, digits, repeats):
    options = _SETTINGS | {"repeats": repeats, "flip": True}
    whole = take(train_batches(digits, "train", **options), 12)
    parts = [
      take(
        train_batches(
          digits,
          "train",
          process_index=k,
          process_count=4,
          num_threads=k + 1,
          **options,
        ),
        12,
      )
      for k in range(4)
    ]
    joined = [
      {key: np.concatenate([part[key] for part in step]) for key in step[0]}
      for step in zip(*parts, strict=True)
    ]
    assert_same(joined, whole)

  def test_any_step_is_where_it_resumes(self, digits):
    whole = take(train_batches(digits, "train", **_SETTINGS), 60)
    for start in (1, 44, 57):  # 1,437 images: an epoch ends within step 44.
      resumed = train_batches(digits, "train", start_step=start, **_SETTINGS)
      assert_same(take(resumed, 3), whole[start : start + 3])

  def test_both_formats_and_many_files(self, sharded, reference):
    options = _SETTINGS | {"batch_size": 6, "image_size": 6, "crop": "none"}
    batches = take(
      train_batches(sharded, "train", **(options | {"shuffle_block_bytes": 500})), 10
    )
    labels = np.concatenate([batch["label"] for batch in batches])
    expected = [example["label"] for example in reference(sharded, "train")]
    assert sorted(labels) == sorted(expected)

  def test_a_part_of_the_examples(self, digits):
    indices = np.arange(0, 1437, 7)[::-1]
    options = _SETTINGS | {"padding": 0}
    batches = take(train_batches(digits, "train", indices=indices, **options), 13)
    full = options | {"shuffle": "full"}
    others = take(train_batches(digits, "train", indices=indices, **full), 13)
    seen, expected = (
      {image.tobytes() for batch in some for image in batch["image"]}
      for some in (batches, others)
    )
    assert seen == expected

  def test_each_process_reads_its_own_blocks_once(self, digits, monkeypatch):
    """Of four processes, each reads a quarter; an epoch costs what the split has."""
    read = []
    usual = shards.TFRecordShards.read_run

    def recording(self, path, records):
      read.extend(records)
      return usual(self, path, records)

    monkeypatch.setattr(shards.TFRecordShards, "read_run", recording)
    monkeypatch.setattr(shards.TFRecordShards, "read", None)
    counts = []
    for k in range(4):
      read.clear()
      options = _SETTINGS | {"batch_size": 64}
      batches = train_batches(
        digits, "train", process_index=k, process_count=4, **options
      )
      take(batches, 200)
      counts.append(len(read))
    # 200 steps of 16 rows, and at most 1.25 windows (of 300, a quarter of it) ahead,
    # besides what the loader has begun.
    assert min(counts) >= 3200
    assert max(counts) < 3200 + 1.5 * 16_384 / 4

  def test_memory_is_that_of_a_window(self, digits):
    """No more is held than 1.25 windows and the steps that are not forgotten."""
    source = RecordSource(digits, "train")
    blocks = blocks_of(source.starts, np.arange(1437), mean_bytes=150, block_bytes=600)
    order = BlockOrder(blocks, 0, window=1)

    def positions_of(step):
      return np.arange(step * 64, step * 64 + 64)

    reader = BlockReader(source, order, np.arange(1437), positions_of, batch_size=64)
    held = []
    for step in range(60):
      reader.read(step, order(positions_of(step)))
      runs = [run for one in reader._windows.values() for run in one._asked]
      held.append(sum(x is not None for run in runs for x in run.result()))
    # The epoch is one window; a place of each lane is between two.
    kept = reader._horizon * 64
    assert 1437 < max(held) <= 1.25 * 1437 + kept + LANES


class TestErrors:
  @pytest.mark.parametrize(
    ("changes", "message"),
    [
      ({"shuffle": "some"}, r"shuffle is 'some'; it must be one of full, blocks"),
      ({"shuffle_block_bytes": 0}, r"shuffle_block_bytes is 0; .* at least 1"),
      ({"shuffle_window": 0}, r"shuffle_window is 0; .* at least 1"),
      (
        {"shuffle_block_bytes": 10**9},
        r"shuffle_block_bytes is 1000000000; it must be at most \d+, the bytes of "
        r"digits split 'train'",
      ),
    ],
  )
  def test_settings(self, digits, changes, message):
    with pytest.raises(InputError, match=message):
      train_batches(digits, "train", **(_SETTINGS | changes))

  def test_a_damaged_record_is_named_when_its_step_comes(self, digits, tmp_path):
    folder = tmp_path / "digits/1.0.0"
    shutil.copytree(digits.builder.data_dir, folder)
    path = folder / "digits-train.tfrecord-00000-of-00001"
    offsets = record_index.load_or_build(str(folder), [str(path)])[str(path)]
    data = bytearray(path.read_bytes())
    data[offsets[700] + 20] ^= 1
    path.write_bytes(data)
    dataset = open_dataset("digits", str(tmp_path))
    with pytest.raises(InputError, match=r"index 700 .*record 700\): the checksum"):
      take(train_batches(dataset, "train", **_SETTINGS), math.ceil(1437 / 32))
