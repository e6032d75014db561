"""Pictures that look alike, found and kept on one side of a split."""

from collections.abc import Mapping, Sequence

import numpy as np
from PIL import Image
from scipy.fft import dctn
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

# Bits of 64 in which pictures that look alike differ at most.
_MOST_BITS = 6
_ROWS_AT_ONCE = 1024


def perceptual_hash(picture: Image.Image) -> np.uint64:
  """Returns 64 bits that say how a picture looks from afar, in gray.

  They are the signs of the 8 × 8 lowest frequencies of the cosine transform of the
  picture at 32 × 32 pixels, about their median. Size, color and sharpness hardly change
  them.

  Args:
    picture: A picture without transparency.

  Returns:
    The hash.
  """
  gray = np.asarray(picture.convert("L").resize((32, 32)), np.float64)
  lowest = dctn(gray, norm="ortho")[:8, :8].ravel()
  bits = lowest > np.median(lowest[1:])  # the first is the brightness
  return np.packbits(bits).view(">u8")[0].astype(np.uint64)


def num_alike(code: np.uint64, others: Sequence[np.uint64] | np.ndarray) -> int:
  """Counts the pictures that look like one.

  Args:
    code: The hash of the one.
    others: The hashes of the pictures.

  Returns:
    Their number.
  """
  differing = np.bitwise_count(np.asarray(others, np.uint64) ^ code)
  return int(np.sum(differing <= _MOST_BITS))


def clusters(hashes: np.ndarray, *others: np.ndarray) -> np.ndarray:
  """Groups pictures of which each looks like another of its group.

  Args:
    hashes: The hashes by `perceptual_hash`, uint64 [num_pictures].
    *others: Those of the same pictures changed, such as mirrored: a picture that looks
      like another so changed is of its group too.

  Returns:
    The number of each picture's group, from 0, [num_pictures].
  """
  pairs = []
  for start in range(0, len(hashes), _ROWS_AT_ONCE):
    part = hashes[start : start + _ROWS_AT_ONCE]
    for known in (hashes, *others):
      alike = np.bitwise_count(part[:, None] ^ known) <= _MOST_BITS
      rows, columns = np.nonzero(alike)
      pairs.append((rows + start, columns))
  rows, columns = (np.concatenate(part) for part in zip(*pairs, strict=True))
  shape = (len(hashes), len(hashes))
  graph = coo_array((np.ones(len(rows), bool), (rows, columns)), shape=shape)
  return connected_components(graph, directed=False)[1]


def hold_out_clusters(
  labels: np.ndarray, groups: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray]:
  """Holds out a part of every class, in whole groups.

  Groups are gone through in a random order and held out while none of their classes
  has more than its share.

  Args:
    labels: The class of each example, [num_examples].
    groups: The group of each example, [num_examples].
    fraction: The part of each class to hold out.
    seed: The seed of the order.

  Returns:
    The indices that stay and the indices held out, both in ascending order.
  """
  num_groups, num_classes = groups.max() + 1, labels.max() + 1
  counts = np.zeros((num_groups, num_classes), np.int64)
  np.add.at(counts, (groups, labels), 1)
  quotas = np.round(fraction * counts.sum(axis=0)).astype(np.int64)
  # The raw stream of a bit generator is the same in every version of NumPy.
  order = np.argsort(np.random.Philox(key=seed).random_raw(num_groups), kind="stable")
  held_out = np.zeros(num_groups, bool)
  for group in order:
    if (counts[group] <= quotas).all():
      held_out[group] = True
      quotas -= counts[group]
  return np.flatnonzero(~held_out[groups]), np.flatnonzero(held_out[groups])


def split_clusters(
  labels: np.ndarray, groups: np.ndarray, fractions: Mapping[str, float], seed: int
) -> dict[str, np.ndarray]:
  """Cuts examples into train, validation and test by class, in whole groups.

  Args:
    labels: The class of each example, [num_examples].
    groups: The group of each example, [num_examples].
    fractions: The part of each class for 'test' and for 'validation'.
    seed: The seed of the order of the groups.

  Returns:
    Split → ascending indices, of each split that has examples; 'train' first.
  """
  train, splits = np.arange(len(labels)), {}
  rest = 1.0
  for split in ("test", "validation"):
    if not train.size or not fractions[split]:
      continue
    within = np.unique(groups[train], return_inverse=True)[1]
    stays, held_out = hold_out_clusters(
      labels[train], within, fractions[split] / rest, seed
    )
    train, splits[split] = train[stays], train[held_out]
    rest -= fractions[split]
  splits = {"train": train, **dict(reversed(splits.items()))}
  return {split: indices for split, indices in splits.items() if len(indices)}
