"""Tasks of studies without their pictures."""

import numpy as np

from configs import tasks
from hue_jax.compare.task import ArrayTask, Examples

_FASHION = "T-shirt/top,Trouser,Pullover,Dress,Coat,Sandal,Shirt,Sneaker,Bag,Ankle boot"
_OPENCLIPART = (
  "animals,computer,food,geography,office,people,recreation,shapes,signs_and_symbols,"
  "special,tools,transportation"
)


def blank_task(settings):
  """A task of the data set's shape and classes, without its pictures."""
  names = {
    "fashion_mnist": _FASHION.split(","),
    "openclipart": _OPENCLIPART.split(","),
    "elpv": ["defect 0", "defect 1/3", "defect 2/3", "defect 1"],
    "digits": list("0123456789"),
  }
  names |= {
    task.dataset: [f"class {c}" for c in range(task.num_classes)]
    for task in tasks.TASKS.values()
    if task.dataset not in names
  }
  names = names[settings["dataset"]]
  labels = np.repeat(np.arange(len(names)), 60)
  shape = (len(labels), settings["image_size"], settings["image_size"])
  images = np.zeros((*shape, settings["channels"]), np.uint8)
  examples = Examples(images, labels)
  return ArrayTask(settings["dataset"], tuple(names), examples, examples, examples)
