"""What the report's viewer shows: images, their layers by hue, and the neighbors."""

from collections.abc import Mapping

import numpy as np

from hue_jax.color import color_layer
from hue_jax.observe.capture import Sample
from hue_jax.observe.neighbors import Index
from hue_jax.observe.results import Viewer, ViewerLayer
from hue_jax.observe.vector_store import Layer
from hue_jax.train.networks import Network


def choose_images(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
  """Chooses images to show: as many of each class as can be, classes together.

  Args:
    labels: The class of each image of the sample.
    count: The number of images.
    seed: The seed that determines which.

  Returns:
    Their places in the sample, at most `count`.
  """
  order = np.random.default_rng(seed).permutation(len(labels))
  turn = np.empty(len(labels), int)
  for c in np.unique(labels):
    of_class = order[labels[order] == c]
    turn[of_class] = np.arange(len(of_class))
  # The first of every class, then the second of every class, and so on.
  chosen = order[np.argsort(turn[order], kind="stable")][:count]
  return chosen[np.argsort(labels[chosen], kind="stable")]


class ViewerMaker:
  """Collects the layers of the images that are shown.

  Args:
    network: The network whose layers are shown.
    sample: All images.
    shown: The places in the sample of the images that are shown.
    grid: The most rows, and columns, of a layer that can be picked.
    num_neighbors: The neighbors of each position.
    thumbnail_size: The largest side of the images in pixels.
  """

  def __init__(
    self,
    network: Network,
    sample: Sample,
    shown: np.ndarray,
    *,
    grid: int,
    num_neighbors: int,
    thumbnail_size: int,
  ):
    self._network = network
    self._sample = sample
    self._shown = shown
    self._grid = grid
    self._num_neighbors = num_neighbors
    self._thumbnail_size = min(thumbnail_size, network.image_size)
    self._activations = network.layers(sample.pictures(network, shown))
    self._layers: dict[str, ViewerLayer] = {}

  def add(self, layer: Layer, index: Index, plane: np.ndarray | None) -> None:
    """Colors a layer and finds the neighbors of a grid of its positions.

    Args:
      layer: The layer with the vectors that are searched.
      index: The index of these vectors.
      plane: The hue plane of the colors.
    """
    height, width, channels = layer.shape
    activations = np.asarray(self._activations[layer.tap], np.float32)
    activations = activations.reshape(len(self._shown), height, width, channels)
    rows, columns = _grid_lines(height, self._grid), _grid_lines(width, self._grid)
    queries = activations[:, rows][:, :, columns]
    found = index.search(
      queries.reshape(-1, channels),
      self._num_neighbors,
      query_groups=np.repeat(self._shown, len(rows) * len(columns)),
    )
    shape = (*queries.shape[:3], self._num_neighbors)
    ids = np.asarray(found.ids).reshape(shape)
    self._layers[layer.tap] = ViewerLayer(
      colors=np.round(255 * np.asarray(color_layer(activations, plane))).astype(
        np.uint8
      ),
      rows=rows,
      columns=columns,
      neighbor_image=layer.image[ids],  # of the sample, until `finish`
      neighbor_x=layer.x[ids],
      neighbor_y=layer.y[ids],
      neighbor_distance=np.asarray(found.distances).reshape(shape),
    )

  def finish(self) -> Viewer:
    """Makes the viewer: the images shown, then those with neighbors."""
    others = [layer.neighbor_image.ravel() for layer in self._layers.values()]
    others = np.setdiff1d(np.concatenate([np.zeros(0, int), *others]), self._shown)
    pictured = np.concatenate([self._shown, others])
    place = np.full(len(self._sample.indices), -1)
    place[pictured] = np.arange(len(pictured))
    return Viewer(
      images=self._sample.pictures(self._network, pictured, self._thumbnail_size),
      labels=self._sample.labels[pictured],
      ids=self._sample.indices[pictured],
      num_shown=len(self._shown),
      layers=_renumbered(self._layers, place),
    )


def _grid_lines(length: int, most: int) -> np.ndarray:
  """Returns at most so many of 0 … length − 1, evenly spread and in the middle."""
  count = min(length, most)
  return ((np.arange(count) + 0.5) * length / count).astype(int)


def _renumbered(layers: Mapping[str, ViewerLayer], place) -> dict[str, ViewerLayer]:
  return {
    tap: ViewerLayer(**{**vars(layer), "neighbor_image": place[layer.neighbor_image]})
    for tap, layer in layers.items()
  }
