"""Data sets in a bucket: real clients, servers of the protocols, a bad network."""

import collections
import itertools
import os
import subprocess
import sys
import threading
from pathlib import Path

import fsspec
import numpy as np
import pytest

from hue_jax import command
from hue_jax.data import blocks, prepare, record_index, storage
from hue_jax.data.datasets import NotPreparedError, open_dataset
from hue_jax.data.records import RecordSource
from hue_jax.data.storage import BucketError
from hue_jax.data.survey import survey
from hue_jax.errors import InputError
from tests.helpers import bucket
from tests.helpers.streams import eval_batches, train_batches

_ROOT = Path(__file__).resolve().parents[2]
_SETTINGS = {"batch_size": 16, "image_size": 8, "crop": "pad", "seed": 5}
_BLOCKS = {"shuffle": "blocks", "shuffle_block_bytes": 20_000, "shuffle_window": 600}


def take(batches, count):
  return list(itertools.islice(batches, count))


def assert_same(found, expected):
  for one, other in zip(found, expected, strict=True):
    for key in other:
      np.testing.assert_array_equal(one[key], other[key])


@pytest.fixture(scope="module", params=["s3", "gs"])
def kind(request):
  return request.param


@pytest.fixture(scope="module")
def served(kind, digits, data_dir):
  """The data sets of the tests in a bucket: its URL, and the network before it."""
  with bucket.serving(kind) as (url, network), pytest.MonkeyPatch.context() as patch:
    bucket.upload(kind, url, str(Path(data_dir) / "digits"), "sets/digits")
    patch.setitem(fsspec.config.conf, kind, bucket.options(kind, network.url))
    storage._opened.cache_clear()
    yield f"{kind}://{bucket.BUCKET}", network
  storage._opened.cache_clear()


@pytest.fixture
def remote(served, monkeypatch):
  """A data set in the bucket, and the network, which does its work."""
  url, network = served
  monkeypatch.setattr(storage, "_FIRST_WAIT", 0.02)
  monkeypatch.setattr(blocks, "_LEAST_BLOCKS", 1)  # For a small data set, large ones.
  network.delay, network.drop, network.down = 0.0, 0.0, False
  yield open_dataset("digits", f"{url}/sets"), network
  network.delay, network.drop, network.down = 0.0, 0.0, False


@pytest.mark.slow
def test_it_is_the_data_set_that_was_copied_there(remote, digits):
  dataset, network = remote
  assert dataset.identity() == digits.identity()
  assert dataset.num_examples("train[:50%]") == digits.num_examples("train[:50%]")
  for split in ("test", "train[13:900]"):
    source, local = RecordSource(dataset, split), RecordSource(digits, split)
    order = np.random.default_rng(0).permutation(len(local))[:40]
    assert source.read(order) == local.read(order)
  network.ranges.clear()
  assert_same(
    take(eval_batches(dataset, "test", batch_size=100, image_size=8, crop="pad"), 1),
    take(eval_batches(digits, "test", batch_size=100, image_size=8, crop="pad"), 1),
  )


@pytest.mark.parametrize("order", [{}, _BLOCKS], ids=["full", "blocks"])
def test_one_request_in_a_hundred_fails_and_nothing_is_lost(remote, digits, order):
  dataset, network = remote
  expected = take(train_batches(digits, "train", **_SETTINGS, **order), 5)
  # More of them fail here, for there are few.
  network.delay, network.drop = 0.005, 0.1
  found = take(train_batches(dataset, "train", **_SETTINGS, **order), 5)
  assert_same(found, expected)


def test_blocks_are_read_whole_and_once_an_epoch(remote):
  dataset, network = remote
  batches = train_batches(dataset, "train", **_SETTINGS, **_BLOCKS)
  network.ranges.clear()
  take(batches, 60)  # 960 of 1,437 images
  data = [(path, of) for path, of in network.ranges if "tfrecord" in path and of]
  # The next epoch is on its way.
  assert max(collections.Counter(data).values()) <= 2
  # An epoch has 64 blocks, of which its 64 lanes may cut some.
  assert len(data) <= 2 * (64 + 64)
  size = sum(int(b) - int(a) + 1 for a, b in (of[6:].split("-") for _, of in data))
  images = dataset.num_examples("train")
  assert size < 2.3 * images * dataset.num_bytes("train") / images


def test_the_index_is_made_of_large_reads_and_kept_beside_the_data(remote, served):
  dataset, network = remote
  index = f"{dataset.folder}/{record_index.INDEX_FILE}"
  RecordSource(dataset, "train")
  kept = storage.read_file(index)
  assert kept
  network.ranges.clear()
  RecordSource(dataset, "train")
  assert not [path for path, of in network.ranges if "tfrecord-" in path and of]
  # Without it, the file is read in one piece.
  assert storage.write_file(index, b"damaged")
  network.ranges.clear()
  RecordSource(dataset, "train")
  reads = [path for path, of in network.ranges if "train.tfrecord-" in path and of]
  assert len(reads) == 1


def test_the_index_is_kept_here_where_the_bucket_is_not_written(
  remote, monkeypatch, tmp_path
):
  dataset, network = remote
  monkeypatch.setenv("HUE_JAX_CACHE_DIR", str(tmp_path))
  monkeypatch.setattr(record_index, "INDEX_FILE", "no_index_here.npz")
  monkeypatch.setattr(storage, "write_file", lambda path, content: False)
  RecordSource(dataset, "test")
  assert len(list(tmp_path.rglob("*.npz"))) == 1
  network.ranges.clear()
  RecordSource(dataset, "test")
  assert not [path for path, of in network.ranges if "tfrecord-" in path and of]
  # A file that was replaced is read anew.
  monkeypatch.setattr(storage, "_stamp", lambda facts: 12345)
  RecordSource(dataset, "test")
  assert [path for path, of in network.ranges if "tfrecord-" in path and of]


@pytest.mark.parametrize(
  ("order", "seconds"),
  [({}, 1.5), (_BLOCKS, 1.5), pytest.param(_BLOCKS, 30, marks=pytest.mark.slow)],
  ids=["full", "blocks", "blocks, half a minute"],
)
def test_a_bucket_that_comes_back(remote, digits, order, seconds):
  dataset, network = remote
  expected = take(train_batches(digits, "train", **_SETTINGS, **order), 5)
  batches = train_batches(dataset, "train", **_SETTINGS, **order)
  network.down = True
  timer = threading.Timer(seconds, lambda: setattr(network, "down", False))
  timer.start()
  assert_same(take(batches, 5), expected)


def test_a_bucket_that_is_gone_for_good(remote, monkeypatch):
  dataset, network = remote
  batches = train_batches(dataset, "train", **_SETTINGS, **_BLOCKS)
  monkeypatch.setenv("HUE_JAX_BUCKET_PATIENCE", "0.5")
  network.down = True
  with pytest.raises(BucketError) as caught:
    next(batches)
  assert f"{dataset.folder}/digits-train.tfrecord" in str(caught.value)
  assert "does not answer within 0.5 s, as HUE_JAX_BUCKET_PATIENCE" in str(caught.value)


def test_a_bucket_that_is_lost_is_no_damage(remote, monkeypatch, tmp_path):
  """However its records are asked for: a BucketError is a ValueError, too."""
  dataset, network = remote
  path = f"{dataset.folder}/digits-test.tfrecord-00000-of-00001"
  facts, _ = record_index.facts_of(dataset.folder, [path])
  source = RecordSource(dataset, "test")
  monkeypatch.setenv("HUE_JAX_BUCKET_PATIENCE", "0.1")
  monkeypatch.setenv("HUE_JAX_CACHE_DIR", str(tmp_path))
  listed = storage.list_files(dataset.folder)
  monkeypatch.setattr(storage, "list_files", lambda folder: listed)
  monkeypatch.setattr(record_index, "INDEX_FILE", "no_index_here.npz")
  network.down = True
  readers = (
    lambda: list(record_index.read_in_order(path, facts[path].size)),
    lambda: record_index._scan(path, facts[path].size),
    lambda: record_index.load_or_build(dataset.folder, [path]),
    lambda: source.read(np.arange(3)),
    lambda: source.read_run(np.arange(3)),
    lambda: survey(dataset, "test"),
  )
  for read in readers:
    with pytest.raises(BucketError, match="does not answer within"):
      read()


def test_what_is_not_there_is_named(served):
  url, _ = served
  missing = url.replace(bucket.BUCKET, "nobody-has-this-bucket")
  with pytest.raises(BucketError, match=rf"{missing}/sets/digits is not there"):
    open_dataset("digits", f"{missing}/sets")
  with pytest.raises(
    NotPreparedError, match=r"not prepared in .*; make it .*\(.*digits"
  ):
    open_dataset("mnist", f"{url}/sets")
  with pytest.raises(NotPreparedError, match=r"digits"):
    open_dataset("digits:3.0.0", f"{url}/sets")
  with pytest.raises(
    InputError, match=r"pictures of a folder are prepared in a folder"
  ):
    open_dataset("folder=/pictures", f"{url}/sets")


@pytest.mark.parametrize("path", ["ftp://host/folder", "s3://", "gs:///", "memory://x"])
def test_other_protocols_are_refused(path):
  with pytest.raises(InputError, match=rf"data_dir is '{path}'; it must be a folder"):
    open_dataset("digits", path)


class _HttpError(Exception):
  """As gcsfs has it."""

  def __init__(self, code):
    super().__init__(f"answered {code}")
    self.code = code


@pytest.mark.parametrize(
  ("error", "again"),
  [
    (_HttpError(429), True),
    (_HttpError(408), True),
    (_HttpError(500), True),
    (_HttpError("503"), True),
    (ConnectionResetError("lost"), True),
    (TimeoutError(), True),
    (_HttpError(401), False),
    (_HttpError(403), False),
    (PermissionError("denied"), False),
    (OSError("Forbidden: some/file"), False),
    (ValueError("Bad Request"), False),
    (type("NoCredentialsError", (Exception,), {})("none found"), False),
  ],
)
def test_what_is_tried_again(monkeypatch, error, again):
  monkeypatch.setattr(storage, "_FIRST_WAIT", 0.0)
  tries = []

  def request():
    tries.append(1)
    if len(tries) < 4:
      raise error
    return "answer"

  if again:
    assert storage._patiently("gs://b/f", request) == "answer"
    return
  with pytest.raises(BucketError, match=r"gs://b/f may not be read"):
    storage._patiently("gs://b/f", request)
  assert len(tries) == 1


def test_others_do_not_wait_where_one_has_waited_in_vain(monkeypatch):
  monkeypatch.setenv("HUE_JAX_BUCKET_PATIENCE", "0.3")
  tries = []

  def request():
    tries.append(1)
    raise ConnectionError

  for expected in (lambda: len(tries) >= 1, lambda: len(tries) == 1):
    tries.clear()
    with pytest.raises(BucketError, match=r"s3://gone/f does not answer"):
      storage._patiently("s3://gone/f", request)
    assert expected()
  assert storage._patiently("s3://gone/f", lambda: 1) == 1
  assert "gone" not in storage._lost_until


def test_waits_grow_and_are_random(monkeypatch):
  waits = []
  monkeypatch.setattr(storage.time, "sleep", waits.append)
  monkeypatch.setattr(storage.random, "uniform", lambda low, high: high)

  def request():
    if len(waits) < 9:
      raise ConnectionError
    return 1

  assert storage._patiently("gs://b/f", request) == 1
  assert waits[:4] == [0.4, 0.8, 1.6, 3.2]
  assert max(waits) == storage._LONGEST_WAIT


def test_an_answer_that_stays_short_is_that_of_a_shorter_file(monkeypatch):
  monkeypatch.setattr(storage, "_FIRST_WAIT", 0.0)

  class Shorter:
    def cat_file(self, path, start, end):
      return b"12345"[start:end]

  monkeypatch.setattr(storage, "_file_system", lambda path: Shorter())
  assert storage.read_range("s3://b/f", 1, 3) == b"23"
  assert storage.read_range("s3://b/f", 3, 9) == b"45"


def test_a_short_answer_after_lost_requests_is_not_that_of_a_shorter_file(monkeypatch):
  monkeypatch.setattr(storage, "_FIRST_WAIT", 0.0)
  answers = [ConnectionError(), ConnectionError(), b"1", b"1", b"12"]

  class Bad:
    def cat_file(self, path, start, end):
      if isinstance(answer := answers.pop(0), Exception):
        raise answer
      return answer

  monkeypatch.setattr(storage, "_file_system", lambda path: Bad())
  assert storage.read_range("s3://b/f", 0, 2) == b"12"


def test_a_server_that_takes_no_ranges_is_refused_at_once(monkeypatch):
  asked = []

  class Whole:
    def cat_file(self, path, start, end):
      asked.append(start)
      return b"12345"

  monkeypatch.setattr(storage, "_file_system", lambda path: Whole())
  told = (
    r"s3://b/f is answered with 5 bytes where 2 were asked for: its server takes no"
  )
  with pytest.raises(BucketError, match=told):
    storage.read_range("s3://b/f", 1, 3)
  assert asked == [1]


def test_requests_in_flight_share_a_budget(monkeypatch):
  budget = storage._Budget(100)
  most, now = [], []
  lock = threading.Lock()

  def request(size):
    with budget.of(size):
      with lock:
        now.append(min(size, 100))
        most.append(sum(now))
      threading.Event().wait(0.005)
      with lock:
        now.remove(min(size, 100))

  sizes = [40, 90, 500, 30, 30, 30, 100, 1] * 4
  threads = [threading.Thread(target=request, args=[size]) for size in sizes]
  for thread in threads:
    thread.start()
  for thread in threads:
    thread.join(30)
  assert max(most) <= 100
  assert len(most) == len(sizes)


def test_patience_is_a_number(monkeypatch):
  monkeypatch.setenv("HUE_JAX_BUCKET_PATIENCE", "long")
  with pytest.raises(InputError, match=r"HUE_JAX_BUCKET_PATIENCE is 'long'; it must"):
    storage.patience()


@pytest.mark.parametrize(
  ("package", "url"), [("gcsfs", "gs://b/x"), ("s3fs", "s3://b/x")]
)
def test_a_package_that_is_missing_is_told(package, url, capsys, monkeypatch):
  monkeypatch.setitem(sys.modules, package, None)
  extra = {"gcsfs": "gcs", "s3fs": "s3"}[package]
  assert command.run(lambda: storage.check_folder("data_dir", url)) == 2
  line = f"error: package {package} is not installed: pip install 'hue_jax[{extra}]'.\n"
  assert capsys.readouterr().err == line


def test_nothing_is_prepared_in_a_bucket(tmp_path, capsys):
  arguments = ["folder", str(tmp_path), "--name=mine", "--data_dir=gs://bucket/tfds"]
  assert prepare.main(arguments) == 2
  assert capsys.readouterr().err.startswith(
    "error: --data_dir is 'gs://bucket/tfds'; it"
  )


@pytest.mark.slow
def test_a_run_whose_bucket_goes_away_leaves_its_checkpoint(digits, data_dir, tmp_path):
  """One line and status 2; started again when it is back, the run goes on."""
  with bucket.serving("s3") as (url, network):
    bucket.upload("s3", url, str(Path(data_dir) / "digits"), "sets/digits")
    environment = os.environ | bucket.environment("s3", network.url)
    environment |= {"HUE_JAX_BUCKET_PATIENCE": "2", "XLA_FLAGS": ""}
    words = [
      sys.executable,
      "main.py",
      "--config=configs/digits_hue.py",
      f"--workdir={tmp_path / 'run'}",
      f"--config.data_dir=s3://{bucket.BUCKET}/sets",
      "--config.model_options.width=4",
      "--config.num_train_steps=40",
      "--config.checkpoint_every_steps=4",
      "--config.log_every_steps=4",
    ]
    run = subprocess.Popen(
      words, cwd=_ROOT, env=environment, stderr=subprocess.PIPE, text=True
    )
    checkpoints = tmp_path / "run" / "checkpoints"
    while run.poll() is None and not list(checkpoints.glob("[0-9]*")):
      threading.Event().wait(0.05)
    network.down = True
    _, told = run.communicate(timeout=600)
    assert run.returncode == 2, told
    assert told.strip().splitlines()[-1].startswith(f"error: s3://{bucket.BUCKET}/")
    assert "Traceback" not in told
    network.down = False
    again = subprocess.run(
      words, cwd=_ROOT, env=environment, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stderr
