"""Paired trainings, what is measured of them, and studies that stop and go on."""

import errno
import json
import math
import multiprocessing
import os
import re
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hue_jax
from hue_jax import command
from hue_jax import settings as declared
from hue_jax.compare import run_records, workers
from hue_jax.compare.analysis import analyze
from hue_jax.compare.batches import shift_and_flip, traceable, train_batches
from hue_jax.compare.class_order import likeness_order
from hue_jax.compare.measures import measuring as measures
from hue_jax.compare.measures.corruptions import CORRUPTIONS, SEVERITIES, corrupt
from hue_jax.compare.measures.measuring import Measuring
from hue_jax.compare.measures.predictions import accuracy
from hue_jax.compare.run_records import Job, jobs_of
from hue_jax.compare.settings import Ranges, StudySettings, Tree, checked_settings
from hue_jax.compare.study import run_study
from hue_jax.compare.study_report import report_tables
from hue_jax.compare.task import ArrayTask, Examples, class_balanced, load_task
from hue_jax.compare.trainer import Trainer
from hue_jax.compare.workers import code_version
from hue_jax.errors import InputError
from hue_jax.objective import CLASSIFIERS
from tests.helpers.planted_study import settings_of
from tests.helpers.small_study import (
  SECTORS,
  digits_task,
  small_settings,
  small_workdir,
)


@pytest.fixture(scope="module")
def task():
  return digits_task()


@pytest.fixture(scope="module")
def trainer(task):
  return Trainer(small_settings(num_epochs=30.0), task)


def _flat(tree):
  return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


# --- Data -------------------------------------------------------------------------


def test_a_seed_draws_as_many_images_of_each_class(task):
  chosen = class_balanced(task.train.labels, 10, 7, seed=3)
  assert len(set(chosen)) == 70
  np.testing.assert_array_equal(np.bincount(task.train.labels[chosen]), 7)
  np.testing.assert_array_equal(chosen, class_balanced(task.train.labels, 10, 7, 3))
  more = class_balanced(task.train.labels, 10, 9, seed=3)
  assert set(chosen) < set(more)
  assert set(chosen) != set(class_balanced(task.train.labels, 10, 7, seed=4))
  rare = class_balanced(np.array([0, 0, 0, 1]), 2, 2, seed=0)
  np.testing.assert_array_equal(rare[-1], 3)
  assert len(rare) == 3


def test_a_task_comes_back_from_its_file(tmp_path, task):
  settings = small_settings()
  found = load_task(settings, small_workdir(tmp_path, settings))
  assert found.class_names == task.class_names
  for split in ("train", "validation", "test"):
    one, other = getattr(found, split), getattr(task, split)
    np.testing.assert_array_equal(one.images, other.images)
    np.testing.assert_array_equal(one.labels, other.labels)
  left_open = load_task(settings | {"channels": 0}, tmp_path)
  np.testing.assert_array_equal(left_open.train.images, task.train.images)
  other = small_settings(image_size=16)
  with pytest.raises(InputError, match=r"holds digits.* 8, 1; .* asks for .* 16, 1"):
    load_task(other, tmp_path)
  whole = (tmp_path / "data.npz").read_bytes()
  damaged = bytearray(whole)
  damaged[len(whole) // 3 : len(whole) // 2] = bytes(len(whole) // 2 - len(whole) // 3)
  for contents in (b"no archive", b"", whole[:100], whole[:-100], bytes(damaged)):
    (tmp_path / "data.npz").write_bytes(contents)
    with pytest.raises(InputError, match=r"cannot be read.*remove it"):
      load_task(settings, tmp_path)


@pytest.mark.slow
def test_tfds_reads_what_the_file_then_holds(tmp_path):
  settings = small_settings(
    data_dir=str(tmp_path / "tfds"),
    train_split="train[:80%]",
    validation_split="train[80%:]",
    channels=0,
  )
  found = load_task(settings, tmp_path)
  assert [len(x) for x in (found.train, found.validation, found.test)] == [
    1150,
    287,
    360,
  ]
  assert found.image_shape == (8, 8, 1)
  again = load_task(settings | {"data_dir": "/nowhere", "channels": 1}, tmp_path)
  np.testing.assert_array_equal(found.train.images, again.train.images)


def test_images_are_shifted_and_mirrored_and_nothing_else():
  image = np.arange(1, 49, dtype=np.uint8).reshape(1, 6, 8, 1)
  images = np.repeat(image, 400, axis=0)
  found = np.asarray(
    shift_and_flip(jax.random.key(0), jnp.asarray(images), padding=2, flip=True)
  )
  padded = np.pad(image[0], ((2, 2), (2, 2), (0, 0)))
  windows = {
    padded[y : y + 6, x : x + 8].tobytes(): (y, x, False)
    for y in range(5)
    for x in range(5)
  }
  mirrored = np.pad(image[0, :, ::-1], ((2, 2), (2, 2), (0, 0)))
  windows |= {
    mirrored[y : y + 6, x : x + 8].tobytes(): (y, x, True)
    for y in range(5)
    for x in range(5)
  }
  places = [windows[one.tobytes()] for one in found]
  assert len(set(places)) == 50
  assert 0.4 < np.mean([flipped for *_, flipped in places]) < 0.6
  still = shift_and_flip(jax.random.key(0), jnp.asarray(images), padding=0, flip=False)
  np.testing.assert_array_equal(still, images)


def test_batches_are_one_permutation_after_another():
  images = np.arange(12, dtype=np.uint8).reshape(12, 1, 1, 1)
  examples = Examples(images, np.arange(12, dtype=np.int32))
  batches = train_batches(examples, batch_size=5, seed=3, padding=0, flip=False)
  found = [next(batches) for _ in range(12)]
  for batch in found:
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], batch["label"])
  epochs = np.concatenate([batch["label"] for batch in found]).reshape(5, 12)
  np.testing.assert_array_equal(np.sort(epochs, axis=1), np.tile(np.arange(12), (5, 1)))
  assert len({tuple(epoch) for epoch in epochs}) == 5


def test_each_batch_is_augmented_anew():
  image = np.random.default_rng(0).integers(1, 256, (1, 6, 6, 1)).astype(np.uint8)
  examples = Examples(np.repeat(image, 8, axis=0), np.zeros(8, np.int32))
  batches = train_batches(examples, batch_size=8, seed=3, padding=2, flip=True)
  found = [np.asarray(next(batches)["image"]).tobytes() for _ in range(4)]
  assert len(set(found)) == 4


def test_like_classes_are_neighbors_on_the_circle():
  # Mean images on a circle, named in another order.
  angles = 2 * np.pi * np.array([0, 3, 1, 4, 2]) / 5
  pixels = np.stack([np.cos(angles), np.sin(angles)], axis=1) * 100 + 120
  images = np.round(pixels).astype(np.uint8).reshape(5, 1, 2, 1)
  examples = Examples(np.repeat(images, 3, axis=0), np.repeat(np.arange(5), 3))
  found = likeness_order(ArrayTask("t", tuple("abcde"), examples, examples, examples))
  assert found in ([0, 2, 4, 1, 3], [0, 3, 1, 4, 2])


# --- Pairs ------------------------------------------------------------------------


@pytest.mark.slow
def test_objectives_of_one_seed_start_alike_and_see_the_same(task):
  seen = []

  class Recording(Trainer):
    def batches(self, seed):
      seen.append([])
      for batch in super().batches(seed):
        seen[-1].append(jax.device_get(batch))
        yield batch

  trainer = Recording(small_settings(), task)
  one_hot = trainer.objective({})
  sectors = trainer.objective({"terms": {"t": SECTORS}})
  first = trainer.initial_state(one_hot, 5)[0]
  second = trainer.initial_state(sectors, 5)[0]
  np.testing.assert_array_equal(_flat(first.params), _flat(second.params))
  other = trainer.initial_state(one_hot, 6)[0]
  assert np.abs(_flat(first.params) - _flat(other.params)).max() > 0.01
  for objective in (one_hot, sectors):
    trainer.train(objective, 5)
  ours, theirs = seen
  assert len(ours) == len(theirs) == 20
  for one, other in zip(ours, theirs, strict=True):
    np.testing.assert_array_equal(one["image"], other["image"])
    np.testing.assert_array_equal(one["label"], other["label"])
  again = [batch["image"] for batch, _ in zip(trainer.batches(6), ours, strict=False)]
  assert not np.array_equal(again[0], ours[0]["image"])


def test_every_seed_of_32_bits_is_another(trainer):
  objective = trainer.objective({})
  seeds = (0, 1, 2**31 - 1, 2**31, 2**32 - 1)
  weights = [_flat(trainer.initial_state(objective, seed)[0].params) for seed in seeds]
  images = [np.asarray(next(trainer.batches(seed))["image"]) for seed in seeds]
  for i in range(len(seeds)):
    for j in range(i):
      assert not np.array_equal(weights[i], weights[j])
      assert not np.array_equal(images[i], images[j])


@pytest.mark.slow
def test_an_objective_against_itself_differs_by_nothing(trainer):
  one = trainer.train(trainer.objective({}), 1)
  other = trainer.train(trainer.objective({"label_smoothing": 0.0}), 1)
  np.testing.assert_array_equal(_flat(one.state.params), _flat(other.state.params))
  assert one.curve.accuracy == other.curve.accuracy


def test_a_training_learns_and_tells_how_it_went(trainer, task):
  trained = trainer.train(trainer.objective({}), 0)
  assert trained.curve.step == [75, 150]
  assert trained.curve.train_loss[1] < trained.curve.train_loss[0]
  scores, features = trainer.predict(
    trained.objective, trained.state, task.validation.images
  )
  assert scores.shape == (200, 10)
  assert features.shape == (200, 16)
  right = accuracy(scores, task.validation.labels)
  assert right == pytest.approx(trained.curve.accuracy[-1])
  assert right > 0.3
  # Batches of evaluation are filled up; what fills them does not count.
  few, _ = trainer.predict(trained.objective, trained.state, task.test.images[:3])
  many, _ = trainer.predict(trained.objective, trained.state, task.test.images[:260])
  np.testing.assert_allclose(few, many[:3], atol=1e-4)
  assert len(many) == 260


@pytest.mark.slow
def test_everything_is_measured(task, tmp_path, monkeypatch):
  small_workdir(tmp_path / "again", small_settings())
  settings = small_settings(
    measures={
      "num_seeds": 1,
      "knn": True,
      "corrupted_images": 100,
      "attacked_images": 60,
      "attack_epsilons": [2.0, 8.0],
      "observed_images_per_class": 6,
      "transfer_to": [str(tmp_path / "again")],
    },
    hierarchy={"round": list("0689"), "straight": list("123457")},
    num_epochs=20.0,
  )
  trainer = Trainer(settings, task)
  measuring = Measuring(settings, task, trainer)
  searched, create_index = [], measures.create_index
  monkeypatch.setattr(
    measures,
    "create_index",
    lambda known, **given: searched.append(known) or create_index(known, **given),
  )
  known = task.training_set(10, seed=0)
  np.testing.assert_array_equal(np.bincount(known.labels), 10)
  some, fewer = (
    task.test[class_balanced(task.test.labels, 10, count, 0)] for count in (10, 6)
  )
  for classifier in ("softmax", "additive_angular_margin", "hyperspherical_prototypes"):
    trained = trainer.train(
      trainer.objective({"classifier": {"kind": classifier}}), seed=0
    )

    def predict(images, trained=trained):
      return trainer.predict(trained.objective, trained.state, images)

    found = measuring.test(trained, seed=0)
    assert found["accuracy"] > 0.5, classifier
    assert ("nll" in found) == CLASSIFIERS[classifier].log_odds
    assert 0 < found["mistake_distance"] <= 1
    assert found["knn_accuracy"] > 0.4
    np.testing.assert_array_equal(searched.pop(), predict(known.images)[1])
    assert set(found["corruption_accuracy"]) == set(CORRUPTIONS)
    for kind, series in found["corruption_accuracy"].items():
      assert series == [
        accuracy(predict(corrupt(some.images, kind, severity))[0], some.labels)
        for severity in SEVERITIES
      ], kind
    clean = accuracy(predict(fewer.images)[0], fewer.labels)
    assert set(found["attack_accuracy"]) == {"fgsm", "pgd"}
    for kind, series in found["attack_accuracy"].items():
      assert series["8/255"] <= series["2/255"] <= clean, kind
      assert series["8/255"] < clean, kind
    observed = found["observations"]
    taps = {"stem", "stage1", "stage2", "stage3", "features"}
    assert set(observed["knn_accuracy"]) == taps
    assert "features" not in observed["angular_concentration"]
    # Its own task: what it learned is there for a linear classifier too.
    assert found["transfer_accuracy"]["again"] > 0.7
    assert json.dumps(found)
    later = measuring.test(trained, seed=1)
    assert set(later) < set(found)
    assert later["accuracy"] == found["accuracy"]


# --- Records ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_training_that_diverges_is_a_run_of_the_study(tmp_path):
  settings = small_settings(
    num_evaluations=1,
    hierarchy={"even": list("02468"), "odd": list("13579")},
    objectives={"one_hot": {}, "too_fast": {"optimization": {"learning_rate": 1e30}}},
  )
  settings["measures"] |= {
    "num_seeds": 1,
    "knn": True,
    "corrupted_images": 20,
    "attacked_images": 20,
    "observed_images_per_class": 5,
  }
  run_study(settings, small_workdir(tmp_path, settings))
  records = run_records.read(tmp_path / run_records.FILE)
  assert len(records) == 4
  for record in records:
    if record["objective"] == "too_fast":
      assert record["curve"]["train_loss"] == [None]
      for split in ("validation", "test"):
        undefined = dict.fromkeys(("nll", "ece", "mistake_distance"))
        assert record[split] == {"accuracy": 0.0} | undefined
    else:
      assert record["test"]["ece"] > 0
  assert "too_fast" in report_tables([tmp_path])


def test_a_half_written_line_is_passed_over_and_then_cut_off(tmp_path):
  path = tmp_path / "runs.jsonl"
  record = {"objective": "a", "seed": 1, "fingerprint": "x", "settings": {}}
  run_records.append(path, record | {"nothing": float("nan")})
  with path.open("a") as file:
    file.write('{"objective": "b", "se')
  assert run_records.read(path) == [record | {"nothing": None}]
  run_records.append(path, record | {"seed": 2})
  assert [r["seed"] for r in run_records.read(path)] == [1, 2]


def test_a_line_that_is_no_run_is_named(tmp_path):
  (tmp_path / "runs.jsonl").write_text('{"objective": "a"}\n')
  with pytest.raises(InputError, match=r"runs.jsonl line 1 is not a run"):
    run_records.read(tmp_path / "runs.jsonl")


def test_a_fingerprint_is_of_what_determines_a_run():
  settings = settings_of({})
  job = Job("a", {"label_smoothing": 0.1}, 0)
  found = run_records.fingerprint(settings, job)
  same = settings | {"title": "other", "num_seeds": 50, "workers": 7}
  assert run_records.fingerprint(same, Job("b", {"label_smoothing": 0.1}, 0)) == found
  assert run_records.fingerprint(settings | {"image_size": 8}, job) != found

  def measuring(**measures):
    return run_records.fingerprint(settings | {"measures": measures}, job)

  # Studies of the time before the measure keep their runs.
  assert measuring(knn=True, transfer_to=[]) == measuring(knn=True)
  assert measuring(knn=True, transfer_to=["digits"]) != measuring(knn=True)
  assert run_records.fingerprint(settings, Job("a", {}, 0)) != found
  assert run_records.fingerprint(settings, Job("a", job.settings, 1)) != found


# --- Studies ----------------------------------------------------------------------


@pytest.mark.slow
def test_a_study_runs_what_is_missing(tmp_path, monkeypatch):
  settings = small_settings()
  small_workdir(tmp_path, settings)
  first = run_study(settings, tmp_path)
  assert [(r["objective"], r["seed"]) for r in first] == [
    ("one_hot", 0),
    ("smoothing", 0),
    ("one_hot", 1),
    ("smoothing", 1),
  ]
  assert all("test" in r and r["code"].startswith("0.1.0") for r in first)
  assert first[0]["settings"]["objective"] == {}
  assert first[0]["settings"]["learning_rate"] == settings["learning_rate"]

  ran = []
  run = workers.Worker.run
  monkeypatch.setattr(
    workers.Worker, "run", lambda self, jobs: ran.extend(jobs) or run(self, jobs)
  )
  more = settings | {
    "channels": 0,  # The data set says that it is 1: the runs are the same.
    "num_seeds": 3,
    "objectives": settings["objectives"] | {"again": {"label_smoothing": 0.1}},
  }
  second = run_study(more, tmp_path)
  # Objectives of the same settings share their runs.
  assert [(job.objective, job.seed) for job in ran] == [
    ("one_hot", 2),
    ("smoothing", 2),
  ]
  by_name = {(r["objective"], r["seed"]): r for r in second}
  assert len(by_name) == 9
  for seed in range(3):
    one, other = by_name["smoothing", seed], by_name["again", seed]
    assert {**one, "objective": "again"} == other
  lines = run_records.read(tmp_path / run_records.FILE)
  assert len(lines) == 6
  hours = sum(record["seconds"] for record in lines) / 3600
  assert analyze(tmp_path).hours == pytest.approx(hours)


def test_a_search_does_not_read_the_test_split(tmp_path, monkeypatch, capsys):
  settings = small_settings(read_test=False, num_seeds=1, warmup_epochs=9)
  small_workdir(tmp_path, settings)
  monkeypatch.setattr(Measuring, "test", None)
  (one, _) = run_study(settings, tmp_path)
  assert "test" not in one
  told = "warmup_epochs makes 45 steps, and the run has 20: the learning rate"
  assert capsys.readouterr().err.count(told) == 1


def _is_alive(group):
  """Whether any process of a group is there."""
  try:
    os.killpg(group, 0)
  except ProcessLookupError:
    return False
  return True


@pytest.mark.slow
def test_a_killed_study_goes_on_with_two_workers(tmp_path):
  settings = small_settings(num_seeds=4, workers=2)
  small_workdir(tmp_path, settings)
  program = (
    "import json, sys\n"
    "from hue_jax.compare.study import run_study\n"
    "if __name__ == '__main__':\n"
    "  run_study(json.load(open(sys.argv[1])), sys.argv[2])\n"
  )
  (tmp_path / "program.py").write_text(program)
  (tmp_path / "settings.json").write_text(json.dumps(settings, default=list))
  command = [
    sys.executable,
    str(tmp_path / "program.py"),
    str(tmp_path / "settings.json"),
    str(tmp_path),
  ]
  environment = os.environ | {"PYTHONPATH": os.getcwd(), "JAX_PLATFORMS": "cpu"}
  process = subprocess.Popen(command, env=environment, start_new_session=True)
  path = tmp_path / run_records.FILE
  deadline = time.monotonic() + 240
  while len(run_records.read(path)) < 3 and time.monotonic() < deadline:
    time.sleep(0.2)
  process.kill()  # the parent alone
  process.wait()
  while _is_alive(process.pid) and time.monotonic() < deadline:
    time.sleep(0.2)
  assert not _is_alive(process.pid)
  before = run_records.read(path)
  assert 3 <= len(before) < 8
  subprocess.run(command, env=environment, check=True, timeout=900)
  after = run_records.read(path)
  assert after[: len(before)] == before
  assert len(after) == 8
  # One process makes the same numbers.
  here = small_workdir(tmp_path / "here", settings)
  alone = run_study(settings | {"workers": 1, "num_seeds": 1}, here)
  by_name = {(r["objective"], r["seed"]): r for r in after}
  for record in alone:
    other = by_name[record["objective"], record["seed"]]
    assert record["fingerprint"] == other["fingerprint"]
    np.testing.assert_allclose(
      record["curve"]["train_loss"], other["curve"]["train_loss"], rtol=1e-3
    )


def test_jobs_go_seed_by_seed():
  settings = small_settings(first_seed=5)
  assert [(job.seed, job.objective) for job in jobs_of(settings)] == [
    (5, "one_hot"),
    (5, "smoothing"),
    (6, "one_hot"),
    (6, "smoothing"),
  ]


@pytest.mark.slow
def test_a_study_starts_no_process_unless_asked_to(tmp_path, monkeypatch):
  settings = small_settings(num_seeds=1, objectives={"one_hot": {}}, workers=0)
  small_workdir(tmp_path, settings)
  monkeypatch.setattr(multiprocessing, "get_context", None)
  assert len(run_study(settings, tmp_path)) == 1


@pytest.mark.slow
def test_a_script_that_lacks_what_several_processes_need_is_told(tmp_path):
  settings = small_settings(workers=2)
  small_workdir(tmp_path, settings)
  (tmp_path / "settings.json").write_text(json.dumps(settings, default=list))
  (tmp_path / "program.py").write_text(
    "import json, sys\n"
    "from hue_jax.compare.study import run_study\n"
    "run_study(json.load(open(sys.argv[1])), sys.argv[2])\n"
  )
  found = subprocess.run(
    [sys.executable, "program.py", "settings.json", "."],
    cwd=tmp_path,
    env=os.environ | {"PYTHONPATH": os.getcwd(), "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
    timeout=900,
  )
  assert found.returncode == 1
  last = found.stderr.strip().splitlines()[-1]
  assert "InputError: workers is 2, and one of these processes ended" in last
  assert '`if __name__ == "__main__":`' in last


@pytest.mark.slow
def test_a_full_disk_is_one_line_and_loses_no_run_but_this(
  tmp_path, monkeypatch, capsys
):
  settings = small_settings(num_seeds=1)
  small_workdir(tmp_path, settings)

  def run():
    run_study(settings, tmp_path)

  path, write = tmp_path / run_records.FILE, os.fsync

  def full(file):
    if len(run_records.read(path)) < 2:
      return write(file)
    os.truncate(file, os.fstat(file).st_size - 10)  # of the second run a part
    raise OSError(errno.ENOSPC, "No space left on device")

  with monkeypatch.context() as patch:
    patch.setattr(os, "fsync", full)
    assert command.run(run) == 2
  (first,) = run_records.read(path)
  told = [line for line in capsys.readouterr().err.splitlines() if "small" not in line]
  assert told == [f"error: {path} cannot be used: No space left on device."]
  assert command.run(run) == 0
  assert len(run_records.read(path)) == 2
  assert run_records.read(path)[0] == first


@pytest.mark.parametrize("name", ["study.json", run_records.FILE, "data.npz"])
def test_a_workdir_that_cannot_be_written_is_told_before_anything_is_trained(
  name, tmp_path, monkeypatch, capsys
):
  monkeypatch.setattr(Trainer, "train_together", None)
  settings = small_settings()
  if name != "data.npz":
    small_workdir(tmp_path, settings)
  (tmp_path / name).mkdir()
  assert command.run(lambda: run_study(settings, tmp_path)) == 2
  error = capsys.readouterr().err
  assert error.startswith("error: ")
  assert error.count("\n") == 1
  assert str(tmp_path / name) in error
  (tmp_path / "file").touch()
  assert command.run(lambda: run_study(settings, tmp_path / "file" / "study")) == 2


# --- Settings ---------------------------------------------------------------------

_WRONG = {
  declared.Text: (3, (), None),
  declared.Flag: ("perhaps", 2, None),
  declared.Choice: ("x", None, 0.5),
  declared.Integer: ("fast", 1.5, math.nan, True, None, (), -1),
  declared.Number: ("fast", math.nan, math.inf, True, None, (), -1),
  declared.Several: ("x", 3, None),
  declared.Named: ("x", 3, None, {"": {}}),
  declared.Options: ("x", 3, None),
  declared.Group: ("x", 3, None, {"unknown": 1}),
  Tree: ("x", 3, None, {"a": 3}, {"a": [3]}),
  Ranges: ("x", 3, None, {"a": 3}, {"a": [0.1]}, {"a": [0, 1]}, {"a": [2, 1]}),
}


def _wrong_values(cls=StudySettings, path=()):
  """Of every setting of a study: (its name, a value that it does not accept)."""
  for name, field in declared.fields_of(cls).items():
    accepts, here = field.metadata["accepts"], (*path, name)
    for value in _WRONG[type(accepts)]:
      if value is not None or field.default is not None:
        yield here, value
    if isinstance(accepts, declared.Group):
      yield from _wrong_values(accepts.cls, here)


def _with(changed, path, value):
  name, *rest = path
  return changed | {name: _with(changed[name], rest, value) if rest else value}


def test_every_setting_of_a_study_is_checked_before_anything_is_trained(
  tmp_path, monkeypatch
):
  monkeypatch.setattr(Trainer, "train_together", None)
  plain = small_settings()
  assert set(declared.fields_of(StudySettings)) == set(plain)
  for group in ("measures", "cost", "tuning"):
    cls = declared.fields_of(StudySettings)[group].metadata["accepts"].cls
    assert set(declared.fields_of(cls)) == set(plain[group])
  wrong = list(_wrong_values())
  assert len({path for path, _ in wrong}) == len(plain) + 20
  for path, value in wrong:
    with pytest.raises(InputError) as error:
      run_study(_with(plain, path, value), tmp_path)
    message = str(error.value)
    assert re.match(rf"(a name in )?{re.escape('.'.join(path))}\b", message), message
    assert re.search(r"(it must be|is not a setting; .* takes) .*[.?]$", message), (
      message
    )
  for missing in set(plain) - {"data_dir", "seeds_at_once", "tuned", "tuning"}:
    with pytest.raises(InputError, match=rf"^{missing} is not set; it must be .*\.$"):
      run_study({k: v for k, v in plain.items() if k != missing}, tmp_path)
  with pytest.raises(InputError, match=r"validation_split is ''; .* not empty"):
    run_study(plain, tmp_path)
  with pytest.raises(InputError, match=r"seeds is not a setting.* num_seeds"):
    run_study(plain | {"seeds": 3}, tmp_path)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("changes", "message"),
  [
    ({"baseline": "x"}, "baseline is 'x'.*one_hot, smoothing"),
    ({"num_seeds": 0}, "num_seeds is 0"),
    ({"first_seed": 2**32}, "first_seed is 4294967296.* 4294967295"),
    (
      {"first_seed": 2**32 - 2, "num_seeds": 3},
      "num_seeds is 3; it must be at most 2, for first_seed is 4294967294",
    ),
    ({"momentum": 1.0}, "momentum is 1.0"),
    ({"learning_rate": 0.0}, "learning_rate is 0.0"),
    ({"num_epochs": 0.1}, "num_epochs is 0.1, which makes no step of batch_size 20"),
    ({"num_epochs": 0.3}, "makes 1 steps of batch_size 20.* at least 2"),
    ({"num_epochs": 1e300}, r"num_epochs is 1e\+300, which makes more than 2147483647"),
    ({"num_seeds": 1e9}, "num_seeds is 1000000000; .* to 100000"),
    (
      {"channels": 0, "pixel_mean": (0.1, 0.2, 0.3)},
      r"pixel_mean is .*; it must be 1 value, for channels is 1",
    ),
    (
      {"channels": 0, "pixel_std": (0.1, 0.2)},
      "it must be 1 or 3 values, for channels",
    ),
    ({"contrasts": [["smoothing", "x"]]}, r"contrasts\[0\] is 'x'"),
    ({"contrasts": [["smoothing"]]}, r"contrasts\[0\] is .*1 value; .* 2 values"),
    ({"pixel_mean": (0.1, 0.2)}, "pixel_mean is .*for channels is 1"),
    ({"pixel_std": (0.0,)}, r"pixel_std\[0\] is 0.0"),
    ({"model": "resnet9"}, "model is 'resnet9'.*Did you mean"),
    ({"model_options": {"x": 1}}, "model_options.x is not a setting.*width"),
    ({"hierarchy": {"a": ["0"]}}, "hierarchy lacks the classes 1, 2"),
    ({"hierarchy": {"a": ["x"]}}, "hierarchy has 'x', which is not a class"),
    (
      {"objectives": {"one_hot": {}, "a": {"smoothing": 0.1}}},
      "objectives.a.smoothing is not a setting.*label_smoothing",
    ),
    (
      {"objectives": {"one_hot": {"label_smoothing": 1.0}}},
      "objectives.one_hot.label_smoothing is 1.0",
    ),
    (
      {"objectives": {"one_hot": {"terms": {"t": {"kind": "x"}}}}},
      "objectives.one_hot.terms.t.kind is 'x'",
    ),
    (
      {"objectives": {"one_hot": {"classifier": {"kind": "x"}}}},
      "objectives.one_hot.classifier.kind is 'x'",
    ),
    (
      {"objectives": {"one_hot": {"class_order": [1]}}},
      r"objectives.one_hot.class_order is \(1,\)",
    ),
  ],
)
def test_settings_that_cannot_be_used(changes, message, tmp_path):
  settings = small_settings(**changes)
  small_workdir(tmp_path, settings)
  with pytest.raises(InputError, match=message):
    run_study(settings, tmp_path)
  assert not (tmp_path / run_records.FILE).exists()


def test_whole_numbers_and_texts_that_read_as_numbers_are_the_same_study():
  plain = small_settings(num_epochs=30.0, learning_rate=0.5)
  typed = checked_settings(plain | {"num_epochs": 30, "learning_rate": "5e-1"})
  job = Job("one_hot", {}, 0)
  assert run_records.fingerprint(typed, job) == run_records.fingerprint(plain, job)


@pytest.mark.slow
def test_a_study_needs_neither_tensorflow_nor_what_draws():
  program = (
    "import sys\n"
    "import hue_jax.compare.study\n"
    "heavy = ('tensorflow', 'tensorflow_datasets', 'clu', 'ml_collections', 'faiss',\n"
    "  'matplotlib', 'orbax')\n"
    "print([name for name in heavy if name in sys.modules])\n"
  )
  found = subprocess.run(
    [sys.executable, "-c", program], capture_output=True, text=True, check=True
  )
  assert found.stdout.strip() == "[]"


# --- Seeds in one program -----------------------------------------------------------


def test_jobs_of_one_objective_are_together_and_seeds_in_order():
  jobs = [Job(name, {}, seed) for seed in range(5) for name in "ab"]
  groups = list(workers.together(jobs, 2))
  assert [(g[0].objective, [job.seed for job in g]) for g in groups] == [
    ("a", [0, 1]),
    ("b", [0, 1]),
    ("a", [2, 3]),
    ("b", [2, 3]),
    ("a", [4]),
    ("b", [4]),
  ]
  assert list(workers.together(jobs, 1)) == [[job] for job in jobs]


def test_as_many_seeds_at_once_as_memory_holds(monkeypatch):
  settings = small_settings()
  worker = workers.Worker(settings, digits_task())
  jobs = jobs_of(settings)
  assert worker.seeds_that_fit(jobs) == 1  # of a CPU

  class Accelerator:
    platform = "gpu"

    def __init__(self, **memory):
      self.memory_stats = lambda: memory

  of_one = max(
    worker._trainer.bytes_of_a_step(worker._trainer.objective(job.settings))
    for job in jobs[:2]
  )
  # Weights and the two moments of AdamW, in, out, and what is between.
  shapes = jax.eval_shape(worker._trainer._init, traceable(0))
  assert of_one > 3 * sum(4 * leaf.size for leaf in jax.tree.leaves(shapes["params"]))
  for memory, fitting in (
    ({"bytes_limit": 11 * of_one, "bytes_in_use": of_one}, 9),
    ({"bytes_limit": of_one}, 1),
    ({}, 1),
  ):
    monkeypatch.setattr(jax, "devices", lambda memory=memory: [Accelerator(**memory)])
    assert worker.seeds_that_fit(jobs) == fitting


@pytest.mark.slow
def test_seeds_in_one_program_train_as_one_by_one(tmp_path):
  # What terms keep, and a plane that is learned, are of each seed.
  terms = {
    "memory": {**SECTORS, "prototypes": "memory"},
    "plane": {"kind": "class_hue", "tap": "features", "plane": "learned"},
  }
  settings = small_settings(num_epochs=2.0, objectives={"hue": {"terms": terms}})
  settings |= {"baseline": "hue", "num_seeds": 3}
  found = {}
  for count in (1, 3):
    folder = small_workdir(tmp_path / str(count), settings)
    found[count] = run_study(settings | {"seeds_at_once": count}, folder)
  assert [one["seed"] for one in found[3]] == [0, 1, 2]
  for one, together in zip(found[1], found[3], strict=True):
    assert one["fingerprint"] == together["fingerprint"]
    np.testing.assert_allclose(
      together["curve"]["train_loss"], one["curve"]["train_loss"], rtol=1e-4
    )
    assert abs(together["test"]["accuracy"] - one["test"]["accuracy"]) < 0.01
    np.testing.assert_allclose(together["test"]["nll"], one["test"]["nll"], rtol=1e-3)
  # The seeds are not of one another.
  losses = {tuple(one["curve"]["train_loss"]) for one in found[3]}
  assert len(losses) == 3


def test_the_commit_is_that_of_the_package_and_not_of_what_lies_around_it(
  tmp_path, monkeypatch
):
  identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
  for arguments in (["init"], [*identity, "commit", "--allow-empty", "-m", "first"]):
    subprocess.run(["git", "-C", tmp_path, *arguments], check=True, capture_output=True)
  for parent, has_commit in ((tmp_path, True), (tmp_path / ".venv" / "lib", False)):
    (parent / "hue_jax").mkdir(parents=True)
    monkeypatch.setattr(hue_jax, "__file__", str(parent / "hue_jax" / "__init__.py"))
    assert code_version().startswith(f"{hue_jax.__version__}+") == has_commit
    assert has_commit or code_version() == hue_jax.__version__
