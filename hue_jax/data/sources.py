"""Labeled images from local files: what every kind of source gives, and its rules."""

import dataclasses
import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from hue_jax.data.stratify import stratified_splits
from hue_jax.errors import InputError, check_integer, check_number

TEST_FRACTION = 0.1
FOLDER = "folder="  # Before the path of pictures that are no data set yet.

# What people call a split, in any case of letters.
SPLIT_NAMES = {
  "train": "train",
  "training": "train",
  "val": "validation",
  "valid": "validation",
  "validation": "validation",
  "dev": "validation",
  "test": "test",
  "testing": "test",
  "eval": "test",
}


@dataclasses.dataclass(frozen=True)
class Source:
  """Labeled images in splits.

  Attributes:
    image_shape: The (height, width, channels) of all images; None where they vary.
    class_names: The name of each class; None for their numbers.
    labels: Split → the class of each example, [num_examples].
    image: A function that returns, for a split and the number of an example in it, the
      pixels, uint8 [height, width, 1 or 3], or the bytes of a JPEG or PNG file. Several
      threads call it.
    num_classes: The number of classes.
    made_of: A digest of what it is made of; empty for none.
  """

  image_shape: tuple[int | None, int | None, int]
  class_names: Sequence[str] | None
  labels: Mapping[str, np.ndarray]
  image: Callable[[str, int], np.ndarray | bytes]
  num_classes: int
  made_of: str = ""


@dataclasses.dataclass(frozen=True)
class Cuts:
  """How splits that a source lacks are cut from its training examples.

  Attributes:
    test: The part of all that becomes 'test'; None for a tenth, where the source has
      no splits at all, and else for nothing.
    validation: The part that becomes 'validation'; None for nothing.
    seed: The seed of the choice of examples.
    where_lacking: Whether a part of a split that the source has is no error, and is
      not cut.
  """

  test: float | None = None
  validation: float | None = None
  seed: int = 0
  where_lacking: bool = False

  def apply(
    self, where: str, labels: Mapping[str, np.ndarray], has_splits: bool
  ) -> dict[str, tuple[str, np.ndarray]]:
    """Returns what each split is made of: a split of the source, and indices in it.

    Args:
      where: The source, for errors.
      labels: Split of the source → the class of each example.
      has_splits: Whether the source names splits, or is one.

    Raises:
      InputError: If a part is out of range, or of a split that the source has.
    """
    parts = {"test": self.test, "validation": self.validation}
    for split, part in parts.items():
      if part is None:
        continue
      check_number(f"--{split}_fraction", part, at_least=0, below=1)
      if split in labels and self.where_lacking:
        parts[split] = 0.0
      elif part and split in labels:
        raise InputError(
          f"--{split}_fraction is {part}, but {where} has a {split} split of its own; "
          "leave out one of them."
        )
    if self.test is None and not has_splits:
      parts["test"] = TEST_FRACTION
    test, validation = (parts[split] or 0.0 for split in ("test", "validation"))
    if test + validation >= 1:
      raise InputError(
        f"--test_fraction and --validation_fraction are {test} and {validation}; they "
        "must add up to less than 1."
      )
    own = {split: (split, np.arange(len(of))) for split, of in labels.items()}
    if not test and not validation:
      return own
    if "train" not in labels:
      raise InputError(
        f"{where} has no training examples of which --test_fraction or "
        "--validation_fraction could take a part."
      )
    cut = stratified_splits(labels["train"], test, validation, self.seed)
    return own | {split: ("train", indices) for split, indices in cut.items()}


def lacking_classes(source: Source) -> list[str]:
  """Returns a line for each split in which classes have no example."""
  lines = []
  for split, labels in source.labels.items():
    missing = np.setdiff1d(np.arange(source.num_classes), labels)
    if missing.size:
      names = [
        source.class_names[c] if source.class_names else str(c) for c in missing[:5]
      ]
      more = f" and {missing.size - 5:,} more" if missing.size > 5 else ""
      lines.append(
        f"{split} has no example of {missing.size:,} of {source.num_classes:,} classes "
        f"({', '.join(names)}{more})."
      )
  return lines


def checked_names(what: str, names: Sequence[str]) -> list[str]:
  """Returns names of classes as TFDS can keep them: one a line, without outer blanks.

  Args:
    what: What the errors call them.
    names: The names, as the source has them.

  Raises:
    InputError: If a name is no text, empty, of two lines, or there twice.
  """
  kept: dict[str, str] = {}
  for name in names:
    try:
      name.encode()
    except UnicodeEncodeError:
      raise InputError(
        f"{what} {name!r} is not UTF-8; rename it to text in UTF-8."
      ) from None
    stripped = unicodedata.normalize("NFC", name).strip()
    if not stripped or len(stripped.splitlines()) > 1:
      raise InputError(f"{what} {name!r} must be a name in one line; rename it.")
    if stripped in kept:
      raise InputError(
        f"{what} {name!r} is the same name as {kept[stripped]!r} but for blanks and "
        "forms of letters; every class must have a name of its own."
      )
    kept[stripped] = name
  return list(kept)


def numbered_from_zero(
  where: str,
  labels: Mapping[str, np.ndarray],
  *,
  first_label: int | None = None,
  num_classes: int | None = None,
) -> tuple[dict[str, np.ndarray], int]:
  """Returns labels that count from 0, and the number of classes.

  Args:
    where: The source, for errors.
    labels: Split → the label of each example, integers.
    first_label: The label of the first class; None for 0.
    num_classes: The number of classes, where some may have no example; None where each
      has one.

  Raises:
    InputError: If labels are not 0 to num_classes − 1, or there is one class alone.
  """
  if first_label is not None:
    check_integer("--first_label", first_label, at_least=-(2**31), at_most=2**31)
  if num_classes is not None:
    check_integer("--num_classes", num_classes, at_least=2, at_most=2**31)
  first = first_label or 0
  seen = np.unique(np.concatenate(list(labels.values())))
  low, high = int(seen[0]), int(seen[-1])
  count = high - first + 1 if num_classes is None else num_classes
  if low < first or high >= first + count:
    wrong = low if low < first else high
    split, i = next(
      (split, int(np.argmax(of == wrong)))
      for split, of in labels.items()
      if (of == wrong).any()
    )
    raise InputError(
      f"{where}: label {wrong} of example {i} of {split or 'all'} is not among {first} "
      f"to {first + count - 1}; --first_label and --num_classes say what labels there "
      "are."
    )
  if num_classes is None and len(seen) < max(count, 2):
    from_low = low > first and 1 < len(seen) == high - low + 1
    hint = f"--first_label={low} says that they count from {low}, " if from_low else ""
    raise InputError(
      f"{where} has labels from {low} to {high}, of which {len(seen)} occur; a task "
      f"has two classes or more with an example of each, unless told: {hint}"
      f"--num_classes={max(count, 2)} that some have none."
    )
  return {s: (of.astype(np.int64) - first) for s, of in labels.items()}, count


def check_data_set_name(name: str) -> None:
  """Raises an InputError unless the name is one that a new data set can bear."""
  if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
    raise InputError(
      f"name is {name!r}; it must be lower-case letters, digits and underscores, and "
      "begin with a letter."
    )
