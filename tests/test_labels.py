"""Labels of every integer dtype, and what is refused, in every function of labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import hue_jax
from hue_jax import losses
from hue_jax.errors import InputError
from tests.helpers.everywhere_finite import unchecked

_BATCH = 6
_DTYPES = ("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64")


def _random(*shape):
  return np.random.default_rng(0).normal(size=shape).astype(np.float32)


_FEATURES, _LAYER = _random(_BATCH, 5), _random(_BATCH, 3, 3, 5)

# Every function that takes labels, by labels and number of classes.
_TAKES_LABELS = {
  "hue_labels": lambda f, y, c: f(y, c),
  "smoothed_labels": lambda f, y, c: f(y, c, smoothing=0.2, concentration=1.0),
  "class_mean_plane": lambda f, y, c: f(_FEATURES, y, c),
  "angular_consistency_loss": lambda f, y, c: f(_LAYER, y, num_classes=c),
  "update_prototypes": lambda f, y, c: f(losses.no_prototypes(c, 8, 5), _LAYER, y),
  "supervised_contrastive_loss": lambda f, y, c: f(_FEATURES, y),
  "cell_contrastive_loss": lambda f, y, c: f(_LAYER, y),
  "angular_loss": lambda f, y, c: f(_FEATURES, y),
  "center_loss": lambda f, y, c: f(_FEATURES, y, _random(c, 5)),
  "update_centers": lambda f, y, c: f(_random(c, 5), _FEATURES, y),
  "additive_angular_margin_loss": lambda f, y, c: f(_FEATURES, y, kernel=_random(5, c)),
  "hyperspherical_prototype_loss": lambda f, y, c: f(_FEATURES, y, _random(c, 5)),
  "dense_cross_entropy": lambda f, y, c: f(
    _LAYER, y, kernel=_random(5, c), bias=np.zeros(c, np.float32)
  ),
}


def _function(name):
  return unchecked(getattr(hue_jax, name, None) or getattr(losses, name))


def test_every_function_that_takes_labels_is_here():
  public = {*hue_jax.__all__, *losses.__all__}
  takes = {
    name
    for name in public
    if "labels" in getattr(_function(name), "__annotations__", {})
  }
  assert takes == set(_TAKES_LABELS)


@pytest.mark.slow
@pytest.mark.parametrize("name", _TAKES_LABELS)
def test_labels_of_every_integer_dtype_are_the_same_labels(name):
  call, function = _TAKES_LABELS[name], _function(name)
  # 128 and 256 classes are the most of 8 bits; they do not hold the number itself.
  for classes, dtypes in ((128, _DTYPES), (256, _DTYPES[1:])):
    labels = np.array([0, 1, classes - 1, classes // 2, 1, 0])
    expected = call(function, labels, classes)
    in_jit = jax.jit(lambda y, c=classes: call(function, y, c))
    for dtype in dtypes:
      found = [call(function, labels.astype(dtype), classes)]
      if name != "class_mean_plane" and dtype in ("int8", "uint8", "int16", "uint32"):
        found.append(in_jit(labels.astype(dtype)))
      for tree in found:
        for one, other in zip(*map(jax.tree.leaves, (tree, expected)), strict=True):
          np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", _TAKES_LABELS)
def test_what_is_no_class_index_is_refused_in_one_line(name):
  call, function = _TAKES_LABELS[name], _function(name)
  labels = np.array([0, 1, 2, 1, 0, 2])
  one_hot = np.eye(4)[labels]
  for wrong in (labels.astype("f"), labels > 1, one_hot.astype("f"), one_hot > 0):
    with pytest.raises(TypeError, match="class indices of an integer dtype") as caught:
      call(function, wrong, 4)
    assert "\n" not in str(caught.value)
  with pytest.raises(ValueError, match="class indices") as caught:
    call(function, one_hot.astype(int), 4)
  assert str(caught.value).endswith(".")
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", _TAKES_LABELS)
@pytest.mark.parametrize("shape", [(), (1,), (_BATCH - 1,), (_BATCH, 1)])
def test_labels_are_one_an_example(name, shape):
  if name == "hue_labels" or (name == "smoothed_labels" and len(shape) == 1):
    return  # labels of any shape, or of any number of examples
  call, function = _TAKES_LABELS[name], _function(name)
  with pytest.raises(InputError, match=r"labels have shape .* class indices") as caught:
    call(function, np.zeros(shape, int), 4)
  assert str(shape) in str(caught.value)


def test_as_many_classes_as_the_labels_can_number():
  for dtype in _DTYPES:
    most = int(np.iinfo(dtype).max)
    labels = np.array([0, 1, most // 2, most], dtype)
    for classes in (most, most + 1, most + 2, 2 * most + 1):
      if classes > 2**63:
        continue
      expected = 2 * np.pi * (labels.astype(np.float64) / classes % 1)
      found = np.asarray(hue_jax.hue_labels(labels, classes), np.float64)
      gap = np.angle(np.exp(1j * (found - expected)))
      np.testing.assert_allclose(gap, 0, atol=1e-6)
      assert (found >= 0).all()
      assert (found < np.float32(2 * np.pi)).all()
  assert 0 < hue_jax.hue_labels(2**40, 2**42) < 2
  assert 6 < hue_jax.hue_labels(np.array(-1, np.int8), 1000) < 2 * np.pi


def test_labels_of_several_axes_are_no_one_hot_labels():
  labels = np.random.default_rng(0).integers(0, 4, (3, 5, 4))
  assert hue_jax.hue_labels(labels, 4).shape == (3, 5, 4)
  assert hue_jax.hue_labels(np.array([0, 1]), 2).shape == (2,)


def test_traced_labels_have_no_plane_of_class_means():
  with pytest.raises(
    ValueError, match=r"labels are traced; .* takes labels outside jit"
  ):
    jax.jit(lambda y: hue_jax.class_mean_plane(_FEATURES, y, 3))(np.arange(6) % 3)
  with pytest.raises(ValueError, match="labels hold -1 to 2; they must be from 0 to 2"):
    hue_jax.class_mean_plane(_FEATURES, np.array([0, 1, 2, -1, 0, 1]), 3)


@pytest.mark.parametrize("settings", [{}, {"concentration": 2.0}])
def test_smoothed_labels_take_memory_by_example_and_not_by_pair_of_classes(settings):
  classes = 200_000  # squared, 160 GB

  def smooth(labels, smoothing):
    return losses.smoothed_labels(labels, classes, smoothing=smoothing, **settings)

  compiled = jax.jit(smooth).lower(np.array([5, 7]), 0.1).compile()
  memory = compiled.memory_analysis()
  used = memory.temp_size_in_bytes + memory.output_size_in_bytes
  assert used < 20 * 2 * 4 * classes
  targets = compiled(np.array([5, 7]), 0.1)
  np.testing.assert_allclose(targets.sum(axis=1), 1, rtol=1e-3)
  assert targets[0, 5] == jnp.max(targets)
