"""The command: a second run uses what the first captured; bad input is one line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from hue_jax.errors import InputError
from hue_jax.models import create_model
from hue_jax.models.torch_weights import export_state_dict
from hue_jax.observe.control import untrained
from hue_jax.observe.run import observe
from hue_jax.train.networks import load_network

ROOT = Path(__file__).parents[2]


def _run(*arguments):
  return subprocess.run(
    [sys.executable, "-m", "hue_jax.observe", *arguments],
    cwd=ROOT,
    env=os.environ | {"XLA_FLAGS": "--xla_backend_optimization_level=0"},
    capture_output=True,
    text=True,
    timeout=300,
    check=False,
  )


@pytest.mark.slow
def test_the_command_prints_its_result(digits_dir, trained_workdir, tmp_path):
  arguments = [
    "--config=configs/observe_base.py",
    f"--workdir={tmp_path}",
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
  done = _run(*arguments)
  assert done.returncode == 0, done.stderr
  result = json.loads(done.stdout)
  assert result["report"] == str(tmp_path / "report.html")
  assert result["images"] == 50
  assert "features" in result["by_layer"]
  page = (tmp_path / "report.html").read_text()
  assert "--config.images_per_class=5" in page


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (["--config=configs/missing.py"], "error: --config is 'configs/missing.py'"),
    (
      ["--config=configs/observe_base.py", "--config.colour=1"],
      "error: the configuration has no setting 'colour'",
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


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"taps": ("stage9",)}, "tap 'stage9' is not of network digits"),
    ({"images_per_class": 0}, "images_per_class is 0"),
    ({"num_neighbors": 10**6}, "k is 1000000; the index has 320 vectors"),
    ({"split": "train[:0]"}, "has no examples"),
    ({"split": "train[:1]"}, "examples of 1 class; at least 2 are needed"),
    ({"num_bootstrap": 5}, "num_bootstrap is 5; it must be an integer of at least 100"),
    ({"dtype": "int8"}, "dtype is 'int8'"),
    ({"metric": "dot"}, "metric is 'dot'"),
    ({"engine": "annoy"}, "engine is 'annoy'"),
    ({"crop": "square"}, "crop is 'square'"),
    ({"planes": ()}, "planes is empty"),
    ({"planes": ("random",)}, "planes is 'random'"),
    ({"network": "efficientnet_lite9"}, "network is 'efficientnet_lite9'; it must be"),
    ({"dataset": "cifar10"}, "tfds build cifar10"),
    ({"batch_size": 12}, "batch_size is 12; it must be a multiple of 8"),
  ],
)
def test_bad_input_is_one_error(observe_config, tmp_path, settings, message):
  observe_config.update(settings)
  with pytest.raises(InputError, match=message) as caught:
    observe(observe_config, str(tmp_path))
  assert "\n" not in str(caught.value)


class TestNetworks:
  def test_a_workdir(self, trained_workdir):
    network = load_network(trained_workdir)
    assert network.name == "digits (step 60)"
    assert (network.image_size, network.channels) == (8, 1)
    assert network.trained
    assert network.fingerprint == load_network(trained_workdir).fingerprint

  def test_a_file_of_weights(self, tmp_path):
    import jax
    import jax.numpy as jnp

    model = create_model("resnet18", num_classes=7, width=4, stem="small")
    variables = model.init(jax.random.key(0), jnp.zeros((1, 16, 16, 3)), train=False)
    path = str(tmp_path / "weights.safetensors")
    save_file(export_state_dict(model, variables), path)
    options = {"num_classes": 7, "width": 4, "stem": "small", "image_size": 16}
    network = load_network(path, model="resnet18", options=options)
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8)
    pixels = (images / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    expected = model.apply(variables, jnp.asarray(pixels, jnp.float32), train=False)
    np.testing.assert_allclose(network.logits(images), expected, rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="do not fit ResNet with 1000 classes"):
      load_network(path, model="resnet18", options={"width": 4, "stem": "small"})
    with pytest.raises(InputError, match="need the name of their network, as model"):
      load_network(path)

  def test_what_is_no_network(self, tmp_path):
    with pytest.raises(
      InputError, match=r"network is 'nothing'; it must be one of eff"
    ):
      load_network("nothing")
    with pytest.raises(InputError, match="holds no run"):
      load_network(str(tmp_path))
    with pytest.raises(InputError, match="is not a file, or an empty one"):
      load_network(str(tmp_path / "a.pth"), model="resnet18")

  def test_an_untrained_network_is_alive(self, trained_workdir):
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
