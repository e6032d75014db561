"""A run of a few steps of which everything is told that can be."""

import importlib

from hue_jax.train import loop


def told_config(data_dir, **settings):
  """The digits with a narrow network, every optional report of a run on."""
  config = importlib.import_module("configs.digits_hue").get_config("position")
  config.data_dir = str(data_dir)
  config.model_options.width = 4
  config.validation_split = "test[:64]"
  config.num_train_steps = 6
  config.log_every_steps = 2
  config.eval_every_epochs = 0.1
  config.hue.terms.position.schedule = "linear_decay"
  config.num_colored_images = 1
  config.num_projected_images = 70
  config.num_profiled_steps = 2
  config.update_from_flattened_dict(settings)
  return config


def told_run(data_dir, workdir, **settings):
  """The workdir and the result of such a run."""
  return workdir, loop.train(told_config(data_dir, **settings), str(workdir))
