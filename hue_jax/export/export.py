"""A trained network as a folder: the file, how images are made, and a model card."""

import contextlib
import os
import shutil
import uuid
from pathlib import Path
from typing import Any

import numpy as np

import hue_jax
from hue_jax.errors import InputError, check_one_of, refuse
from hue_jax.export.card import model_card
from hue_jax.export.formats import FORMATS, library_of
from hue_jax.files import local_path, write_text
from hue_jax.pages.files import json_text
from hue_jax.train.predictor import Predictor

CONFIG, CARD = "config.json", "README.md"


def export(
  predictor: Predictor,
  to: str,
  folder: str | os.PathLike[str],
  *,
  license_name: str = "unknown",
  title: str = "",
) -> Path:
  """Writes a network, config.json and a model card into a folder.

  Args:
    predictor: The network.
    to: The format, one of `FORMATS`.
    folder: The folder, which is made, or a link to one. An earlier export of the same
      format in it is replaced when the new one is whole.
    license_name: The license of the weights, as Hugging Face's hub names it.
    title: The title of the card; the network and its data if empty.

  Returns:
    The folder.

  Raises:
    InputError: If the format cannot take the network, or the folder holds something
      else.
  """
  check_one_of("--to", to, FORMATS)
  folder = local_path("folder", folder)
  check_folder(folder, to)
  if to == "torch":
    library_of(predictor)
  _check_scores(predictor, to)
  config = loader_config(predictor, to)
  card = model_card(predictor, to, license_name=license_name, title=title)
  with _replacing_folder(folder) as made:
    FORMATS[to].write(predictor, made / FORMATS[to].file)
    write_text(made / CONFIG, json_text(config, indent=2, ensure_ascii=False) + "\n")
    write_text(made / CARD, card)
  return folder


def loader_config(predictor: Predictor, to: str) -> dict[str, Any]:
  """Returns what a loader needs beside the file.

  Args:
    predictor: The network.
    to: The name of the format.
  """
  network, classifier = predictor.network, predictor.classifier
  return {
    "exported_by": f"hue_jax {hue_jax.__version__}",
    "format": to,
    "file": FORMATS[to].file,
    "architecture": predictor.architecture,
    "options": predictor.options,
    "num_classes": predictor.num_classes,
    "class_names": predictor.class_names,
    "image_size": network.image_size,
    "channels": network.channels,
    "crop": network.crop,
    "crop_ratio": network.crop_ratio,
    "pixel_mean": network.pixel_mean,
    "pixel_std": network.pixel_std,
    "normalizes": FORMATS[to].whole,
    "classifier": {"kind": classifier.kind, **_numbers(classifier)},
  }


def _check_scores(predictor, to):
  """Raises an InputError unless a loader of weights can be told how to make scores."""
  classifier = predictor.classifier
  if FORMATS[to].whole or classifier.scores_in_numpy("features", "kernel"):
    return
  whole = [name for name, one in FORMATS.items() if one.whole]
  refuse(
    "--to",
    to,
    f"one of {', '.join(whole)}, for the classifier {classifier.kind} has no "
    "scores_in_numpy, of which the card of weights tells the code",
  )


def check_folder(folder: Path, to: str) -> None:
  """Raises an InputError unless a folder is new, empty, or of such an export.

  Args:
    folder: The folder of the export.
    to: The name of the format.
  """
  if folder.exists() and not folder.is_dir():
    raise InputError(f"--output is {str(folder)!r}, which is a file.")
  if os.path.ismount(folder):  # It cannot be replaced.
    raise InputError(
      f"--output is {str(folder)!r}, which is a mount point; name a folder in it."
    )
  there = set(os.listdir(folder)) if folder.exists() else set()
  if there - {CONFIG, CARD, FORMATS[to].file}:
    raise InputError(
      f"--output is {str(folder)!r}, which holds other files; choose another folder."
    )
  above = folder
  while not above.exists():
    above = above.parent
  if not os.access(above, os.W_OK | os.X_OK) or not above.is_dir():
    raise InputError(f"--output is {str(folder)!r}, which cannot be written.")


@contextlib.contextmanager
def _replacing_folder(folder):
  """Yields a new folder that takes the place of another when it is whole."""
  folder = Path(os.path.realpath(folder))  # A link stays, and its folder is replaced.
  folder.parent.mkdir(parents=True, exist_ok=True)
  made = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}.partial")
  made.mkdir()
  try:
    yield made
    if folder.exists():
      shutil.rmtree(folder)
    made.rename(folder)
  except BaseException:
    shutil.rmtree(made, ignore_errors=True)
    raise


def _numbers(classifier):
  """Returns the settings of a classifier that are numbers, but for those of a loss."""
  values = vars(classifier)
  return {k: v for k, v in values.items() if isinstance(v, (int, float, np.number))}
