"""What the observations of one network amount to: numbers and nothing else.

`observations` makes them, `figures.py` and `report.py` show them, and they are
written as JSON and CSV. A number that does not exist is NaN here and null in JSON.
"""

import dataclasses
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Estimate:
  """A number with its 95 % interval.

  Attributes:
    value: The value of all images.
    low: The 2.5th percentile of the bootstrap, or of the permutations.
    high: The 97.5th percentile.
  """

  value: float
  low: float
  high: float


@dataclasses.dataclass(frozen=True)
class ControlledEstimate:
  """One statistic at one tap, beside its controls.

  Attributes:
    trained: The statistic of the network, with its bootstrap interval over images.
    shuffled: The mean when labels are shuffled over images, with 95 % of the shuffles.
    p_value: The p-value (1 + shuffles that reach the trained value) / (1 + shuffles).
    untrained: The statistic of the untrained network, with its bootstrap interval.
  """

  trained: Estimate
  shuffled: Estimate
  p_value: float
  untrained: Estimate


@dataclasses.dataclass(frozen=True)
class Statistic:
  """One statistic over the taps.

  Attributes:
    name: The identifier, such as "knn_accuracy".
    label: What a figure's axis says, unit included.
    definition: A sentence, with the formula.
    taps: Tap → the statistic there.
  """

  name: str
  label: str
  definition: str
  taps: dict[str, ControlledEstimate]


@dataclasses.dataclass(frozen=True)
class Observation:
  """One of the four observations.

  Attributes:
    name: "by_layer", "by_position", "matches_in_plane" or "matches_in_space".
    title: The title of its section.
    claim: What the source says, in a sentence.
    statistics: The statistics; the verdict is about the first.
    holds: Tap → whether the claim holds there: above both controls.
    verdict: What was found, in plain words.
    numbers: Single numbers without an interval, such as p-values: name → tap → value.
    curves: The curves of its figure: name → tap → arrays by name. Of "by_position":
      "map" (trained, untrained [height, width], NaN where nothing was sampled),
      "by_angle" and "by_radius" (edges [bins + 1]; trained, trained_low, trained_high,
      shuffled, untrained [bins]). Of "matches_in_plane": "hue_difference" and
      "radius_difference" (edges [bins + 1]; same, other, untrained_same,
      untrained_other [bins], densities). Of "matches_in_space": "hue_by_class" (edges
      [bins + 1]; classes [classes]; trained, untrained [classes, bins], densities;
      mean_direction, resultant_length [classes]) and "hue_by_position_hue" (edges
      [bins + 1]; trained, untrained [bins of φ, bins of θ], the density of θ for each
      φ).
  """

  name: str
  title: str
  claim: str
  statistics: tuple[Statistic, ...]
  holds: dict[str, bool]
  verdict: str
  numbers: dict[str, dict[str, float]]
  curves: dict[str, dict[str, dict[str, np.ndarray]]]


@dataclasses.dataclass(frozen=True)
class LayerFacts:
  """What a layer's sample of vectors is made of.

  Attributes:
    shape: The shape (height, width, channels); height and width are 1 if it is pooled.
    num_vectors: The vectors in the sample.
    num_queries: The vectors that were searched for neighbors.
    recall: The share of the nearest neighbors that was found; 1 of an exact index.
    dead_channels: The channels that are constant over the whole sample.
    zero_vectors: The vectors all of whose channels are 0.
    gray_vectors: The vectors that have no hue.
  """

  shape: tuple[int, int, int]
  num_vectors: int
  num_queries: int
  recall: float
  dead_channels: int
  zero_vectors: int
  gray_vectors: int


@dataclasses.dataclass(frozen=True)
class Results:
  """All that a report says.

  Attributes:
    network: The name of the network.
    data: The data set and split.
    class_names: The names of the classes of the data set.
    num_images: The number of images that were observed.
    settings: The settings of the run.
    provenance: Command, date, hardware, versions, seconds: name → text.
    layers: Network ("trained", "untrained") → tap → facts.
    observations: The four observations.
  """

  network: str
  data: str
  class_names: tuple[str, ...]
  num_images: int
  settings: dict[str, Any]
  provenance: dict[str, str]
  layers: dict[str, dict[str, LayerFacts]]
  observations: tuple[Observation, ...]


@dataclasses.dataclass(frozen=True)
class ViewerLayer:
  """A layer of the viewer's images, and the neighbors of its positions.

  Attributes:
    colors: The colors by hue, saturation and magnitude, uint8 [images, height, width,
      3].
    rows: The rows of the grid of positions that can be picked, [rows].
    columns: The columns of that grid, [columns].
    neighbor_image: The place in `Viewer.images` of each neighbor's image,
      [images, rows, columns, k].
    neighbor_x: The column of each neighbor's position in its layer,
      [images, rows, columns, k].
    neighbor_y: The row of that position, [images, rows, columns, k].
    neighbor_distance: The distance of each neighbor, [images, rows, columns, k].
  """

  colors: np.ndarray
  rows: np.ndarray
  columns: np.ndarray
  neighbor_image: np.ndarray
  neighbor_x: np.ndarray
  neighbor_y: np.ndarray
  neighbor_distance: np.ndarray


@dataclasses.dataclass(frozen=True)
class Viewer:
  """What the report's viewer can show.

  Attributes:
    images: The images, uint8 [n, size, size, channels]: those of the viewer first, then
      those that hold neighbors.
    labels: The class of each image.
    ids: The index of each image in its split.
    num_shown: The number of images that can be picked.
    layers: Tap → layer.
  """

  images: np.ndarray
  labels: np.ndarray
  ids: np.ndarray
  num_shown: int
  layers: dict[str, ViewerLayer]
