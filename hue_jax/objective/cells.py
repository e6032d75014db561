"""What the terms share that compare images in each cell of the image plane."""

import dataclasses
from typing import Any

import jax
import numpy as np

from hue_jax import hue, losses
from hue_jax.losses import CENTERS
from hue_jax.objective.batch import Batch, Number
from hue_jax.objective.layers import check_positions
from hue_jax.objective.term import LayerTerm
from hue_jax.settings import choice, flag, integer, number

CELLS = (*losses.CELLS, "shuffled")


@dataclasses.dataclass(frozen=True, kw_only=True)
class CellTerm(LayerTerm):
  """A term of a layer that is cut into cells about its center.

  Attributes:
    temperature: The temperature τ.
    cells: The kind of cells: "polar"; or as controls of the angle, as many cells of a
      "grid", or the polar ones "shuffled", where each position belongs to the cell of
      another one, in an order that the seed determines.
    sectors: The number S of sectors into which the image plane is cut.
    rings: The number of rings into which each sector is cut.
    min_positions: The least number of positions in a polar cell. Sectors and rings are
      fewer where the layer would not bear them; see `losses.fitting_cells`.
    smooth: Whether positions belong to the nearest cells in proportion.
    center: The point about which the plane is cut: "image", or "activation" for the
      center of each image's activation.
    random_turn: Whether the cells are turned by another angle at each step.
    order: The order of the positions of a term that is `ready`, where they are
      shuffled.
  """

  family = "hue"
  temperature: Number = number(0.1, above=0)
  cells: str = choice("polar", CELLS)
  sectors: int = integer(8, at_least=1)
  rings: int = integer(1, at_least=1)
  min_positions: int = integer(0, at_least=0)
  smooth: bool = flag(False)
  center: str = choice("image", CENTERS)
  random_turn: bool = flag(False)
  order: Any = None

  def check(self, here, tap_shapes, num_classes):
    """See `Term`."""
    super().check(here, tap_shapes, num_classes)
    check_positions(here, self.tap, tap_shapes, self.kind)

  def ready(self, tap_shapes, *, seed):
    """See `Term`."""
    height, width = tap_shapes[self.tap][:2]
    sectors, rings = losses.fitting_cells(
      height,
      width,
      sectors=self.sectors,
      rings=self.rings,
      positions=self.min_positions,
    )
    order = None
    if self.cells == "shuffled":
      key = jax.random.key(seed)
      order = np.asarray(jax.random.permutation(key, height * width))
    return dataclasses.replace(self, sectors=sectors, rings=rings, order=order)

  def cut(self, batch: Batch) -> dict[str, Any]:
    """Returns how the plane is cut, and who is compared, as the losses take it."""
    return {
      "cells": "polar" if self.cells == "shuffled" else self.cells,
      "sectors": self.sectors,
      "rings": self.rings,
      "smooth": self.smooth,
      "center": self.center,
      "offset": self._turn(batch.step) if self.random_turn else 0.0,
      "order": self.order,
      "where": batch.mask > 0,
      "axis_name": batch.axis_name,
    }

  def _turn(self, step):
    """Returns an angle that the step determines, within one sector."""
    key = jax.random.fold_in(jax.random.key(0), step)
    return jax.random.uniform(key, (), maxval=hue.TAU / self.sectors)
