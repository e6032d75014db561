"""Features lie near the center of their class."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer

from hue_jax.numerics import (
  Arrays,
  as_float,
  as_labels,
  counting,
  einsum,
  multipliable,
  one_hot_where,
  psum,
  replicated,
  sharded_like_the_batch,
)


@sharded_like_the_batch
def center_loss(
  features: Float[Arrays, "batch channels"],
  labels: Integer[Arrays, " batch"],
  centers: Float[Arrays, "classes channels"],
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
    labels: The class of each example.
    centers: The centers c, one a class, through which no gradient flows;
      `update_centers` moves them.

  Returns:
    The loss of each example.

  Raises:
    InputError: If the labels have more than one axis.
    TypeError: If the features are not floating point, or the labels not integers.

  Source: Wen et al., "A Discriminative Feature Learning Approach for Deep Face
  Recognition", ECCV 2016.
  """
  labels = as_labels(labels, 1)
  features = multipliable(as_float(features, "features"))
  centers = multipliable(jax.lax.stop_gradient(as_float(centers, "centers")))
  difference = features - centers[labels]
  return 0.5 * jnp.sum(difference**2, axis=-1)


@replicated
def update_centers(
  centers: Float[Arrays, "classes channels"],
  features: Float[Arrays, "batch channels"],
  labels: Integer[Arrays, " batch"],
  *,
  rate: Float[Array, ""] | float = 0.5,
  where: Bool[Arrays, " batch"] | None = None,
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
    labels: The class of each example.
    rate: The rate α.
    where: The examples that count; all if None.
    axis_name: The mapped axis over which the batch is spread.

  Returns:
    The centers after the batch.

  Raises:
    InputError: If the labels have more than one axis.
    TypeError: If the features are not floating point, or the labels not integers.

  Source: Wen et al., equation 4 (see `center_loss`).
  """
  labels = as_labels(labels, 1)
  centers = as_float(centers, "centers")
  features = jax.lax.stop_gradient(multipliable(as_float(features, "features")))
  if where is not None:  # whatever the others hold, NaN or not
    features = jnp.where(jnp.asarray(where)[:, None], features, 0)
  counts_here = counting(labels, where)
  one_hot = one_hot_where(labels, len(centers), counts_here, features.dtype)
  counts = psum(one_hot.sum(axis=0), axis_name)[:, None]
  sums = psum(einsum("bc,bn->cn", one_hot, features), axis_name)
  return centers - rate * (counts * centers - sums) / (1 + counts)
