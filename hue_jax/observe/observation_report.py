"""Writes results as one self-contained page, figures, JSON and CSV."""

import base64
import csv
import dataclasses
import io
import math
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from hue_jax.color import color_wheel
from hue_jax.files import write_text
from hue_jax.observe.figures import Drawn, figures
from hue_jax.observe.results import Estimate, Results, Viewer, ViewerLayer
from hue_jax.pages import templates
from hue_jax.pages.figures import Picture, draw_picture
from hue_jax.pages.files import data_uri, in_words, json_text

_SPRITE_COLUMNS = 32
_WHEEL_SIZE = 120


def write_report(results: Results, viewer: Viewer, folder: str | os.PathLike[str]):
  """Writes report.html, figures/*.svg, results.json and results.csv.

  Args:
    results: The results that the report shows.
    viewer: The layers and images that its viewer can show.
    folder: The folder of the files; those of an earlier report are replaced.
  """
  folder = Path(folder)
  (folder / "figures").mkdir(parents=True, exist_ok=True)
  write_text(folder / "results.json", json_text(results, indent=1))
  write_text(folder / "results.csv", _csv(results))
  drawings = list(figures(results))
  pictures = [
    draw_picture(drawn.name, drawn.description, drawn.draw, folder / "figures")
    for drawn in drawings
  ]
  write_text(
    folder / "report.html", _page(results, viewer, zip(drawings, pictures, strict=True))
  )


# --- Numbers --------------------------------------------------------------------


def _csv(results: Results) -> str:
  """Returns one line for each observation, statistic, tap and series."""
  text = io.StringIO()
  columns = ["observation", "statistic", "tap", "series", "value", "low", "high"]
  writer = csv.writer(text, lineterminator="\n")
  writer.writerow([*columns, "p_value", "holds"])
  for observation in results.observations:
    for statistic in observation.statistics:
      decides = statistic is observation.statistics[0]
      for tap, measured in statistic.taps.items():
        for series in ("trained", "shuffled", "untrained"):
          estimate = getattr(measured, series)
          of_trained = series == "trained"
          writer.writerow(
            [
              observation.name,
              statistic.name,
              tap,
              series,
              *(_number(v) for v in dataclasses.astuple(estimate)),
              _number(measured.p_value) if of_trained else "",
              observation.holds[tap] if of_trained and decides else "",
            ]
          )
    for name, taps in observation.numbers.items():
      for tap, value in taps.items():
        writer.writerow(
          [observation.name, name, tap, "", _number(value), "", "", "", ""]
        )
  return text.getvalue()


def _number(value: float) -> str:
  return f"{value:.8g}" if math.isfinite(value) else ""


# --- The page -------------------------------------------------------------------


def _page(
  results: Results, viewer: Viewer, pictures: Iterable[tuple[Drawn, Picture]]
) -> str:
  page = templates.environment(
    "hue_jax.observe", number=_for_reading, interval=_interval, words=in_words
  ).get_template("page.html")
  pictures = list(pictures)
  return page.render(
    results=results,
    answer=_answer(results),
    first=next((picture for drawn, picture in pictures if not drawn.tap), None),
    pictures=pictures,
    taps=list(results.layers["trained"]),
    classes=_classes_shown(results, viewer),
    wheel=_wheel(),
    data=_viewer_data(results, viewer),
  )


def _answer(results: Results) -> str:
  """Returns what was found, in a sentence."""
  told = [
    f"“{found.title}” at {sum(found.holds.values())} of {len(found.holds)} layers"
    for found in results.observations
    if found.holds
  ]
  return f"Above both controls: {'; '.join(told)}." if told else "Nothing was found."


def _for_reading(value: float) -> str:
  return "—" if not math.isfinite(value) else f"{value:.3f}".replace("-", "−")


def _interval(estimate: Estimate) -> str:
  if not math.isfinite(estimate.value):
    return "—"
  low, high = _for_reading(estimate.low), _for_reading(estimate.high)
  return f"{_for_reading(estimate.value)} [{low}, {high}]"


def _classes_shown(results: Results, viewer: Viewer) -> list[tuple[int, str]]:
  shown = np.unique(viewer.labels[: viewer.num_shown])
  return [(int(c), results.class_names[c]) for c in shown]


def _viewer_data(results: Results, viewer: Viewer) -> dict[str, Any]:
  """Returns all that the script needs; arrays are base64 of little-endian numbers."""
  classes = {int(c): results.class_names[c] for c in np.unique(viewer.labels)}
  return {
    "classes": classes,
    "labels": viewer.labels,
    "ids": viewer.ids,
    "numShown": viewer.num_shown,
    "thumbnails": _sprite(viewer.images, "JPEG"),
    "thumbnailSize": viewer.images.shape[1],
    "spriteColumns": _SPRITE_COLUMNS,
    "layers": {tap: _layer_data(layer) for tap, layer in viewer.layers.items()},
  }


def _layer_data(layer: ViewerLayer) -> dict[str, Any]:
  return {
    "height": layer.colors.shape[1],
    "width": layer.colors.shape[2],
    "colors": _sprite(layer.colors, "PNG"),
    "rows": layer.rows,
    "columns": layer.columns,
    "k": layer.neighbor_image.shape[-1],
    "neighborImage": _base64(layer.neighbor_image.astype("<u2")),
    "neighborX": _base64(layer.neighbor_x.astype("<u2")),
    "neighborY": _base64(layer.neighbor_y.astype("<u2")),
    "neighborDistance": _base64(layer.neighbor_distance.astype("<f4")),
  }


def _sprite(images: np.ndarray, file_format: str) -> str:
  """Returns all images in one, row by row."""
  count, height, width, channels = images.shape
  if not count:
    return ""
  columns = min(count, _SPRITE_COLUMNS)
  rows = -(-count // columns)
  sheet = np.zeros((rows * columns, height, width, channels), np.uint8)
  sheet[:count] = images
  sheet = sheet.reshape(rows, columns, height, width, channels)
  sheet = sheet.transpose(0, 2, 1, 3, 4).reshape(rows * height, columns * width, -1)
  picture = Image.fromarray(sheet[:, :, 0] if channels == 1 else sheet)
  return _encoded(picture, file_format)


def _wheel() -> str:
  pixels = np.round(255 * np.asarray(color_wheel(_WHEEL_SIZE))).astype(np.uint8)
  return _encoded(Image.fromarray(pixels), "PNG")


def _encoded(picture: Image.Image, file_format: str) -> str:
  data = io.BytesIO()
  options = {"quality": 80} if file_format == "JPEG" else {"optimize": True}
  picture.save(data, file_format, **options)
  return data_uri(f"image/{file_format.lower()}", data.getvalue())


def _base64(array: np.ndarray) -> str:
  return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode()
