"""Rings, smooth and turned sectors, other centers, and prototypes that are kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from hue_jax.losses import (
  Prototypes,
  angular_consistency_loss,
  no_prototypes,
  update_prototypes,
)

_LABELS = np.array([0, 1, 0, 3, 1, 1, 0, 2])
_CLASSES = 5


def _random(shape, seed=0):
  return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def _loss(layer, labels=_LABELS, **settings):
  settings = {"num_classes": _CLASSES, "sectors": 4, **settings}
  return np.asarray(
    jax.jit(lambda a: angular_consistency_loss(a, labels, **settings))(layer)
  )


def _unit(vector):
  return vector / np.linalg.norm(vector)


def _cells(height, width, sectors, rings):
  """Cell of every position that has one, by plain trigonometry."""
  cells = {}
  corner = np.hypot(height - 1, width - 1) / 2
  for y in range(height):
    for x in range(width):
      dy, dx = y - (height - 1) / 2, x - (width - 1) / 2
      if dx or dy:
        turn = np.arctan2(dy, dx) % (2 * np.pi) / (2 * np.pi)
        sector = int(turn * sectors + 1e-6) % sectors
        ring = min(int((np.hypot(dx, dy) / corner) ** 2 * rings), rings - 1)
        cells.setdefault((ring, sector), []).append((y, x))
  return cells


def _directions(layer, cells):
  """[batch, cell, channels]"""
  return np.array(
    [
      [_unit(sum(image[at] for at in places)) for places in cells.values()]
      for image in layer.astype(np.float64)
    ]
  )


def test_rings_are_their_definition():
  layer = _random((8, 7, 6, 5))
  v = _directions(layer, _cells(7, 6, 4, 3))
  nats, peers = np.zeros(8), np.zeros(8, bool)
  for b in range(8):
    classes = [
      c for c in range(_CLASSES) if any(_LABELS[i] == c for i in range(8) if i != b)
    ]
    peers[b] = _LABELS[b] in classes
    if not peers[b]:
      continue
    for s in range(v.shape[1]):
      logits = {}
      for c in classes:
        others = [v[i, s] for i in range(8) if i != b and _LABELS[i] == c]
        logits[c] = v[b, s] @ np.mean(others, axis=0) / 0.1
      values = np.array(list(logits.values()))
      nats[b] += (np.log(np.exp(values).sum()) - logits[_LABELS[b]]) / v.shape[1]
  found = _loss(layer, rings=3)
  np.testing.assert_allclose(found, nats * 8 / peers.sum(), rtol=1e-4)


def test_smooth_sectors_lie_between_their_neighbors():
  # Eight positions about the center, at multiples of 45 degrees; with two sectors the
  # boundaries are at 0 and 180 degrees, and what lies there belongs to both alike.
  layer = np.zeros((1, 3, 3, 3), np.float32)
  layer[0, 2, 1, 0] = 1  # straight down: the middle of sector 0
  layer[0, 0, 1, 1] = 1  # straight up: the middle of sector 1
  layer[0, 1, 2, 2] = 1  # to the right: the boundary
  known = update_prototypes(
    no_prototypes(1, 2, 3), layer, np.array([0]), sectors=2, smooth=True
  )
  expected = [_unit([1, 0, 0.5]), _unit([0, 1, 0.5])]
  np.testing.assert_allclose(known.means[0], expected, atol=1e-5)


def test_turned_sectors_of_turned_images_agree():
  layer = _random((8, 6, 6, 5))
  turned = np.rot90(layer, axes=(1, 2))
  np.testing.assert_allclose(
    _loss(turned, sectors=8, offset=0.3 + np.pi / 2),
    _loss(layer, sectors=8, offset=jnp.asarray(0.3)),
    rtol=1e-3,
  )
  assert np.abs(_loss(layer, sectors=8, offset=0.3) - _loss(layer, sectors=8)).max() > (
    0.01
  )


def test_about_the_center_of_activation_a_shift_changes_nothing():
  layer = np.zeros((8, 9, 9, 5), np.float32)
  layer[:, 1:6, 2:7] = np.abs(_random((8, 5, 5, 5)))
  shifted = np.roll(layer, (2, -1), axis=(1, 2))
  settings = {"center": "activation", "sectors": 3}
  np.testing.assert_allclose(
    _loss(shifted, **settings), _loss(layer, **settings), rtol=1e-3
  )
  assert np.abs(_loss(shifted, sectors=3) - _loss(layer, sectors=3)).max() > 0.05


def test_no_gradient_flows_through_the_center_of_activation():
  layer = np.abs(_random((8, 5, 5, 4)))

  def total(layer):
    return angular_consistency_loss(
      layer, _LABELS, num_classes=_CLASSES, sectors=3, center="activation"
    ).sum()

  gradient = jax.jit(jax.grad(total))(layer)
  # The length of an image's layer does not matter, so that along it nothing changes.
  along = np.sum(gradient * layer, axis=(1, 2, 3))
  np.testing.assert_allclose(along, 0, atol=1e-4)


# --- Prototypes that are kept -------------------------------------------------------


def test_kept_prototypes_are_a_moving_average_of_the_batches():
  cells = _cells(4, 4, 4, 1)
  first, second = _random((8, 4, 4, 5)), _random((8, 4, 4, 5), seed=1)
  labels = np.array([1, 1, 1, 1, 4, 4, 1, 1])
  known = no_prototypes(_CLASSES, 4, 5)
  known = update_prototypes(known, first, _LABELS, sectors=4, decay=0.7)
  expected = np.zeros((_CLASSES, 4, 5))
  for c in range(4):
    expected[c] = _directions(first[c == _LABELS], cells).mean(axis=0)
  order = sorted(range(4), key=lambda i: list(cells)[i])
  np.testing.assert_allclose(known.means, expected[:, order], atol=1e-5)
  np.testing.assert_array_equal(known.known, [1, 1, 1, 1, 0])

  known = update_prototypes(known, second, labels, sectors=4, decay=0.7)
  one = _directions(second[labels == 1], cells).mean(axis=0)
  expected[1] = 0.7 * expected[1] + 0.3 * one
  expected[4] = _directions(second[labels == 4], cells).mean(axis=0)
  np.testing.assert_allclose(known.means, expected[:, order], atol=1e-5)
  np.testing.assert_array_equal(known.known, 1)


def test_loss_against_kept_prototypes():
  layer = _random((8, 4, 4, 5))
  means = _random((_CLASSES, 4, 5), seed=2)
  known = Prototypes(jnp.asarray(means), jnp.array([1.0, 1, 0, 1, 0]))
  cells = _cells(4, 4, 4, 1)
  order = sorted(range(4), key=lambda i: list(cells)[i])
  v = _directions(layer, cells)[:, order]
  expected = np.zeros(8)
  for b in np.flatnonzero(_LABELS != 2):
    logits = np.einsum("sn,csn->sc", v[b], means[[0, 1, 3]]) / 0.2
    own = logits[:, [0, 1, 3].index(_LABELS[b])]
    expected[b] = np.mean(np.log(np.exp(logits).sum(axis=1)) - own)
  found = _loss(layer, temperature=0.2, prototypes=known)
  np.testing.assert_allclose(found, expected * 8 / 7, rtol=1e-4)
  nobody = _loss(layer, prototypes=no_prototypes(_CLASSES, 4, 5))
  np.testing.assert_array_equal(nobody, 0)


def test_kept_prototypes_are_those_of_the_whole_batch_over_devices():
  layer = _random((16, 4, 4, 5))
  labels = np.random.default_rng(0).integers(0, _CLASSES, 16)
  where = np.arange(16) % 5 != 0
  known = no_prototypes(_CLASSES, 4, 5)
  mesh = Mesh(np.array(jax.devices()), ("devices",))
  found = jax.jit(
    jax.shard_map(
      lambda a, y, w: update_prototypes(
        known, a, y, sectors=4, where=w, axis_name="devices"
      ),
      mesh=mesh,
      in_specs=(P("devices"), P("devices"), P("devices")),
      out_specs=P(),
    )
  )(layer, labels, where)
  expected = update_prototypes(known, layer[where], labels[where], sectors=4)
  np.testing.assert_allclose(found.means, expected.means, atol=1e-5)
  np.testing.assert_array_equal(found.known, expected.known)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"sectors": 0}, "sectors is 0"),
    ({"rings": 0}, "rings is 0"),
    ({"center": "corner"}, "center is 'corner'; it must be one of image, activation"),
    ({"temperature": 0.0}, "temperature is 0.0"),
  ],
)
def test_settings_that_cannot_be_used(settings, message):
  with pytest.raises(ValueError, match=message):
    angular_consistency_loss(
      _random((8, 4, 4, 5)), _LABELS, num_classes=_CLASSES, **settings
    )


def test_one_position_is_one_cell():
  layer = _random((8, 1, 1, 5))
  assert np.isfinite(_loss(layer, sectors=4, rings=2, center="activation")).all()
  np.testing.assert_allclose(
    _loss(layer, sectors=4, offset=0.4), _loss(layer, sectors=1), rtol=1e-5
  )
