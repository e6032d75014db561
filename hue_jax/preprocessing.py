"""How images come to a network: settings alone, which need no TensorFlow."""

import dataclasses

from hue_jax.errors import InputError
from hue_jax.settings import (
  REQUIRED,
  Number,
  check,
  choice,
  flag,
  group,
  integer,
  number,
  several,
)

CROPS = ("random_resized", "pad", "none")

# Of ImageNet's usual evaluation: the side of the crop over the shorter side.
EVAL_CROP_RATIO = 224 / 256

# The orders of an epoch: by examples, or by runs of neighbors that are read whole.
SHUFFLES = ("full", "blocks")

MAX_MAGNITUDE = 10.0
UNIFORMS_PER_OPERATION = 3  # Which, its sign, its magnitude.


@dataclasses.dataclass(frozen=True)
class Pixels:
  """The numbers that images are made of.

  Attributes:
    channels: The channels of the images, 1 or 3; 0 where the data set says it.
    pixel_mean: The mean of pixels in [0, 1]: one value a channel, or one.
    pixel_std: The standard deviation of pixels in [0, 1]: one value a channel, or one.
  """

  channels: int = choice(REQUIRED, (0, 1, 3))
  pixel_mean: tuple[int | float, ...] = several(REQUIRED, Number())
  pixel_std: tuple[int | float, ...] = several(REQUIRED, Number(above=0))

  def __post_init__(self):
    for name in ("pixel_mean", "pixel_std"):
      values = getattr(self, name)
      if len(values) not in (1, self.channels or 3):  # 0: not yet known.
        accepted = (
          "1 value" if self.channels == 1 else f"1 or {self.channels or 3} values"
        )
        raise InputError(
          f"{name} is {values}; it must be {accepted}, for channels is {self.channels}."
        )


@dataclasses.dataclass(frozen=True)
class RandAugment:
  """Operations on training images, which `randaugment.augment` carries out.

  Attributes:
    num_ops: The number of operations for each image; 0 for none.
    magnitude: The strength of the operations, 0 to 10.
    magnitude_std: The standard deviation of the normal noise that is added to it.
  """

  num_ops: int = integer(0, at_least=0)
  magnitude: int | float = number(0.0, at_least=0, at_most=MAX_MAGNITUDE)
  magnitude_std: int | float = number(0.0, at_least=0)

  def __post_init__(self):
    check(self, "randaugment")

  @property
  def num_uniforms(self) -> int:
    """The number of random numbers that an image takes."""
    return self.num_ops * UNIFORMS_PER_OPERATION


@dataclasses.dataclass(frozen=True)
class Augmentation:
  """What is done to training images.

  Attributes:
    crop: The crop: "random_resized" cuts out a random rectangle and resizes it, "pad"
      resizes the image and moves it over a frame of zeros, "none" resizes it.
    antialias: Whether crops of "random_resized" are smoothed where they become smaller.
    padding: The width of the frame in pixels, for "pad".
    flip: Whether half of the images are mirrored.
    randaugment: The operations on each image before it is moved and mirrored.
  """

  crop: str = choice(REQUIRED, CROPS)
  antialias: bool = flag()
  padding: int = integer(at_least=0)
  flip: bool = flag()
  randaugment: RandAugment = group(RandAugment)

  def __post_init__(self):
    check(self)


@dataclasses.dataclass(frozen=True)
class Order:
  """The order of the training images.

  Attributes:
    shuffle: The order of an epoch: "full", a permutation, or "blocks".
    shuffle_block_bytes: The most bytes of a block, which is read at once.
    shuffle_window: The least number of images that are mixed after that.
    repeats: The number of times that an image stands in the stream, augmented anew: two
      images alternate so often before the next two.
  """

  shuffle: str = choice(REQUIRED, SHUFFLES)
  shuffle_block_bytes: int = integer(at_least=1)
  shuffle_window: int = integer(at_least=1)
  repeats: int = integer(at_least=1)

  def __post_init__(self):
    check(self)
