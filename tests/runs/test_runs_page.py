"""The page of runs: what was planted in their folders is what it shows."""

import html.parser
import json
import math
import shutil

import numpy as np
import pytest
from clu import metric_writers
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util import tensor_util

from hue_jax.runs import __main__ as command
from hue_jax.runs.events import read_curves
from hue_jax.runs.page import accuracy, differing_settings, repeated, write_page
from hue_jax.runs.reading import read_runs
from hue_jax.train import workdir

_HOSTILE = '<script>alert("x")</script> & co'


def _plant(folder, *, seed, weight, top1, end="finished", told="", name=None):
  """A workdir as a run leaves it."""
  path = folder / (name or f"w{weight}_s{seed}")
  path.mkdir(parents=True)
  config = {
    "seed": seed,
    "num_train_steps": 100,
    "data_dir": str(path),
    "hue": {"enabled": True, "terms": {"position": {"weight": weight}}},
  }
  (path / "config.json").write_text(json.dumps(config))
  if top1 is not None:
    result = {
      "step": 100,
      "num_train_steps": 100,
      "objective": f"cross_entropy + {weight} {_HOSTILE}",
      "test_top1": top1,
      "test_examples": 200,
      "test_cross_entropy": 1 - top1,
      "seconds": 12.5,
    }
    (path / "result.json").write_text(json.dumps(result))
  if end:
    (path / "end.json").write_text(json.dumps({"how": end, "told": told, "time": 0}))
  writer = metric_writers.SummaryWriter(str(path))
  for step in (10, 20, 30):
    writer.write_scalars(
      step, {"train/loss": 2 / step + seed, "train/hue/position": float(step)}
    )
  writer.write_images(30, {"layers": np.zeros((1, 4, 4, 3), np.uint8)})
  writer.close()
  return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  folder = tmp_path_factory.mktemp("runs")
  _plant(folder, seed=0, weight=0.1, top1=0.9)
  _plant(folder, seed=1, weight=0.1, top1=0.94)
  _plant(folder, seed=0, weight=0.3, top1=None, end="diverged", told="loss is nan.")
  _plant(folder, seed=0, weight=0.5, top1=None, end="began", name="deep/er/killed")
  half = _plant(folder, seed=2, weight=0.1, top1=0.8, name="half")
  (path,) = half.glob("events*")
  path.write_bytes(path.read_bytes()[:-300])
  damaged = _plant(folder, seed=3, weight=0.1, top1=0.7, name="no_config")
  (damaged / "config.json").write_text('{"seed": ')
  (folder / "not_a_run").mkdir()
  (folder / "not_a_run" / "notes.txt").write_text("x")
  return folder


@pytest.fixture(scope="module")
def runs(folder):
  return {run.name: run for run in read_runs(folder)}


def test_curves_are_those_that_tensorboard_reads(folder):
  path = folder / "w0.1_s1"
  ours = read_curves(path)
  theirs = EventAccumulator(str(path)).Reload()
  assert not ours.damage
  assert set(ours.values) == {"train/loss", "train/hue/position"}
  for tag, values in ours.values.items():
    expected = {
      e.step: tensor_util.make_ndarray(e.tensor_proto).item()
      for e in theirs.Tensors(tag)
    }
    assert values == expected


def test_a_run_that_was_begun_again_tells_its_last_values(tmp_path):
  path = _plant(tmp_path, seed=0, weight=0.1, top1=0.9)
  (first,) = path.glob("events*")
  first.rename(path / "events.out.tfevents.1")
  _plant(tmp_path, seed=5, weight=0.1, top1=0.9)
  (second,) = (tmp_path / "w0.1_s5").glob("events*")
  shutil.copy(second, path / "events.out.tfevents.2")
  assert read_curves(path).values["train/loss"][20] == pytest.approx(5.1)


def test_runs_are_found_and_damaged_ones_are_named(runs):
  status = {name: run.status for name, run in runs.items()}
  assert status == {
    "w0.1_s0": "finished",
    "w0.1_s1": "finished",
    "w0.3_s0": "diverged",
    "deep/er/killed": "killed",
    "half": "finished",
    "no_config": "damaged",
  }
  assert runs["w0.3_s0"].told == "loss is nan."
  assert runs["w0.1_s0"].step == 100
  assert runs["w0.3_s0"].step == 30
  (told,) = runs["half"].damage
  assert "damaged (it ends within a record)" in told
  assert runs["half"].curves["train/loss"][10] == pytest.approx(2.2)
  (told,) = runs["no_config"].damage
  assert "config.json cannot be read" in told
  assert runs["no_config"].curves["train/loss"][10] == pytest.approx(3.2)


@pytest.mark.parametrize("byte", [3, 9, 20, -2])
def test_a_changed_byte_is_noticed(folder, tmp_path, byte):
  (path,) = (folder / "w0.1_s0").glob("events*")
  data = bytearray(path.read_bytes())
  data[byte] ^= 0x40
  (tmp_path / path.name).write_bytes(data)
  assert len(read_curves(tmp_path).damage) == 1


def test_links_are_followed_and_each_run_is_found_once(folder, tmp_path):
  elsewhere = tmp_path / "elsewhere" / "far"
  elsewhere.mkdir(parents=True)
  (elsewhere / "config.json").write_text("{}")
  runs = tmp_path / "runs"
  (runs / "group").mkdir(parents=True)
  (runs / "own").mkdir()
  (runs / "own" / "config.json").write_text("{}")
  (runs / "a_link_to_a_run").symlink_to(elsewhere)
  (runs / "group" / "again").symlink_to(elsewhere)
  (runs / "a_link_to_own").symlink_to(runs / "own")
  (runs / "group" / "loop").symlink_to(runs)
  (runs / "dangling").symlink_to(tmp_path / "none")
  found = {run.name: run.path for run in read_runs(runs)}
  assert {path.resolve() for path in found.values()} == {elsewhere, runs / "own"}
  assert "own" in found
  assert len(found) == 2
  (link := tmp_path / "link").symlink_to(runs)
  assert {run.name for run in read_runs(link)} == set(found)


def test_a_run_that_is_at_work_is_said_to_be(tmp_path):
  path = _plant(tmp_path, seed=0, weight=0.1, top1=None, end="began")
  with workdir.holding(workdir.folder_of(path)):
    assert [run.status for run in read_runs(tmp_path)] == ["at work"]
  assert [run.status for run in read_runs(path)] == ["killed"]


def test_the_interval_is_wilsons(runs):
  top1, (low, high) = accuracy(runs["w0.1_s0"])
  n, p, z = 200, 0.9, 1.959964
  middle = (p + z**2 / (2 * n)) / (1 + z**2 / n)
  reach = z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
  assert top1 == pytest.approx(90)
  assert (low, high) == pytest.approx((100 * (middle - reach), 100 * (middle + reach)))
  assert accuracy(runs["w0.3_s0"]) == (None, None)


def test_settings_that_differ_are_columns_and_seeds_stand_together(runs):
  assert differing_settings(list(runs.values())) == [
    "hue.terms.position.weight",
    "seed",
  ]
  (group,) = repeated(list(runs.values()))
  assert sorted(group["names"]) == ["half", "w0.1_s0", "w0.1_s1"]
  assert group["mean"] == pytest.approx(88)
  error = np.std([90, 94, 80], ddof=1) / math.sqrt(3)
  low, high = group["interval"]
  assert (high - low) / 2 == pytest.approx(4.302653 * error)


class _Page(html.parser.HTMLParser):
  def __init__(self, text):
    super().__init__()
    self.links, self.scripts, self.text = [], 0, ""
    self.feed(text)

  def handle_starttag(self, tag, attributes):
    attributes = dict(attributes)
    self.scripts += tag == "script"
    for name in ("src", "href", "srcset"):
      if name in attributes:
        self.links.append(attributes[name])

  def handle_data(self, data):
    self.text += data


def test_the_page_holds_all_runs_and_no_markup_of_theirs(runs, folder, tmp_path):
  write_page(list(runs.values()), tmp_path / "page" / "runs.html")
  text = (tmp_path / "page" / "runs.html").read_text()
  page = _Page(text)
  assert page.scripts == 2
  assert _HOSTILE in page.text
  for name, run in runs.items():
    assert name in page.text
    assert any(link.endswith(f"{name}/") for link in page.links), name
    assert all(told in page.text for told in run.damage)
  assert "The best test accuracy is 94.00 %" in page.text
  assert "diverged: loss is nan." in page.text
  assert all(not link.startswith(("http", "//")) for link in page.links)
  data = json.loads(text.split('id="data">')[1].split("</script>")[0])
  assert data["names"][0] == "train/loss"
  steps, values = data["curves"]["train/loss"][str(data["runs"].index("w0.1_s0"))]
  assert steps == [10, 20, 30]
  assert values == pytest.approx([0.2, 0.1, 0.0666667])


def test_the_command_writes_beside_the_runs(folder, capsys):
  assert command.main([str(folder)]) == 0
  assert "6 run(s), 2 of them damaged in part or whole" in capsys.readouterr().out
  (folder / "runs.html").unlink()


@pytest.mark.parametrize(
  ("arguments", "told"),
  [
    (["{folder}/nothing"], "it must be a folder of runs"),
    (["{folder}", "--output=page.txt"], "it must end in .html"),
    (["{folder}/not_a_run"], "which holds no run"),
    ([], "required: DIR"),
  ],
)
def test_bad_input_is_one_line(folder, capsys, arguments, told):
  assert command.main([one.format(folder=folder) for one in arguments]) == 2
  error = capsys.readouterr().err
  assert told in error
  assert error.count("\n") == 1
