"""What an objective of a study may have of its own of the optimization."""

from typing import NamedTuple

# The setting of an objective that holds them.
OPTIMIZATION = "optimization"


class Rates(NamedTuple):
  """What an objective may have of its own of the optimization.

  Attributes:
    learning_rate: The learning rate at the end of the warm-up, of batch size 256.
    weight_decay: The decay of kernels.
  """

  learning_rate: float
  weight_decay: float
