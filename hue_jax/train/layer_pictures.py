"""What TensorBoard shows of the layers: a few fixed images, and every tap colored."""

from collections.abc import Callable, Mapping

import jax
import numpy as np
from jaxtyping import Array, UInt8

from hue_jax.color.coloring import color_layer
from hue_jax.color.contact_sheet import contact_sheet
from hue_jax.hue import hue_plane
from hue_jax.objective import Objective
from hue_jax.train.state import TrainState, quick_to_compile
from hue_jax.train.step import forward, normalize


class LayerPictures:
  """Draws the layers of the same images whenever it is asked.

  It runs on one device of one process, beside the steps and without a part in them.
  """

  def __init__(
    self,
    read_images: Callable[[str], UInt8[np.ndarray, "images height width channels"]],
    objective: Objective,
    *,
    pixel_mean: tuple[float, ...],
    pixel_std: tuple[float, ...],
  ):
    """Says what is drawn; images are read, and the network compiled, when first needed.

    Args:
      read_images: A function that reads the images of a split.
      objective: The objective; a layer that its hue terms look at is colored in their
        hue plane.
      pixel_mean: The mean that `make_train_step` subtracts from pixels.
      pixel_std: The standard deviation by which it divides them.
    """
    self._read_images = read_images
    self._images: dict[str, np.ndarray] = {}
    self._captions: dict[str, str] = {}

    def color(state, images):
      params, batch_stats = state.evaluated()
      _, taps = forward(
        state.apply_fn,
        {"params": params["network"], "batch_stats": batch_stats},
        normalize(images, pixel_mean, pixel_std),
      )
      layers = {t: a for t, a in taps.items() if a.shape[-1] >= 3}
      # Kept when traced, for the order: jax.jit sorts the keys of its result.
      self._captions = {t: "x".join(map(str, a.shape[1:])) for t, a in layers.items()}
      planes = planes_of_terms(objective, params["planes"])
      return {t: color_layer(layer, planes.get(t)) for t, layer in layers.items()}

    self._color = jax.jit(color, compiler_options=quick_to_compile())

  def draw(
    self, state: TrainState, split: str
  ) -> UInt8[np.ndarray, "1 height width 3"]:
    """Draws the images of a split with their layers.

    Args:
      state: The state on one device; that of its optimizer does not count.
      split: The split of the data set.

    Returns:
      One picture, as TensorBoard takes it.
    """
    if split not in self._images:
      self._images[split] = self._read_images(split)
    images = self._images[split]
    colored = self._color(state, images)
    colored = {tap: colored[tap] for tap in self._captions}
    sheet = contact_sheet(images, colored, captions=self._captions)
    return np.asarray(sheet)[np.newaxis]


def planes_of_terms(
  objective: Objective, learned: Mapping[str, Array]
) -> dict[str, Array | None]:
  """Returns tap → hue plane of the first term that gives it a target angle.

  Args:
    objective: The objective.
    learned: Term → the two vectors of its plane, of those that learn one.
  """
  planes = {}
  for term in objective.terms:
    if hasattr(term, "plane") and term.tap not in planes:
      planes[term.tap] = (
        hue_plane(learned[term.name]) if term.learns_plane else term.plane
      )
  return planes
