"""Activation vectors of images, written to disk in batches on all devices."""

import dataclasses
import os

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import UInt8

from hue_jax.data.datasets import Dataset
from hue_jax.data.input_pipeline import Share, eval_batches
from hue_jax.errors import check_integer, check_one_of, refuse
from hue_jax.observe.vector_store import (
  DTYPES,
  Identity,
  Store,
  create_store,
  open_store,
)
from hue_jax.progress import Progress
from hue_jax.train import peers
from hue_jax.train.networks import Network
from hue_jax.train.workdir import in_first_process

_BATCHES_BETWEEN_MARKS = 8


@dataclasses.dataclass(frozen=True)
class Sample:
  """The images that are observed.

  Attributes:
    dataset: The data set of the images.
    split: The split of the data set.
    indices: The places of the images in the split, [images].
    labels: The class of each image, [images].
  """

  dataset: Dataset
  split: str
  indices: np.ndarray
  labels: np.ndarray

  def batches(self, network: Network, batch_size: int, first: int = 0):
    """Reads the images from one on, in batches, as the network wants them."""
    return self._read(
      network,
      self.indices[first:],
      batch_size=batch_size,
      image_size=network.image_size,
      share=Share(jax.process_index(), jax.process_count()),
    )

  def pictures(
    self, network: Network, places: np.ndarray, image_size: int | None = None
  ) -> UInt8[np.ndarray, "images height width channels"]:
    """Reads a few of the images, as the network sees them.

    Args:
      network: The network that wants the images.
      places: The places of the images in the sample.
      image_size: A size other than the network's.

    Returns:
      The images in the order of `places`.
    """
    batches = self._read(
      network,
      self.indices[places],
      batch_size=len(places),
      image_size=image_size or network.image_size,
    )
    return next(batches)["image"]

  def _read(self, network, indices, **settings):
    return eval_batches(
      self.dataset,
      self.split,
      crop=network.crop,
      crop_ratio=network.crop_ratio,
      channels=network.channels,
      indices=indices,
      **settings,
    )


def capture(
  network: Network,
  sample: Sample,
  folder: str | os.PathLike[str],
  *,
  taps: tuple[str, ...] = (),
  positions_per_image: int = 0,
  dtype: str = "float16",
  batch_size: int = 64,
  seed: int = 0,
) -> Store:
  """Writes the activation vectors of some images, or goes on where it was stopped.

  Memory holds a batch, whatever the number of vectors. With several processes each
  computes its part of every batch on its own devices, and all write to the one folder,
  which they must share.

  Args:
    network: The network whose layers are captured.
    sample: The images.
    folder: The folder of the store.
    taps: The layers; all if none is given.
    positions_per_image: The positions that are sampled without replacement from each
      layer, by the seed; 0, or more than a layer has, takes all.
    dtype: The type of the vectors, "float16" or "float32".
    batch_size: The images of a batch, over all devices.
    seed: The seed of the positions.

  Returns:
    The store, complete.

  Raises:
    InputError: If the network lacks a tap, an argument is out of its range, the folder
      has a store of something else, or activations cannot be kept.
  """
  check_one_of("dtype", dtype, DTYPES)
  check_integer("positions_per_image", positions_per_image, at_least=0)
  check_integer("seed", seed, at_least=0, at_most=2**64 - 1)
  check_batch_size(batch_size)
  taps = network.check_taps(taps)
  dataset = sample.dataset
  identity = Identity(
    network=network.fingerprint,
    # With a digest of the contents: pictures of a folder change under their names.
    data=f"{dataset.builder.info.full_name} {sample.split} {dataset.identity()}",
    seed=seed,
    positions_per_image=positions_per_image,
    dtype=dtype,
    taps={tap: list(_as_layer(network.tap_shapes[tap])) for tap in taps},
  )
  in_first_process(
    lambda: create_store(folder, identity, sample.indices, sample.labels)
  )
  store = open_store(folder)
  # A folder that is not shared may have a store of its own.
  peers.check_same({f"the images captured in {folder}": str(store.num_done)})
  if store.num_done < store.num_images:
    _fill(store, network, sample, batch_size)
  return store


def check_batch_size(batch_size: int) -> None:
  """Raises an InputError unless the devices can share batches of this size."""
  check_integer("batch_size", batch_size, at_least=1)
  if batch_size % jax.device_count():
    devices = f"{jax.device_count()}, the number of devices"
    refuse("batch_size", batch_size, f"a multiple of {devices}")


def _as_layer(shape: tuple[int, ...]) -> tuple[int, int, int]:
  """Returns a layer's shape; a pooled layer is one of a single position."""
  return shape if len(shape) == 3 else (1, 1, *shape)


def _fill(store: Store, network: Network, sample: Sample, batch_size: int):
  devices = Mesh(jax.local_devices(), ("batch",))
  split_batch = NamedSharding(devices, PartitionSpec("batch"))
  variables = jax.device_put(
    dict(network.variables), NamedSharding(devices, PartitionSpec())
  )
  vectors_of = _gather_vectors(network, store.taps)
  all_positions = {tap: store.positions(tap) for tap in store.taps}
  with Progress(
    store.num_images,
    initial=store.num_done,
    title=f"capturing {network.name}",
    unit="images",
    silent=jax.process_index() > 0,
  ) as progress:
    first = store.num_done
    batches = sample.batches(network, batch_size, first)
    for number, batch in enumerate(batches, start=1):
      count = min(batch_size, store.num_images - first)
      mine = slice(*_local_rows(batch_size, count))
      images = jax.device_put(batch["image"], split_batch)
      rows = slice(first + mine.start, first + mine.stop)
      positions = _padded(all_positions, rows, len(images))
      found = vectors_of(variables, images, jax.device_put(positions, split_batch))
      for tap in store.taps:
        kept = np.asarray(found[tap])[: mine.stop - mine.start]
        if len(kept):
          store.write(tap, first + mine.start, kept)
      first += count
      progress.update(count)
      if number % _BATCHES_BETWEEN_MARKS == 0 or first == store.num_images:
        _mark(store, first)


def _gather_vectors(network: Network, taps):
  """Returns a function that computes the vectors of a batch at some positions.

  It maps variables, images and the positions of each tap to the vectors of each tap,
  [batch, positions, channels].
  """

  @jax.jit
  def vectors_of(variables, images, positions):
    _, layers = network.apply(variables, images)
    found = {}
    for tap in taps:
      layer = layers[tap]
      layer = layer.reshape(len(layer), -1, layer.shape[-1])
      rows = jnp.take_along_axis(layer, positions[tap][..., None], axis=1)
      found[tap] = rows.astype(jnp.float32)
    return found

  return vectors_of


def _local_rows(batch_size: int, count: int) -> tuple[int, int]:
  """Returns the rows of a batch that are this process's, of the `count` that it has."""
  local = batch_size // jax.process_count()
  start = min(jax.process_index() * local, count)
  return start, min(start + local, count)


def _padded(positions, rows: slice, length: int):
  """Returns positions of some images at each tap, and zeros after them."""
  padded = {}
  for tap, of_tap in positions.items():
    padded[tap] = np.zeros((length, of_tap.shape[1]), np.int32)
    padded[tap][: rows.stop - rows.start] = of_tap[rows]
  return padded


def _mark(store: Store, num_done: int):
  """Counts images in the manifest once every process's writes have reached the disk."""
  store.flush()
  _wait_for_all("vectors are written")
  in_first_process(lambda: store.advance(num_done))
  store.num_done = num_done


def _wait_for_all(name: str):
  if jax.process_count() > 1:
    multihost_utils.sync_global_devices(name)
