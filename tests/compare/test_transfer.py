"""Features that are read out on another task, and images made to fit a network."""

import numpy as np
import PIL.Image
import pytest
from sklearn.datasets import load_digits

from hue_jax.compare.measures.transfer import convert, linear_accuracy, read_tasks
from hue_jax.compare.task import ArrayTask, Examples
from hue_jax.errors import InputError
from tests.helpers.small_study import digits_task, small_settings, small_workdir


def _flat(images):
  return images.reshape(len(images), -1).astype(np.float32)


def test_pixels_of_digits_are_read_out_and_constants_are_not():
  task = digits_task()
  assert linear_accuracy(_flat, task) > 0.88
  most = np.bincount(task.test.labels).max() / len(task.test)
  constant = linear_accuracy(lambda images: np.ones((len(images), 3)), task)
  assert constant <= most


def test_the_strength_is_chosen_on_validation_images_alone():
  # Only few of many features tell the class: weak penalties fit the others' noise.
  rng = np.random.default_rng(0)
  labels = rng.integers(0, 2, 500)
  images = rng.integers(0, 256, (500, 10, 10, 1)).astype(np.uint8)
  images[:, 0, 0, 0] = 90 + 40 * labels + rng.integers(0, 60, 500)
  parts = [Examples(images[part], labels[part]) for part in (slice(0, 150),)]
  parts += [Examples(images[part], labels[part]) for part in (slice(150, 250),)]
  test = Examples(images[250:], labels[250:])
  task = ArrayTask("planted", ("a", "b"), *parts, test)
  found = linear_accuracy(_flat, task)
  # Other labels of the test images change its accuracy, and not what is chosen.
  other = ArrayTask(
    "planted", ("a", "b"), *parts, Examples(test.images, 1 - labels[250:])
  )
  assert linear_accuracy(_flat, other) == pytest.approx(1 - found)
  assert found > 0.6


@pytest.mark.parametrize("size", [8, 16, 5])
@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_images_are_resized_as_pillow_resizes_them(size, mode):
  channels = len(PIL.Image.new(mode, (1, 1)).getbands())
  rng = np.random.default_rng(1)
  images = rng.integers(0, 256, (3, 8, 8, channels)).astype(np.uint8)
  found = convert(images, (size, size, channels))
  for image, ours in zip(images, found, strict=True):
    picture = PIL.Image.fromarray(image.squeeze())
    theirs = np.asarray(picture.resize((size, size), PIL.Image.Resampling.BILINEAR))
    assert np.abs(ours.squeeze().astype(int) - theirs).max() <= 2


def test_gray_becomes_color_and_color_gray():
  rng = np.random.default_rng(2)
  color = rng.integers(0, 256, (2, 4, 4, 3)).astype(np.uint8)
  gray = convert(color, (4, 4, 1))
  for image, ours in zip(color, gray, strict=True):
    theirs = np.asarray(PIL.Image.fromarray(image).convert("L"))
    assert np.abs(ours[..., 0].astype(int) - theirs).max() <= 1
  again = convert(gray, (4, 4, 3))
  np.testing.assert_array_equal(again, np.repeat(gray, 3, axis=-1))
  np.testing.assert_array_equal(convert(color, (4, 4, 3)), color)


def test_tasks_are_read_from_workdirs(tmp_path):
  small_workdir(tmp_path / "digits", small_settings())
  (task,) = read_tasks([str(tmp_path / "digits")], (6, 6, 3)).values()
  assert task.train.images.shape[1:] == task.test.images.shape[1:] == (6, 6, 3)
  counts = np.bincount(digits_task().train.labels)
  np.testing.assert_array_equal(np.bincount(task.train.labels), np.minimum(counts, 100))
  assert len(task.test) == len(digits_task().test) < len(load_digits().target)
  assert read_tasks([], (6, 6, 3)) == {}
  with pytest.raises(InputError, match=r"transfer_to\[0\] is '.*none'; it must be the"):
    read_tasks([str(tmp_path / "none")], (6, 6, 3))
  with pytest.raises(InputError, match=r"transfer_to\[1\] is .* of another name"):
    read_tasks([str(tmp_path / "digits")] * 2, (6, 6, 3))
