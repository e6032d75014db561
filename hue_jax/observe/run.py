"""One run: capture both networks, search, observe four times, report."""

import contextlib
import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from hue_jax.data.datasets import open_dataset
from hue_jax.data.sample import class_balanced_sample
from hue_jax.errors import InputError, refuse
from hue_jax.files import local_path
from hue_jax.observe.capture import Sample, capture, check_batch_size
from hue_jax.observe.control import untrained
from hue_jax.observe.matches import (
  Votes,
  count_votes,
  find_matches,
  layer_facts,
  measure_recall,
)
from hue_jax.observe.neighbors import check_engine, create_index
from hue_jax.observe.observation_report import write_report
from hue_jax.observe.observations import (
  by_layer,
  by_position,
  matches_in_plane,
  matches_in_space,
)
from hue_jax.observe.observations.hues import layer_plane
from hue_jax.observe.resampling import Resamples, resample
from hue_jax.observe.results import LayerFacts, Observation, Results
from hue_jax.observe.settings import Settings
from hue_jax.observe.vector_store import Store
from hue_jax.observe.viewer import ViewerMaker, choose_images
from hue_jax.pages import provenance
from hue_jax.settings import create
from hue_jax.train import given, peers
from hue_jax.train.networks import Network, load_network
from hue_jax.train.workdir import in_first_process


def observe(config: Any, workdir: str) -> dict[str, Any]:
  """Makes the report of a configuration; an interrupted capture goes on.

  Several processes that are joined, each of which calls it, share capture and search;
  the first one writes the report.

  Args:
    config: The settings, a mapping or a `ConfigDict`, as in `defaults.py`.
    workdir: The folder of activations and report.

  Returns:
    The place of the report, and the layers at which each observation holds.

  Raises:
    InputError: If a setting cannot be used, or processes were given different ones.
      Nothing has been captured then.
    Lost: If another process does not come.
  """
  start = time.perf_counter()
  settings = create(Settings, config)
  folder = local_path("workdir", workdir)
  check_batch_size(settings.batch_size)
  check_engine(settings.engine, settings.structure)
  peers.check_same(given.facts(dataclasses.asdict(settings), {}))
  network = _network(settings)
  sample = _sample(settings)
  _check_sample(settings, network, sample)
  peers.check_same(_identities(network, sample))
  in_first_process(lambda: folder.mkdir(parents=True, exist_ok=True))

  captured = _capture(settings, network, sample, folder / "activations")
  num_images = len(sample.labels)
  images = _spread(num_images, settings.num_query_images or num_images)
  resamples = resample(
    sample.labels,
    len(images),
    num_bootstrap=settings.num_bootstrap,
    num_shuffles=settings.num_permutations,
    seed=settings.seed,
  )
  maker = _viewer_maker(settings, network, sample)
  votes, facts = _search(settings, captured, images, resamples, maker)
  with _stage("observations"):
    observations = _observations(votes, resamples, settings.planes)
  with _stage("report"):
    results = Results(
      network=network.name,
      data=f"{sample.dataset.name}, {settings.split}",
      class_names=sample.dataset.class_names,
      num_images=num_images,
      settings=json.loads(json.dumps(dataclasses.asdict(settings))),
      provenance=_provenance(start),
      layers=facts,
      observations=observations,
    )
    in_first_process(lambda: write_report(results, maker.finish(), folder))
  return _summary(results, folder) | {"seconds": round(time.perf_counter() - start, 1)}


def _summary(results: Results, folder: Path) -> dict[str, Any]:
  """Returns the result that the command prints."""
  return {
    "report": str(folder / "report.html"),
    "network": results.network,
    "data": results.data,
    "images": results.num_images,
    **{
      observation.name: [tap for tap, holds in observation.holds.items() if holds]
      for observation in results.observations
    },
  }


# --- Networks and images --------------------------------------------------------


def _network(settings: Settings) -> Network:
  with _stage(f"network {settings.network}"):
    network = load_network(
      settings.network,
      model=settings.network_model,
      options=settings.network_options,
    )
  network.check_taps(settings.taps)
  return dataclasses.replace(network, crop=settings.crop or network.crop)


def _sample(settings: Settings) -> Sample:
  dataset = open_dataset(settings.dataset, settings.data_dir)
  with _stage(f"sample of {dataset.name}, {settings.split}"):
    indices, labels = class_balanced_sample(
      dataset, settings.split, per_class=settings.images_per_class, seed=settings.seed
    )
  return Sample(dataset, settings.split, indices, labels)


def _identities(network: Network, sample: Sample) -> dict[str, str]:
  """Returns what must be the same in every process, whatever it is named there."""
  return {
    f"network {network.name!r}": network.fingerprint,
    f"data set {sample.dataset.name!r}": sample.dataset.identity(),
  }


def _check_sample(settings: Settings, network: Network, sample: Sample) -> None:
  """Raises an InputError where classes or neighbors are too few."""
  classes = np.unique(sample.labels)
  if len(classes) < 2:
    raise InputError(
      f"split is {sample.split!r}, of which {sample.dataset.name} has examples of "
      f"{len(classes)} class; it must have some of at least 2, to tell them apart."
    )
  per_image = {}
  for tap in network.check_taps(settings.taps):
    *plane, _ = network.tap_shapes[tap]
    positions = int(np.prod(plane))
    per_image[tap] = min(settings.positions_per_image or positions, positions)
  tap = min(per_image, key=per_image.get)
  most = (len(sample.labels) - 1) * per_image[tap]
  for name, count in (
    ("num_neighbors", settings.num_neighbors),
    ("viewer.num_neighbors", settings.viewer.num_neighbors),
  ):
    if count > most:
      wanted = f"at most {most}, the vectors of other images at tap {tap}"
      refuse(name, count, wanted)


def _capture(
  settings: Settings, network: Network, sample: Sample, folder: Path
) -> dict[str, Store]:
  """Captures activations of the network, "trained", and its control, "untrained"."""
  some = sample.pictures(network, _spread(len(sample.labels), 64))
  networks = {
    "trained": network,
    "untrained": untrained(network, some, settings.seed),
  }
  return {
    name: capture(
      of,
      sample,
      folder / name,
      taps=settings.taps,
      positions_per_image=settings.positions_per_image,
      dtype=settings.dtype,
      batch_size=settings.batch_size,
      seed=settings.seed,
    )
    for name, of in networks.items()
  }


def _viewer_maker(settings: Settings, network: Network, sample: Sample) -> ViewerMaker:
  viewer = settings.viewer
  return ViewerMaker(
    network,
    sample,
    choose_images(sample.labels, viewer.num_images, settings.seed),
    grid=viewer.grid,
    num_neighbors=viewer.num_neighbors,
    thumbnail_size=viewer.thumbnail_size,
  )


def _spread(length: int, count: int) -> np.ndarray:
  """Returns at most so many of 0 … length − 1, evenly spread."""
  count = min(length, count)
  return np.arange(count) * length // count


# --- Neighbors and observations -------------------------------------------------


def _search(
  settings: Settings,
  captured: Mapping[str, Store],
  images: np.ndarray,
  resamples: Resamples,
  maker: ViewerMaker,
) -> tuple[dict[str, dict[str, Votes]], dict[str, dict[str, LayerFacts]]]:
  """Finds network → tap → votes and facts; the viewer is filled on the way."""
  votes, facts = {}, {}
  for name, store in captured.items():
    votes[name], facts[name] = {}, {}
    for tap in store.taps:
      with _stage(f"neighbors at {tap}, {name}"):
        layer = store.layer(tap)
        index = create_index(
          layer.vectors,
          groups=layer.image,
          metric=settings.metric,
          engine=settings.engine,
          structure=settings.structure,
          options=settings.structure_options,
        )
        matches = find_matches(layer, index, images, settings.num_neighbors)
        votes[name][tap] = count_votes(matches, resamples.labels, resamples.shuffles)
        found = measure_recall(matches, index)
        facts[name][tap] = layer_facts(layer, matches.rows.size, found)
        if name == "trained":
          plane = layer_plane(settings.planes[0], layer.vectors)
          maker.add(layer, index, plane)
  return votes, facts


def _observations(votes, resamples, planes) -> tuple[Observation, ...]:
  trained, control = votes["trained"], votes["untrained"]
  matches, control_matches = (
    {tap: of_tap.matches for tap, of_tap in network.items()}
    for network in (trained, control)
  )
  return (
    by_layer.observe(trained, control, resamples),
    by_position.observe(trained, control, resamples),
    matches_in_plane.observe(matches, control_matches, resamples),
    matches_in_space.observe(matches, control_matches, resamples, planes=planes),
  )


# --- What the report says of the run --------------------------------------------


def _provenance(start: float) -> dict[str, str]:
  return {
    "command": shlex.join(["python", "-m", "hue_jax.observe", *sys.argv[1:]]),
    "date": provenance.today(),
    "hardware": provenance.hardware(),
    "versions": provenance.versions("jax", "flax", "numpy", "faiss-cpu"),
    "seconds": f"{time.perf_counter() - start:.0f}",
  }


@contextlib.contextmanager
def _stage(name: str) -> Iterator[None]:
  """Tells what is done, and when it is done how long it took: in the first process."""
  tells, start = jax.process_index() == 0, time.perf_counter()
  if tells:
    print(f"{name} …", end="", file=sys.stderr, flush=True)
  try:
    yield
  finally:
    if tells:
      print(f" {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
