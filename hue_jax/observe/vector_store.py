"""Activation vectors on disk: one file a layer, and a manifest that says what they are.

    FOLDER/manifest.json      what was captured, and how far
    FOLDER/images.npy         index of each image in its split, [images]
    FOLDER/labels.npy         class of each image, [images]
    FOLDER/TAP/positions.npy  row · width + column of each vector, [images, positions]
    FOLDER/TAP/vectors.npy    float16 or float32 [images · positions, channels]

The vectors of image i are rows i · positions up to (i + 1) · positions. Files have
their final size from the beginning, and the manifest counts the images that are
complete; so memory holds a batch, and an interrupted capture goes on.
"""

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from hue_jax.errors import InputError
from hue_jax.files import write_text
from hue_jax.observe.array_files import (
  allocate,
  check_size,
  read_array,
  sync,
  write_rows,
)
from hue_jax.philox import uniforms

DTYPES = ("float16", "float32")

_VERSION = 1
_UNIFORMS_AT_ONCE = 2**22


@dataclasses.dataclass(frozen=True)
class Layer:
  """The vectors of one layer.

  Attributes:
    tap: The name of the layer.
    shape: The shape (height, width, channels); height and width are 1 if it is pooled.
    vectors: The vectors, [vectors, channels], on disk.
    image: The place in the sample of each vector's image, [vectors].
    label: The class of that image, [vectors].
    x: The column of each vector's position, [vectors].
    y: The row of that position, [vectors].
  """

  tap: str
  shape: tuple[int, int, int]
  vectors: np.ndarray
  image: np.ndarray
  label: np.ndarray
  x: np.ndarray
  y: np.ndarray


@dataclasses.dataclass(frozen=True)
class Identity:
  """What makes a store this one and no other: a capture of another is refused.

  Attributes:
    network: The fingerprint of weights and of how images are made.
    data: The name and version of the data set, and the split.
    seed: The seed of the positions.
    positions_per_image: The positions that are sampled of each layer; 0 for all.
    dtype: The type of the vectors.
    taps: Tap → [height, width, channels].
  """

  network: str
  data: str
  seed: int
  positions_per_image: int
  dtype: str
  taps: dict[str, list[int]]


@dataclasses.dataclass
class Store:
  """The folder of a capture; `open_store` and `create_store` give it.

  Attributes:
    folder: The folder.
    identity: What was captured.
    images: The index in the split of each image, [images].
    labels: The class of each image, [images].
    num_done: The number of images that are complete.
  """

  folder: Path
  identity: Identity
  images: np.ndarray
  labels: np.ndarray
  num_done: int

  @property
  def num_images(self) -> int:
    """The number of images of the capture, complete or not."""
    return len(self.images)

  @property
  def taps(self) -> tuple[str, ...]:
    """The layers that are kept."""
    return tuple(self.identity.taps)

  def layer(self, tap: str) -> Layer:
    """Opens the vectors of a layer, memory-mapped.

    Args:
      tap: The name of the layer, one of `taps`.

    Returns:
      The layer.

    Raises:
      InputError: If the layer is not kept, or the capture is not complete.
    """
    if tap not in self.taps:
      raise InputError(
        f"tap {tap!r} is not in store {self.folder}, which has {', '.join(self.taps)}."
      )
    if self.num_done < self.num_images:
      raise InputError(
        f"store {self.folder} holds {self.num_done} of {self.num_images} images; the "
        "capture was interrupted and goes on when it is started again."
      )
    positions = self.positions(tap)
    height, width, channels = self.identity.taps[tap]
    return Layer(
      tap=tap,
      shape=(height, width, channels),
      vectors=np.load(self.vectors_path(tap), mmap_mode="r"),
      image=np.repeat(np.arange(self.num_images), positions.shape[1]),
      label=np.repeat(self.labels, positions.shape[1]),
      x=positions.ravel() % width,
      y=positions.ravel() // width,
    )

  def positions(self, tap: str) -> np.ndarray:
    """Returns row · width + column of each vector, int32 [images, positions]."""
    return np.load(self.positions_path(tap), mmap_mode="r")

  def write(self, tap: str, first_image: int, vectors: np.ndarray) -> None:
    """Writes the vectors of some images; `advance` makes them count.

    Args:
      tap: The layer.
      first_image: The place in the sample of the first image.
      vectors: The vectors, finite float32 [images, positions, channels].

    Raises:
      InputError: If the store's type cannot hold the vectors.
    """
    with np.errstate(over="ignore"):
      rows = vectors.astype(self.identity.dtype)
    _check_finite(tap, vectors, rows)
    rows = rows.reshape(-1, rows.shape[-1])
    first = first_image * self.positions_per_image(tap)
    write_rows(self.vectors_path(tap), first, rows)

  def flush(self) -> None:
    """Waits until what this process has written is on the disk."""
    for tap in self.taps:
      sync(self.vectors_path(tap))

  def advance(self, num_done: int) -> None:
    """Counts the images up to here as complete; they must be flushed."""
    self.num_done = num_done
    manifest = {
      "version": _VERSION,
      "identity": dataclasses.asdict(self.identity),
      "num_images": self.num_images,
      "num_done": num_done,
    }
    write_text(self.folder / "manifest.json", json.dumps(manifest, indent=2))

  def positions_per_image(self, tap: str) -> int:
    """Returns how many vectors of a layer each image has."""
    height, width, _ = self.identity.taps[tap]
    return min(self.identity.positions_per_image or height * width, height * width)

  def vectors_shape(self, tap: str) -> tuple[int, int]:
    """Returns [vectors, channels] of a layer."""
    channels = self.identity.taps[tap][2]
    return (self.num_images * self.positions_per_image(tap), channels)

  def vectors_path(self, tap: str) -> Path:
    """Returns the path of a layer's vectors."""
    return self.folder / tap / "vectors.npy"

  def positions_path(self, tap: str) -> Path:
    """Returns the path of the positions of a layer's vectors."""
    return self.folder / tap / "positions.npy"


def open_store(folder: str | os.PathLike[str]) -> Store:
  """Opens a store and checks that its files are whole.

  Args:
    folder: The folder of a capture.

  Returns:
    The store.

  Raises:
    InputError: If there is no store, or it was cut short or damaged.
  """
  folder = Path(folder)
  manifest = _read_manifest(folder)
  num_images = manifest["num_images"]
  store = Store(
    folder,
    Identity(**manifest["identity"]),
    images=read_array(folder / "images.npy", (num_images,)),
    labels=read_array(folder / "labels.npy", (num_images,)),
    num_done=manifest["num_done"],
  )
  for tap in store.taps:
    shape = (num_images, store.positions_per_image(tap))
    read_array(store.positions_path(tap), shape, mmap_mode="r")
    check_size(store.vectors_path(tap), store.vectors_shape(tap), store.identity.dtype)
  return store


def create_store(
  folder: str | os.PathLike[str],
  identity: Identity,
  images: np.ndarray,
  labels: np.ndarray,
) -> Store:
  """Makes an empty store, or opens the one that is there, if it is the same.

  Args:
    folder: The folder of the store.
    identity: What is captured.
    images: The index in the split of each image, [images].
    labels: The class of each image, [images].

  Returns:
    The store.

  Raises:
    InputError: If there are no vectors to keep, or the folder holds a store of
      something else.
  """
  folder = Path(folder)
  if not len(images) or not identity.taps:
    raise InputError(
      f"a store of {len(images)} images and {len(identity.taps)} layers has no "
      "vectors; at least one of each is needed."
    )
  if (folder / "manifest.json").exists():
    store = open_store(folder)
    _check_same(store, identity, images, labels)
    return store
  images, labels = np.asarray(images, np.int64), np.asarray(labels, np.int64)
  store = Store(folder, identity, images, labels, num_done=0)
  folder.mkdir(parents=True, exist_ok=True)
  np.save(folder / "images.npy", images)
  np.save(folder / "labels.npy", labels)
  for tap, (height, width, _) in identity.taps.items():
    (folder / tap).mkdir(exist_ok=True)
    count = store.positions_per_image(tap)
    positions = sample_positions(identity.seed, images, height, width, count)
    np.save(store.positions_path(tap), positions)
    allocate(store.vectors_path(tap), store.vectors_shape(tap), identity.dtype)
  # Last: a folder without a manifest is not yet a store, and is made again.
  store.advance(0)
  return store


def sample_positions(
  seed: int, images: np.ndarray, height: int, width: int, count: int
) -> np.ndarray:
  """Draws positions of each image, without replacement, by seed and image alone.

  Args:
    seed: The seed of the draw.
    images: The index in the split of each image, [images].
    height: The rows of the layer.
    width: The columns of the layer.
    count: The positions of an image, at most height · width.

  Returns:
    The positions row · width + column, rising, int32 [images, count].
  """
  num_positions = height * width
  if count == num_positions:
    return np.tile(np.arange(num_positions, dtype=np.int32), (len(images), 1))
  sampled = np.empty((len(images), count), np.int32)
  block = max(_UNIFORMS_AT_ONCE // num_positions, 1)
  for start in range(0, len(images), block):
    rows = slice(start, start + block)
    draws = uniforms(seed, images[rows], num_positions)
    sampled[rows] = np.argsort(draws, axis=1, kind="stable")[:, :count]
  return np.sort(sampled, axis=1)


def _read_manifest(folder: Path) -> dict[str, Any]:
  path = folder / "manifest.json"
  try:
    manifest = json.loads(path.read_text())
  except (OSError, ValueError) as error:
    raise InputError(f"{folder} holds no store that can be read ({error}).") from error
  if not _is_manifest(manifest):
    raise InputError(
      f"{path} is not the manifest of a store of version {_VERSION}; remove the store "
      "to make it anew."
    )
  return manifest


def _is_manifest(found: Any) -> bool:
  """Tells whether a manifest has all that `advance` writes."""
  if not isinstance(found, dict) or found.get("version") != _VERSION:
    return False
  identity = found.get("identity")
  fields = {field.name for field in dataclasses.fields(Identity)}
  if not isinstance(identity, dict) or set(identity) != fields:
    return False
  numbers = [found.get("num_images"), found.get("num_done")]
  numbers.append(identity["positions_per_image"])
  if not isinstance(identity["taps"], dict) or identity["dtype"] not in DTYPES:
    return False
  for shape in identity["taps"].values():
    numbers += shape if isinstance(shape, list) and len(shape) == 3 else [None]
  return all(isinstance(number, int) for number in numbers)


def _check_finite(tap, vectors, rows):
  if np.isfinite(rows).all():
    return
  if np.isfinite(vectors).all():
    raise InputError(
      f"layer {tap} has activations up to {np.abs(vectors).max():.3g}, more than "
      f"{rows.dtype} holds ({np.finfo(rows.dtype).max:.3g}); set dtype to float32."
    )
  raise InputError(
    f"layer {tap} has activations that are not finite; the network's weights may be "
    "damaged."
  )


def _check_same(store: Store, identity: Identity, images, labels):
  for field in dataclasses.fields(Identity):
    ours, theirs = getattr(identity, field.name), getattr(store.identity, field.name)
    if ours != theirs:
      raise InputError(
        f"store {store.folder} is of another capture: its {field.name} is {theirs!r}, "
        f"not {ours!r}. Choose another workdir, or remove the store."
      )
  same_images = np.array_equal(store.images, images)
  if not same_images or not np.array_equal(store.labels, labels):
    raise InputError(
      f"store {store.folder} is of {store.num_images} other images than the "
      f"{len(images)} asked for. Choose another workdir, or remove the store."
    )
