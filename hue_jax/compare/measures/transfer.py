"""Linear transfer: what a network's features, as they are, tell of another task."""

from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, UInt8

from hue_jax.compare.task import ArrayTask, Examples, class_balanced, read_task
from hue_jax.errors import InputError

_PER_CLASS = 100
_STRENGTHS = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # of C, the inverse of the penalty
_LUMA = (0.299, 0.587, 0.114)


def read_tasks(
  workdirs: Sequence[str], image_shape: tuple[int, int, int]
) -> dict[str, ArrayTask]:
  """Returns the tasks of studies, by the names of their folders.

  Args:
    workdirs: The folders of studies, each with its `data.npz`.
    image_shape: The (height, width, channels) to which their images are converted.

  Returns:
    The tasks: of training and validation examples at most 100 a class.

  Raises:
    InputError: If a folder holds no task, or two have one name.
  """
  found = {}
  if workdirs:
    import sklearn.linear_model  # noqa: F401  What is missing is told at once.
  for number, workdir in enumerate(workdirs):
    path = Path(workdir).expanduser()
    here = f"measures.transfer_to[{number}]"
    if path.resolve().name in found:
      raise InputError(
        f"{here} is {workdir!r}; it must be a folder of another name than those before "
        "it, by which results are named."
      )
    try:
      _, task = read_task(path)
    except InputError as error:
      raise InputError(
        f"{here} is {workdir!r}; it must be the workdir of a study: {error}"
      ) from None
    found[path.resolve().name] = _converted(task, image_shape)
  return found


def linear_accuracy(
  features: Callable[[np.ndarray], Float[np.ndarray, "examples features"]],
  task: ArrayTask,
) -> float:
  """Returns the test accuracy of a logistic regression on frozen features.

  Features are scaled to mean 0 and variance 1 over the training examples. Of five
  strengths of the L2 penalty that of the best validation accuracy is taken, the
  strongest of equals.

  Args:
    features: Images → their features.
    task: The task, its images as `features` takes them.

  Returns:
    The share of test examples that are classified right.
  """
  # Slow to import, and not needed where studies are only read.
  from sklearn.linear_model import LogisticRegression
  from sklearn.pipeline import make_pipeline
  from sklearn.preprocessing import StandardScaler

  train, validation, test = (
    features(examples.images) for examples in (task.train, task.validation, task.test)
  )
  classifiers = [
    make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=1000)).fit(
      train, task.train.labels
    )
    for strength in _STRENGTHS
  ]
  best = max(classifiers, key=lambda c: c.score(validation, task.validation.labels))
  return float(best.score(test, task.test.labels))


def _converted(task, image_shape):
  some = {
    split: examples[class_balanced(examples.labels, task.num_classes, _PER_CLASS, 0)]
    for split, examples in (("train", task.train), ("validation", task.validation))
  }
  splits = {
    split: Examples(convert(examples.images, image_shape), examples.labels)
    for split, examples in {**some, "test": task.test}.items()
  }
  return ArrayTask(task.name, task.class_names, **splits)


def convert(
  images: UInt8[np.ndarray, "examples height width channels"],
  image_shape: tuple[int, int, int],
) -> UInt8[np.ndarray, "examples other_height other_width other_channels"]:
  """Returns images in another size and number of channels.

  They are resized bilinearly, with antialiasing where they shrink; color becomes gray
  as 0.299 R + 0.587 G + 0.114 B, and gray becomes color by three equal channels.

  Args:
    images: The images.
    image_shape: The (height, width, channels) to return, channels 1 or 3.

  Returns:
    The images.
  """
  pixels = images.astype(np.float32)
  if image_shape[-1] < pixels.shape[-1]:
    pixels = pixels @ np.array(_LUMA, np.float32)[:, None]
  if image_shape[:2] != images.shape[1:3]:
    shape = (len(images), *image_shape[:2], pixels.shape[-1])
    pixels = np.asarray(jax.image.resize(jnp.asarray(pixels), shape, "linear"))
  pixels = np.clip(np.round(pixels), 0, 255).astype(np.uint8)
  return np.broadcast_to(pixels, (*pixels.shape[:3], image_shape[-1]))
