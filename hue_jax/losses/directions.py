"""Classes as directions: margins, prototypes on the sphere, logits of one length."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Integer, Shaped

from hue_jax.errors import InputError
from hue_jax.numerics import (
  Arrays,
  as_float,
  check_positive,
  einsum,
  kept,
  moderate,
  norm_of_direction,
  own_classes,
  sharded_like_the_batch,
  smooth_norm,
  still_where_zero,
)


def cosine_logits(
  features: Float[Arrays, "batch channels"],
  kernel: Float[Arrays, "channels classes"],
) -> Float[Array, "batch classes"]:
  """Returns cos θ between the features and the weights of each class.

  Example:
    >>> import numpy as np
    >>> from hue_jax import losses
    >>> features, kernel = np.float32([[3, 4]]), np.float32([[2, 0], [0, 1]])
    >>> print(losses.cosine_logits(features, kernel))
    [[0.6 0.8]]

  Args:
    features: The features of the examples.
    kernel: The weights of the classes, one column a class.

  Returns:
    The cosines, in [−1, 1] but for rounding. They are 0 for features of zeros, with no
      gradient, and for weights of zeros, with that of weights of length 1.

  Raises:
    TypeError: If the features or the kernel are not floating point.
  """
  features, power = moderate(still_where_zero(as_float(features, "features")))
  kernel, kernel_power = moderate(as_float(kernel, "kernel"), axis=0)
  lengths = smooth_norm(features, 1e-6 * power[:, 0])[:, None] * norm_of_direction(
    kernel.T, 1e-6, kernel_power[0]
  )
  return einsum("bn,nc->bc", features, kernel) / lengths


def normalized_logits(
  logits: Float[Arrays, "batch classes"],
  *,
  temperature: Float[Arrays, ""] | float = 0.04,
) -> Float[Array, "batch classes"]:
  """Returns z / (τ ‖z‖), of which the cross entropy is logit normalization.

  It keeps the logits from growing once the classes are told apart, which makes a
  network sure of whatever it sees.

  Example:
    >>> import numpy as np
    >>> from hue_jax import losses
    >>> print(losses.normalized_logits(np.float32([[3, 4], [0, 0]]), temperature=0.1))
    [[6.0 8.0]
     [0.0 0.0]]

  Args:
    logits: The logits z of the classes.
    temperature: The temperature τ.

  Returns:
    The logits, all of the length 1/τ, and 0 where z is 0, with the gradient of a z of
      length 1.

  Raises:
    InputError: If the temperature is not positive.
    TypeError: If the logits are not floating point.

  Source: Wei et al., "Mitigating Neural Network Overconfidence with Logit
  Normalization", ICML 2022.
  """
  check_positive("temperature", temperature)
  logits, power = moderate(as_float(logits, "logits"))
  length = norm_of_direction(logits, 1e-7, power[:, 0])
  return logits / length[:, None] / temperature


@sharded_like_the_batch
def additive_angular_margin_loss(
  features: Float[Arrays, "batch channels"],
  labels: Integer[Arrays, " batch"],
  *,
  kernel: Float[Arrays, "channels classes"],
  margin: Float[Arrays, ""] | float = 0.5,
  scale: Float[Arrays, ""] | float = 64.0,
  where: Shaped[Arrays, " batch"] | None = None,
) -> Float[Array, " batch"]:
  """Returns the cross entropy of s · cos(θ + m · [class is the label]): ArcFace.

  Where θ + m passes π, the cosine goes on falling along a line, as the authors'
  implementation has it, so that a worse angle is never a smaller loss.

  Example:
    >>> import numpy as np
    >>> from hue_jax import losses
    >>> features, kernel = np.float32([[1, 1]]), np.eye(2, dtype=np.float32)
    >>> for margin in (0.0, 0.5):
    ...   loss = losses.additive_angular_margin_loss(
    ...     features, np.array([0]), kernel=kernel, margin=margin, scale=10.0
    ...   )
    ...   print(loss)
    [0.69]
    [4.3]

  Args:
    features: The features of the examples.
    labels: The class of each example; one outside [0, classes) does not count.
    kernel: The weights of the classes, one column a class; lengths of features and
      weights do not matter.
    margin: The margin m in radians.
    scale: The scale s.
    where: The examples that count, as bools or 0 and 1; all if None. Others have 0.

  Returns:
    The loss of each example in nats.

  Raises:
    InputError: If labels or mask are not one an example.
    TypeError: If the features are not floating point, or the labels not integers.

  Source: Deng et al., "ArcFace: Additive Angular Margin Loss for Deep Face
  Recognition", CVPR 2019.
  """
  labels, counts = own_classes(labels, kernel.shape[1], where, features.shape[0])
  cosine = cosine_logits(kept(features, counts), kernel)
  own = jnp.clip(jnp.take_along_axis(cosine, labels[:, None], axis=-1), -1, 1)
  sine = jnp.sqrt(jnp.maximum(1 - own**2, 1e-12))
  beyond = own < -jnp.cos(margin)  # θ + m > π
  with_margin = jnp.where(
    beyond,
    own - jnp.sin(margin) * margin,
    own * jnp.cos(margin) - sine * jnp.sin(margin),
  )
  is_label = jax.nn.one_hot(labels, cosine.shape[-1], dtype=bool)
  log_p = jax.nn.log_softmax(scale * jnp.where(is_label, with_margin, cosine))
  return kept(-jnp.take_along_axis(log_p, labels[:, None], axis=-1)[:, 0], counts)


def simplex_prototypes(num_classes: int) -> Float[np.ndarray, "classes classes"]:
  """Returns unit vectors of R^C, as far from each other as C vectors can be.

  Any two have the cosine −1/(C − 1).

  Example:
    >>> from hue_jax import losses
    >>> prototypes = losses.simplex_prototypes(3)
    >>> print((prototypes @ prototypes.T))
    [[ 1.0  -0.5 -0.5]
     [-0.5  1.0  -0.5]
     [-0.5 -0.5  1.0 ]]

  Args:
    num_classes: The number of classes C, at least 2.

  Returns:
    The vectors, one a row: √(C/(C − 1)) (e_c − 1/C).

  Raises:
    InputError: If there are fewer than 2 classes.
  """
  if num_classes < 2:
    raise InputError(f"num_classes is {num_classes}; prototypes need at least 2.")
  centered = np.eye(num_classes, dtype=np.float32) - 1 / num_classes
  return centered * np.float32(np.sqrt(num_classes / (num_classes - 1)))


@sharded_like_the_batch
def hyperspherical_prototype_loss(
  outputs: Float[Arrays, "batch dimensions"],
  labels: Integer[Arrays, " batch"],
  prototypes: Float[Arrays, "classes dimensions"],
  *,
  where: Shaped[Arrays, " batch"] | None = None,
) -> Float[Array, " batch"]:
  """Returns (1 − cos)² of the angle between an output and the prototype of its class.

  Example:
    >>> import numpy as np
    >>> from hue_jax import losses
    >>> outputs = np.float32([[1, 0], [-2, 0]])
    >>> prototypes = np.eye(2, dtype=np.float32)
    >>> print(
    ...   losses.hyperspherical_prototype_loss(outputs, np.array([0, 0]), prototypes)
    ... )
    [0.0 4.0]

  Args:
    outputs: The outputs of the network.
    labels: The class of each example; one outside [0, classes) does not count.
    prototypes: The unit vectors of the classes, which stay as they are.
    where: The examples that count, as bools or 0 and 1; all if None. Others have 0.

  Returns:
    The loss of each example, in [0, 4].

  Raises:
    InputError: If labels or mask are not one an example.
    TypeError: If the outputs are not floating point, or the labels not integers.

  Source: Mettes et al., "Hyperspherical Prototype Networks", NeurIPS 2019.
  """
  labels, counts = own_classes(labels, len(prototypes), where, outputs.shape[0])
  cosine = cosine_logits(kept(outputs, counts), jnp.asarray(prototypes).T)
  own = jnp.take_along_axis(cosine, labels[:, None], axis=-1)[:, 0]
  return kept(jnp.minimum((1 - own) ** 2, 4), counts)
