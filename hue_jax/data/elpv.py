"""ELPV: photographs of solar cells by electroluminescence, with defect probabilities.

Sources: Buerhop-Lutz et al., EU PVSEC 2018; Deitsch et al., Machine Vision and
Applications 32, 2021; Deitsch et al., Solar Energy 185, 2019.
"""

import os
from fractions import Fraction

import numpy as np

from hue_jax.data.package_files import python_package
from hue_jax.data.sources import Source
from hue_jax.data.stratify import stratified_splits
from hue_jax.errors import InputError, check_integer, check_number
from hue_jax.settings import MAX_SEED

DESCRIPTION = (
  "ELPV (python package elpv-dataset, images CC BY-NC-SA 4.0): 2,624 photographs of "
  "solar cells by electroluminescence, 300 × 300 pixels, gray; the class is the "
  "probability of a defect. Cite Buerhop-Lutz et al. 2018, Deitsch et al. 2019 and "
  "2021."
)

_SIDE = 300
_PROBABILITIES = (Fraction(0), Fraction(1, 3), Fraction(2, 3), Fraction(1))


def read_elpv(
  folder: str | None = None, *, test_fraction: float = 0.25, seed: int = 0
) -> Source:
  """Reads the photographs, cut into splits by class and type of module.

  Args:
    folder: The folder with labels.csv and the images that it names; None for that of
      the package elpv-dataset.
    test_fraction: The part of each class, of either type, that becomes 'test'; the
      authors use a quarter.
    seed: The seed of the split.

  Returns:
    The photographs, gray, with splits 'train' and 'test', and one class for each of
    the four probabilities of a defect.

  Raises:
    InputError: If the package is not installed, or the folder is not such a one.
  """
  check_integer("seed", seed, at_least=0, at_most=MAX_SEED)
  check_number("test_fraction", test_fraction, above=0, below=1)
  folder = folder or _package_folder()
  paths, labels, is_mono = _read_labels(folder)
  splits = stratified_splits(_strata(labels, is_mono), test_fraction, 0.0, seed)
  return Source(
    (_SIDE, _SIDE, 1),
    [f"defect {probability}" for probability in _PROBABILITIES],
    {split: labels[indices] for split, indices in splits.items()},
    lambda split, i: _contents(paths[splits[split][i]]),
    len(_PROBABILITIES),
  )


def _strata(labels, is_mono):
  """Returns a number for each class of each type of module."""
  return 2 * labels + is_mono


def _package_folder() -> str:
  folder = python_package("elpv_dataset")
  if folder is None:
    raise InputError(
      "the photographs are those of a Python package: pip install elpv-dataset."
    )
  return os.path.join(folder, "data")


def _read_labels(folder: str):
  path = os.path.join(folder, "labels.csv")
  try:
    with open(path) as file:
      rows = [line.split() for line in file if line.strip()]
    names, probabilities, types = zip(*rows, strict=True)
    labels = [_class(float(probability)) for probability in probabilities]
  except (OSError, ValueError) as error:
    raise InputError(
      f"{path} cannot be read as lines of image, probability and type ({error})."
    ) from error
  return (
    [os.path.join(folder, name) for name in names],
    np.array(labels),
    np.array([kind == "mono" for kind in types]),
  )


def _class(probability: float) -> int:
  distances = [abs(probability - float(known)) for known in _PROBABILITIES]
  nearest = int(np.argmin(distances))
  if distances[nearest] > 0.01:
    known = ", ".join(map(str, _PROBABILITIES))
    raise ValueError(f"probability {probability}; it must be one of {known}")
  return nearest


def _contents(path: str) -> bytes:
  try:
    with open(path, "rb") as file:
      return file.read()
  except OSError as error:
    raise InputError(f"{path} cannot be read ({error.strerror}).") from error
