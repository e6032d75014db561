"""The image plane cut into cells, and the directions of the activations in them."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Integer

from hue_jax.errors import InputError, check_one_of
from hue_jax.hue import TAU, polar_grid
from hue_jax.numerics import (
  Arrays,
  einsum,
  kept,
  scaled,
  smooth_norm,
  still_where_zero,
)

CENTERS = ("image", "activation")
CELLS = ("polar", "grid")


class Cells(NamedTuple):
  """How the image plane is cut; see `angular_consistency_loss`.

  Attributes:
    kind: One of `CELLS`.
    sectors: The number of sectors S.
    rings: The number of rings into which every sector is cut.
    offset: The angle in radians by which the plane is turned.
    smooth: Whether a position belongs to the nearest cells, in proportion.
    center: One of `CENTERS`.
    order: The positions in another order, or None.
  """

  kind: str = "polar"
  sectors: int = 8
  rings: int = 1
  offset: Float[Array, ""] | float = 0.0
  smooth: bool = False
  center: str = "image"
  order: Integer[Arrays, " positions"] | None = None


def fitting_cells(
  height: int, width: int, *, sectors: int, rings: int, positions: int
) -> tuple[int, int]:
  """Returns as many sectors and rings as a layer bears, with enough positions in each.

  The rings become one fewer, until there is one, and then the sectors half as many,
  until every cell about the center of the image holds so many positions or there is
  one cell: the angle is kept as long as it can be.

  Example:
    >>> from hue_jax import losses
    >>> losses.fitting_cells(4, 4, sectors=8, rings=2, positions=4)
    (4, 1)

  Args:
    height: The number of rows of the layer.
    width: The number of columns of the layer.
    sectors: The largest number of sectors.
    rings: The largest number of rings.
    positions: The least number of positions in a cell; 0 for cells as they are.

  Returns:
    The numbers of sectors and of rings.

  Raises:
    InputError: If height, width, sectors or rings is below 1.
  """
  angle, radius = _polar(height, width)
  while True:
    cells = Cells(sectors=sectors, rings=rings)
    _check(cells, height * width)
    held = _membership(angle, radius, cells).sum(axis=(-2, -1))
    if sectors == rings == 1 or held.min() >= positions:
      return sectors, rings
    sectors, rings = (sectors, rings - 1) if rings > 1 else (sectors // 2, 1)


def cell_directions(
  activations: Float[Arrays, "batch height width channels"],
  cells: Cells,
  counts: Bool[Array, " batch"],
) -> tuple[Float[Array, "batch cells channels"], Bool[Arrays, "... cells"]]:
  """Returns unit-normalized mean activations, and which cells hold a position.

  Args:
    activations: The activations of a layer; one position is the one cell.
    cells: How the plane is cut.
    counts: The images that count; of others, NaN or not, the means are 0.

  Returns:
    The means, and whether a cell holds a position, by cell or by image and cell.
  """
  height, width = activations.shape[1:3]
  _check(cells, height * width)
  activations, scale = scaled(kept(activations, counts))
  activations = activations * (scale / scale.max(axis=(1, 2), keepdims=True))[..., None]
  if (height, width) == (1, 1):  # one position has no angle
    member = jnp.ones((1, 1, 1))
  else:
    member = _membership(*_polar_about(activations, cells.center), cells)
  sums = still_where_zero(
    einsum(
      "bhwn,bshw->bsn" if member.ndim == 4 else "bhwn,shw->bsn",
      activations,
      jnp.asarray(member, activations.dtype),
    )
  )
  holds = member.sum(axis=(-2, -1)) > 0
  return sums / smooth_norm(sums, 1e-6)[..., None], holds


def _check(cells, positions):
  for name in ("sectors", "rings"):
    value = getattr(cells, name)
    if value < 1:
      raise InputError(f"{name} is {value}; it must be at least 1.")
  check_one_of("center", cells.center, CENTERS)
  check_one_of("cells", cells.kind, CELLS)
  if cells.order is not None and cells.order.shape != (positions,):
    raise InputError(
      f"order has shape {cells.order.shape}; one place for each of the {positions} "
      "positions is needed."
    )


def _polar(height, width):
  """Returns angle and radius of every position, of radius 1 in the farthest corner."""
  angle, radius = polar_grid(height, width)
  return angle, radius / _corner(height, width)


def _polar_about(activations, center):
  """Returns angle and radius about the center of the image or of each activation."""
  height, width = activations.shape[1:3]
  if center == "image":
    return _polar(height, width)
  strength = jnp.linalg.norm(jax.lax.stop_gradient(activations), axis=-1)
  strength /= strength.sum(axis=(1, 2), keepdims=True) + 1e-12
  y, x = np.mgrid[:height, :width]
  y = y - jnp.sum(strength * y, axis=(1, 2), keepdims=True)
  x = x - jnp.sum(strength * x, axis=(1, 2), keepdims=True)
  return jnp.arctan2(y, x) % TAU, jnp.hypot(x, y) / _corner(height, width)


def _corner(height, width):
  return max(math.hypot(height - 1, width - 1) / 2, 1e-12)


def _membership(angle, radius, cells):
  """Returns how much each position is of each cell, `[..., cell, height, width]`.

  It is in NumPy where nothing is traced, so that the compiler sees constants.
  """
  member_of = _polar_member if cells.kind == "polar" else _grid_member
  member = member_of(angle - cells.offset, radius, cells)
  if cells.order is None:
    return member
  traced = any(isinstance(array, jax.Array) for array in (member, cells.order))
  take = jnp.take if traced else np.take
  flat = member.reshape(*member.shape[:-2], -1)
  return take(flat, cells.order, axis=-1).reshape(member.shape)


def _polar_member(angle, radius, cells):
  sectors, rings = cells.sectors, cells.rings
  turned = angle * (sectors / TAU)
  # Positions on a boundary belong to the sector after it, whatever the rounding.
  number = np.arange(sectors)[:, None, None]
  xp = np if isinstance(turned, np.ndarray) else jnp
  turned = xp.expand_dims(turned, -3)
  if cells.smooth and sectors > 1:
    distance = xp.abs((turned - 0.5 - number + sectors / 2) % sectors - sectors / 2)
    member = xp.maximum(1 - distance, 0)
  else:
    member = xp.floor(turned + 1e-6) % sectors == number
  ring = xp.minimum(xp.floor(xp.expand_dims(radius, -3) ** 2 * rings), rings - 1)
  member = member * (xp.expand_dims(radius, -3) > 0)
  parts = [member * (ring == r) for r in range(rings)]
  return xp.concatenate(parts, axis=-3)


def _grid_member(angle, radius, cells):
  """Returns the product of what a position is of each row and of each column."""
  xp = np if isinstance(angle, np.ndarray) else jnp
  height, width = angle.shape[-2:]
  radius = radius * _corner(height, width)
  rows, columns = _near_square(cells.sectors * cells.rings)
  row, column = (
    _part_of_line(along / length + 0.5, parts, cells.smooth, xp)
    for along, length, parts in (
      (radius * xp.sin(angle), height, rows),
      (radius * xp.cos(angle), width, columns),
    )
  )
  member = xp.expand_dims(row, -3) * xp.expand_dims(column, -4)
  return member.reshape(*member.shape[:-4], rows * columns, height, width)


def _part_of_line(place, parts, smooth, xp):
  """Returns how much a place, from 0 to 1, is of each part of a line."""
  place = xp.expand_dims(place * parts, -3)
  number = np.arange(parts)[:, None, None]
  if smooth:
    return xp.maximum(1 - xp.abs(xp.clip(place - 0.5, 0, parts - 1) - number), 0)
  return 1.0 * (xp.clip(xp.floor(place + 1e-5), 0, parts - 1) == number)


def _near_square(count):
  """Returns the two factors nearest to each other, the rows and the columns."""
  rows = next(r for r in range(math.isqrt(count), 0, -1) if count % r == 0)
  return rows, count // rows
