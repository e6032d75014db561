"""Images made worse in six ways, at five severities each.

Source: Hendrycks and Dietterich, "Benchmarking Neural Network Robustness to Common
Corruptions and Perturbations", ICLR 2019; the severities of noise, blur, contrast,
brightness and pixelation are those that they chose for images of 32 pixels.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float, UInt8
from scipy import ndimage

SEVERITIES = (1, 2, 3, 4, 5)

Pixels = Float[np.ndarray, "images height width channels"]


def _noise(x, severity, rng):
  """Adds normal noise, independent at each pixel and channel."""
  deviation = (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1]
  return x + rng.normal(0, deviation, x.shape)


def _blur(x, severity, rng):
  """Blurs by a Gaussian."""
  del rng
  width = (0.4, 0.6, 0.7, 0.8, 1.0)[severity - 1]
  return ndimage.gaussian_filter(x, (0, width, width, 0), mode="nearest")


def _contrast(x, severity, rng):
  """Moves pixels nearer to each channel's mean over the image."""
  del rng
  share = (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1]
  mean = x.mean(axis=(1, 2), keepdims=True)
  return (x - mean) * share + mean


def _brightness(x, severity, rng):
  """Brightens by a constant."""
  del rng
  return x + (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1]


def _pixelation(x, severity, rng):
  """Resizes to a smaller image, by area, and back, by nearest neighbor."""
  del rng
  share = (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1]
  height, width = x.shape[1:3]
  rows, columns = max(round(height * share), 1), max(round(width * share), 1)
  small = _areas(rows, height) @ np.moveaxis(x, 3, 1) @ _areas(columns, width).T
  y = ((np.arange(height) + 0.5) * rows / height).astype(int)
  z = ((np.arange(width) + 0.5) * columns / width).astype(int)
  return np.moveaxis(small[:, :, y][:, :, :, z], 1, 3)


def _areas(cells, pixels):
  """Returns how much of each cell each pixel covers, [cells, pixels]; rows sum to 1."""
  edges = np.linspace(0, pixels, cells + 1)
  at = np.arange(pixels)
  overlap = np.minimum(edges[1:, None], at + 1) - np.maximum(edges[:-1, None], at)
  overlap = np.maximum(overlap, 0)
  return overlap / overlap.sum(axis=1, keepdims=True)


def _translation(x, severity, rng):
  """Moves by 4 % of the side for each severity, in a random direction."""
  angle = rng.uniform(0, 2 * np.pi, len(x))
  length = 0.04 * severity * max(x.shape[1:3])
  shifts = np.stack([np.sin(angle), np.cos(angle)], axis=1) * length
  moved = [
    ndimage.shift(image, (dy, dx, 0), order=1, mode="constant")
    for image, (dy, dx) in zip(x, shifts, strict=True)
  ]
  return np.stack(moved)


CORRUPTIONS: dict[str, Callable[..., Pixels]] = {
  "noise": _noise,
  "blur": _blur,
  "contrast": _contrast,
  "brightness": _brightness,
  "pixelation": _pixelation,
  "translation": _translation,
}


def corrupt(
  images: UInt8[np.ndarray, "images height width channels"],
  corruption: str,
  severity: int,
  *,
  seed: int = 0,
) -> UInt8[np.ndarray, "images height width channels"]:
  """Makes images worse.

  Args:
    images: The images as stored.
    corruption: The name of one of `CORRUPTIONS`.
    severity: The severity, from 1 to 5.
    seed: The seed of noise and directions.

  Returns:
    Images of the same shape.
  """
  rng = np.random.default_rng([seed, list(CORRUPTIONS).index(corruption), severity])
  worse = CORRUPTIONS[corruption](images / 255, severity, rng)
  return np.round(np.clip(worse, 0, 1) * 255).astype(np.uint8)
