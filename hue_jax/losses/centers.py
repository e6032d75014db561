"""Features lie near the center of their class."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Shaped

from hue_jax.numerics import (
  Arrays,
  as_float,
  einsum,
  kept,
  multipliable,
  one_hot_where,
  own_classes,
  psum,
  replicated,
  sharded_like_the_batch,
)


@sharded_like_the_batch
def center_loss(
  features: Float[Arrays, "batch channels"],
  labels: Integer[Arrays, " batch"],
  centers: Float[Arrays, "classes channels"],
  *,
  where: Shaped[Arrays, " batch"] | None = None,
) -> Float[Array, " batch"]:
  """Returns ½ ‖x − c_label‖², small where features lie near the center of their class.

  Example:
    >>> import numpy as np
    >>> from hue_jax import losses
    >>> features, centers = np.float32([[3, 4]]), np.zeros((2, 2), np.float32)
    >>> print(losses.center_loss(features, np.array([1]), centers))
    [12.5]

  Args:
    features: The features x.
    labels: The class of each example; one outside [0, classes) does not count.
    centers: The centers c, one a class, through which no gradient flows;
      `update_centers` moves them.
    where: The examples that count, as bools or 0 and 1; all if None. Others have 0.

  Returns:
    The loss of each example.

  Raises:
    InputError: If labels or mask are not one an example.
    TypeError: If the features are not floating point, or the labels not integers.

  Source: Wen et al., "A Discriminative Feature Learning Approach for Deep Face
  Recognition", ECCV 2016.
  """
  labels, counts = own_classes(labels, len(centers), where, features.shape[0])
  features = multipliable(as_float(kept(features, counts), "features"))
  centers = multipliable(jax.lax.stop_gradient(as_float(centers, "centers")))
  difference = features - centers[labels]
  return kept(0.5 * jnp.sum(difference**2, axis=-1), counts)


@replicated
def update_centers(
  centers: Float[Arrays, "classes channels"],
  features: Float[Arrays, "batch channels"],
  labels: Integer[Arrays, " batch"],
  *,
  rate: Float[Array, ""] | float = 0.5,
  where: Shaped[Arrays, " batch"] | None = None,
  axis_name: str | None = None,
) -> Float[Array, "classes channels"]:
  """Moves centers by c ← c − α Σ (c − x) / (1 + n), over the n examples of the class.

  Example:
    >>> import numpy as np
    >>> from hue_jax import losses
    >>> features, centers = np.float32([[3, 4]]), np.zeros((2, 2), np.float32)
    >>> print(losses.update_centers(centers, features, np.array([1]), rate=0.5))
    [[0.0   0.0  ]
     [0.75 1.0  ]]

  Args:
    centers: The centers c before the batch.
    features: The features x.
    labels: The class of each example; one outside [0, classes) does not count.
    rate: The rate α.
    where: The examples that count, as bools or 0 and 1; all if None.
    axis_name: The mapped axis over which the batch is spread.

  Returns:
    The centers after the batch.

  Raises:
    InputError: If labels or mask are not one an example.
    TypeError: If the features are not floating point, or the labels not integers.

  Source: Wen et al., equation 4 (see `center_loss`).
  """
  labels, counts_here = own_classes(labels, len(centers), where, features.shape[0])
  centers = as_float(centers, "centers")
  features = as_float(kept(features, counts_here), "features")
  features = jax.lax.stop_gradient(multipliable(features))
  one_hot = one_hot_where(labels, len(centers), counts_here, features.dtype)
  counts = psum(one_hot.sum(axis=0), axis_name)[:, None]
  sums = psum(einsum("bc,bn->cn", one_hot, features), axis_name)
  return centers - rate * (counts * centers - sums) / (1 + counts)
