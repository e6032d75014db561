"""Two steps of training, one evaluation and a checkpoint."""

import re
from functools import partial
from unittest import mock

import jax
from etils import epath

from configs import benchmark
from hue_jax.train import loop
from hue_jax.train.parallel import create_parallel


def check_short_run(names: str, data_dir, workdir, **model_options) -> None:
  """Runs a benchmark by its names and checks what it leaves.

  Args:
    names: of the benchmark, as after the colon of --config.
    data_dir: of the prepared data set.
    workdir: of the run.
    **model_options: of the network, beside those of the benchmark.
  """
  config = benchmark.get_config(names)
  config.data_dir = str(data_dir)
  config.batch_size = config.eval_batch_size = 16
  config.num_train_steps = 2
  config.eval_image_size = 0
  config.num_colored_images = 0
  config.validation_split = config.train_split = "train"
  config.test_split = re.match(r"[a-z]+", config.test_split)[0]
  config.model_options.update(model_options)
  assert config.hue.terms
  # On one of the eight devices of the tests: eight are slow on few cores.
  one = partial(create_parallel, devices=jax.devices()[:1])
  with mock.patch.object(loop, "create_parallel", lambda form, devices: one(form)):
    result = loop.train(config, str(workdir))
  assert result["step"] == 2
  assert 0 <= result["test_top1"] <= 1
  assert result["test_loss"] > 0
  for test in config.extra_tests:
    assert 0 <= result[f"{test}_top1"] <= 1
  assert (epath.Path(workdir) / "checkpoints" / "2").exists()
