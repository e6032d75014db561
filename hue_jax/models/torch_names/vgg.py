"""VGG."""

import re

from hue_jax.models.torch_names.naming import Naming, TorchArray
from hue_jax.models.vgg import VGG


def torchvision(module: VGG) -> Naming:
  """Returns names such as `features.0`, and `classifier.0`, `.3` and `.6`."""
  places, place = {}, 0
  for stage, size in enumerate(module.stage_sizes, start=1):
    for index in range(1, size + 1):
      places[f"stage{stage}_conv{index}"] = place
      places[f"stage{stage}_norm{index}"] = place + 1
      place += 3 if module.batch_norm else 2  # ReLU has a place too
    place += 1  # and so has pooling
  channels = module.width * min(2 ** (len(module.stage_sizes) - 1), 8)

  def name(path):
    if path == "hidden1/kernel":
      # PyTorch flattens the channels first.
      return TorchArray(
        "classifier.0.weight",
        (module.hidden, channels * 49),
        (module.hidden, channels, 7, 7),
        (2, 3, 1, 0),
      )
    if re.fullmatch(r"stage\d+_(conv|norm)\d+", path):
      return f"features.{places[path]}"
    return {
      "hidden1": "classifier.0",
      "hidden2": "classifier.3",
      "head": "classifier.6" if module.hidden else "classifier",
    }.get(path)

  return name


LIBRARIES = {"torchvision": torchvision}
