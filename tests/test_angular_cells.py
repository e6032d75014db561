"""Rings, grids, shuffled, smooth and turned cells, and prototypes that are kept."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from hue_jax.losses import (
  Prototypes,
  angular_consistency_loss,
  cell_contrastive_loss,
  fitting_cells,
  no_prototypes,
  supervised_contrastive_loss,
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


def _grid(height, width, rows, columns):
  """Cell of every position, by whole numbers."""
  cells = {}
  for y in range(height):
    for x in range(width):
      row, column = (2 * y + 1) * rows // (2 * height), (2 * x + 1) * columns
      cells.setdefault((row, column // (2 * width)), []).append((y, x))
  return cells


_ORDER = np.random.default_rng(4).permutation(42)


def _shuffled(cells, order, width):
  """Cells of which each position takes the place that the order says."""
  number = {at: cell for cell, places in cells.items() for at in places}
  found = {}
  for position, place in enumerate(order):
    if divmod(place, width) in number:
      found.setdefault(number[divmod(place, width)], []).append(divmod(position, width))
  return found


# Twelve cells of a layer 7 × 6 by every kind: settings and positions, in their order.
_KINDS = {
  "polar": ({}, _cells(7, 6, 4, 3)),
  "grid": ({"cells": "grid"}, _grid(7, 6, 3, 4)),
  "shuffled": ({"order": _ORDER}, _shuffled(_cells(7, 6, 4, 3), _ORDER, 6)),
}


def _directions(layer, cells):
  """[batch, cell, channels]"""
  return np.array(
    [
      [_unit(sum(image[at] for at in places)) for places in cells.values()]
      for image in layer.astype(np.float64)
    ]
  )


@pytest.mark.parametrize("kind", _KINDS)
def test_cells_of_every_kind_are_their_definition(kind):
  layer = _random((8, 7, 6, 5))
  settings, cells = _KINDS[kind]
  assert len(cells) == 12
  v = _directions(layer, cells)
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
  found = _loss(layer, rings=3, **settings)
  np.testing.assert_allclose(found, nats * 8 / peers.sum(), rtol=1e-4)


def test_shuffled_cells_are_as_many_and_as_large_as_those_in_order():
  polar, shuffled = (
    {cell: len(places) for cell, places in _KINDS[kind][1].items()}
    for kind in ("polar", "shuffled")
  )
  assert shuffled == polar
  layer = _random((8, 7, 6, 5))
  back = layer.reshape(8, 42, 5)[:, np.argsort(_ORDER)].reshape(layer.shape)
  # With the angle gone from the images, too, cells in order see the same.
  np.testing.assert_allclose(
    _loss(layer, rings=3, order=_ORDER), _loss(back, rings=3), rtol=1e-4
  )


def test_smooth_cells_of_a_grid_share_what_lies_between():
  layer = np.zeros((1, 1, 4, 4), np.float32)
  layer[0, 0] = np.eye(4)
  settings = {"cells": "grid", "sectors": 2, "smooth": True}
  known = update_prototypes(no_prototypes(1, 2, 4), layer, np.array([0]), **settings)
  # The middles of the two cells lie between the first and the last two positions.
  expected = [_unit([1, 0.75, 0.25, 0]), _unit([0, 0.25, 0.75, 1])]
  np.testing.assert_allclose(known.means[0], expected, atol=1e-5)


def _counts(height, width, sectors, rings):
  cells = _cells(height, width, sectors, rings)
  return [len(cells.get((r, s), ())) for r in range(rings) for s in range(sectors)]


@pytest.mark.parametrize("positions", [0, 1, 4, 9])
def test_cells_that_fit_a_layer_hold_enough_positions(positions):
  for shape in [(1, 1), (1, 9), (2, 2), (3, 5), (4, 4), (7, 7), (8, 8), (14, 14)]:
    sectors, rings = fitting_cells(*shape, sectors=8, rings=3, positions=positions)
    assert sectors in (8, 4, 2, 1)
    assert 1 <= rings <= 3
    assert sectors == 8 or rings == 1
    if (sectors, rings) != (1, 1):
      assert min(_counts(*shape, sectors, rings)) >= positions
    if (sectors, rings) != (8, 3):  # and those before do not
      before = (sectors, rings + 1) if sectors == 8 else (2 * sectors, 1)
      assert min(_counts(*shape, *before)) < positions


def test_cells_that_fit_the_layers_of_the_tasks():
  found = {
    side: fitting_cells(side, side, sectors=8, rings=2, positions=4)
    for side in (4, 7, 8, 14, 28)
  }
  assert found == {4: (4, 1), 7: (8, 1), 8: (8, 1), 14: (8, 2), 28: (8, 2)}


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


def _kept(layer, **settings):
  known = no_prototypes(_CLASSES, settings["sectors"], layer.shape[-1])
  return update_prototypes(known, layer, _LABELS, **settings).means


def _contrast(layer, **settings):
  return cell_contrastive_loss(layer, _LABELS, **settings)


_OF_CELLS = (_loss, _contrast, _kept)


@pytest.mark.parametrize("kind", _KINDS)
def test_contrast_is_that_of_every_cell(kind):
  layer = _random((8, 7, 6, 5))
  settings, cells = _KINDS[kind]
  expected = [
    supervised_contrastive_loss(v.astype(np.float32), _LABELS, temperature=0.2)
    for v in np.moveaxis(_directions(layer, cells), 1, 0)
  ]
  found = _contrast(layer, sectors=4, rings=3, temperature=0.2, **settings)
  np.testing.assert_allclose(found, np.mean(expected, axis=0), rtol=1e-4)


def test_cells_without_a_position_have_no_contrast():
  layer, cells = _random((8, 2, 2, 5)), _cells(2, 2, 6, 1)
  assert len(cells) == 4
  expected = [
    supervised_contrastive_loss(v.astype(np.float32), _LABELS, temperature=0.2)
    for v in np.moveaxis(_directions(layer, cells), 1, 0)
  ]
  found = _contrast(layer, sectors=6, temperature=0.2)
  np.testing.assert_allclose(found, np.mean(expected, axis=0), rtol=1e-4)


@pytest.mark.parametrize("function", _OF_CELLS)
@pytest.mark.parametrize("settings", [{"sectors": 8}, {"cells": "grid", "sectors": 9}])
def test_turned_cells_of_turned_images_agree(function, settings):
  layer = _random((8, 6, 6, 5))
  # In the plane, where y goes down, NumPy turns by −π/2.
  turned = np.rot90(layer, axes=(1, 2))
  found = function(layer, offset=jnp.asarray(0.3), **settings)
  np.testing.assert_allclose(
    function(turned, offset=0.3 - np.pi / 2, **settings), found, rtol=1e-3, atol=1e-4
  )
  assert np.abs(function(layer, **settings) - found).max() > 0.01


@pytest.mark.parametrize("function", _OF_CELLS)
@pytest.mark.parametrize("cells", ["polar", "grid"])
def test_about_the_center_of_activation_a_shift_changes_nothing(function, cells):
  layer = np.zeros((8, 9, 9, 5), np.float32)
  layer[:, 1:6, 2:7] = np.abs(_random((8, 5, 5, 5)))
  shifted = np.roll(layer, (2, -1), axis=(1, 2))
  settings = {"cells": cells, "sectors": 3}
  about_it = settings | {"center": "activation"}
  np.testing.assert_allclose(
    function(shifted, **about_it), function(layer, **about_it), rtol=1e-3, atol=1e-4
  )
  assert (
    np.abs(function(shifted, **settings) - function(layer, **settings)).max() > 0.05
  )


@pytest.mark.parametrize("function", _OF_CELLS)
@pytest.mark.parametrize("cells", ["polar", "grid"])
def test_smooth_cells_are_others_in_every_function(function, cells):
  layer, settings = _random((8, 6, 6, 5)), {"cells": cells, "sectors": 4}
  smooth = function(layer, smooth=True, **settings)
  assert np.abs(smooth - function(layer, **settings)).max() > 0.01


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


@pytest.mark.parametrize("kind", _KINDS)
def test_prototypes_of_every_kind_of_cell_are_kept(kind):
  layer = _random((8, 7, 6, 5))
  settings, cells = _KINDS[kind]
  known = update_prototypes(
    no_prototypes(_CLASSES, 12, 5), layer, _LABELS, sectors=4, rings=3, **settings
  )
  order = sorted(range(12), key=lambda i: list(cells)[i])
  expected = _directions(layer[_LABELS == 1], cells).mean(axis=0)
  np.testing.assert_allclose(known.means[1], expected[order], atol=1e-5)


def test_a_decay_by_image_moves_a_class_by_as_many_images_as_there_are():
  layer, known = (
    _random((8, 4, 4, 5)),
    Prototypes(
      jnp.asarray(_random((_CLASSES, 4, 5), seed=2)), jnp.array([1.0, 1, 1, 0, 1])
    ),
  )
  found, by_batch = (
    update_prototypes(known, layer, _LABELS, sectors=4, decay=0.7, decay_of=decay_of)
    for decay_of in ("image", "batch")
  )
  mean = update_prototypes(no_prototypes(_CLASSES, 4, 5), layer, _LABELS, sectors=4)
  for c, stays in enumerate([0.7**3, 0.7**3, 0.7, 0, 1]):  # by images; 3 is new, 4 not
    expected = stays * known.means[c] + (1 - stays) * mean.means[c]
    np.testing.assert_allclose(found.means[c], expected, atol=1e-5)
  # As one image after another, whatever their order: of one image the two are alike.
  np.testing.assert_array_equal(found.means[2], by_batch.means[2])
  assert np.abs(found.means[0] - by_batch.means[0]).max() > 0.1


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
    ({"cells": "round"}, "cells is 'round'; it must be one of polar, grid"),
    (
      {"order": np.arange(15)},
      r"order has shape \(15,\); one place for .* 16 position",
    ),
  ],
)
def test_settings_that_cannot_be_used(settings, message):
  with pytest.raises(ValueError, match=message):
    angular_consistency_loss(
      _random((8, 4, 4, 5)), _LABELS, num_classes=_CLASSES, **settings
    )


def test_a_decay_of_what_is_not_counted_is_refused():
  with pytest.raises(ValueError, match="decay_of is 'step'; it must be one of batch"):
    update_prototypes(
      no_prototypes(_CLASSES, 8, 5), _random((8, 4, 4, 5)), _LABELS, decay_of="step"
    )


def test_one_position_is_one_cell():
  layer = _random((8, 1, 1, 5))
  assert np.isfinite(_loss(layer, sectors=4, rings=2, center="activation")).all()
  np.testing.assert_allclose(
    _loss(layer, sectors=4, offset=0.4), _loss(layer, sectors=1), rtol=1e-5
  )
