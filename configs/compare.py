"""Objectives compared on a task: the study that reads the test split.

python -m hue_jax.compare --config=configs/compare.py:fashion_50 --workdir=DIR

Tasks: see `compare_tasks.py`. The hue objective is the one that the searches chose on
validation images (docs/effect.md).
"""

from configs import base, compare_tasks

# Tasks small enough for all objectives; the others compare the hue loss with one-hot
# and label smoothing alone.
_ALL_OBJECTIVES = ("fashion_50", "digits_10")


def get_config(task: str = ""):
  """Twenty seeds of every objective; five of the full Fashion-MNIST."""
  config = compare_tasks.get_config(task)
  config.title = task
  config.num_seeds = 5 if task == "fashion_full" else 20
  config.objectives = _objectives(compare_tasks.tap(task), task in _ALL_OBJECTIVES)
  config.contrasts = (("hue", "smoothing"), ("hue_smoothing", "smoothing"))
  return config


def _objectives(tap, every):
  hue = base.hue_terms("sectors", tap).sectors.to_dict()
  one_sector = {**hue, "sectors": 1, "rings": 1}
  position = base.hue_terms("position", tap).position.to_dict()
  found = {
    "one_hot": {},
    "smoothing": {"label_smoothing": 0.1},
    "hue": {"terms": {"hue": hue}},
    "hue_smoothing": {"terms": {"hue": hue}, "label_smoothing": 0.1},
  }
  if not every:
    return found

  def only(kind, **settings):
    return {"terms": {"term": {"kind": kind, **settings}}}

  return found | {
    "one_hot_again": {"label_smoothing": 0.0},
    "one_sector": {"terms": {"hue": one_sector}},
    "position_hue": {"terms": {"hue": position}},
    "class_hue": only("class_hue", tap="features", weight=0.1),
    "smoothing_by_hue": {
      "label_smoothing": 0.1,
      "smoothing_concentration": 1.0,
      "class_order": "likeness",
    },
    "confidence_penalty": only("confidence_penalty", weight=0.1),
    "center_loss": only("center_loss", weight=0.03),
    "additive_angular_margin": {
      "classifier": {"kind": "additive_angular_margin", "margin": 0.2, "scale": 16.0}
    },
    "hyperspherical_prototypes": {"classifier": {"kind": "hyperspherical_prototypes"}},
    "dense_cross_entropy": only("dense_cross_entropy", tap="stage3", weight=0.3),
    "activation_l2": only("activation_l2", tap="stage3", weight=0.01),
  }
