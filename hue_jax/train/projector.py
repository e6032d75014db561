"""Features of test images for TensorBoard's projector, colored by their hue."""

import math
from collections.abc import Mapping, Sequence

import jax
import numpy as np
from etils import epath
from jaxtyping import Float
from PIL import Image, ImageDraw

from hue_jax.hue import chroma, hue_angle
from hue_jax.models import head_of
from hue_jax.objective import Objective
from hue_jax.train.layer_pictures import planes_of_terms
from hue_jax.train.state import TrainState, quick_to_compile
from hue_jax.train.step import forward, normalize

_CONFIG, _FOLDER = "projector_config.pbtxt", "projector"
_BATCH = 64
_DOT = 16  # pixels of a point's picture
_TAP = "features"


def write_projection(
  folder: epath.Path,
  state: TrainState,
  examples: Mapping[str, np.ndarray],
  objective: Objective,
  *,
  class_names: Sequence[str],
  pixel_mean: tuple[float, ...],
  pixel_std: tuple[float, ...],
) -> None:
  """Writes what TensorBoard's projector shows: features, and of each image a few facts.

  A point is a dot in the color of its hue; the class, the class that was told, the hue
  in degrees and the chroma can be searched, and color the points in its stead.

  Args:
    folder: The folder of TensorBoard's files.
    state: The state on one device; that of its optimizer does not count.
    examples: The images and labels, and a mask that is 0 for padding.
    objective: The objective; where one of its hue terms looks at the features, their
      hue is that of its plane.
    class_names: The names of the classes.
    pixel_mean: What is subtracted from pixels in [0, 1].
    pixel_std: What the difference is divided by.
  """
  features, told, plane = _features(state, examples, objective, pixel_mean, pixel_std)
  there = examples["mask"] > 0
  features, told, labels = features[there], told[there], examples["label"][there]
  if features.shape[-1] < 3:  # which have no hue
    return
  hues = np.asarray(hue_angle(features, plane=plane))
  chromas = np.asarray(chroma(features, plane=plane))
  (folder / _FOLDER).mkdir(parents=True, exist_ok=True)
  names = [" ".join(name.split()) for name in class_names]
  rows = [
    (names[label], names[guess], f"{math.degrees(hue):.1f}", f"{length:.4g}")
    for label, guess, hue, length in zip(labels, told, hues, chromas, strict=True)
  ]
  _write_lines(folder, "metadata.tsv", [("class", "told", "hue", "chroma"), *rows])
  _write_lines(
    folder, "features.tsv", [[f"{x:.5g}" for x in vector] for vector in features]
  )
  with (folder / _FOLDER / "hues.png").open("wb") as file:
    _dots(hues).save(file, "PNG")
  (folder / _CONFIG).write_text(_config(f"{_TAP} by hue"))


def _features(state, examples, objective, pixel_mean, pixel_std):
  """Returns the features, the classes that are told, and the plane of their hue."""

  def look(state, images):
    params, batch_stats = state.evaluated()
    variables = {"params": params["network"], "batch_stats": batch_stats}
    pixels = normalize(images, pixel_mean, pixel_std)
    logits, taps = forward(state.apply_fn, variables, pixels)
    head = head_of(params["network"])
    scores = objective.classifier.decide(logits, taps, head)
    return taps[_TAP], scores.argmax(axis=-1)

  look = jax.jit(look, compiler_options=quick_to_compile())
  images = examples["image"]
  padded = np.concatenate([images, np.zeros_like(images[:1]).repeat(_BATCH - 1, 0)])
  parts = [
    jax.device_get(look(state, padded[first : first + _BATCH]))
    for first in range(0, len(images), _BATCH)
  ]
  features, told = (
    np.concatenate(arrays)[: len(images)] for arrays in zip(*parts, strict=True)
  )
  planes = planes_of_terms(objective, state.evaluated()[0]["planes"])
  return features.astype(np.float32), told, planes.get(_TAP)


def _write_lines(folder, name, rows):
  lines = ("\t".join(map(str, row)) for row in rows)
  (folder / _FOLDER / name).write_text("\n".join(lines) + "\n")


def _dots(hues: Float[np.ndarray, " points"]) -> Image.Image:
  """Returns a square sheet of dots, row by row, as the projector wants it."""
  columns = math.ceil(math.sqrt(len(hues)))
  sheet = Image.new("HSV", (columns * _DOT, columns * _DOT))
  draw = ImageDraw.Draw(sheet)
  alpha = Image.new("L", sheet.size)
  shape = ImageDraw.Draw(alpha)
  for number, hue in enumerate(hues):
    row, column = divmod(number, columns)
    box = (
      column * _DOT + 1,
      row * _DOT + 1,
      (column + 1) * _DOT - 2,
      (row + 1) * _DOT - 2,
    )
    draw.ellipse(box, fill=(round(255 * hue / (2 * math.pi)) % 256, 255, 230))
    shape.ellipse(box, fill=255)
  dots = sheet.convert("RGB")
  dots.putalpha(alpha)
  return dots


def _config(name: str) -> str:
  """Returns the projector's configuration, in protobuf's text format."""
  return f"""embeddings {{
  tensor_name: "{name}"
  tensor_path: "{_FOLDER}/features.tsv"
  metadata_path: "{_FOLDER}/metadata.tsv"
  sprite {{
    image_path: "{_FOLDER}/hues.png"
    single_image_dim: {_DOT}
    single_image_dim: {_DOT}
  }}
}}
"""
