"""Forms of the hue loss, tried on validation images: the test split is not read.

python -m hue_jax.compare --config=configs/compare_search.py:fashion_50 --workdir=DIR
"""

from configs import compare_tasks

# Where a training takes longer.
_FEWER = (
  "one_hot",
  "smoothing",
  "sectors_8_activation_center",
  "sectors_1",
  "sectors_8_weight_10",
  "sectors_8_weight_30",
  "sectors_8_decay",
  "sectors_8_memory",
  "sectors_8_rings_2",
  "sectors_8_rings_2_smoothing",
  "sectors_1_smoothing",
  "sectors_8_smoothing",
)


def get_config(task: str = ""):
  """The forms, and six seeds that no other study uses."""
  config = compare_tasks.get_config(task)
  config.title = f"{task}, search"
  config.read_test = False
  config.first_seed = 1000
  config.num_seeds = 6
  every = forms(compare_tasks.tap(task))
  names = every if task == "fashion_50" else _FEWER
  config.objectives = {name: every[name] for name in names}
  return config


def forms(tap: str):
  """Name → objective."""

  def sectors(weight=0.3, tap=tap, **settings):
    return {
      "kind": "angular_consistency",
      "tap": tap,
      "weight": weight,
      **settings,
    }

  def of(*terms, **settings):
    return {**settings, "terms": {f"term{i}": term for i, term in enumerate(terms)}}

  position = {
    "kind": "position_hue",
    "tap": tap,
    "weighting": "activation",
    "weight": 0.1,
  }
  found = {
    "one_hot": {},
    "smoothing": {"label_smoothing": 0.1},
    "smoothing_hue": {
      "label_smoothing": 0.1,
      "smoothing_concentration": 1.0,
      "class_order": "likeness",
    },
    "position": of(position),
    "sectors_1": of(sectors(sectors=1)),
  }
  for weight in (0.03, 0.1, 0.3, 1.0):
    found[f"sectors_8_weight_{100 * weight:.0f}"] = of(sectors(weight))
  found |= {
    "sectors_8_rings_2_weight_100": of(sectors(1.0, rings=2)),
    "sectors_8_rings_2_smoothing": of(sectors(rings=2), label_smoothing=0.1),
    "sectors_8_weight_100_smoothing": of(sectors(1.0), label_smoothing=0.1),
    "sectors_1_smoothing": of(sectors(sectors=1), label_smoothing=0.1),
    "sectors_8_smoothing": of(sectors(), label_smoothing=0.1),
    "sectors_8_decay": of(sectors(schedule="linear_decay")),
    "sectors_4": of(sectors(sectors=4)),
    "sectors_16": of(sectors(sectors=16)),
    "sectors_8_smooth": of(sectors(smooth=True)),
    "sectors_8_turned": of(sectors(random_turn=True)),
    "sectors_4_rings_2": of(sectors(sectors=4, rings=2)),
    "sectors_8_rings_2": of(sectors(rings=2)),
    "sectors_8_activation_center": of(sectors(center="activation")),
    "sectors_8_memory": of(sectors(prototypes="memory")),
    "sectors_8_memory_1": of(sectors(1.0, prototypes="memory")),
    "sectors_8_stage2": of(sectors(tap="stage2")),
    "sectors_8_stage2_3": of(sectors(0.15, tap="stage2"), sectors(0.15)),
    "sectors_8_cold": of(sectors(temperature=0.05)),
    "sectors_8_warm": of(sectors(temperature=0.2)),
    "sectors_8_position": of(sectors(), position),
    "dense_cross_entropy": of(
      {"kind": "dense_cross_entropy", "tap": "stage3", "weight": 0.3}
    ),
  }
  return found
