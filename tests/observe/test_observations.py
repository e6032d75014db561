"""Each statistic finds what was planted, and nothing where nothing was."""

import collections
import itertools

import numpy as np
import pytest

from hue_jax.observe.histogram import histogram_density
from hue_jax.observe.image_plane import direction, radius
from hue_jax.observe.matches import Votes, count_votes, layer_facts, vote
from hue_jax.observe.observations import (
  by_layer,
  by_position,
  matches_in_plane,
  matches_in_space,
)
from hue_jax.observe.observations import pairs as pairs_of_images
from hue_jax.observe.resampling import bootstrap, measure, resample
from tests.helpers.planted_layers import colored, planted_layer, planted_matches

LABELS = np.repeat(np.arange(4), 15)
NUM_IMAGES = len(LABELS)


def _resamples(labels=LABELS, num_images=None, bootstrap=200, shuffles=100):
  return resample(
    labels,
    num_images or len(labels),
    num_bootstrap=bootstrap,
    num_shuffles=shuffles,
    seed=0,
  )


def _votes(matches, probability, seed=0):
  """Votes that are right with a probability for each position, [images, positions]."""
  rng = np.random.default_rng(seed)
  shape = matches.rows.shape
  return Votes(
    matches,
    rng.random(shape) < probability,
    rng.random((100, *shape)) < 0.25,
  )


class TestVotes:
  def test_the_most_win_and_of_equals_the_nearest(self):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, (500, 7))
    for row, winner in zip(labels, np.asarray(vote(labels)), strict=True):
      counts = collections.Counter(row.tolist())
      most = max(counts.values())
      assert winner == next(c for c in row if counts[c] == most)

  def test_shuffled_labels_move_with_their_images(self):
    rng = np.random.default_rng(0)
    layer = planted_layer(rng.normal(size=(NUM_IMAGES, 36, 4)), LABELS)
    neighbors = rng.integers(0, NUM_IMAGES * 36, (NUM_IMAGES, 36, 3))
    matches = planted_matches(layer, neighbors)
    resamples = _resamples()
    votes = count_votes(matches, LABELS, resamples.shuffles)
    for labels, correct in zip(
      [LABELS, *resamples.shuffles[:3]],
      [votes.correct, *votes.shuffled[:3]],
      strict=True,
    ):
      named = np.asarray(vote(labels[neighbors // 36]))
      np.testing.assert_array_equal(correct, named == labels[:, None])


class TestResampling:
  def test_weights_are_draws_of_images(self):
    resamples = _resamples()
    np.testing.assert_array_equal(resamples.weights.sum(axis=1), NUM_IMAGES)
    assert abs(resamples.weights.var() - 1) < 0.1
    np.testing.assert_array_equal(
      np.sort(resamples.shuffles, axis=1), np.tile(LABELS, (100, 1))
    )
    assert (resamples.shuffles != LABELS).any(axis=1).all()

  def test_intervals_cover_the_mean_as_often_as_they_say(self):
    # 300 samples of 60 images: 95 % is 285 ± 3.8; a percentile interval is a bit short.
    rng = np.random.default_rng(0)
    resamples = _resamples(bootstrap=400)
    covered = 0
    for _ in range(300):
      values = rng.normal(size=NUM_IMAGES)
      estimate = bootstrap(
        lambda weights, values=values: weights @ values / NUM_IMAGES, resamples
      )
      covered += estimate.low <= 0 <= estimate.high
    assert 268 <= covered <= 296

  def test_p_values_count_the_shuffles_that_reach(self):
    def constant(value):
      return lambda weights: np.full(len(weights), value)

    resamples = _resamples()
    chance = np.arange(99.0)
    assert measure(constant(95.0), chance, constant(0.0), resamples).p_value == 0.05
    assert measure(constant(200.0), chance, constant(0.0), resamples).p_value == 0.01
    nothing = measure(constant(np.nan), chance, constant(np.nan), resamples)
    assert np.isnan(nothing.p_value)
    assert np.isnan(nothing.trained.low)


class TestByLayer:
  def test_accuracy_and_verdict(self):
    layer = planted_layer(np.zeros((NUM_IMAGES, 36, 4)), LABELS)
    matches = planted_matches(layer)
    good, chance = _votes(matches, 0.8), _votes(matches, 0.25, seed=1)
    observation = by_layer.observe(
      {"a": good, "b": chance}, {"a": chance, "b": chance}, _resamples()
    )
    measured = observation.statistics[0].taps["a"]
    assert measured.trained.value == pytest.approx(good.correct.mean())
    assert measured.trained.low < 0.8 < measured.trained.high
    assert measured.shuffled.value == pytest.approx(0.25, abs=0.01)
    assert observation.holds == {"a": True, "b": False}
    assert observation.verdict.startswith("Holds at a:")
    assert "At b it is not distinguishable" in observation.verdict

  def test_above_chance_is_not_enough(self):
    matches = planted_matches(planted_layer(np.zeros((NUM_IMAGES, 36, 4)), LABELS))
    good = _votes(matches, 0.8)
    observation = by_layer.observe({"a": good}, {"a": good}, _resamples())
    assert observation.holds == {"a": False}
    assert "it is there without training" in observation.verdict

  def test_below_chance_is_the_opposite(self):
    matches = planted_matches(planted_layer(np.zeros((NUM_IMAGES, 36, 4)), LABELS))
    bad = _votes(matches, 0.05)
    observation = by_layer.observe({"a": bad}, {"a": bad}, _resamples())
    assert observation.holds == {"a": False}
    assert "At a it is below that of shuffled labels" in observation.verdict


class TestByPosition:
  @pytest.fixture
  def matches(self):
    return planted_matches(planted_layer(np.zeros((NUM_IMAGES, 36, 4)), LABELS))

  def _observe(self, matches, probability):
    return by_position.observe(
      {"a": _votes(matches, probability)},
      {"a": _votes(matches, 0.5, seed=1)},
      _resamples(),
    )

  def test_right_votes_on_one_side_concentrate(self, matches):
    x, y = np.meshgrid(np.arange(6), np.arange(6))
    on_the_right = np.where(x.ravel() > 2, 0.9, 0.1)
    observation = self._observe(matches, on_the_right)
    found = observation.statistics[0].taps["a"]
    phasor = direction(x.ravel(), y.ravel(), 6, 6)
    expected = abs(np.sum((on_the_right - 0.5) * phasor)) / on_the_right.sum()
    assert found.trained.value == pytest.approx(expected, rel=0.05)
    assert observation.holds["a"]
    curves = observation.curves["by_angle"]["a"]
    assert np.argmin(curves["trained"]) in (3, 4)  # about φ = π, the left
    np.testing.assert_allclose(
      observation.curves["map"]["a"]["trained"][:, 4], 0.9, atol=0.15
    )
    assert (curves["trained_low"] <= curves["trained"]).all()

  def test_votes_that_do_not_depend_on_the_angle_do_not(self, matches):
    x, y = np.meshgrid(np.arange(6), np.arange(6))
    inside = radius(x.ravel(), y.ravel(), 6, 6) < 0.8
    observation = self._observe(matches, np.where(inside, 0.9, 0.2))
    concentration, gain = (s.taps["a"].trained for s in observation.statistics)
    assert abs(concentration.value) < 0.08
    assert not observation.holds["a"]
    assert gain.value > 0.4
    by_radius = observation.curves["by_radius"]["a"]["trained"]
    assert by_radius[1] > by_radius[5] + 0.5

  def test_the_concentration_is_that_of_pairs_of_images(self, matches):
    votes = _votes(matches, 0.4)
    weights = np.random.default_rng(0).integers(0, 3, (1, NUM_IMAGES)).astype(float)
    found = by_position._concentration(matches, votes.correct)(weights)[0]
    phasor = direction(matches.layer.x[:36], matches.layer.y[:36], 6, 6)
    w, correct = weights[0], votes.correct
    mean = (w @ correct.sum(axis=1)) / (w.sum() * 36)
    sums, counts = (correct - mean) @ phasor, correct.sum(axis=1)
    top = bottom = 0
    for i, j in itertools.permutations(range(NUM_IMAGES), 2):
      top += w[i] * w[j] * np.real(sums[i] * np.conj(sums[j]))
      bottom += w[i] * w[j] * counts[i] * counts[j]
    expected = np.sign(top) * np.sqrt(abs(top / bottom))
    assert found == pytest.approx(expected)

  def test_pooled_layers_have_no_image_plane(self):
    pooled = planted_matches(
      planted_layer(np.zeros((NUM_IMAGES, 1, 4)), LABELS, height=1, width=1)
    )
    votes = {"features": _votes(pooled, 0.5)}
    observation = by_position.observe(votes, votes, _resamples())
    assert not observation.holds
    assert observation.verdict.startswith("Not applicable")


class TestMatchesInPlane:
  def _matches(self, same_angle, seed=0):
    """Half of the neighbors are of the same class, and may lie at the same angle."""
    rng = np.random.default_rng(seed)
    neighbors = np.empty((NUM_IMAGES, 36, 4), int)
    for image, place, k in np.ndindex(neighbors.shape):
      same = k % 2 == 0
      others = np.flatnonzero((LABELS[image] == LABELS) == same)
      other = rng.choice(others[others != image])
      at = place if same and same_angle else rng.integers(36)
      neighbors[image, place, k] = other * 36 + at
    layer = planted_layer(np.zeros((NUM_IMAGES, 36, 4)), LABELS)
    return planted_matches(layer, neighbors)

  def test_same_class_at_the_same_angle(self):
    ours, control = self._matches(True), self._matches(False, seed=1)
    observation = matches_in_plane.observe({"a": ours}, {"a": control}, _resamples())
    hue, distance = (s.taps["a"] for s in observation.statistics)
    assert hue.trained.value == pytest.approx(1, abs=0.15)
    assert abs(hue.untrained.value) < 0.15
    assert distance.trained.value > 0.2
    assert observation.holds["a"]
    numbers = observation.numbers
    assert numbers["R of Δφ, same class, trained"]["a"] == pytest.approx(1)
    assert numbers["Rayleigh p of Δφ, same class, trained"]["a"] < 1e-6
    assert numbers["Rayleigh p of Δφ, other class, trained"]["a"] > 0.05
    curves = observation.curves["hue_difference"]["a"]
    assert np.argmax(curves["same"]) in (17, 18)  # about 0
    for name in ("same", "other", "untrained_same"):
      total = np.sum(curves[name] * np.diff(curves["edges"]))
      assert total == pytest.approx(1)

  def test_the_resultant_is_that_of_pairs_of_images(self):
    displacements = matches_in_plane._Displacements(self._matches(False))
    same = displacements.same(LABELS)
    weights = np.random.default_rng(0).integers(0, 3, (1, NUM_IMAGES)).astype(float)
    found = matches_in_plane._concentration(displacements.turn, same)(weights)[0]
    sums, counts = (displacements.turn * same).sum(axis=1), same.sum(axis=1)
    top = bottom = 0
    for i, j in itertools.permutations(range(NUM_IMAGES), 2):
      w = weights[0, i] * weights[0, j]
      top += w * np.real(sums[i] * np.conj(sums[j]))
      bottom += w * counts[i] * counts[j]
    assert found == pytest.approx(np.sign(top) * np.sqrt(abs(top / bottom)))

  def test_an_image_is_one_observation_however_many_its_neighbors(self):
    turn = np.exp(1j * np.random.default_rng(0).vonmises(0, 0.8, (60, 1)))
    once, often = (
      matches_in_plane._circular(turns, np.ones(turns.shape, bool))
      for turns in (turn, np.repeat(turn, 36, axis=1))
    )
    assert 1e-6 < once["Rayleigh p of Δφ"] < 0.2
    for name, value in once.items():
      assert often[name] == pytest.approx(value, rel=1e-3), name

  def test_no_neighbor_of_the_same_class_is_not_a_number(self):
    matches = self._matches(False)
    labels = np.arange(NUM_IMAGES)
    observation = matches_in_plane.observe(
      {"a": matches}, {"a": matches}, _resamples(labels)
    )
    assert np.isnan(observation.statistics[0].taps["a"].trained.value)
    assert not observation.holds["a"]


class TestMatchesInSpace:
  def _observe(self, hue, control_hue, noise=0.3):
    ours, control = (
      planted_matches(planted_layer(colored(h, noise=noise, seed=s), LABELS))
      for s, h in enumerate((hue, control_hue))
    )
    return matches_in_space.observe({"a": ours}, {"a": control}, _resamples())

  def _uniform(self, seed=0):
    return np.random.default_rng(seed).random((NUM_IMAGES, 36)) * 2 * np.pi

  def _statistics(self, observation):
    return {s.name: s.taps["a"] for s in observation.statistics}

  def test_a_hue_for_each_class(self):
    hue = np.broadcast_to(LABELS[:, None] * np.pi / 2, (NUM_IMAGES, 36))
    observation = self._observe(hue, self._uniform())
    found = self._statistics(observation)
    # Four classes at right angles: between them cos is 0, 0 and −1.
    of_hue = found["hue_concentration_fourier"]
    assert of_hue.trained.value == pytest.approx(4 / 3, abs=0.1)
    assert abs(of_hue.untrained.value) < 0.02
    assert observation.holds["a"]
    assert found["direction_concentration"].trained.low > 0
    curves = observation.curves["hue_by_class"]["a"]
    assert np.argmax(curves["trained"], axis=1).tolist()[1:] == pytest.approx(
      [9, 18, 27], abs=1
    )
    np.testing.assert_allclose(
      np.cos(curves["mean_direction"] - np.arange(4) * np.pi / 2), 1, atol=1e-2
    )
    assert (curves["resultant_length"] > 0.9).all()

  def test_no_hue_for_a_class(self):
    observation = self._observe(self._uniform(1), self._uniform(2))
    found = self._statistics(observation)
    assert abs(found["hue_concentration_fourier"].trained.value) < 0.02
    assert not observation.holds["a"]
    assert abs(found["hue_position_correlation_fourier"].trained.value) < 0.1

  def test_a_hue_that_follows_the_position(self):
    x, y = np.meshgrid(np.arange(6), np.arange(6))
    angle = np.angle(direction(x.ravel(), y.ravel(), 6, 6))
    observation = self._observe(np.tile(angle + 1, (NUM_IMAGES, 1)), self._uniform())
    correlation = self._statistics(observation)["hue_position_correlation_fourier"]
    assert correlation.trained.low > 0.8
    assert correlation.shuffled.high < 0.1
    assert correlation.p_value < 0.02
    assert abs(correlation.untrained.value) < 0.1
    density = observation.curves["hue_by_position_hue"]["a"]["trained"]
    np.testing.assert_allclose(density.sum(axis=1) * 2 * np.pi / 36, 1)

  def test_pairs_by_definition(self):
    rng = np.random.default_rng(0)
    vectors = rng.normal(size=(NUM_IMAGES, 5, 4))
    vectors[3, 2] = 0  # counts for nothing
    matches = planted_matches(
      planted_layer(vectors, LABELS, 6, 6, np.tile(np.arange(5), (NUM_IMAGES, 1)))
    )
    weights = rng.integers(0, 3, (2, NUM_IMAGES)).astype(float)
    pairs = pairs_of_images.direction_pairs(matches)
    found = pairs_of_images.within_minus_between(pairs, LABELS)(weights)
    stored = matches.layer.vectors.astype(np.float64).reshape(vectors.shape)
    length = np.linalg.norm(stored, axis=-1, keepdims=True)
    unit = np.divide(stored, length, out=np.zeros_like(stored), where=length > 0)
    for w, value in zip(weights, found, strict=True):
      sums, counts = np.zeros(2), np.zeros(2)
      for i, j in itertools.permutations(range(NUM_IMAGES), 2):
        kind = int(LABELS[i] == LABELS[j])
        cosines = unit[i] @ unit[j].T
        sums[kind] += w[i] * w[j] * cosines.sum()
        counts[kind] += w[i] * w[j] * np.outer(length[i] > 0, length[j] > 0).sum()
      assert value == pytest.approx(sums[1] / counts[1] - sums[0] / counts[0])

  @pytest.mark.filterwarnings("error")
  def test_a_dead_layer_has_no_hue_and_no_verdict(self):
    layer = planted_layer(np.zeros((NUM_IMAGES, 36, 8)), LABELS)
    dead = {"a": planted_matches(layer)}
    observation = matches_in_space.observe(dead, dead, _resamples())
    for statistic in observation.statistics:
      assert np.isnan(statistic.taps["a"].trained.value)
    assert observation.holds == {"a": False}

  def test_some_of_the_images(self):
    hue = np.broadcast_to(LABELS[:, None] * np.pi / 2, (NUM_IMAGES, 36))
    layer = planted_layer(colored(hue, noise=0.3), LABELS)
    matches = {"a": planted_matches(layer, images=np.arange(0, NUM_IMAGES, 2))}
    observation = matches_in_space.observe(
      matches, matches, _resamples(num_images=NUM_IMAGES // 2)
    )
    found = self._statistics(observation)["hue_concentration_fourier"]
    assert found.trained.value == pytest.approx(4 / 3, abs=0.1)


def test_facts_of_a_layer():
  vectors = np.random.default_rng(0).normal(size=(NUM_IMAGES, 36, 5))
  vectors[:, :, 2] = 0.5
  vectors[0, :3] = 0
  vectors[1, :2] = 4.0
  layer = planted_layer(vectors, LABELS)
  facts = layer_facts(layer, 7)
  assert facts.num_vectors == NUM_IMAGES * 36
  assert facts.zero_vectors == 3
  assert facts.gray_vectors == 5
  assert facts.dead_channels == 0
  layer.vectors[:, 2] = 0.5
  assert layer_facts(layer, 7).dead_channels == 1


def test_the_angle_and_radius_of_positions():
  x, y = np.meshgrid(np.arange(5), np.arange(5))
  phasor = direction(x, y, 5, 5)
  assert phasor[2, 2] == 0
  np.testing.assert_allclose(phasor[2, 4], 1, atol=1e-12)
  np.testing.assert_allclose(phasor[4, 2], 1j, atol=1e-12)  # down is π/2
  distance = radius(x, y, 5, 5)
  assert distance[2, 2] == 0
  np.testing.assert_allclose([distance[2, 4], distance[0, 0]], [0.8, 0.8 * 2**0.5])


def test_the_density_of_a_histogram():
  edges = np.array([0.0, 1.0, 3.0, 4.0])
  # Of what lies beyond the edges nothing counts.
  found = histogram_density(np.array([0.5, 1.0, 2.0, 2.5, 9.0, -1.0]), edges)
  np.testing.assert_allclose(found, [1 / 4, 3 / 4 / 2, 0])
  with np.errstate(all="raise"):
    for nothing in (np.zeros(0), np.array([9.0])):
      assert np.isnan(histogram_density(nothing, edges)).all()
