"""The objectives as `compare_tuning.py` tuned them, on the test split of a task.

python -m hue_jax.compare --config=configs/compare_tuned.py:fashion_50 \\
    --workdir=runs/tuned/fashion_50

The settings are read from docs/studies/tuning, or from --config.tuned. Each objective
is there twice: tuned for itself, and (`…_at_one_hot`) with the learning rate and weight
decay of one-hot and the strengths of the first studies.
"""

from configs import compare_networks, compare_tuning


def get_config(argument: str = ""):
  """Twenty seeds of which none was used to tune."""
  config = compare_tuning.get_config(argument)
  config.title = f"{argument}, tuned"
  config.read_test = True
  config.first_seed = 0
  config.num_seeds = 20
  task, network = compare_networks.task_and_network(argument)
  tap = compare_networks.tap(task, network)
  untuned = compare_tuning.objectives(tap, network.last)
  config.objectives = {name: {"tuned": name} for name in untuned} | {
    f"{name}_at_one_hot": {**objective, "optimization": {"tuned": "one_hot"}}
    for name, objective in untuned.items()
    if name not in ("one_hot", "hue_max_suppression", "hue_share")
  }
  config.tuned = f"docs/studies/tuning/{compare_networks.folder(argument)}/tuned.json"
  contrasts = (
    ("hue", "smoothing"),
    ("hue", "max_suppression"),
    ("hue_last", "smoothing"),
    ("hue_last", "max_suppression"),
    ("hue_share", "smoothing"),
    ("hue_share", "max_suppression"),
    ("hue_smoothing", "smoothing"),
    ("hue_last_smoothing", "smoothing"),
    ("hue_max_suppression", "max_suppression"),
    ("hue_at_one_hot", "smoothing_at_one_hot"),
    ("hue_at_one_hot", "max_suppression_at_one_hot"),
    ("hue_smoothing_at_one_hot", "smoothing_at_one_hot"),
    ("hue_last_at_one_hot", "smoothing_at_one_hot"),
    ("hue_last_at_one_hot", "max_suppression_at_one_hot"),
    ("hue_last_smoothing_at_one_hot", "smoothing_at_one_hot"),
  )
  config.contrasts = tuple(c for c in contrasts if set(c) <= set(config.objectives))
  return config
