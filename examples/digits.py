"""What the examples share: 8 × 8 handwritten digits, and how a network is judged."""

from collections.abc import Callable, Iterator

import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_digits

from hue_jax import hue_labels, hue_loss

CHANNELS = (16, 32, 32)  # of the three convolutions, all 3 × 3
HUE_WEIGHT = 0.1

_pixels, _labels = load_digits(return_X_y=True)
_images = (_pixels / 16).astype(np.float32).reshape(-1, 8, 8, 1)
_order = np.random.default_rng(0).permutation(len(_labels))
_TRAIN, _TEST = _order[:1400], _order[1400:]


def batches(steps: int = 200, size: int = 64) -> Iterator[tuple[np.ndarray, ...]]:
  """Yields images [size, 8, 8, 1] and labels [size], the same for every framework."""
  random = np.random.default_rng(1)
  for _ in range(steps):
    chosen = random.choice(_TRAIN, size)
    yield _images[chosen], _labels[chosen]


def judge(network: Callable) -> dict[str, float]:
  """Returns what a network says of the 397 test images.

  Args:
    network: Images → (logits, layer), the layer in the order [batch, height, width,
      channels].

  Returns:
    The accuracy, and the class hue loss of the layer's mean over positions.
  """
  logits, layer = network(_images[_TEST])
  hue = hue_loss(layer.mean(axis=(1, 2)), hue_labels(_labels[_TEST], 10))
  accuracy = jnp.mean(logits.argmax(axis=-1) == _labels[_TEST])
  return {"accuracy": float(accuracy), "hue_loss": float(hue.mean())}


def compare(train: Callable[[float], dict[str, float]]) -> None:
  """Trains without and with the hue loss, and prints what came of it."""
  for name, weight in (("cross entropy alone", 0.0), ("with the hue loss", HUE_WEIGHT)):
    found = train(weight)
    print(
      f"{name:20} accuracy {found['accuracy']:.1%}, hue loss {found['hue_loss']:.3f}"
    )
