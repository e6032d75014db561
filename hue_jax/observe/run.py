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

import numpy as np
from ml_collections import ConfigDict

from hue_jax.data.datasets import open_dataset
from hue_jax.data.sample import class_balanced_sample
from hue_jax.errors import InputError, check_integer, check_one_of
from hue_jax.observe.capture import DTYPES, Sample, capture
from hue_jax.observe.control import untrained
from hue_jax.observe.matches import Votes, count_votes, find_matches, layer_facts
from hue_jax.observe.neighbors import ENGINES, METRICS, create_index
from hue_jax.observe.observations import (
  by_layer,
  by_position,
  matches_in_plane,
  matches_in_space,
)
from hue_jax.observe.report import write_report
from hue_jax.observe.resampling import Resamples, resample
from hue_jax.observe.results import LayerFacts, Observation, Results
from hue_jax.observe.store import Store
from hue_jax.observe.viewer import ViewerMaker, choose_images
from hue_jax.pages import provenance
from hue_jax.preprocessing import CROPS
from hue_jax.train.networks import Network, load_network


def observe(config: ConfigDict, workdir: str) -> dict[str, Any]:
  """Makes the report of a configuration; an interrupted capture goes on.

  Args:
    config: of the fields of `configs/observe_base.py`.
    workdir: for activations and report.

  Returns:
    Where the report is, and at which layers each observation holds.

  Raises:
    InputError: a setting that cannot be used.
  """
  start = time.perf_counter()
  check_config(config)
  network = _network(config)
  network.check_taps(config.taps)
  sample = _sample(config)
  _check_sample(config, sample)
  folder = Path(workdir).expanduser()
  folder.mkdir(parents=True, exist_ok=True)

  control = untrained(
    network, sample.pictures(network, _spread(len(sample.labels), 64)), config.seed
  )
  captured = {
    name: _capture(config, of, sample, folder / "activations" / name)
    for name, of in (("trained", network), ("untrained", control))
  }
  num_images = len(sample.labels)
  images = _spread(num_images, config.num_query_images or num_images)
  resamples = resample(
    sample.labels,
    len(images),
    num_bootstrap=config.num_bootstrap,
    num_shuffles=config.num_permutations,
    seed=config.seed,
  )
  maker = ViewerMaker(
    network,
    sample,
    choose_images(sample.labels, config.viewer.num_images, config.seed),
    grid=config.viewer.grid,
    num_neighbors=config.viewer.num_neighbors,
    thumbnail_size=config.viewer.thumbnail_size,
  )
  votes, facts = _search(config, captured, images, resamples, maker)
  with _stage("observations"):
    observations = _observations(votes, resamples, config.planes)
  with _stage("report"):
    results = Results(
      network=network.name,
      data=f"{sample.dataset.name}, {config.split}",
      class_names=sample.dataset.class_names,
      num_images=num_images,
      settings=json.loads(config.to_json()),
      provenance=_provenance(start),
      layers=facts,
      observations=observations,
    )
    write_report(results, maker.finish(), folder)
  return {
    "report": str(folder / "report.html"),
    "network": network.name,
    "data": results.data,
    "images": num_images,
    **{
      observation.name: [tap for tap, holds in observation.holds.items() if holds]
      for observation in observations
    },
    "seconds": round(time.perf_counter() - start, 1),
  }


def check_config(config: ConfigDict) -> None:
  """Raises an InputError that names the first setting that cannot be used."""
  for name in ("images_per_class", "num_neighbors", "batch_size"):
    check_integer(name, config[name], at_least=1)
  for name in ("positions_per_image", "num_query_images", "seed"):
    check_integer(name, config[name], at_least=0)
  for name in ("num_bootstrap", "num_permutations"):
    check_integer(name, config[name], at_least=100)
  for name in ("num_images", "grid", "num_neighbors", "thumbnail_size"):
    check_integer(f"viewer.{name}", config.viewer[name], at_least=1)
  check_one_of("dtype", config.dtype, DTYPES)
  check_one_of("metric", config.metric, METRICS)
  check_one_of("engine", config.engine, ENGINES)
  if config.crop:
    check_one_of("crop", config.crop, CROPS)
  if not config.planes:
    raise InputError("planes is empty; it must name fourier, principal or both.")
  for plane in config.planes:
    check_one_of("planes", plane, matches_in_space.PLANES)


# --- Networks and images --------------------------------------------------------


def _network(config) -> Network:
  with _stage(f"network {config.network}"):
    network = load_network(
      config.network,
      model=config.network_model,
      options=config.network_options.to_dict(),
    )
  return dataclasses.replace(network, crop=config.crop or network.crop)


def _sample(config) -> Sample:
  dataset = open_dataset(config.dataset, config.data_dir)
  with _stage(f"sample of {dataset.name}, {config.split}"):
    indices, labels = class_balanced_sample(
      dataset, config.split, per_class=config.images_per_class, seed=config.seed
    )
  return Sample(dataset, config.split, indices, labels)


def _check_sample(config, sample):
  classes = np.unique(sample.labels)
  if len(classes) < 2:
    raise InputError(
      f"{sample.dataset.name} split {config.split!r} has examples of {len(classes)} "
      "class; at least 2 are needed to tell classes apart."
    )


def _capture(config, network, sample, folder) -> Store:
  return capture(
    network,
    sample,
    folder,
    taps=tuple(config.taps),
    positions_per_image=config.positions_per_image,
    dtype=config.dtype,
    batch_size=config.batch_size,
    seed=config.seed,
  )


def _spread(length: int, count: int) -> np.ndarray:
  """At most so many of 0 … length − 1, evenly spread."""
  count = min(length, count)
  return np.arange(count) * length // count


# --- Neighbors and observations -------------------------------------------------


def _search(
  config,
  captured: Mapping[str, Store],
  images: np.ndarray,
  resamples: Resamples,
  maker: ViewerMaker,
) -> tuple[dict[str, dict[str, Votes]], dict[str, dict[str, LayerFacts]]]:
  """Network → tap → votes and facts; the viewer is filled on the way."""
  votes, facts = {}, {}
  for name, store in captured.items():
    votes[name], facts[name] = {}, {}
    for tap in store.taps:
      with _stage(f"neighbors at {tap}, {name}"):
        layer = store.layer(tap)
        index = create_index(
          layer.vectors,
          groups=layer.image,
          metric=config.metric,
          engine=config.engine,
        )
        matches = find_matches(layer, index, images, config.num_neighbors)
        votes[name][tap] = count_votes(matches, resamples.labels, resamples.shuffles)
        facts[name][tap] = layer_facts(layer, matches.rows.size)
        if name == "trained":
          plane = matches_in_space.layer_plane(config.planes[0], layer.vectors)
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
  """Tells what is done, and when it is done how long it took."""
  start = time.perf_counter()
  print(f"{name} …", end="", file=sys.stderr, flush=True)
  try:
    yield
  finally:
    print(f" {time.perf_counter() - start:.1f} s", file=sys.stderr, flush=True)
