"""Where the positions of a layer lie about the center of the image plane."""

import numpy as np
from jaxtyping import Complex, Float

from hue_jax.hue import polar_grid


def direction(
  x: np.ndarray, y: np.ndarray, height: int, width: int
) -> Complex[np.ndarray, "*shape"]:
  """Computes exp(iφ), φ being the position hue; 0 at the exact center.

  Args:
    x: The columns of the positions.
    y: The rows of the positions.
    height: The rows of the layer.
    width: The columns of the layer.

  Returns:
    The unit complex numbers, or 0.
  """
  angle, radius = polar_grid(height, width)
  return np.where(radius > 0, np.exp(1j * angle), 0)[y, x]


def radius(
  x: np.ndarray, y: np.ndarray, height: int, width: int
) -> Float[np.ndarray, "*shape"]:
  """Computes the distance from the center, in half-sides.

  It is 1 at the middle of a side, and √2 in a corner.

  Args:
    x: The columns of the positions.
    y: The rows of the positions.
    height: The rows of the layer.
    width: The columns of the layer.

  Returns:
    The distances of the centers of the cells.
  """
  return np.hypot(
    (2 * np.asarray(x) + 1 - width) / width, (2 * np.asarray(y) + 1 - height) / height
  )


def signed_root_of_pairs(
  phasors: Complex[np.ndarray, " draws"],
  squares: Float[np.ndarray, " draws"],
  counts: Float[np.ndarray, " draws"],
  count_squares: Float[np.ndarray, " draws"],
) -> Float[np.ndarray, " draws"]:
  """Computes the resultant length R of unit phasors, by pairs of different images.

  With s the sum of the phasors of an image and n their number, and sums over images,
  R² = (|Σ s|² − Σ |s|²) / ((Σ n)² − Σ n²): the mean cosine between phasors of two
  different images. Unlike |Σ s| / Σ n it is 0 on average where there is no
  concentration, however few the phasors. R has the sign of R².

  Args:
    phasors: The sum of phasors Σ s.
    squares: The sum of squares Σ |s|².
    counts: The sum of counts Σ n.
    count_squares: The sum of squared counts Σ n².

  Returns:
    The length R; NaN where there is no pair.
  """
  pairs = counts**2 - count_squares
  mean = np.full(pairs.shape, np.nan)
  np.divide(np.abs(phasors) ** 2 - squares, pairs, out=mean, where=pairs > 1e-9)
  return np.sign(mean) * np.sqrt(np.abs(mean))
