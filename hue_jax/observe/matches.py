"""The nearest neighbors of a layer's vectors in other images, and how they vote."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from hue_jax.hue import chroma_vector
from hue_jax.observe.neighbors import Index, recall
from hue_jax.observe.results import LayerFacts
from hue_jax.observe.vector_store import Layer

_VECTORS_AT_ONCE = 2**14
# By which the recall of an approximate index is measured: each takes all vectors.
_MOST_COMPARED = 256


@dataclasses.dataclass(frozen=True, eq=False)
class Matches:
  """The neighbors of the vectors of some images of a layer.

  Attributes:
    layer: The layer of the vectors.
    images: The places in the sample of the images that were searched for, [images].
    rows: The rows of the layer that are theirs, [images, positions].
    neighbors: The rows of the nearest vectors of other images, [images, positions,
      k].
  """

  layer: Layer
  images: Int[np.ndarray, " images"]
  rows: Int[np.ndarray, "images positions"]
  neighbors: Int[np.ndarray, "images positions k"]

  @property
  def is_pooled(self) -> bool:
    """Whether the layer has no image plane."""
    return self.layer.shape[:2] == (1, 1)

  def vectors(self) -> Float[np.ndarray, "vectors channels"]:
    """Returns the vectors that were searched for, float32, in memory."""
    return np.asarray(self.layer.vectors[self.rows.ravel()], np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Votes:
  """Whether the neighbors of each vector vote for the class of its image.

  The class of most neighbors wins, and among equals that of the nearest.

  Attributes:
    matches: The neighbors.
    correct: Whether the vote is right, [images, positions].
    shuffled: Whether the vote is right for each labeling that was shuffled over images,
      [shuffles, images, positions].
  """

  matches: Matches
  correct: Bool[np.ndarray, "images positions"]
  shuffled: Bool[np.ndarray, "shuffles images positions"]


def count_votes(
  matches: Matches,
  labels: Int[np.ndarray, " sample"],
  shuffles: Int[np.ndarray, "shuffles sample"],
) -> Votes:
  """Lets the neighbors vote.

  Args:
    matches: The neighbors.
    labels: The class of every image of the sample.
    shuffles: The labels, shuffled over images.

  Returns:
    The votes.
  """
  image = jnp.asarray(matches.layer.image)
  own, others = image[matches.rows], image[matches.neighbors]
  return Votes(
    matches,
    np.asarray(_correct(jnp.asarray(labels), own, others)),
    np.asarray(_correct_by_shuffle(jnp.asarray(shuffles), own, others)),
  )


def find_matches(
  layer: Layer, index: Index, images: Int[np.ndarray, " images"], k: int
) -> Matches:
  """Searches a layer for the neighbors of the vectors of some images.

  Args:
    layer: The layer with the vectors.
    index: The index of the vectors, whose groups are their images.
    images: The places in the sample of the images to search for.
    k: The neighbors of each vector; those of its own image do not count.

  Returns:
    The neighbors.

  Raises:
    InputError: If there are fewer than k vectors in other images.
  """
  per_image = len(layer.image) // (layer.image[-1] + 1)
  rows = images[:, None] * per_image + np.arange(per_image)
  found = index.search(
    np.asarray(layer.vectors[rows.ravel()], np.float32),
    k,
    query_groups=layer.image[rows.ravel()],
  )
  return Matches(layer, images, rows, np.asarray(found.ids).reshape(*rows.shape, k))


def measure_recall(matches: Matches, index: Index) -> float:
  """Measures the share of the nearest neighbors that an index finds.

  Args:
    matches: What was searched for: at most 256 of its vectors, evenly spread, are
      compared with all vectors.
    index: The index that was searched.

  Returns:
    The share, from 0 to 1; 1 of an exact index, for which nothing is searched.
  """
  if index.exact:
    return 1.0
  layer, rows = matches.layer, matches.rows.ravel()
  count = min(len(rows), _MOST_COMPARED)
  rows = rows[np.arange(count) * len(rows) // count]
  queries = np.asarray(layer.vectors[rows], np.float32)
  k, images = matches.neighbors.shape[-1], layer.image[rows]
  found, right = (
    index.search(queries, k, images, exact=exact) for exact in (False, True)
  )
  return recall(found, right)


def layer_facts(layer: Layer, num_queries: int, recall: float = 1.0) -> LayerFacts:
  """Counts what has no direction: dead channels, zero vectors, gray vectors.

  Args:
    layer: The layer with the vectors.
    num_queries: The number of vectors that were searched for neighbors.
    recall: The share of their nearest neighbors that was found.

  Returns:
    The counts, and the recall.
  """
  low, high, zero, gray = np.inf, -np.inf, 0, 0
  for start in range(0, len(layer.vectors), _VECTORS_AT_ONCE):
    block = np.asarray(layer.vectors[start : start + _VECTORS_AT_ONCE], np.float32)
    low, high = np.minimum(low, block.min(axis=0)), np.maximum(high, block.max(axis=0))
    zero += int(np.sum(~block.any(axis=1)))
    gray += int(np.sum(~np.asarray(_has_hue(block))))
  return LayerFacts(
    shape=layer.shape,
    num_vectors=len(layer.vectors),
    num_queries=num_queries,
    recall=recall,
    dead_channels=int(np.sum(low == high)),
    zero_vectors=zero,
    gray_vectors=gray,
  )


@jax.jit
def _has_hue(vectors):
  return chroma_vector(vectors, None)[1]


def vote(
  neighbor_labels: Int[Array | np.ndarray, "*batch k"],
) -> Int[Array, "*batch"]:
  """Finds the class of most neighbors; among equals, that of the nearest.

  Args:
    neighbor_labels: The classes of the neighbors, the nearest first.

  Returns:
    The class that is voted for.
  """
  neighbor_labels = jnp.asarray(neighbor_labels)
  same = neighbor_labels[..., :, None] == neighbor_labels[..., None, :]
  winner = jnp.argmax(same.sum(axis=-1), axis=-1)  # the first of equals
  return jnp.take_along_axis(neighbor_labels, winner[..., None], axis=-1)[..., 0]


@jax.jit
def _correct(labels, image, neighbor_image):
  return vote(labels[neighbor_image]) == labels[image]


@jax.jit
def _correct_by_shuffle(shuffles, image, neighbor_image):
  return jax.lax.map(lambda labels: _correct(labels, image, neighbor_image), shuffles)
