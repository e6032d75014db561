"""The networks on which objectives are tuned and compared, by name.

The source's two families as wide as two cores bear, a small transformer, and two rows
of sizes: `resnet8_width4` to `resnet8_width32`, and `resnet8` to `resnet20`.
"""

from typing import Any, NamedTuple

from configs import compare_tasks
from hue_jax.errors import check_one_of


class Network(NamedTuple):
  """A network of studies.

  Attributes:
    model: The name of the network, as `create_model` takes it.
    options: Its options.
    tap: The last layer of which a small image has more than a few positions; None for
      that of the task's ResNet.
    last: The layer whose mean over positions is the features; None for a network
      without one.
    learning_rate: The range in which the learning rate is tuned.
  """

  model: str
  options: dict[str, Any]
  tap: str | None = None
  last: str | None = "stage3"
  learning_rate: tuple[float, float] = (0.02, 0.25)


def _resnet(model: str, width: int) -> Network:
  return Network(model, {"stem": "small", "width": width})


NETWORKS = {
  "resnet8": _resnet("resnet8", 8),
  "resnet8_width4": _resnet("resnet8", 4),
  "resnet8_width16": _resnet("resnet8", 16),
  "resnet8_width32": _resnet("resnet8", 32),
  "resnet14": _resnet("resnet14", 8),
  "resnet20": _resnet("resnet20", 8),
  "resnet18": _resnet("resnet18", 16)._replace(last="stage4"),
  "efficientnet_b0": Network(
    "efficientnet_b0", {"stem_strides": 1, "width": 0.25}, last="top"
  ),
  "vit_ti_depth4": Network(
    "vit_ti16",
    {"patch_size": 4, "depth": 4, "pooling": "mean"},
    tap="stage4",
    last=None,
    learning_rate=(0.0005, 0.02),
  ),
}


def task_and_network(argument: str) -> tuple[str, Network]:
  """Returns what stands after the colon of --config: TASK, or TASK,NETWORK."""
  task, comma, name = argument.partition(",")
  name = name if comma else "resnet8"
  check_one_of("the network, after the task in --config,", name, NETWORKS)
  return task, NETWORKS[name]


def folder(argument: str) -> str:
  """Returns the folder of a study: `fashion_50`, or `fashion_50_resnet18`."""
  return argument.replace(",", "_")


def tap(task: str, network: Network) -> str:
  """Returns the layer at which the hue loss looks."""
  return network.tap or compare_tasks.tap(task)
