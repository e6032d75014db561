"""What the angle is worth: the hue loss beside what lacks one of its parts.

python -m hue_jax.compare --config=configs/compare_controls.py:fashion_50 \\
    --workdir=runs/controls/fashion_50

All have the learning rate and weight decay to which `compare_tuning.py` tuned one-hot,
and the hue loss its weight of the first studies; the test split is read.
"""

from configs import base, compare_networks, compare_tuning

_SEEDS = 5000  # of no other study


def get_config(argument: str = ""):
  """Twenty seeds of the hue loss and its controls."""
  config = compare_tuning.get_config(argument)
  config.title = f"{argument}, controls"
  config.read_test = True
  config.first_seed = _SEEDS
  config.num_seeds = 20
  config.tuned = f"docs/studies/tuning/{compare_networks.folder(argument)}/tuned.json"
  task, network = compare_networks.task_and_network(argument)
  controls = _controls(compare_networks.tap(task, network))
  config.objectives = {
    name: {**objective, "optimization": {"tuned": "one_hot"}}
    for name, objective in controls.items()
  }
  config.tuning.own = {}
  config.contrasts = tuple(
    ("hue", name) for name in controls if name not in ("one_hot", "hue")
  )
  return config


def _controls(tap):
  hue = base.hue_terms("sectors", tap).sectors.to_dict()

  def term(**changes):
    return {"terms": {"hue": {**hue, **changes}}}

  cells = {name: hue[name] for name in ("tap", "sectors", "rings", "weight")}
  return {
    "one_hot": {},
    "hue": term(),
    # Cells that are no angles: as many, square, or of positions drawn at random.
    "grid": term(cells="grid"),
    "shuffled": term(cells="shuffled"),
    # No cells.
    "one_cell": term(sectors=1, rings=1),
    # Pairs in place of prototypes, with the cells and without.
    "cell_contrast": {"terms": {"contrast": {"kind": "cell_contrast", **cells}}},
    "supervised_contrast": {
      "terms": {"contrast": {"kind": "supervised_contrast", "weight": hue["weight"]}}
    },
    # Cells of at least four positions; cells about the activation's own center.
    "fitting": term(min_positions=4),
    "activation_center": term(center="activation"),
  }
