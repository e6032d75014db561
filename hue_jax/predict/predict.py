"""The best classes of pictures, a few at a time; what is damaged is left out."""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, UInt8

from hue_jax.errors import InputError
from hue_jax.files import readable
from hue_jax.picture_files import read_image_files
from hue_jax.pictures import WHITE
from hue_jax.train.predictor import Predictor

_TOGETHER = 16


class Ranked(NamedTuple):
  """A class of a picture.

  Attributes:
    number: The number of the class.
    name: Its name; the number, where there are no names.
    score: What the classifier chooses by.
    probability: The probability; None where scores say nothing of it.
  """

  number: int
  name: str
  score: float
  probability: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class Prediction:
  """A picture that was read, or why it was not.

  Attributes:
    path: The file.
    classes: The best classes, the best first; none of one that was not read.
    image: What the network saw; None where it is not asked for.
    layers: Tap → layer; empty where they are not asked for.
    trouble: Why it was not read; "" of one that was.
  """

  path: str
  classes: tuple[Ranked, ...] = ()
  image: UInt8[np.ndarray, "height width channels"] | None = None
  layers: dict[str, Float[np.ndarray, "..."]] = dataclasses.field(default_factory=dict)
  trouble: str = ""


def predict(
  predictor: Predictor,
  paths: Sequence[str],
  *,
  top: int = 5,
  taps: Sequence[str] = (),
  keep_images: bool = False,
  background: Sequence[int] = WHITE,
) -> Iterator[Prediction]:
  """Yields the best classes of pictures, in the order of their paths.

  Args:
    predictor: The network.
    paths: The files.
    top: How many classes of each; all where there are fewer.
    taps: The layers that are kept.
    keep_images: Whether the images are kept, each of which takes memory as long as its
      prediction is there.
    background: What transparent parts show: red, green and blue from 0 to 255.
  """
  for start in range(0, len(paths), _TOGETHER):
    some = paths[start : start + _TOGETHER]
    read = [_read(predictor, path, background) for path in some]
    images = [image for image in read if not isinstance(image, InputError)]
    ranked = iter(_ranked(predictor, images, top, taps) if images else ())
    for path, image in zip(some, read, strict=True):
      if isinstance(image, InputError):
        yield Prediction(path, trouble=readable(str(image)))
      else:
        classes, layers = next(ranked)
        yield Prediction(path, classes, image if keep_images else None, layers)


def _read(predictor, path, background):
  """Returns a picture as evaluation makes it, or the error that names it."""
  network = predictor.network
  try:
    return read_image_files(
      [path],
      image_size=network.image_size,
      crop=network.crop,
      crop_ratio=network.crop_ratio,
      channels=network.channels,
      background=background,
    )[0]
  except InputError as error:
    return error


def _ranked(predictor, images, top, taps):
  """Yields the best classes and the layers of each image."""
  # Of a size alone, so that few programs are compiled.
  filled = _TOGETHER if len(images) > 1 else 1
  batch = np.stack([*images, *images[:1] * (filled - len(images))])
  scores, probabilities, layers = predictor.predict(batch)
  scores = np.asarray(scores)
  probabilities = None if probabilities is None else np.asarray(probabilities)
  layers = {tap: np.asarray(layers[tap]) for tap in taps}
  # Ties go to lower classes, as in evaluation.
  order = np.argsort(-scores, axis=-1, kind="stable")[:, :top]
  for i in range(len(images)):
    classes = tuple(
      Ranked(
        int(number),
        predictor.name_of_class(int(number)),
        float(scores[i, number]),
        None if probabilities is None else float(probabilities[i, number]),
      )
      for number in order[i]
    )
    yield classes, {tap: layer[i] for tap, layer in layers.items()}
