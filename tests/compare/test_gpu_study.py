"""benchmarks/gpu_study.py in a small form: it ends in time and goes on."""

import json

import numpy as np
import pytest

from benchmarks import gpu_study
from configs import benchmark, compare_tuning
from hue_jax.compare.task import ArrayTask, Examples, load_task, write_task
from hue_jax.errors import InputError
from hue_jax.models import model_names
from hue_jax.objective import create_objective
from tests.helpers import only_packages
from tests.helpers.small_study import digits_task

# What gpu_study.py says that it needs.
_ON_A_GPU_MACHINE = ("jax", "flax", "optax", "numpy", "scipy", "jaxtyping", "tqdm")


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
def test_it_ends_in_time_and_goes_on(arrays, tmp_path):
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
  rest = only_packages.run(
    _ON_A_GPU_MACHINE, "benchmarks/gpu_study.py", *command, "--minutes=30"
  )
  assert rest.returncode == 0, rest.stderr
  done = json.loads(rest.stdout)
  assert (done["runs"], done["missing"]) == (10, 0)
  lines = (tmp_path / "study" / "runs.jsonl").read_text().splitlines()
  tested = {json.loads(line)["objective"] for line in lines if "accuracy" in line}
  assert tested == {"one_hot", "smoothing", "max_suppression", "hue", "hue_smoothing"}


def test_its_objectives_are_those_that_are_tuned(arrays):
  # The configurations need ml_collections, which a GPU machine may lack.
  arguments = gpu_study._arguments([f"--arrays={arrays}", "--workdir=any"])
  settings = gpu_study.settings_of(arguments, gpu_study.read_arrays(str(arrays)))
  tap = settings["objectives"]["hue"]["terms"]["hue"]["tap"]
  tuned = compare_tuning.objectives(tap, tap)
  for name, objective in settings["objectives"].items():
    shape = {tap: (4, 4, 8), "features": (8,)}
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


def _task_of(size):
  images = np.zeros((2, size, size, 3), np.uint8)
  examples = Examples(images, np.arange(2))
  return ArrayTask("any", ("a", "b"), examples, examples, examples)


def _or_error(call):
  try:
    return call()
  except InputError as error:
    return error


@pytest.mark.slow
@pytest.mark.parametrize("size", [32, 96])
@pytest.mark.parametrize("network", model_names())
def test_every_network_has_its_options_or_one_line(network, size):
  arguments = gpu_study._arguments(
    ["--arrays=any", "--workdir=any", f"--network={network}"]
  )
  names = f"imagenet,{network},hue,size={size}"
  settings = _or_error(lambda: gpu_study.settings_of(arguments, _task_of(size)))
  theirs = _or_error(lambda: benchmark.get_config(names))
  if isinstance(settings, InputError):
    assert size < 96, settings  # None is refused where networks are at home.
    assert str(settings) == str(theirs)
    return
  options = theirs.model_options.to_dict()
  options.pop("width", None)  # Here they are as wide as published.
  assert settings["model_options"] == options
  (term,) = theirs.hue.terms.values()
  assert settings["objectives"]["hue"]["terms"]["hue"]["tap"] == term.tap


def test_what_no_network_takes_is_one_line(arrays, tmp_path):
  command = [f"--arrays={arrays}", f"--workdir={tmp_path / 'study'}", "--minutes=1"]
  for more, told in (
    (["--network=resnet9"], r"--network is 'resnet9'.*Did you mean"),
    (["--network=vgg16"], r"8 pixels; VGG takes sides of at least 32"),
    (["--network=vit_ti16", "--width=9"], r"width"),
  ):
    with pytest.raises(InputError, match=told):
      gpu_study.main([*command, *more])
  assert not (tmp_path / "study").exists()
  done = only_packages.run(
    _ON_A_GPU_MACHINE, "benchmarks/gpu_study.py", *command, "--network=vgg16"
  )
  assert done.returncode == 2
  assert done.stderr.startswith("error: ")
  assert done.stderr.count("\n") == 1


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
