"""Every objective tuned on the validation split of a task, all with one budget.

python -m hue_jax.compare --mode=tune --config=configs/compare_tuning.py:fashion_50 \\
    --workdir=runs/tuning/fashion_50

`compare_tuned.py` then reads the test split, with other seeds. The network is ResNet-8
of width 8, or one of `compare_networks.py` after the task: `:fashion_50,resnet18`.
"""

from ml_collections import ConfigDict

from configs import base, compare_networks, compare_tasks
from hue_jax.errors import check_one_of

# Task → the length of training in epochs, as two cores bear: whether more of them would
# help one-hot is not measured.
TASKS = {
  "fashion_50": 100.0,
  "fashion_500": 30.0,
  "fashion_full": 5.0,
  "digits": 60.0,
  "digits_10": 120.0,
  "openclipart": 60.0,
  "elpv": 60.0,
  "mnist_50": 100.0,
  "oxygen": 60.0,
  "tuxpaint": 60.0,
  "foods": 100.0,
  "faces": 100.0,
  "faces_2": 200.0,
}


def get_config(argument: str = ""):
  """The objectives and the ranges in which they are tuned."""
  task, network = compare_networks.task_and_network(argument)
  check_one_of("the task, after the colon of --config,", task, TASKS)
  config = compare_tasks.get_config(task)
  config.title = f"{argument}, tuning"
  config.read_test = False
  config.num_epochs = TASKS[task]
  config.measures.num_seeds = 0
  config.model = network.model
  config.model_options = ConfigDict(network.options)
  config.objectives = objectives(compare_networks.tap(task, network), network.last)
  config.tuning.shared = {
    "optimization": {
      "learning_rate": network.learning_rate,
      "weight_decay": (0.02, 2.0),
    }
  }
  names = set(config.objectives)
  smoothing = {"label_smoothing": (0.02, 0.4)}
  hue = {"terms": {"hue": {"weight": (0.05, 1.5)}}}
  largest = {"terms": {"largest": {"weight": (0.02, 0.4)}}}
  own = {
    "smoothing": smoothing,
    "max_suppression": largest,
    "hue": hue,
    "hue_smoothing": hue | smoothing,
    "hue_max_suppression": {"terms": hue["terms"] | largest["terms"]},
    "hue_share": {"terms": {"hue": {"weight": (0.02, 0.6)}}},
    "hue_last": hue,
    "hue_last_smoothing": hue | smoothing,
  }
  config.tuning.own = ConfigDict({name: own[name] for name in own if name in names})
  return config


def objectives(tap: str, last: str | None):
  """Returns name → objective, its strengths those of the first studies and of papers.

  Args:
    tap: The layer at which the hue loss looks.
    last: The layer whose mean is the features; None for a network without one.
      `hue_last` looks there: where it is the tap as well, that is `hue`, and has its
      runs. So does `hue_share`, whose weight is a share of the classifier's gradient.

  Returns:
    The objectives.
  """
  hue = base.hue_terms("sectors", tap).sectors.to_dict()
  largest = {"largest": {"kind": "max_suppression", "weight": 0.1}}
  found = {
    "one_hot": {},
    "smoothing": {"label_smoothing": 0.1},
    "max_suppression": {"terms": largest},
    "hue": {"terms": {"hue": hue}},
    "hue_smoothing": {"terms": {"hue": hue}, "label_smoothing": 0.1},
    "hue_max_suppression": {"terms": {"hue": hue} | largest},
  }
  if last is not None:
    share = {**hue, "tap": last, "weight": 0.1, "balance": "gradient"}
    at_last = {"terms": {"hue": {**hue, "tap": last}}}
    found["hue_share"] = {"terms": {"hue": share}}
    found["hue_last"] = at_last
    found["hue_last_smoothing"] = {**at_last, "label_smoothing": 0.1}
  return found
