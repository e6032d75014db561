"""What users of PyTorch and grain write with Pillow: from JPEGs to training batches.

Neither TensorFlow nor JAX is imported here: worker processes import this file.
"""

import io
import math
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_MEAN = np.float32([0.485, 0.456, 0.406])
_STD = np.float32([0.229, 0.224, 0.225])


def torch_batches(
  files: Sequence[Path], size: int, batch_size: int
) -> Iterator[np.ndarray] | str:
  """Returns endless batches of PyTorch's DataLoader, one worker a core.

  Args:
    files: The JPEGs.
    size: The side of the images in pixels.
    batch_size: The images of a batch.

  Returns:
    The batches; or in words why there are none.
  """
  try:
    from torch.utils import data
  except ImportError:
    return "torch is not installed"
  loader = data.DataLoader(
    Pictures(files, size),
    batch_size,
    sampler=Endless(len(files)),
    num_workers=os.cpu_count(),
    # A fork of a process in which TensorFlow has threads may hang.
    multiprocessing_context="spawn",
    drop_last=True,
  )
  return (images.numpy() for images, _ in loader)


def grain_batches(
  files: Sequence[Path], size: int, batch_size: int
) -> Iterator[np.ndarray] | str:
  """Returns endless batches of grain, one worker a core; see `torch_batches`."""
  try:
    import grain
    from absl import flags
  except ImportError:
    return "grain is not installed (pip install grain)"
  if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()  # Its processes read flags of Abseil.
  batches = (
    grain.MapDataset.source(Pictures(files, size))
    .shuffle(seed=0)
    .repeat()
    .to_iter_dataset()
    .batch(batch_size, drop_remainder=True)
    .mp_prefetch(grain.MultiprocessingOptions(num_workers=os.cpu_count()))
  )
  return (images for images, _ in iter(batches))


class Pictures:
  """Pictures that are read, cropped, mirrored and normalized when asked for."""

  def __init__(self, files: Sequence[Path], size: int):
    """Takes the files, and the side of the result."""
    self._files, self._size = list(files), size

  def __len__(self) -> int:
    return len(self._files)

  def __getitem__(self, index: int) -> tuple[np.ndarray, int]:
    """Returns an image, float32 [size, size, 3], and a label."""
    rng = np.random.default_rng()
    contents = Path(self._files[index]).read_bytes()
    image = Image.open(io.BytesIO(contents)).convert("RGB")
    box = _random_box(rng, *image.size)
    size = (self._size, self._size)
    image = image.crop(box).resize(size, Image.Resampling.BICUBIC)
    if rng.random() < 0.5:
      image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    pixels = np.asarray(image, np.float32) / 255
    return (pixels - _MEAN) / _STD, index % 8


class Endless:
  """Indices in random order, epoch after epoch."""

  def __init__(self, length: int):
    """Takes the number of pictures."""
    self._length = length

  def __iter__(self) -> Iterator[int]:
    rng = np.random.default_rng(0)
    while True:
      yield from rng.permutation(self._length).tolist()


def _random_box(rng: Any, width: int, height: int) -> tuple[int, int, int, int]:
  """Returns 8 to 100 % of an image, of an aspect ratio of 3/4 to 4/3."""
  for _ in range(10):
    area = width * height * rng.uniform(0.08, 1)
    aspect = math.exp(rng.uniform(math.log(3 / 4), math.log(4 / 3)))
    w, h = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
    if 0 < w <= width and 0 < h <= height:
      left, top = rng.integers(width - w + 1), rng.integers(height - h + 1)
      return int(left), int(top), int(left) + w, int(top) + h
  side = min(width, height)
  left, top = (width - side) // 2, (height - side) // 2
  return left, top, left + side, top + side
