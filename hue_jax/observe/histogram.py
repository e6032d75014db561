"""How values are distributed over bins."""

import numpy as np
from jaxtyping import Float

from hue_jax.observe.resampling import ratio


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
  counts = np.histogram(values, edges)[0]
  return ratio(counts, counts.sum() * np.diff(edges))
