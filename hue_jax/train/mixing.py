"""Mixup and CutMix on the device: pairs of images of a batch, and of their labels.

Images 2k and 2k + 1 of a batch are a pair. Whether a pair is mixed, how and by how
much is a function of (seed, step, k), whatever the number of devices.
"""

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key

from hue_jax.objective import Mixed
from hue_jax.settings import check, number


@dataclasses.dataclass(frozen=True)
class Mixing:
  """How pairs are mixed.

  Attributes:
    mixup: The α of the Beta distribution of Mixup's shares; 0 for no Mixup.
    cutmix: The α of CutMix's. Where both are set, a coin decides for each pair.
    probability: The probability that a pair is mixed.
  """

  mixup: int | float = number(0.0, at_least=0)
  cutmix: int | float = number(0.0, at_least=0)
  probability: int | float = number(1.0, at_least=0, at_most=1)

  def __post_init__(self):
    check(self, "mixing")

  def __bool__(self) -> bool:
    """Returns whether anything is mixed."""
    return bool(self.probability and (self.mixup or self.cutmix))


def mix(
  images: Float[Array, "batch height width channels"],
  labels: Int[Array, " batch"],
  mixing: Mixing,
  *,
  key: Key[Array, ""],
  first: Int[Array, ""] | int = 0,
) -> tuple[Float[Array, "batch height width channels"], Mixed]:
  """Mixes each image with the other of its pair.

  With the share s of its own image, s at least ½, Mixup takes s · image + (1 − s) ·
  other; CutMix puts a rectangle of the other, of area 1 − s where the edge of the image
  does not cut it off, into the image. s is drawn from Beta(α, α) and is max(s, 1 − s):
  what lies below ½ is the other image of the pair.

  Args:
    images: An even number of images.
    labels: The class of each image.
    mixing: How they are mixed.
    key: The key of the seed and the step.
    first: The place of the first image in the whole batch, an even number.

  Returns:
    The mixed images; and the labels of the others with the shares of their own.

  Source: Zhang et al., "mixup: Beyond Empirical Risk Minimization", 2018; Yun et al.,
  "CutMix", 2019.
  """
  count, height, width, _ = images.shape
  places = jnp.arange(count)
  keys = jax.vmap(lambda pair: jax.random.fold_in(key, pair))((first + places) // 2)
  draw = jax.vmap(lambda key: _draw(key, mixing, height, width))
  shares, outside = draw(keys)
  others = images[places ^ 1]
  weights = outside[..., None].astype(images.dtype)
  mixed = weights * images + (1 - weights) * others
  return mixed, Mixed(labels[places ^ 1], shares)


def _draw(key, mixing, height, width):
  """Returns a pair's share, and the weight of the own image at every position."""
  whether, which, of_mixup, of_cutmix, corner = jax.random.split(key, 5)
  mixup = jnp.broadcast_to(_share(of_mixup, mixing.mixup), (height, width))
  cutmix = _outside_of_a_rectangle(
    _share(of_cutmix, mixing.cutmix), jax.random.uniform(corner, (2,)), height, width
  )
  if mixing.mixup and mixing.cutmix:
    weights = jnp.where(jax.random.bernoulli(which), mixup, cutmix)
  else:
    weights = mixup if mixing.mixup else cutmix
  mixes = jax.random.bernoulli(whether, float(mixing.probability))
  weights = jnp.where(mixes, weights, 1.0)
  return weights.mean(), weights


def _share(key, alpha):
  if not alpha:
    return jnp.ones(())
  share = jax.random.beta(key, alpha, alpha)
  return jnp.maximum(share, 1 - share)


def _outside_of_a_rectangle(share, center, height, width):
  """Returns 1 outside of a rectangle of area 1 − share about a center, 0 inside."""
  side = jnp.sqrt(1 - share)

  def inside(length, at):
    half, middle = jnp.round(side * length / 2), jnp.floor(at * length)
    places = jnp.arange(length)
    return (places >= middle - half) & (places < middle + half)

  rows, columns = inside(height, center[0]), inside(width, center[1])
  return 1.0 - (rows[:, None] & columns).astype(jnp.float32)
