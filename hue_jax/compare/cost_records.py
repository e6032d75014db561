"""What was measured of objectives' cost, as it lies beside a study."""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

from hue_jax.errors import InputError

FILE = "cost.json"


@dataclasses.dataclass(frozen=True)
class Cost:
  """The cost of one objective.

  Attributes:
    objective: The name of the objective.
    step_milliseconds: The median time of a step.
    overhead: The time of a step over that of the baseline right before or after it,
      minus 1, in percent: the median of the pairs; 0 for the baseline itself.
    overhead_interval: The 95 % interval of this median.
    temporary_megabytes: The memory of a step beside its arguments and results, by XLA.
    gigaflops: The operations of a step, by XLA.
    parameters: The number of parameters that are trained.
    kept: The count of numbers that terms keep from batch to batch.
  """

  objective: str
  step_milliseconds: float
  overhead: float
  overhead_interval: tuple[float, float]
  temporary_megabytes: float
  gigaflops: float
  parameters: int
  kept: int


def read_costs(workdir: str | os.PathLike[str]) -> dict[str, Any] | None:
  """Reads what `measure_costs` has written: the network, where, when, and the costs.

  Args:
    workdir: The folder of the study.

  Returns:
    The mapping, its "costs" as `Cost`; None if nothing is there.

  Raises:
    InputError: If the file cannot be read.
  """
  path = Path(workdir).expanduser() / FILE
  if not path.exists():
    return None
  try:
    found = json.loads(path.read_text(encoding="utf-8"))
    costs = []
    for cost in found["costs"]:
      interval = tuple(cost["overhead_interval"])
      costs.append(Cost(**{**cost, "overhead_interval": interval}))
  except (ValueError, KeyError, TypeError) as error:
    raise InputError(f"{path} cannot be read ({error}); measure it anew.") from None
  return {**found, "costs": costs}
