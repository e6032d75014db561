"""What is measured of a split does not depend on how it is cut into batches."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hue_jax import losses
from hue_jax.losses import Prototypes
from hue_jax.objective import (
  CLASSIFIERS,
  TERMS,
  Batch,
  Classifier,
  Objective,
  create_objective,
)
from hue_jax.train.state import quick_to_compile

_CLASSES, _IMAGES = 5, 24
_SHAPES = {"stage2": (3, 4, 6), "features": (6,)}
_TERMS = {
  "class": {"kind": "class_hue", "tap": "stage2", "weighting": "chroma"},
  "learned": {"kind": "class_hue", "tap": "features", "plane": "learned"},
  "position": {"kind": "position_hue", "tap": "stage2", "weighting": "activation"},
  "sectors": {"kind": "angular_consistency", "tap": "stage2", "random_turn": True},
  "memory": {
    "kind": "angular_consistency",
    "tap": "stage2",
    "prototypes": "memory",
    "sectors": 4,
    "center": "activation",
  },
  "centers": {"kind": "center_loss"},
  "dense": {"kind": "dense_cross_entropy", "tap": "stage2"},
  "small": {"kind": "activation_l2", "tap": "stage2"},
  "unsure": {"kind": "confidence_penalty"},
  "suppressed": {"kind": "max_suppression"},
  "ring": {"kind": "ring_loss"},
  "contrast": {"kind": "supervised_contrast"},
  "cells": {"kind": "cell_contrast", "tap": "stage2", "random_turn": True},
  "triangles": {"kind": "angular_loss"},
}


def test_every_kind_of_term_is_among_those_measured():
  assert {term["kind"] for term in _TERMS.values()} == set(TERMS)


def _objective(classifier):
  return create_objective(
    num_classes=_CLASSES,
    terms=_TERMS,
    tap_shapes=_SHAPES,
    num_train_steps=100,
    warmup_steps=10,
    seed=0,
    classifier={"kind": classifier},
    label_smoothing=0.1 if classifier == "softmax" else 0.0,
  )


def _memory():
  keys = jax.random.split(jax.random.key(1), 2)
  means = jax.random.normal(keys[0], (_CLASSES, 4, 6))
  known = jnp.array([1.0, 1, 0, 1, 1])  # no image of class 2 has been seen
  return {
    "memory": Prototypes(means, known),
    "centers": jax.random.normal(keys[1], (_CLASSES, 6)),
    "ring": jnp.asarray(2.5),
  }


@functools.cache
def _split():
  keys = jax.random.split(jax.random.key(0), 6)
  layer = jax.nn.relu(jax.random.normal(keys[0], (_IMAGES, 3, 4, 6)))
  layer = layer.at[3].set(0)  # an image without any hue
  head = {
    "kernel": jax.random.normal(keys[3], (6, _CLASSES)),
    "bias": jax.random.normal(keys[4], (_CLASSES,)),
  }
  split = {
    "logits": jax.random.normal(keys[1], (_IMAGES, _CLASSES)),
    "layer": layer,
    "features": layer.mean((1, 2)),
    # Sorted: small batches have one class alone, and large ones many.
    "labels": jnp.sort(jax.random.randint(keys[2], (_IMAGES,), 0, _CLASSES)),
  }
  return jax.device_get(split), head, jax.random.normal(keys[5], (6, 2))


@functools.cache
def _means(size):
  """Classifier → name → mean over the split in batches of a size, the last padded."""
  split, head, plane = _split()

  @functools.partial(jax.jit, compiler_options=quick_to_compile())
  def sums(part, mask):
    batch = Batch(
      logits=part["logits"],
      taps={"stage2": part["layer"], "features": part["features"]},
      labels=part["labels"],
      mask=mask,
      step=7,
      head=head,
      planes={"learned": plane},
      memory=_memory(),
      train=False,
    )
    return {
      f"{kind}: {name}": (jnp.where(w > 0, values * w, 0).sum(), w.sum())
      for kind in CLASSIFIERS
      for name, (values, w) in _objective(kind)(batch).measured.items()
    }

  totals = {}
  for start in range(0, _IMAGES, size):
    part = {name: array[start : start + size] for name, array in split.items()}
    count = len(part["labels"])
    part = {
      name: np.concatenate([a, np.zeros((size - count, *a.shape[1:]), a.dtype)])
      for name, a in part.items()
    }
    mask = (np.arange(size) < count).astype(np.float32)
    for name, pair in sums(part, mask).items():
      totals.setdefault(name, []).append(np.asarray(pair, np.float64))
  found = {name: np.sum(pairs, axis=0) for name, pairs in totals.items()}
  means = {kind: {} for kind in CLASSIFIERS}
  for name, (total, count) in found.items():
    kind, _, metric = name.partition(": ")
    means[kind][metric] = total / count
  return means


@pytest.mark.slow
@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_a_split_measures_the_same_in_batches_of_every_size(classifier):
  whole = _means(_IMAGES)[classifier]
  hue = {"class", "learned", "position", "memory"}
  others = {"centers", "dense", "small", "unsure", "suppressed", "ring"}
  assert set(whole) == {
    *("loss", "top1", "top5"),
    *(["cross_entropy"] if CLASSIFIERS[classifier].log_odds else []),
    *(f"hue/{name}" for name in hue | others),
    *(f"term/{name}" for name in others),
    *(f"hue_error_degrees/{name}" for name in ("class", "learned", "position")),
  }
  for size in (1, 7):
    found = _means(size)[classifier]
    assert set(found) == set(whole)
    for name, value in whole.items():
      np.testing.assert_allclose(found[name], value, rtol=2e-5, err_msg=name)


@pytest.mark.slow
def test_what_is_reported_of_kept_prototypes_is_the_loss_of_the_whole_split():
  """The training's definition: the mean over images whose class has a prototype."""
  objective = _objective("softmax")
  split, head, plane = jax.tree.map(jnp.asarray, _split())
  batch = Batch(
    logits=split["logits"],
    taps={"stage2": split["layer"], "features": split["features"]},
    labels=split["labels"],
    mask=jnp.ones(_IMAGES),
    step=7,
    head=head,
    planes={"learned": plane},
    memory=_memory(),
  )
  trained = objective(batch).measured["hue/memory"].values.mean()
  np.testing.assert_allclose(_means(7)["softmax"]["hue/memory"], trained, rtol=1e-5)


# --- Memory -------------------------------------------------------------------------


@pytest.mark.parametrize("num_classes", [21_843, 1_000_000])
@pytest.mark.parametrize("classifier", CLASSIFIERS)
def test_memory_grows_as_batch_times_classes(classifier, num_classes):
  batch_size, channels = 4, 3
  objective = create_objective(
    num_classes=num_classes,
    terms={},
    tap_shapes={"features": (channels,)},
    num_train_steps=1,
    warmup_steps=0,
    seed=0,
    classifier={"kind": classifier},
  )

  def loss(objective, logits, features, kernel, labels):
    evaluated = objective(
      Batch(
        logits=logits,
        taps={"features": features},
        labels=labels,
        mask=jnp.ones(batch_size),
        step=0,
        head={"kernel": kernel},
      )
    )
    return evaluated.measured["loss"].values.mean()

  shape = jax.ShapeDtypeStruct
  arguments = (
    shape((batch_size, num_classes), jnp.float32),
    shape((batch_size, channels), jnp.float32),
    shape((channels, num_classes), jnp.float32),
    shape((batch_size,), jnp.int32),
  )
  step = jax.jit(jax.value_and_grad(loss, argnums=(1, 2, 3)))
  analysis = step.lower(objective, *arguments).compile().memory_analysis()
  arrays = analysis.temp_size_in_bytes / (4 * batch_size * num_classes)
  constants = analysis.generated_code_size_in_bytes
  assert arrays < 12, f"{arrays:.1f} arrays [batch, classes]"
  assert constants < 4e6


@pytest.mark.parametrize("num_classes", [2, 5, 1200])
@pytest.mark.parametrize("scale", [0.0, 1e-20, 1.0, 1e20])
def test_prototypes_are_the_library_function_without_its_table(num_classes, scale):
  classifier = CLASSIFIERS["hyperspherical_prototypes"]()
  logits = scale * jax.random.normal(jax.random.key(0), (4, num_classes))
  labels = jnp.array([0, 1, 1, num_classes - 1])
  prototypes = jnp.asarray(losses.simplex_prototypes(num_classes))

  def loss(logits):
    return classifier.loss(
      Batch(logits=logits, taps={}, labels=labels, mask=jnp.ones(4), step=0)
    )

  def by_library(logits):
    return losses.hyperspherical_prototype_loss(logits, labels, prototypes)

  np.testing.assert_allclose(loss(logits), by_library(logits), atol=2e-6)
  found, expected = (
    scale * jax.grad(lambda x, f=f: f(x).sum())(logits) for f in (loss, by_library)
  )
  assert np.isfinite(found).all()
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


# --- What scores mean ---------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Distances(Classifier):
  """A classifier of one's own: the nearest of unit vectors."""

  kind = "distances"
  log_odds = False

  def scores(self, batch):
    return -jnp.square(batch.logits - 1)

  def loss(self, batch):
    return jnp.ones(batch.labels.shape)


@pytest.mark.parametrize("cls", [*CLASSIFIERS.values(), _Distances])
def test_cross_entropy_is_measured_where_scores_are_log_odds(cls):
  split, head, _ = _split()
  batch = Batch(
    logits=jnp.asarray(split["logits"]),
    taps={"features": jnp.asarray(split["features"])},
    labels=jnp.asarray(split["labels"]),
    mask=jnp.ones(_IMAGES),
    step=0,
    head=head,
  )
  classifier = cls()
  evaluated = Objective(_CLASSES, classifier=classifier)(batch)
  p = classifier.probabilities(evaluated.scores)
  is_distribution = p is not None and np.allclose(p.sum(axis=-1), 1, atol=1e-5)
  assert ("cross_entropy" in evaluated.measured) == is_distribution
  if is_distribution:
    nats = -np.log(np.take_along_axis(np.asarray(p), split["labels"][:, None], 1)[:, 0])
    found = evaluated.measured["cross_entropy"].values
    np.testing.assert_allclose(found, nats, rtol=1e-4)
  assert ("no probabilities" in classifier.meaning()) == (p is None)
