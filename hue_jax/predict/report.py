"""What is predicted, as text, as JSON, and as a page with colored layers."""

import io
import math
import os
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from PIL import Image

from hue_jax.color.coloring import color_layer, color_wheel
from hue_jax.files import readable
from hue_jax.hue import activation_strength
from hue_jax.pages.files import data_uri, json_text
from hue_jax.predict.predict import Prediction
from hue_jax.train.predictor import Predictor

# The side of a picture on the page, in pixels of the screen.
_SIDE = 144
_FULL_PERCENTILE = 99.0


def as_text(predictions: Sequence[Prediction], predictor: Predictor) -> str:
  """Returns a block of lines for each picture: probability and class.

  Args:
    predictions: What was predicted.
    predictor: The network.
  """
  blocks = []
  for prediction in predictions:
    lines = [
      f"  {_percent(ranked.probability) or f'{ranked.score:8.4f}'}  {ranked.name}"
      for ranked in prediction.classes
    ]
    blocks.append("\n".join([readable(prediction.path), *lines]))
  return "\n".join([*blocks, *notes(predictor)]) + "\n"


def as_json(
  predictions: Sequence[Prediction],
  predictor: Predictor,
  left_out: Sequence[Prediction] = (),
) -> str:
  """Returns one object: the network, images with their classes, and what was left out.

  Args:
    predictions: What was predicted.
    predictor: The network.
    left_out: What could not be read.
  """
  content = {
    "network": predictor.network.name,
    "architecture": predictor.architecture,
    "classifier": predictor.classifier.kind,
    "names_are_known": predictor.class_names is not None,
    "images": [
      {
        "path": readable(one.path),
        "classes": [ranked._asdict() for ranked in one.classes],
      }
      for one in predictions
    ],
    "left_out": [
      {"path": readable(one.path), "reason": one.trouble} for one in left_out
    ],
  }
  return json_text(content, indent=1, ensure_ascii=False) + "\n"


def as_page(
  predictions: Sequence[Prediction],
  predictor: Predictor,
  left_out: Sequence[Prediction] = (),
) -> str:
  """Returns one HTML page: each picture as the network saw it, its classes and layers.

  A layer has its color as `hue_jax.color.color_layer` defines it; brightness is full at
  the 99th percentile of the layer's magnitude over all pictures of the page.

  Args:
    predictions: What was predicted, with the images, and the layers that are shown.
    predictor: The network.
    left_out: What could not be read.
  """
  from hue_jax.pages import templates

  colored = color_together([one.layers for one in predictions])
  rows = [
    {
      "path": readable(one.path),
      "name": readable(os.path.basename(one.path)),
      "classes": [
        {
          "name": ranked.name,
          "told": _percent(ranked.probability).strip() or f"{ranked.score:.4f}",
          "share": ranked.probability or 0.0,
        }
        for ranked in one.classes
      ],
      "image": _picture(one.image),
      "layers": [
        {"tap": tap, "shape": _shape(one.layers[tap]), "picture": _picture(colors)}
        for tap, colors in layers.items()
      ],
    }
    for one, layers in zip(predictions, colored, strict=True)
  ]
  page = templates.environment("hue_jax.predict").get_template("page.html")
  return page.render(
    rows=rows,
    left_out=left_out,
    notes=notes(predictor),
    network=predictor.network.name,
    architecture=predictor.architecture,
    num_classes=predictor.num_classes,
    wheel=_wheel(),
  )


def notes(predictor: Predictor) -> list[str]:
  """Returns what a reader of predictions must know besides."""
  told = []
  if predictor.class_names is None:
    told.append("The names of the classes are not known: they are told by number.")
  if not predictor.classifier.log_odds:
    told.append(predictor.classifier.meaning())
  return told


def color_together(layers: Sequence[dict[str, Any]]) -> list[dict[str, np.ndarray]]:
  """Colors the layers of pictures, which share a scale for each tap.

  Args:
    layers: Of each picture, tap → layer.

  Returns:
    Of each picture, tap → colors in [0, 1].
  """
  color = jax.jit(color_layer)
  colored: list[dict[str, np.ndarray]] = [{} for _ in layers]
  for tap in layers[0] if layers else ():
    of_tap = [np.asarray(one[tap], np.float32) for one in layers]
    if of_tap[0].shape[-1] < 3:  # It has no hue plane.
      continue
    strengths = np.stack([np.asarray(activation_strength(x)) for x in of_tap])
    scale = np.percentile(strengths, _FULL_PERCENTILE) or strengths.max()
    for one, layer in zip(colored, of_tap, strict=True):
      one[tap] = np.asarray(color(layer, scale=np.float32(scale)))
  return colored


def _percent(probability):
  return "" if probability is None else f"{100 * probability:6.2f} %"


def _shape(layer):
  return " × ".join(map(str, layer.shape))


def _picture(pixels):
  """Returns a picture as a PNG in the page, in whole multiples of its pixels."""
  pixels = np.asarray(pixels)
  if pixels.dtype != np.uint8:
    pixels = np.uint8(np.round(255 * np.clip(np.nan_to_num(pixels), 0, 1)))
  if pixels.ndim == 1:  # A pooled layer is one color.
    pixels = pixels[None, None]
  if pixels.shape[-1] == 1:
    pixels = pixels.repeat(3, axis=-1)
  image = Image.fromarray(pixels)
  if max(image.size) > 2 * _SIDE:
    factor = math.ceil(max(image.size) / (2 * _SIDE))
    image = image.reduce(factor)
  return _uri(image)


def _wheel():
  wheel = np.asarray(jax.jit(color_wheel, static_argnums=0)(192))
  return _uri(Image.fromarray(np.uint8(np.round(255 * wheel))))


def _uri(image):
  file = io.BytesIO()
  image.save(file, "PNG", optimize=True)
  return data_uri("image/png", file.getvalue())
