"""Features have one length."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from hue_jax.numerics import (
  Arrays,
  as_float,
  counting,
  kept,
  multipliable,
  psum,
  replicated,
  smooth_norm,
)


def ring_loss(
  features: Float[Arrays, "batch channels"], radius: Float[Arrays, ""] | float
) -> Float[Array, " batch"]:
  """Returns ½ (‖x‖ − R)², small where features lie near a sphere of radius R.

  Example:
    >>> import numpy as np
    >>> from hue_jax import losses
    >>> print(losses.ring_loss(np.float32([[3, 4], [0, 2]]), 3.0))
    [2.0 0.5]

  Args:
    features: The features x.
    radius: The radius R, through which no gradient flows; `update_radius` moves it.

  Returns:
    The loss of each example.

  Raises:
    TypeError: If the features are not floating point.

  Source: Zheng, Pal and Savvides, "Ring loss: Convex Feature Normalization for Face
  Recognition", CVPR 2018.
  """
  length = _lengths(features)
  return 0.5 * jnp.square(length - jax.lax.stop_gradient(jnp.asarray(radius)))


@replicated
def update_radius(
  radius: Float[Arrays, ""] | float,
  features: Float[Arrays, "batch channels"],
  *,
  rate: Float[Arrays, ""] | float = 0.1,
  where: Shaped[Arrays, " batch"] | None = None,
  axis_name: str | None = None,
) -> Float[Array, ""]:
  """Moves a radius by R ← R + η · mean of (‖x‖ − R) over the batch.

  That is a step of gradient descent on the mean of `ring_loss` by R, as the paper
  learns it, and so a moving average of the lengths.

  Example:
    >>> import numpy as np
    >>> from hue_jax import losses
    >>> features = np.float32([[3, 4], [0, 2]])
    >>> for radius in (0.0, 1.5):  # 0: there is none yet
    ...   print(losses.update_radius(radius, features, rate=0.5))
    3.5
    2.5

  Args:
    radius: The radius R before the batch; where it is 0 there is none yet, and the mean
      length of the batch takes its place, as in the authors' implementation.
    features: The features x.
    rate: The rate η.
    where: The examples that count, as bools or 0 and 1; all if None.
    axis_name: The mapped axis over which the batch is spread.

  Returns:
    The radius after the batch.

  Raises:
    InputError: If the mask is not one value an example.
    TypeError: If the features are not floating point.

  Source: Zheng, Pal and Savvides (see `ring_loss`).
  """
  counts_here = counting(where, features.shape[0])
  length = jax.lax.stop_gradient(_lengths(kept(features, counts_here)))
  count = psum(counts_here.sum(), axis_name)
  total = psum(jnp.sum(length * counts_here), axis_name)
  mean = total / jnp.maximum(count, 1)
  moved = jnp.where(radius == 0, mean, radius + rate * (mean - radius))
  return jnp.where(count > 0, moved, radius)


def _lengths(features):
  return smooth_norm(multipliable(as_float(features, "features")), 1e-12)
