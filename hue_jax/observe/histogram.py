"""How values are distributed over bins."""

import numpy as np
from jaxtyping import Float


def histogram_density(
  values: Float[np.ndarray, " values"], edges: Float[np.ndarray, " edges"]
) -> Float[np.ndarray, " bins"]:
  """Computes the share of the values in each bin, divided by its width.

  Args:
    values: The values, in any order.
    edges: The edges of the bins, rising.

  Returns:
    The density, in 1 / unit of the values; NaN where there is no value.
  """
  with np.errstate(invalid="ignore"):  # of no value: 0 / 0
    return np.histogram(values, edges, density=True)[0]
