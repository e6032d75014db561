"""What the hue terms cost: a step of ResNet-18, 64 pixels, batch 64.

python -m hue_jax.compare --mode=cost --config=configs/compare_cost.py --workdir=DIR
"""

from configs import base, compare_base


def get_config(num_classes: str = "1000"):
  """One-hot and the hue terms by name; the number of classes after a colon."""
  config = compare_base.get_config()
  config.title = "cost"
  config.cost.num_classes = int(num_classes)
  config.objectives = {"one_hot": {}, "smoothing": {"label_smoothing": 0.1}} | {
    kind: {"terms": base.hue_terms(kind, "stage3").to_dict()}
    for kind in ("sectors", "memory", "position")
  }
  return config
