"""benchmarks/gpu_study.py in a small form: it ends in time and goes on."""

import builtins
import json
import sys

import numpy as np
import pytest

from benchmarks import gpu_study
from configs import compare_tuning
from hue_jax.compare.task import load_task, write_task
from hue_jax.errors import InputError
from hue_jax.objective import create_objective
from tests.helpers.small_study import digits_task

_NOT_ON_A_GPU_MACHINE = ("tensorflow", "tensorflow_datasets", "clu", "ml_collections")


@pytest.fixture
def arrays(tmp_path):
  task = digits_task()
  found = {}
  for split in ("train", "validation", "test"):
    examples = getattr(task, split)[np.arange(100)]
    # Gray images without an axis for it, as many files have them.
    found[f"{split}_images"] = examples.images[..., 0]
    found[f"{split}_labels"] = examples.labels[:, None]
  np.savez(tmp_path / "digits.npz", **found)
  return tmp_path / "digits.npz"


@pytest.mark.slow
def test_it_ends_in_time_and_goes_on(arrays, tmp_path, monkeypatch):
  real = builtins.__import__

  def without(name, *rest, **named):
    if name.partition(".")[0] in _NOT_ON_A_GPU_MACHINE:
      raise ImportError(name)
    return real(name, *rest, **named)

  monkeypatch.setattr(builtins, "__import__", without)
  command = [
    f"--arrays={arrays}",
    f"--workdir={tmp_path / 'study'}",
    "--network=resnet8",
    "--width=4",
    "--seeds=2",
    "--seeds_at_once=2",
    "--epochs=5",
    "--batch_size=50",
    "--no-flip",
  ]
  stopped = gpu_study.main([*command, "--minutes=0.02"])
  assert stopped["missing"] > 0
  assert stopped["runs"] + stopped["missing"] == 10
  done = gpu_study.main([*command, "--minutes=30"])
  assert (done["runs"], done["missing"]) == (10, 0)
  lines = (tmp_path / "study" / "runs.jsonl").read_text().splitlines()
  tested = {json.loads(line)["objective"] for line in lines if "accuracy" in line}
  assert tested == {"one_hot", "smoothing", "max_suppression", "hue", "hue_smoothing"}
  assert "hue_jax.compare.study" in sys.modules


def test_its_objectives_are_those_that_are_tuned(arrays):
  # The configurations need ml_collections, which a GPU machine may lack.
  arguments = gpu_study._arguments([f"--arrays={arrays}", "--workdir=any"])
  settings = gpu_study.settings_of(arguments, gpu_study.read_arrays(str(arrays)))
  tuned = compare_tuning.objectives("stage3", "stage3")
  for name, objective in settings["objectives"].items():
    shape = {"stage3": (4, 4, 8), "features": (8,)}
    ours, theirs = (
      create_objective(
        num_classes=10,
        tap_shapes=shape,
        num_train_steps=1,
        warmup_steps=0,
        seed=0,
        **{"terms": {}, **one},
      )
      for one in (objective, tuned[name])
    )
    assert ours == theirs, name


def test_a_task_is_named_by_what_it_holds(tmp_path, arrays):
  with np.load(arrays) as found:
    same = dict(found)
  other = {**same, "test_labels": same["test_labels"][::-1]}
  of_study = {**same, "identity": np.array(["digits", "train"])}
  tasks = {}
  for name, contents in (("same", same), ("other", other), ("of_study", of_study)):
    (tmp_path / name).mkdir()
    np.savez(tmp_path / name / "data.npz", **contents)
    tasks[name] = gpu_study.read_arrays(str(tmp_path / name / "data.npz"))
  assert tasks["same"].name.startswith("data_")
  assert tasks["other"].name.startswith("data_")
  assert tasks["same"].name != tasks["other"].name
  assert tasks["of_study"].name == tasks["same"].name.replace("data_", "digits_")
  # Other arrays in a workdir are refused, though the file is of the same name.
  command = [f"--workdir={tmp_path / 'study'}", "--minutes=0.001", "--epochs=1"]
  arguments = gpu_study._arguments([f"--arrays={arrays}", *command])
  settings = gpu_study.settings_of(arguments, tasks["same"])
  write_task(tasks["same"], settings, tmp_path / "study")
  with pytest.raises(InputError, match=r"holds data_.* asks for data_"):
    load_task(gpu_study.settings_of(arguments, tasks["other"]), tmp_path / "study")


def test_what_is_no_task_is_named(tmp_path, arrays):
  np.savez(tmp_path / "half.npz", train_images=np.zeros((2, 4, 4), np.uint8))
  with pytest.raises(SystemExit, match=r"half\.npz lacks train_labels, validation"):
    gpu_study.read_arrays(str(tmp_path / "half.npz"))
  with np.load(arrays) as found:
    floats = {**found, "test_images": found["test_images"] / 255}
  np.savez(tmp_path / "floats.npz", **floats)
  with pytest.raises(SystemExit, match=r"test_images of .* is float64\[100, 8, 8\]"):
    gpu_study.read_arrays(str(tmp_path / "floats.npz"))
