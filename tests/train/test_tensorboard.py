"""What TensorBoard's files hold, read as TensorBoard reads them."""

import dataclasses
import fnmatch
import gc
import io
import math
import re
from pathlib import Path

import jax
import numpy as np
import pytest
from clu.metric_writers import SummaryWriter
from etils import epath
from google.protobuf import text_format
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.projector import projector_config_pb2
from tensorboard.util import tensor_util

from configs import base
from hue_jax.hue import chroma, hue_angle
from hue_jax.objective import CLASSIFIERS
from hue_jax.train import charts, loop, workdir
from hue_jax.train.confusion_picture import confusion_picture
from hue_jax.train.networks import load_network
from hue_jax.train.profile import Profile
from hue_jax.train.projector import write_projection
from hue_jax.train.step import CONFUSION, make_eval_step
from tests.helpers.small_training import (
  NUM_CLASSES,
  PIXELS,
  small_batch,
  small_objective,
  small_state,
)
from tests.helpers.told_run import told_config, told_run


@pytest.fixture(scope="module")
def told(tmp_path_factory):
  # A profile names every program that the process holds: not those of other tests.
  jax.clear_caches()
  gc.collect()
  return told_run(tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("told"))


@pytest.fixture(scope="module")
def events(told):
  guidance = {"tensors": 0, "images": 0, "compressedHistograms": 0}
  return EventAccumulator(str(told[0]), size_guidance=guidance).Reload()


def _numbers(events, tag):
  return {
    event.step: tensor_util.make_ndarray(event.tensor_proto).item()
    for event in events.Tensors(tag)
  }


@pytest.mark.slow
def test_each_term_has_a_curve_and_its_weight(events):
  assert set(_numbers(events, "train/hue/position")) == {2, 4, 6}
  weights = _numbers(events, "train/weight/position")
  # Of the last step before the report, counted from 0.
  for step, weight in weights.items():
    assert weight == pytest.approx(0.1 * (1 - (step - 1) / 6), rel=1e-5)


def test_the_charts_name_curves_that_are_there(events):
  (event,) = events.Tensors("custom_scalars__config__")
  text = tensor_util.make_ndarray(event.tensor_proto).item()
  layout = layout_pb2.Layout.FromString(text)
  found = {chart.title: list(chart.multiline.tag) for chart in layout.category[0].chart}
  assert found == {title: list(tags) for title, tags in charts.CHARTS.items()}
  tags = events.Tags()["tensors"]
  for title, patterns in found.items():
    assert any(re.match(one, tag) for one in patterns for tag in tags), title


def test_the_file_that_grows_is_the_last_by_name(told):
  """TensorBoard goes from file to file, and follows the last one."""
  names = sorted(path.name for path in told[0].glob("events*"))
  assert [name.rpartition(".")[2] for name in names] == ["charts", "v2"]


def test_the_charts_are_the_first_by_name_however_often_a_run_starts(tmp_path):
  """Also where one process starts them all, within a second of each other."""
  for i in range(12):
    charts.write_charts(str(tmp_path))
    SummaryWriter(str(tmp_path)).write_scalars(i, {"train/loss": 1.0})
  first, *rest = sorted(path.name for path in tmp_path.glob("events*"))
  assert first.endswith(".charts")
  assert len(rest) == 12
  assert all(name.endswith(".v2") for name in rest)


def _pictures(events, tag):
  found = []
  for event in events.Tensors(tag):
    # The width, the height, and the pictures, encoded.
    _, _, *encoded = tensor_util.make_ndarray(event.tensor_proto).tolist()
    found += [np.asarray(Image.open(io.BytesIO(one))) for one in encoded]
  return found


def test_the_confusion_matrix_is_a_picture_of_each_evaluation(events):
  for split in ("validation", "test"):
    pictures = _pictures(events, f"{split}/confusion")
    assert len(pictures) == len(events.Tensors(f"{split}/top1"))
    assert max(pictures[0].shape) < 900
    assert pictures[0].std() > 5


@pytest.mark.slow
def test_the_confusion_matrix_counts_what_the_metrics_do(told):
  run = loop.set_up(told_config(told[0].parent / "data0"))
  state, counts = run.parallel.replicate(run.initial_state), {}
  means = run.evaluate(run.evaluator("test"), state, counts=counts)
  (matrix,) = counts.values()
  labels = np.concatenate(
    [b["label"][b["mask"] > 0] for b in run.data.eval_batches("test")]
  )
  np.testing.assert_array_equal(matrix.sum(axis=1), np.bincount(labels, minlength=10))
  assert np.trace(matrix) / matrix.sum() == pytest.approx(means["top1"])
  by_class = np.diag(matrix) / matrix.sum(axis=1)
  assert by_class.mean() == pytest.approx(means["mean_per_class"])
  none = {}
  run = loop.set_up(told_config(told[0].parent / "data0", num_confused_classes=9))
  run.evaluate(run.evaluator("test"), state, counts=none)
  assert not none


def test_a_cell_is_as_blue_as_its_share():
  counts = np.array([[3.0, 1.0], [0.0, 0.0]])
  (picture,) = confusion_picture(counts, ["a", "b"])
  left, top, cell = 158, 37, 64
  red = picture[top + 5 :: cell, left + 5 :: cell, 0]
  np.testing.assert_array_equal(red[:2, :2], [[64, 191], [255, 255]])
  # Of many classes it is no larger.
  assert max(confusion_picture(np.eye(300), ["c"] * 300)[0].shape) < 900


def test_colored_layers_are_pictures(events):
  assert all(one.std() > 5 for one in _pictures(events, "test/layers_by_hue"))


def test_the_projector_has_the_features_and_their_hue(told):
  folder, result = told
  config = text_format.Parse(
    (folder / "projector_config.pbtxt").read_text(),
    projector_config_pb2.ProjectorConfig(),
  )
  (embedding,) = config.embeddings
  features = np.loadtxt(folder / embedding.tensor_path, delimiter="\t")
  head, *rows = (
    line.split("\t")
    for line in (folder / embedding.metadata_path).read_text().splitlines()
  )
  assert head == ["class", "told", "hue", "chroma"]
  assert features.shape[0] == len(rows) == 70
  hues = np.array([float(row[2]) for row in rows])
  expected = np.degrees(hue_angle(features.astype(np.float32)))
  assert np.abs((hues - expected + 180) % 360 - 180).max() < 0.2
  np.testing.assert_allclose(
    [float(row[3]) for row in rows], chroma(features.astype(np.float32)), rtol=1e-2
  )
  # The features are those of the network that the run has left.
  network = load_network(str(folder))
  assert features.shape[1] == network.tap_shapes["features"][-1]
  # Of ten classes, some are told right.
  right = np.mean([row[0] == row[1] for row in rows])
  assert abs(right - result["test_top1"]) < 0.35
  sheet = np.asarray(Image.open(folder / embedding.sprite.image_path).convert("HSV"))
  side = embedding.sprite.single_image_dim[0]
  assert sheet.shape[:2] == (9 * side, 9 * side)
  for number in (0, 8, 9, 69):
    row, column = divmod(number, 9)
    center = sheet[row * side + side // 2, column * side + side // 2]
    assert abs((center[0] / 255 * 360 - hues[number] + 180) % 360 - 180) < 4


@pytest.mark.parametrize("kind", CLASSIFIERS)
def test_the_projector_tells_the_class_that_evaluation_does(kind, tmp_path):
  objective = dataclasses.replace(small_objective({}), classifier=CLASSIFIERS[kind]())
  state = small_state(objective)
  # Some classifiers leave out the head's bias, by which the logits choose one class.
  head = state.params["network"]["head"]
  head["bias"] = head["bias"].at[2].add(100.0)
  batch = {**small_batch(0, size=12), "mask": np.ones(12, np.float32)}
  names = [str(number) for number in range(NUM_CLASSES)]
  folder = epath.Path(tmp_path)
  write_projection(folder, state, batch, objective, class_names=names, **PIXELS)
  lines = (folder / "projector" / "metadata.tsv").read_text().splitlines()[1:]
  counted = np.zeros((NUM_CLASSES, NUM_CLASSES))
  for line in lines:
    label, told_class, *_ = line.split("\t")
    counted[int(label), int(told_class)] += 1
  step = make_eval_step(objective, most_confused=NUM_CLASSES, **PIXELS)
  np.testing.assert_array_equal(jax.jit(step)(state, batch)[CONFUSION][0], counted)


def test_the_profile_has_the_steps_that_were_asked_for(told):
  (path,) = told[0].glob("plugins/profile/*/*.xplane.pb")
  profile = jax.profiler.ProfileData.from_file(str(path))
  names = [
    e.name for plane in profile.planes for line in plane.lines for e in line.events
  ]
  assert sum(name == "train" for name in names) == 2
  assert path.stat().st_size < 50e6


def test_nothing_is_profiled_or_projected_unless_it_is_asked_for(told, tmp_path):
  config = told[0] / "config.json"
  assert '"num_profiled_steps": 2' in config.read_text()
  defaults = base.get_config()
  assert defaults.num_profiled_steps == defaults.num_projected_images == 0
  with Profile(epath.Path(tmp_path), num_steps=0, first_step=0, last_step=5) as profile:
    for step in range(1, 6):
      with profile.step(step):
        assert not profile.ends_after(step)
  assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
  ("first", "last", "steps"),
  [(0, 100, range(11, 14)), (40, 100, range(51, 54)), (0, 5, range(3, 6))],
)
def test_the_profile_begins_after_the_tenth_step_or_in_time(
  tmp_path, monkeypatch, first, last, steps
):
  told = []
  monkeypatch.setattr(jax.profiler, "start_trace", lambda _: told.append("begins"))
  monkeypatch.setattr(jax.profiler, "stop_trace", lambda: told.append("ends"))
  with Profile(
    epath.Path(tmp_path), num_steps=3, first_step=first, last_step=last
  ) as profile:
    for step in range(first + 1, last + 1):
      with profile.step(step):
        if told == ["begins"]:
          told.append(step)
      if profile.ends_after(step):
        profile.end()
        told.append(step)
  assert told == ["begins", steps[0], "ends", steps[-1]]


def test_the_run_says_how_it_ended(told, monkeypatch, tmp_path):
  end = workdir.read_end(workdir.folder_of(told[0]))
  assert end["how"] == "finished"
  assert math.isfinite(end["time"])
  monkeypatch.setattr(loop, "_restored_or_transferred", lambda *_: 1 / 0)
  config = told_config(tmp_path / "data")
  with pytest.raises(ZeroDivisionError):
    loop.train(config, str(tmp_path / "run"))
  end = workdir.read_end(workdir.folder_of(tmp_path / "run"))
  assert end["how"] == "failed"
  assert "ZeroDivisionError" in end["told"]


def test_the_page_on_runs_tells_all_that_a_run_leaves(told):
  page = Path(__file__).parents[2] / "docs" / "runs.md"
  _, _, rest = page.read_text().partition("## After: what a run leaves")
  section, _, _ = rest.partition("\n## ")
  rows = re.findall(r"^\| (`.*`.*?) \|", section, re.M)
  names = re.findall(r"`(.*?)`", " ".join(rows))
  patterns = [name.removesuffix("/STEP").replace("NAME", "*") for name in names]
  workdir, result = told
  for left in [*(path.name for path in workdir.iterdir()), *result]:
    assert any(fnmatch.fnmatch(left, pattern) for pattern in patterns), left
