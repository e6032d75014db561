"""The index against brute force in float64, ties, groups, devices and both engines."""

import contextlib
import os
import pathlib
import socket
import subprocess
import sys
import textwrap
import time
import tracemalloc
from unittest import mock

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hue_jax.errors import InputError
from hue_jax.observe.matches import find_matches, measure_recall
from hue_jax.observe.neighbors import (
  check_engine,
  create_index,
  jax_engine,
  recall,
  space,
)
from hue_jax.observe.vector_store import Layer

ENGINES = ("faiss", "jax")
METRICS = ("cosine", "euclidean")
# Of each approximate structure, options with which it misses many.
_COARSE = {
  "ivf": {"num_lists": 50, "lists_probed": 1},
  "hnsw": {"links": 2, "ef_construction": 4, "ef_search": 1},
}
each_engine = pytest.mark.parametrize("engine", ENGINES)
each_metric = pytest.mark.parametrize("metric", METRICS)


def brute_force(vectors, queries, k, metric, groups=None, query_groups=None):
  """By definition, in float64, distances rounded to float32, ties to the lower row."""
  vectors, queries = np.asarray(vectors, np.float64), np.asarray(queries, np.float64)
  distances = np.empty((len(queries), len(vectors)))
  for i, query in enumerate(queries):
    if metric == "euclidean":
      distances[i] = np.sqrt(((vectors - query) ** 2).sum(axis=1))
    else:
      lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
      products = (vectors * query).sum(axis=1)
      cosines = np.where(lengths > 0, products / np.where(lengths > 0, lengths, 1), 0)
      distances[i] = np.round(1 - np.clip(cosines, -1, 1), 12)
    if query_groups is not None:
      distances[i, groups == query_groups[i]] = np.inf
  rows = np.broadcast_to(np.arange(len(vectors)), distances.shape)
  order = np.lexsort((rows, distances.astype(np.float32)), axis=-1)[:, :k]
  return order, np.take_along_axis(distances, order, axis=1)


def assert_same(found, expected, tolerance=1e-6):
  """Equal distances; equal rows but where distances are within rounding."""
  ids, distances = expected
  np.testing.assert_allclose(found.distances, distances, rtol=tolerance, atol=tolerance)
  differing = found.ids != ids
  gaps = np.abs(np.diff(distances, axis=1))
  near = np.zeros(ids.shape, bool)
  near[:, 1:] |= gaps < tolerance
  near[:, :-1] |= gaps < tolerance
  assert not (differing & ~near)[:, :-1].any()


def some_devices(count):
  """As if JAX had so many."""
  return mock.patch.object(jax, "devices", return_value=jax.devices()[:count])


def clustered(num_vectors, channels, seed=0, num_clusters=20):
  rng = np.random.default_rng(seed)
  centers = 3 * rng.normal(size=(num_clusters, channels))
  vectors = centers[rng.integers(num_clusters, size=num_vectors)]
  return (vectors + rng.normal(size=vectors.shape)).astype(np.float32)


@each_engine
@each_metric
def test_brute_force(engine, metric):
  vectors, queries = clustered(1500, 24), clustered(70, 24, seed=1)
  index = create_index(vectors, metric=metric, engine=engine)
  found = index.search(queries, 9)
  assert_same(found, brute_force(vectors, queries, 9, metric))
  assert (found.ids.dtype, found.distances.dtype) == (np.int64, np.float32)
  assert (np.diff(found.distances, axis=1) >= 0).all()


@each_engine
@each_metric
def test_ones_own_group_is_left_out_however_near_it_is(engine, metric):
  # 120 vectors of one image, all nearer to each other than to any other image.
  rng = np.random.default_rng(0)
  groups = np.repeat(np.arange(6), 120)
  vectors = (5 * rng.normal(size=(6, 16)))[groups] + 0.1 * rng.normal(size=(720, 16))
  vectors = vectors.astype(np.float32)
  index = create_index(vectors, groups=groups, metric=metric, engine=engine)
  rows = np.arange(0, 720, 7)
  found = index.search(vectors[rows], 5, groups[rows])
  assert (groups[found.ids] != groups[rows, None]).all()
  assert_same(
    found, brute_force(vectors, vectors[rows], 5, metric, groups, groups[rows])
  )


@each_engine
@each_metric
def test_exact_ties_go_to_the_lower_row(engine, metric):
  # Backgrounds and dead layers: thousands of equal rows.
  rng = np.random.default_rng(0)
  distinct = rng.normal(size=(9, 8)).astype(np.float16)
  vectors = distinct[rng.integers(9, size=3000)]
  groups = np.arange(3000) // 10
  index = create_index(vectors, groups=groups, metric=metric, engine=engine)
  rows = np.arange(0, 3000, 61)
  found = index.search(vectors[rows], 12, groups[rows])
  ids, _ = brute_force(vectors, vectors[rows], 12, metric, groups, groups[rows])
  np.testing.assert_array_equal(found.ids, ids)
  found = index.search(vectors[rows], 12)
  np.testing.assert_array_equal(
    found.ids, brute_force(vectors, vectors[rows], 12, metric)[0]
  )


@each_engine
@each_metric
def test_thousands_of_distinct_vectors_at_one_distance(engine, metric):
  # Vectors of −1, 0, 1: more are equally near than any engine is asked for.
  rng = np.random.default_rng(0)
  vectors = rng.integers(-1, 2, size=(6000, 8)).astype(np.float32)
  groups = rng.integers(300, size=6000)
  queries = np.concatenate([vectors[:12], np.zeros((3, 8)), 0.5 * np.ones((1, 8))])
  queries, own = queries.astype(np.float32), groups[:16]
  index = create_index(vectors, groups=groups, metric=metric, engine=engine)
  for these in (None, own):
    found = index.search(queries, 10, these)
    ids, distances = brute_force(vectors, queries, 10, metric, groups, these)
    np.testing.assert_array_equal(found.ids, ids)
    np.testing.assert_allclose(found.distances, distances, rtol=1e-6, atol=1e-12)


@each_engine
def test_distances_that_are_equal_once_rounded(engine):
  # A circle about the query: distances differ by less than float32 can say.
  angles = np.random.default_rng(0).uniform(0, 2 * np.pi, size=3000)
  vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
  queries = np.zeros((1, 2), np.float32)
  index = create_index(vectors, metric="euclidean", engine=engine)
  ids, _ = brute_force(vectors, queries, 20, "euclidean")
  np.testing.assert_array_equal(index.search(queries, 20).ids, ids)


def test_an_engine_whose_numbers_overflow(monkeypatch):
  # It names some far vectors, and none where the nearest would be.
  monkeypatch.setattr(
    jax_engine.JaxEngine,
    "candidates",
    lambda self, queries, count: np.tile(np.r_[[-1] * 6, 6:count], (len(queries), 1)),
  )
  vectors = np.arange(100, dtype=np.float32)[:, None]
  index = create_index(vectors, metric="euclidean", engine="jax")
  found = index.search(vectors[:1], 2)
  np.testing.assert_array_equal(found.ids, [[0, 1]])


@each_engine
def test_zero_queries_get_the_lowest_rows_of_other_images(engine):
  vectors = clustered(3000, 6)
  groups = np.repeat([7, 3, 10**12, 5], 750)
  index = create_index(vectors, groups=groups, metric="cosine", engine=engine)
  zeros = np.zeros((4, 6), np.float32)
  found = index.search(zeros, 4, np.array([7, 3, 10**12, 6]))
  lowest = np.arange(4)
  np.testing.assert_array_equal(found.ids, [lowest + 750, lowest, lowest, lowest])
  np.testing.assert_array_equal(found.distances, np.ones((4, 4)))
  np.testing.assert_array_equal(index.search(zeros, 4).ids, [lowest] * 4)


@each_engine
@each_metric
def test_more_of_ones_own_than_an_engine_is_asked_for(engine, metric, monkeypatch):
  # Compared with all vectors, a query and a few hundred vectors at a time.
  monkeypatch.setattr(space, "_NUMBERS_AT_ONCE", 1000)
  monkeypatch.setattr(space, "_ROWS_AT_ONCE", 300)
  # Two images of 1,200 distinct vectors, a third with copies of some of each.
  rng = np.random.default_rng(0)
  near = np.repeat([[10], [-10]], 1200, axis=0) + 0.1 * rng.normal(size=(2400, 5))
  vectors = np.concatenate([near, rng.normal(size=(400, 5)), near[[0, 1, 1200, 1201]]])
  vectors = vectors.astype(np.float32)
  groups = np.repeat([0, 1, 2, 3], [1200, 1200, 400, 4])
  index = create_index(vectors, groups=groups, metric=metric, engine=engine)
  rows = [0, 1500, 1199, 2500, 2803]
  queries, own = vectors[rows], groups[rows]
  found = index.search(queries, 6, own)
  ids, distances = brute_force(vectors, queries, 6, metric, groups, own)
  np.testing.assert_array_equal(found.ids, ids)
  np.testing.assert_allclose(found.distances, distances, rtol=1e-6, atol=1e-12)


@each_engine
def test_k_above_a_thousand(engine):
  vectors = clustered(1800, 4)
  index = create_index(vectors, metric="euclidean", engine=engine)
  found = index.search(vectors[:3], 1800)
  ids, _ = brute_force(vectors, vectors[:3], 1800, "euclidean")
  np.testing.assert_array_equal(found.ids, ids)


@each_engine
@each_metric
@pytest.mark.parametrize("size", [1e-25, 1e25, 3e37])
def test_numbers_whose_squares_float32_cannot_hold(engine, metric, size):
  vectors = (size * clustered(900, 8) / 20).astype(np.float32)
  index = create_index(vectors, metric=metric, engine=engine)
  found = index.search(vectors[:5], 4)
  ids, distances = brute_force(vectors, vectors[:5], 4, metric)
  np.testing.assert_array_equal(found.ids, ids)
  np.testing.assert_allclose(found.distances, distances, rtol=1e-6, atol=1e-12)


@each_engine
def test_a_query_far_from_all_vectors(engine):
  vectors = (1e-20 * clustered(2000, 3)).astype(np.float32)
  index = create_index(vectors, metric="euclidean", engine=engine)
  found = index.search(np.full((2, 3), 3e38, np.float32), 4)
  np.testing.assert_array_equal(found.ids, [[0, 1, 2, 3]] * 2)
  assert np.isfinite(found.distances).all()


@each_engine
@each_metric
def test_a_constant_layer(engine, metric):
  vectors = np.full((500, 4), 0.25, np.float16)
  groups = np.arange(500) // 4
  index = create_index(vectors, groups=groups, metric=metric, engine=engine)
  found = index.search(vectors[:8], 6, groups[:8])
  np.testing.assert_array_equal(found.ids[0], [4, 5, 6, 7, 8, 9])
  np.testing.assert_array_equal(found.ids[5], [0, 1, 2, 3, 8, 9])
  np.testing.assert_allclose(found.distances, 0, atol=1e-7)


@each_engine
def test_zero_vectors_are_at_distance_1_from_all(engine):
  vectors = np.concatenate([np.zeros((3, 4)), np.eye(4), -np.eye(4), np.zeros((2, 4))])
  vectors = vectors.astype(np.float32)
  index = create_index(vectors, metric="cosine", engine=engine)
  found = index.search(np.array([[0, 0, 0, 0], [0, 1, 0, 0]], np.float32), 13)
  np.testing.assert_array_equal(found.ids[0], np.arange(13))
  np.testing.assert_array_equal(found.distances[0], np.ones(13))
  assert found.ids[1, 0] == 4
  assert found.ids[1, -1] == 8
  np.testing.assert_array_equal(found.ids[1, 1:-1], np.delete(np.arange(13), [4, 8]))
  assert np.isfinite(found.distances).all()


@each_engine
@each_metric
def test_neighbors_that_float32_cannot_tell_apart(engine, metric):
  # All cosines within 1e-7 of 1: the engine's order is noise, the result is not.
  rng = np.random.default_rng(0)
  vectors = (100 + 0.03 * rng.normal(size=(4000, 6))).astype(np.float32)
  index = create_index(vectors, metric=metric, engine=engine)
  found = index.search(vectors[:30], 4)
  expected = brute_force(vectors, vectors[:30], 4, metric)
  np.testing.assert_allclose(found.distances, expected[1], rtol=1e-5, atol=1e-12)
  np.testing.assert_array_equal(found.ids, expected[0])


@each_metric
def test_engines_agree_on_float16_from_a_file(metric, tmp_path):
  vectors = clustered(3000, 32).astype(np.float16)
  np.save(tmp_path / "vectors.npy", vectors)
  mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
  results = [
    create_index(mapped, metric=metric, engine=engine).search(vectors[:200], 10)
    for engine in ENGINES
  ]
  np.testing.assert_array_equal(results[0].ids, results[1].ids)
  np.testing.assert_array_equal(results[0].distances, results[1].distances)


@each_metric
@pytest.mark.slow
def test_engines_agree_at_full_size(metric):
  rng = np.random.default_rng(0)
  vectors = rng.normal(size=(100_000, 256)).astype(np.float32)
  queries = rng.normal(size=(2000, 256)).astype(np.float32)
  one, other = (
    create_index(vectors, metric=metric, engine=engine).search(queries, 10)
    for engine in ENGINES
  )
  assert_same(one, other, tolerance=1e-5)


@each_metric
@pytest.mark.parametrize("num_vectors", [5, 64, 1003])
def test_eight_devices_return_what_one_returns(metric, num_vectors):
  assert len(jax.devices()) == 8
  vectors, queries = clustered(num_vectors, 12), clustered(40, 12, seed=1)
  vectors[::5] = vectors[0]
  groups = np.arange(num_vectors) // 2
  query_groups = np.arange(40) % 3
  found = []
  for devices in (some_devices(1), contextlib.nullcontext()):
    with devices:
      index = create_index(vectors, groups=groups, metric=metric, engine="jax")
    assert index._engine._mesh.size == (8 if found else 1)
    found.append(index.search(queries, 3, query_groups))
  one, eight = found
  np.testing.assert_array_equal(one.ids, eight.ids)
  np.testing.assert_array_equal(one.distances, eight.distances)


def test_vectors_in_several_blocks(monkeypatch):
  monkeypatch.setattr(space, "_ROWS_AT_ONCE", 100)
  monkeypatch.setattr(jax_engine, "_VECTORS", 16)
  monkeypatch.setattr(jax_engine, "_QUERIES", 8)
  vectors, queries = clustered(700, 6), clustered(21, 6, seed=1)
  with some_devices(2):
    index = create_index(vectors, engine="jax")
  assert_same(index.search(queries, 30), brute_force(vectors, queries, 30, "cosine"))


@pytest.mark.parametrize("structure", ["ivf", "hnsw"])
@each_metric
def test_approximate_structures_miss_little(metric, structure):
  vectors, queries = clustered(6000, 16), clustered(300, 16, seed=0)
  groups = np.arange(6000) // 8
  own = np.arange(300) // 8
  exact, found = (
    create_index(vectors, groups=groups, metric=metric, structure=kind).search(
      queries, 10, own
    )
    for kind in ("flat", structure)
  )
  assert (groups[found.ids] != own[:, None]).all()
  assert 0.9 < recall(found, exact) <= 1
  assert recall(exact, exact) == 1


@pytest.mark.parametrize(("structure", "options"), _COARSE.items())
@each_metric
def test_what_a_structure_misses_is_found_by_comparison(metric, structure, options):
  vectors = clustered(4000, 16)
  vectors[::50] = 0
  groups = np.arange(4000) // 8
  queries, own = vectors[::20], groups[::20]
  flat, coarse = (
    create_index(vectors, groups=groups, metric=metric, structure=kind, options=given)
    for kind, given in (("flat", None), (structure, options))
  )
  assert (flat.exact, coarse.exact) == (True, False)
  expected = flat.search(queries, 10, own)
  assert recall(coarse.search(queries, 10, own), expected) < 0.95
  for index in (flat, coarse):
    found = index.search(queries, 10, own, exact=True)
    np.testing.assert_array_equal(found.ids, expected.ids)
    np.testing.assert_array_equal(found.distances, expected.distances)


@pytest.mark.parametrize(("structure", "options"), [("flat", None), *_COARSE.items()])
def test_the_recall_of_a_layer_is_measured_at_some_of_its_vectors(structure, options):
  vectors, images = clustered(4000, 16), np.repeat(np.arange(500), 8)
  nothing = np.zeros(4000, int)
  layer = Layer("stage1", (4, 4, 16), vectors, images, nothing, nothing, nothing)
  index = create_index(vectors, groups=images, structure=structure, options=options)
  matches = find_matches(layer, index, np.arange(500), 10)
  exact = create_index(vectors, groups=images).search(vectors, 10, images).ids
  same = matches.neighbors.reshape(4000, 10, 1) == exact[:, None]
  found = measure_recall(matches, index)
  assert found == pytest.approx(same.any(axis=1).mean(), abs=0.08)
  assert (found == 1) == (structure == "flat")


def test_faiss_is_for_one_process(monkeypatch):
  monkeypatch.setattr(jax, "process_count", lambda: 2)
  vectors = np.ones((3, 3), np.float32)
  assert check_engine("auto") == check_engine("jax") == "jax"
  with pytest.raises(
    InputError, match=r"engine is 'faiss'; it must be jax, .* with 2 processes\.$"
  ):
    create_index(vectors, engine="faiss")
  for structure in ("ivf", "hnsw"):
    with pytest.raises(InputError, match=f"structure is '{structure}'; it must be"):
      create_index(vectors, structure=structure)


@each_metric
def test_options_trade_recall_for_time(metric):
  vectors, queries = clustered(4000, 16), clustered(200, 16, seed=1)
  exact = create_index(vectors, metric=metric).search(queries, 10)

  def recall_of(structure, **options):
    index = create_index(vectors, metric=metric, structure=structure, options=options)
    return recall(index.search(queries, 10), exact)

  assert recall_of("ivf", num_lists=50, lists_probed=50) == 1
  assert recall_of("ivf", num_lists=50, lists_probed=1) < 0.9
  assert recall_of("hnsw", links=32, ef_construction=200, ef_search=1000) > 0.99
  assert recall_of("hnsw", links=2, ef_construction=4, ef_search=1) < 0.9


@each_engine
@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from([1, 6]), st.sampled_from(METRICS))
def test_any_small_index(engine, seed, k, metric):
  # Small integers make ties and zero vectors common.
  rng = np.random.default_rng(seed)
  vectors = rng.integers(-1, 2, size=(40, 3)).astype(np.float32)
  groups = rng.integers(0, 12, size=40)
  queries, own = vectors[:15], groups[:15]
  with some_devices(1):
    index = create_index(vectors, groups=groups, metric=metric, engine=engine)
  for these in (None, own):
    expected = brute_force(vectors, queries, k, metric, groups, these)
    found = index.search(queries, k, these)
    np.testing.assert_array_equal(found.ids, expected[0])
    np.testing.assert_allclose(found.distances, expected[1], rtol=1e-6, atol=1e-12)


def test_a_file_of_vectors_is_not_copied(monkeypatch, tmp_path):
  monkeypatch.setattr(space, "_ROWS_AT_ONCE", 512)
  vectors = clustered(30_000, 256).astype(np.float16)
  vectors[7] = vectors[3]
  np.save(tmp_path / "vectors.npy", vectors)
  mapped = np.load(tmp_path / "vectors.npy", mmap_mode="r")
  tracemalloc.start()
  index = create_index(mapped, engine="faiss")
  index.search(vectors[:20], 3)
  _, peak = tracemalloc.get_traced_memory()
  tracemalloc.stop()
  assert peak < vectors.nbytes / 2


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    ({"metric": "dot"}, "metric is 'dot'; it must be one of cosine, euclidean"),
    ({"engine": "annoy"}, "engine is 'annoy'; it must be one of auto, faiss, jax"),
    ({"structure": "tree"}, "structure is 'tree'"),
    (
      {"engine": "jax", "structure": "ivf"},
      "structure is 'ivf'; it must be flat, which alone the engine jax has",
    ),
    ({"groups": np.zeros(9, int)}, r"groups are int64 of shape \(9,\); integers of"),
    ({"groups": np.full(10, -1)}, "groups hold -1"),
    ({"options": {"links": 8}}, r"options.links is not a setting; options takes none"),
    (
      {"structure": "ivf", "options": {"ef_search": 8}},
      "options.ef_search is not a setting; options takes num_lists, lists_probed",
    ),
    (
      {"structure": "hnsw", "options": {"links": 1}},
      "options.links is 1; it must be an integer of at least 2",
    ),
    (
      {"vectors": np.full((4, 2), 1e300)},
      "vectors hold a number that is not finite in row 0",
    ),
    ({"vectors": np.zeros((0, 3))}, r"vectors have shape \(0, 3\)"),
    (
      {"vectors": np.array([[0, 1], [np.nan, 0]])},
      "vectors hold a number that is not finite in row 1",
    ),
  ],
)
def test_what_an_index_cannot_be_made_of(arguments, message):
  arguments = {"vectors": np.ones((10, 3), np.float32)} | arguments
  with pytest.raises(InputError, match=message):
    create_index(arguments.pop("vectors"), **arguments)


def test_what_cannot_be_searched():
  vectors = clustered(10, 3)
  index = create_index(vectors, groups=np.arange(10) // 4)
  with pytest.raises(InputError, match="k is 11; the index has 10 vectors, so that k"):
    index.search(vectors, 11)
  with pytest.raises(
    InputError, match=r"4 of them of a query's own group, so .* most 6"
  ):
    index.search(vectors, 7, np.arange(10) // 4)
  with pytest.raises(InputError, match="k is 0"):
    index.search(vectors, 0)
  with pytest.raises(InputError, match=r"queries have shape \(10, 2\)"):
    index.search(vectors[:, :2], 1)
  with pytest.raises(InputError, match=r"queries hold .* not finite in row 2"):
    index.search(np.where(np.arange(10)[:, None] == 2, np.inf, vectors), 1)
  with pytest.raises(InputError, match=r"query_groups are int64 of shape \(3,\)"):
    index.search(vectors, 1, np.zeros(3, int))
  with pytest.raises(InputError, match=r"shapes \(10, 1\) and \(10, 2\)"):
    recall(index.search(vectors, 1), index.search(vectors, 2))
  with pytest.raises(InputError, match="made without groups"):
    create_index(vectors).search(vectors, 1, np.zeros(10, int))


def test_faiss_is_asked_for_where_it_is_missing(monkeypatch):
  monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
  with pytest.raises(InputError, match=r"pip install 'hue_jax\[observe\]'"):
    create_index(np.ones((3, 3), np.float32), engine="faiss")
  found = create_index(np.eye(3, dtype=np.float32)).search(np.eye(3), 1)
  np.testing.assert_array_equal(found.ids[:, 0], [0, 1, 2])


@pytest.mark.slow
def test_two_processes_return_what_one_returns(tmp_path):
  script = """
    import sys, numpy as np, jax
    sys.path.insert(0, sys.argv[4])
    jax.config.update("jax_cpu_collectives_implementation", "gloo")
    process, port, out = int(sys.argv[1]), sys.argv[2], sys.argv[3]
    jax.distributed.initialize(f"localhost:{port}", 2, process)
    assert len(jax.devices()) == 4
    from tests.observe.test_neighbors import search_example
    found = search_example("jax")
    np.savez(f"{out}/{process}.npz", ids=found.ids, distances=found.distances)
  """
  port = _free_port()
  arguments = [str(port), str(tmp_path), str(pathlib.Path(__file__).parents[2])]
  processes = [_start(script, str(i), *arguments, devices=2) for i in range(2)]
  assert _statuses(processes) == [0, 0]
  expected = search_example("faiss")
  for i in range(2):
    found = np.load(tmp_path / f"{i}.npz")
    np.testing.assert_array_equal(found["ids"], expected.ids)
    np.testing.assert_array_equal(found["distances"], expected.distances)


def search_example(engine):
  vectors = clustered(301, 8)
  vectors[::7] = 0
  groups = np.arange(301) // 9
  index = create_index(vectors, groups=groups, metric="euclidean", engine=engine)
  return index.search(vectors[:50], 4, groups[:50])


@pytest.mark.slow
@pytest.mark.parametrize("first", ["tensorflow, jax", "faiss, tensorflow, jax"])
def test_faiss_lives_with_tensorflow_in_either_order(first):
  # Each brings an OpenMP or a thread pool of its own.
  script = f"""
    import {first}
    import numpy as np
    from hue_jax.observe.neighbors import create_index
    assert int(tensorflow.reduce_sum(tensorflow.ones([64, 64]) @ tensorflow.eye(64)))
    vectors = np.random.default_rng(0).normal(size=(5000, 64)).astype(np.float32)
    one, other = (
      create_index(vectors, engine=engine).search(vectors[:100], 3)
      for engine in ("faiss", "jax")
    )
    assert (one.ids == other.ids).all()
  """
  assert _statuses([_start(script, devices=2)]) == [0]


def _start(script, *arguments, devices):
  environment = os.environ | {
    "XLA_FLAGS": f"--xla_force_host_platform_device_count={devices}",
    "PYTHONPATH": str(pathlib.Path(__file__).parents[2]),
  }
  return subprocess.Popen(
    [sys.executable, "-c", textwrap.dedent(script), *arguments], env=environment
  )


def _statuses(processes, timeout=900):
  """The statuses when all have ended, or one has failed, for which others may wait."""
  deadline = time.monotonic() + timeout
  try:
    while time.monotonic() < deadline:
      found = [process.poll() for process in processes]
      if None not in found or any(found):
        return found
      time.sleep(0.1)
    raise TimeoutError(f"after {timeout} s the statuses are {found}")
  finally:
    for process in processes:
      process.kill()
      process.wait()


def test_what_waits_for_a_process_that_died_is_ended():
  waiting = "import time; time.sleep(600)"
  processes = [_start(script, devices=1) for script in (waiting, "raise SystemExit(3)")]
  assert _statuses(processes, timeout=60) == [None, 3]
  assert [process.returncode for process in processes] == [-9, 3]


def _free_port() -> int:
  with socket.socket() as listener:
    listener.bind(("localhost", 0))
    return listener.getsockname()[1]
