"""What each setting of an observation accepts; they check themselves.

`defaults.py` says what they mean. TensorFlow is not needed here, so that a
mistake is told before it is loaded.
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

from hue_jax.observe.neighbors import ENGINES, METRICS, STRUCTURES
from hue_jax.observe.observations.matches_in_space import PLANES
from hue_jax.observe.vector_store import DTYPES
from hue_jax.preprocessing import CROPS
from hue_jax.settings import (
  REQUIRED,
  Choice,
  Group,
  Text,
  choice,
  create,
  integer,
  options,
  seed,
  setting,
  several,
  text,
)

# Draws of images and shuffles of labels: more need more memory than machines have.
_MOST_DRAWS = 10**6
# What counts images, positions or pixels.
_MOST = 2**31 - 1


@dataclasses.dataclass(frozen=True)
class ViewerSettings:
  """The viewer in the report."""

  num_images: int = integer(at_least=1, at_most=_MOST)
  grid: int = integer(at_least=1, at_most=_MOST)
  num_neighbors: int = integer(at_least=1, at_most=_MOST)
  thumbnail_size: int = integer(at_least=1, at_most=_MOST)


@dataclasses.dataclass(frozen=True)
class Settings:
  """An observation."""

  seed: int = seed()

  network: str = text(empty=False)
  network_model: str = text()
  network_options: Mapping[str, Any] = options()
  taps: tuple[str, ...] = several(REQUIRED, Text(empty=False))

  dataset: str = text(empty=False)
  data_dir: str | None = text(None)
  split: str = text(empty=False)
  images_per_class: int = integer(at_least=1, at_most=_MOST)
  crop: str = choice(REQUIRED, ("", *CROPS))

  positions_per_image: int = integer(at_least=0, at_most=_MOST)
  dtype: str = choice(REQUIRED, DTYPES)
  batch_size: int = integer(at_least=1, at_most=_MOST)

  metric: str = choice(REQUIRED, METRICS)
  num_neighbors: int = integer(at_least=1, at_most=_MOST)
  num_query_images: int = integer(at_least=0, at_most=_MOST)
  engine: str = choice(REQUIRED, ENGINES)
  structure: str = choice(REQUIRED, STRUCTURES)
  structure_options: Mapping[str, Any] = options()

  planes: tuple[str, ...] = several(REQUIRED, Choice(PLANES), at_least=1)
  num_bootstrap: int = integer(at_least=100, at_most=_MOST_DRAWS)
  num_permutations: int = integer(at_least=100, at_most=_MOST_DRAWS)

  viewer: ViewerSettings = setting(REQUIRED, Group(ViewerSettings))

  def __post_init__(self):
    create(STRUCTURES[self.structure], self.structure_options, "structure_options")
