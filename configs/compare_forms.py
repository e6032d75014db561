"""Forms of the hue loss beside a tuned baseline, on validation images alone.

python -m hue_jax.compare --config=configs/compare_forms.py:fashion_50 \\
    --workdir=runs/forms/fashion_50

All have the learning rate and weight decay to which `compare_tuning.py` tuned one-hot;
`compare_search.py` was the first search, with neither. The test split is not read.
"""

from configs import base, compare_networks, compare_tuning

_SEEDS = 6000  # of no other study

# Form → the hypothesis that it tests.
HYPOTHESES = {
  "hue": "the form of the first studies",
  "light": "a strong baseline wants a third of the weight",
  "fitting": "cells of fewer than four positions are noise",
  "activation_center": "the angle is one about the object, not about the image",
  "fitting_activation_center": "both of these",
  "memory_by_image": "a batch has too few images of a class to tell what it looks like",
  "two_taps": "an earlier layer, of four times the positions, says where things are",
  "linear_decay": "the loss helps to find features and is in the way at the end",
  "share": "a fixed share of the classifier's gradient is one number for all tasks; "
  "at the last layer, where it is exact",
  "last_layer": "it is the layer, not the weight, that `share` does no harm by; only "
  "where the hue loss looks at an earlier one",
  "with_channel_hue": "polar cells and the hue of the channels add up",
}


def get_config(argument: str = ""):
  """Ten seeds of one-hot and the forms."""
  config = compare_tuning.get_config(argument)
  config.title = f"{argument}, forms"
  config.first_seed = _SEEDS
  config.num_seeds = 10
  config.tuned = f"docs/studies/tuning/{compare_networks.folder(argument)}/tuned.json"
  task, network = compare_networks.task_and_network(argument)
  forms = _forms(compare_networks.tap(task, network), network.last)
  config.objectives = {
    name: {"terms": terms, "optimization": {"tuned": "one_hot"}}
    for name, terms in forms.items()
  }
  config.tuning.own = {}
  return config


def _forms(tap, last):
  hue = base.hue_terms("sectors", tap).sectors.to_dict()
  earlier = f"stage{int(tap.removeprefix('stage')) - 1}"
  memory = {"prototypes": "memory", "decay": 0.99, "decay_of": "image"}
  class_hue = {"kind": "class_hue", "tap": "features", "weight": 0.1}
  forms = {
    "light": {"hue": {**hue, "weight": hue["weight"] / 3}},
    "fitting": {"hue": {**hue, "min_positions": 4}},
    "activation_center": {"hue": {**hue, "center": "activation"}},
    "fitting_activation_center": {
      "hue": {**hue, "min_positions": 4, "center": "activation"}
    },
    "memory_by_image": {"hue": {**hue, **memory}},
    "two_taps": {
      "hue": {**hue, "weight": hue["weight"] / 2},
      "earlier": {**hue, "weight": hue["weight"] / 2, "tap": earlier},
    },
    "linear_decay": {"hue": {**hue, "schedule": "linear_decay"}},
    "share": {"hue": {**hue, "tap": last, "weight": 0.1, "balance": "gradient"}},
    "last_layer": {"hue": {**hue, "tap": last}},
    "with_channel_hue": {"hue": hue, "class": class_hue},
  }
  if last is None:
    del forms["share"]
  if last in (None, tap):
    del forms["last_layer"]
  return {"one_hot": {}, "hue": {"hue": hue}, **forms}
