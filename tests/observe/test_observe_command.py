"""The command: a second run uses what the first captured; bad input is one line."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from configs import observe_base
from hue_jax import command
from hue_jax.errors import InputError
from hue_jax.observe.control import untrained
from hue_jax.observe.run import observe
from hue_jax.observe.settings import Settings, ViewerSettings
from hue_jax.settings import create, fields_of
from hue_jax.train.networks import load_network
from tests.helpers import processes
from tests.helpers.wrong_values import wrong_values

ROOT = Path(__file__).parents[2]


def _run(*arguments):
  return subprocess.run(
    [sys.executable, "-m", "hue_jax.observe", *arguments],
    cwd=ROOT,
    env=os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"},
    capture_output=True,
    text=True,
    timeout=900,
    check=False,
  )


@pytest.fixture
def flags(digits_dir, trained_workdir):
  """Of an observation of a few digits."""
  return [
    "--config=configs/observe_base.py",
    f"--config.network={trained_workdir}",
    "--config.dataset=digits",
    f"--config.data_dir={digits_dir}",
    "--config.images_per_class=5",
    "--config.positions_per_image=3",
    "--config.num_bootstrap=100",
    "--config.num_permutations=100",
    "--config.num_neighbors=3",
    "--config.viewer.num_images=4",
  ]


@pytest.mark.slow
def test_processes_observe_what_one_observes(flags, tmp_path):
  """Two that are joined, beside one with as many devices."""
  flags = [*flags, "--config.batch_size=8", "--config.taps=('stage3', 'features')"]
  environ = {"XLA_FLAGS": processes.xla_flags(2)}
  one = [*flags, "--config.engine=jax", f"--workdir={tmp_path / 'one'}"]
  run = processes.start(
    tmp_path / "said", one, environ=environ, call=processes.run_observe
  )
  assert run.status(600) == 0, run.errors()
  flags = [*flags, f"--workdir={tmp_path / 'two'}"]
  calls = [processes.run_observe] * 2
  with processes.joined(tmp_path, [flags] * 2, calls=calls) as runs:
    assert [run.status(600) for run in runs] == [0, 0], runs[1].errors()
    first, other = runs
  assert first.result()["images"] == 50
  assert not other.outcomes()
  assert "neighbors at" in first.errors()
  assert "neighbors at" not in other.errors()
  found, expected = (
    json.loads((tmp_path / name / "results.json").read_text())
    for name in ("two", "one")
  )
  for name in ("observations", "layers", "num_images"):
    assert found[name] == expected[name]


@pytest.mark.slow
def test_processes_that_were_given_different_settings_say_so(flags, tmp_path):
  flags = [*flags, f"--workdir={tmp_path / 'two'}"]
  each = [flags, [*flags, "--config.num_neighbors=4"]]
  calls = [processes.run_observe] * 2
  with processes.joined(tmp_path, each, calls=calls) as runs:
    assert [run.status(600) for run in runs] == [2, 2]
    for run in runs:
      assert "num_neighbors is 3 in process 0 and 4 in process 1" in run.errors()
  assert not (tmp_path / "two").exists()


@pytest.mark.slow
def test_the_command_prints_its_result(flags, tmp_path):
  done = _run(*flags, f"--workdir={tmp_path}")
  assert done.returncode == 0, done.stderr
  result = json.loads(done.stdout)
  assert result["report"] == str(tmp_path / "report.html")
  assert result["images"] == 50
  assert "features" in result["by_layer"]
  page = (tmp_path / "report.html").read_text()
  assert "--config.images_per_class=5" in page


@pytest.mark.slow
@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--config=configs/missing.py"], "error: --config is 'configs/missing.py'"),
    (
      ["--config=configs/observe_base.py", "--config.colour=1"],
      "error: the configuration has no setting 'colour'",
    ),
    (
      ["--network=efficientnet_lite9", "--images=pictures"],
      "error: network is 'efficientnet_lite9'",
    ),
  ],
)
def test_a_wrong_command_is_one_line(tmp_path, arguments, message):
  done = _run(*arguments, f"--workdir={tmp_path}")
  assert done.returncode == 2
  lines = [line for line in done.stderr.splitlines() if line.startswith("error")]
  assert len(lines) == 1
  assert lines[0].startswith(message.replace("'colour'", ""))
  assert "Traceback" not in done.stderr
  assert not done.stdout


@pytest.mark.slow
@pytest.mark.parametrize(
  ("settings", "message"),
  [
    (
      {"taps": ("stage9",)},
      "a tap of network digits .* is 'stage9'; it must be",
    ),
    ({"num_neighbors": 10**6}, "num_neighbors is 1000000; it must be at most 79, the"),
    ({"viewer.num_neighbors": 80}, "viewer.num_neighbors is 80; it must be at most 79"),
    ({"split": "train[:0]"}, "has no examples"),
    ({"split": "train[:1]"}, "split is 'train.:1.', of which digits has examples of 1"),
    ({"network": "efficientnet_lite9"}, "network is 'efficientnet_lite9'; it must be"),
    ({"network_model": "resnet18"}, "network_model is 'resnet18'; it must be left out"),
    ({"network_options.width": 4}, "network_options is .* must be left out"),
    ({"dataset": "cifar10"}, "tfds build cifar10"),
    ({"batch_size": 12}, "batch_size is 12; it must be a multiple of 8"),
    (
      {"engine": "jax", "structure": "hnsw"},
      "structure is 'hnsw'; it must be flat, which alone the engine jax has",
    ),
    (
      {"structure_options": {"links": 8}},
      "structure_options.links is not a setting; structure_options takes none",
    ),
  ],
)
def test_what_does_not_go_together_is_one_error(
  observe_config, tmp_path, settings, message
):
  with observe_config.unlocked():
    observe_config.update_from_flattened_dict(settings)
  workdir = tmp_path / "report"
  with pytest.raises(InputError, match=message) as caught:
    observe(observe_config, str(workdir))
  assert "\n" not in str(caught.value)
  assert str(caught.value).endswith((".", "?"))
  assert not workdir.exists()


@pytest.mark.slow
def test_the_report_tells_the_recall_of_an_approximate_index(observe_config, tmp_path):
  observe_config.taps = ("stage3", "features")
  observe_config.structure = "hnsw"
  with observe_config.unlocked():
    observe_config.structure_options = {
      "links": 2,
      "ef_construction": 1,
      "ef_search": 1,
    }
  observe(observe_config, str(tmp_path))
  results = json.loads((tmp_path / "results.json").read_text())
  layers = [facts for taps in results["layers"].values() for facts in taps.values()]
  recalls = [facts["recall"] for facts in layers]
  assert 0 < min(recalls) < 1
  page = (tmp_path / "report.html").read_text()
  for facts in layers:
    assert f"<td>{facts['num_queries']}</td><td>{facts['recall']:.3f}</td>" in page


_SETTINGS = fields_of(Settings) | {
  f"viewer.{name}": field for name, field in fields_of(ViewerSettings).items()
}
_BAD_VALUES = [
  *((name, value) for name, one in _SETTINGS.items() for value in wrong_values(one)),
  *(("dtype", ""), ("planes", ("random",)), ("planes", ("fourier", 3))),
]


class TestSettings:
  def test_are_those_of_the_configuration(self):
    config = observe_base.get_config()
    assert set(fields_of(Settings)) == set(config)
    assert set(fields_of(ViewerSettings)) == set(config.viewer)

  @pytest.mark.parametrize("path", sorted(ROOT.glob("configs/observe_*.py")))
  def test_of_every_file_are_accepted(self, path):
    config = importlib.import_module(f"configs.{path.stem}").get_config()
    create(Settings, config)

  @pytest.mark.parametrize(("name", "value"), _BAD_VALUES)
  def test_each_is_told_in_one_line_before_anything_is_done(
    self, tmp_path, name, value
  ):
    config = observe_base.get_config()
    *groups, field = name.split(".")
    group = config[groups[0]] if groups else config
    with group.ignore_type():
      group[field] = value
    with pytest.raises(InputError) as caught:
      observe(config, str(tmp_path / "report"))
    message = str(caught.value)
    assert message.startswith(name)
    assert "; it must be " in message
    assert message.endswith((".", "?"))
    assert "\n" not in message
    assert not list(tmp_path.iterdir())


def test_a_workdir_that_cannot_be_made_is_one_line(observe_config, tmp_path, capfd):
  (tmp_path / "file").write_text("")
  workdir = str(tmp_path / "file" / "report")
  assert command.run(lambda: observe(observe_config, workdir)) == 2
  last = capfd.readouterr().err.splitlines()[-1]
  assert last == f"error: {workdir} cannot be used: Not a directory."


@pytest.mark.slow
def test_an_untrained_network_is_alive(trained_workdir):
  network = load_network(trained_workdir)
  images = np.random.default_rng(0).integers(0, 256, (32, 8, 8, 1), dtype=np.uint8)
  control = untrained(network, images)
  assert not control.trained
  assert control.fingerprint != network.fingerprint
  assert control.fingerprint == untrained(network, images).fingerprint
  assert control.fingerprint != untrained(network, images, seed=1).fingerprint
  # With its own statistics every channel of the first layer has variance about one
  # before the nonlinearity, and none of the later ones has died out.
  for layer in control.layers(images).values():
    assert np.isfinite(layer).all()
    assert np.asarray(layer).std() > 0.05
