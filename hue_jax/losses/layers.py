"""Losses of every position of a layer: their sizes, and what they tell alone."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Integer, Shaped

from hue_jax.numerics import (
  Arrays,
  as_float,
  einsum,
  kept,
  multipliable,
  own_classes,
  sharded_like_the_batch,
)


def activation_l2(
  activations: Float[Arrays, "batch *positions channels"],
) -> Float[Array, " batch"]:
  """Returns the mean square ⟨a²⟩ of each example over positions and channels.

  Example:
    >>> import numpy as np
    >>> from hue_jax import losses
    >>> print(losses.activation_l2(np.float32([[3, 4, 0, 0], [1, 1, 1, 1]])))
    [6.25 1.0  ]

  Args:
    activations: The activations of a layer.

  Returns:
    The penalty of each example.

  Raises:
    TypeError: If the activations are not floating point.

  Source: Merity et al., "Revisiting Activation Regularization for Language RNNs",
  2017.
  """
  squares = jnp.square(multipliable(as_float(activations)))
  return squares.mean(axis=tuple(range(1, squares.ndim)))


@sharded_like_the_batch
def dense_cross_entropy(
  activations: Float[Arrays, "batch height width channels"],
  labels: Integer[Arrays, " batch"],
  *,
  kernel: Float[Arrays, "channels classes"],
  bias: Float[Arrays, " classes"],
  where: Shaped[Arrays, " batch"] | None = None,
) -> Float[Array, " batch"]:
  """Returns the mean over positions of the classifier's cross entropy at each.

  Example:
    >>> import numpy as np
    >>> from hue_jax import losses
    >>> layer = np.zeros((1, 2, 2, 3), np.float32)
    >>> kernel, bias = np.zeros((3, 5), np.float32), np.zeros(5, np.float32)
    >>> loss = losses.dense_cross_entropy(
    ...   layer, np.array([0]), kernel=kernel, bias=bias
    ... )
    >>> print(loss)  # log 5
    [1.6094]

  Args:
    activations: The layer whose mean over positions the classifier takes.
    labels: The class of each example; one outside [0, classes) does not count.
    kernel: The kernel of the classifier.
    bias: The bias of the classifier.
    where: The examples that count, as bools or 0 and 1; all if None. Others have 0.

  Returns:
    The loss of each example in nats.

  Raises:
    InputError: If labels or mask are not one an example.
    TypeError: If the activations are not floating point, or the labels not integers.

  Source: The classifier as a convolution, as in Long et al., "Fully Convolutional
  Networks for Semantic Segmentation", CVPR 2015, with the image's label everywhere.
  """
  labels, counts = own_classes(labels, len(bias), where, activations.shape[0])
  activations, kernel, bias = (
    multipliable(as_float(values, name))
    for name, values in (
      ("activations", kept(activations, counts)),
      ("kernel", kernel),
      ("bias", bias),
    )
  )
  logits = einsum("bhwn,nc->bhwc", activations, kernel) + bias
  log_p = jax.nn.log_softmax(logits)
  own = jnp.take_along_axis(log_p, labels[:, None, None, None], axis=-1)
  return kept(-own.mean(axis=(1, 2, 3)), counts)
