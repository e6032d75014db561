"""Mixup, CutMix and random erasing: shares, pairs, losses, any number of devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hue_jax import hue
from hue_jax.errors import InputError
from hue_jax.models import tap_shapes
from hue_jax.objective import CLASSIFIERS, TERMS, Batch, Mixed
from hue_jax.objective.classifiers import Sigmoid
from hue_jax.settings import fields_of
from hue_jax.train.erasing import erase
from hue_jax.train.mixing import Mixing, mix
from hue_jax.train.parallel import AXIS, create_parallel
from hue_jax.train.step import make_train_step
from tests.helpers.small_training import (
  IMAGE_SHAPE,
  NUM_CLASSES,
  PIXELS,
  flat,
  small_batch,
  small_model,
  small_objective,
  small_state,
)

_KEY = jax.random.key(3)


def _images(count=64, height=16, width=16):
  # Of image i all pixels lie in [i, i + 1): whose they are can be told.
  rng = np.random.default_rng(0)
  places = np.arange(count)[:, None, None, None]
  return jnp.asarray(places + rng.random((count, height, width, 3)), jnp.float32)


_LABELS = jnp.arange(64) % 7


@pytest.mark.slow
def test_mixup_is_the_weighted_sum_of_a_pair():
  images = _images()
  mixed, other = mix(images, _LABELS, Mixing(mixup=1.0), key=_KEY)
  partner = np.arange(64) ^ 1
  np.testing.assert_array_equal(other.labels, _LABELS[partner])
  shares = np.asarray(other.shares)
  np.testing.assert_array_equal(shares, shares[partner])
  assert (shares >= 0.5).all()
  assert (shares <= 1).all()
  s = shares[:, None, None, None]
  expected = s * images + (1 - s) * np.asarray(images)[partner]
  np.testing.assert_allclose(mixed, expected, rtol=1e-5)
  assert len(np.unique(shares)) == 32


@pytest.mark.slow
@pytest.mark.parametrize("alpha", [0.2, 1.0, 4.0])
def test_shares_are_of_the_beta_distribution(alpha):
  images = jnp.zeros((4000, 1, 1, 1))
  _, other = mix(images, jnp.zeros(4000, jnp.int32), Mixing(mixup=alpha), key=_KEY)
  draws = np.random.default_rng(0).beta(alpha, alpha, 100_000)
  expected = np.maximum(draws, 1 - draws)
  shares = np.asarray(other.shares)[::2]
  assert shares.mean() == pytest.approx(expected.mean(), abs=0.01)
  assert shares.std() == pytest.approx(expected.std(), abs=0.01)


def test_cutmix_takes_a_rectangle_of_the_other_and_its_area_is_the_share():
  images = _images()
  mixed, other = mix(images, _LABELS, Mixing(cutmix=1.0), key=_KEY)
  of = np.floor(np.asarray(mixed[..., 0])).astype(int)
  own = np.arange(64)[:, None, None]
  assert ((of == own) | (of == own ^ 1)).all()
  np.testing.assert_allclose((of == own).mean(axis=(1, 2)), other.shares, atol=1e-6)
  assert (np.asarray(other.shares) >= 0.5 - 2 / 16).all()
  for mask in of != own:  # a rectangle: the product of its rows and columns
    rows, columns = mask.any(axis=1), mask.any(axis=0)
    np.testing.assert_array_equal(mask, rows[:, None] & columns)
  np.testing.assert_array_equal(
    np.where((of == own)[..., None], images, images[np.arange(64) ^ 1]), mixed
  )


def test_both_are_drawn_and_some_pairs_are_left_alone():
  images = _images()
  mixing = Mixing(mixup=1.0, cutmix=1.0, probability=0.7)
  mixed, other = mix(images, _LABELS, mixing, key=_KEY)
  alone = np.asarray(other.shares) == 1
  assert 0.1 < alone.mean() < 0.55
  np.testing.assert_array_equal(mixed[alone], images[alone])
  of = np.asarray(mixed)
  cut = [(of[i] == images[i]).any() for i in np.flatnonzero(~alone)]
  assert 0.2 < np.mean(cut) < 0.8
  assert not Mixing()
  assert not Mixing(mixup=1.0, probability=0.0)
  assert Mixing(cutmix=0.5)
  with pytest.raises(InputError, match=r"mixing\.probability is 1.5"):
    Mixing(probability=1.5)
  with pytest.raises(InputError, match=r"mixing\.cutmix is -1"):
    Mixing(cutmix=-1)


def _given(shares):
  rng = np.random.default_rng(0)
  logits = jnp.asarray(rng.normal(size=(6, NUM_CLASSES)), jnp.float32)
  taps = {
    "stage2": jnp.asarray(rng.random((6, 4, 4, 8)), jnp.float32),
    "features": jnp.asarray(rng.random((6, 16)), jnp.float32),
    "stage3": jnp.asarray(rng.random((6, 2, 2, 16)), jnp.float32),
  }
  labels = jnp.array([0, 1, 2, 3, 4, 0])
  others = jnp.array([1, 2, 3, 4, 0, 0])
  return logits, taps, labels, Mixed(others, jnp.asarray(shares, jnp.float32))


def _measure(terms, mixed, **settings):
  logits, taps, labels, _ = _given([1] * 6)
  objective = small_objective(terms, **settings)
  return objective(_batch(logits, taps, labels, mixed)).measured


def _batch(logits, taps, labels, mixed, memory=None):
  rng = np.random.default_rng(1)
  return Batch(
    logits=logits,
    taps=taps,
    labels=labels,
    mask=jnp.ones(6),
    step=0,
    head={
      "kernel": jnp.asarray(rng.normal(size=(16, NUM_CLASSES)), jnp.float32),
      "bias": jnp.asarray(rng.normal(size=NUM_CLASSES), jnp.float32),
    },
    memory=memory or {},
    mixed=mixed,
  )


def test_cross_entropy_of_mixed_images_is_that_of_the_mixed_label():
  shares = np.array([1, 0.9, 0.8, 0.7, 0.6, 0.5])
  logits, _, labels, mixed = _given(shares)
  found = _measure({}, mixed, label_smoothing=0.1)["loss"].values
  one_hot = np.eye(NUM_CLASSES)
  target = (
    shares[:, None] * one_hot[labels]
    + (1 - shares)[:, None] * one_hot[np.asarray(mixed.labels)]
  )
  expected = optax.softmax_cross_entropy(logits, 0.9 * target + 0.1 / NUM_CLASSES)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_class_hue_of_mixed_images_is_against_the_mixed_direction():
  shares = np.array([1, 0.9, 0.8, 0.7, 0.6, 0.5])
  _, taps, labels, mixed = _given(shares)
  terms = {"t": {"kind": "class_hue", "tap": "features", "weight": 1.0}}
  found = _measure(terms, mixed)["hue/t"].values

  def direction(labels):
    angle = 2 * np.pi * np.asarray(labels) / NUM_CLASSES
    return np.stack([np.cos(angle), np.sin(angle)], axis=-1)

  target = shares[:, None] * direction(labels) + (1 - shares)[:, None] * direction(
    mixed.labels
  )
  theta = np.asarray(hue.hue_angle(taps["features"]))
  unit = np.stack([np.cos(theta), np.sin(theta)], axis=-1)
  np.testing.assert_allclose(found, 1 - (unit * target).sum(axis=-1), atol=1e-5)


_SHARES = np.array([1, 0.9, 0.8, 0.7, 0.6, 0.5])


def _expected(rule, own, others):
  """The loss of mixed images, by that against their own labels and the others'."""
  if rule == "both labels":
    return _SHARES * own + (1 - _SHARES) * others
  return (2 * _SHARES - 1) * own if rule == "members" else own


def _check_mixed(rule, loss):
  """Checks a function from a batch of `_given` and its labels to losses."""
  _, _, labels, mixed = _given(_SHARES)
  own, others = (np.asarray(loss(given, None)) for given in (labels, mixed.labels))
  assert np.abs(own).max() > 0.05
  assert np.allclose(own, others, rtol=1e-6) == (rule == "no label")
  found = loss(labels, mixed)
  np.testing.assert_allclose(found, _expected(rule, own, others), rtol=1e-4, atol=1e-6)


_CLASSIFIER_RULES = dict.fromkeys(CLASSIFIERS, "both labels") | {"sigmoid": None}


@pytest.mark.parametrize("kind", [k for k, rule in _CLASSIFIER_RULES.items() if rule])
def test_every_classifiers_loss_is_of_both_labels(kind):
  logits, taps, *_ = _given(_SHARES)

  @jax.jit
  def loss(labels, mixed):
    return CLASSIFIERS[kind]().loss(_batch(logits, taps, labels, mixed))

  _check_mixed(_CLASSIFIER_RULES[kind], loss)


_TERM_RULES = {
  "class_hue": "both labels",
  "dense_cross_entropy": "both labels",
  "angular_consistency": "members",
  "cell_contrast": "members",
  "supervised_contrast": "members",
  "angular_loss": "members",
  "center_loss": "members",
  "position_hue": "no label",
  "activation_l2": "no label",
  "confidence_penalty": "no label",
  "max_suppression": "no label",
  "ring_loss": "no label",
}
_AT_LAYER = {"dense_cross_entropy": "stage3"} | dict.fromkeys(
  ("class_hue", "position_hue", "angular_consistency", "cell_contrast"), "stage2"
)


@pytest.mark.parametrize("kind", [*TERMS, "angular_consistency of memory"])
def test_every_term_of_mixed_images(kind):
  """Of both labels, or the less, the less an image is of its class, or of neither."""
  kind, _, kept = kind.partition(" of ")
  term = {"kind": kind, **({"prototypes": kept} if kept else {})}
  if "tap" in fields_of(TERMS[kind]):
    term["tap"] = _AT_LAYER.get(kind, "features")
  if kind == "activation_l2":
    term["tap"] = "stage2"
  objective = small_objective({"t": term})
  shapes = tap_shapes(small_model(), IMAGE_SHAPE)
  rng = np.random.default_rng(2)
  memory = jax.tree.map(
    lambda leaf: jnp.asarray(rng.uniform(0.5, 1, leaf.shape), jnp.float32),
    objective.empty_memory(shapes),
  )
  logits, taps, *_ = _given(_SHARES)

  @jax.jit
  def loss(labels, mixed):
    batch = _batch(logits, taps, labels, mixed, memory)
    return objective(batch).measured["hue/t"].values

  _check_mixed(_TERM_RULES[kind], loss)


def test_binary_cross_entropy_takes_both_classes_for_there():
  shares = [1, 0.9, 0.75, 0.7, 0.6, 0.5]
  logits, taps, labels, mixed = _given(shares)
  target = np.eye(NUM_CLASSES)[labels]
  for row in (2, 3, 4, 5):  # whose other has more than 0.2
    target[row, mixed.labels[row]] = 1
  p = 1 / (1 + np.exp(-np.asarray(logits, np.float64)))
  expected = -(target * np.log(p) + (1 - target) * np.log(1 - p)).mean(axis=1)
  np.testing.assert_allclose(
    Sigmoid().loss(_batch(logits, taps, labels, mixed)), expected, rtol=1e-5
  )


def _run(form, devices, **augmentation):
  objective = small_objective()
  parallel = create_parallel(form, jax.devices()[:devices])
  step = make_train_step(objective, seed=0, axis_name=AXIS, **PIXELS, **augmentation)
  step = parallel.map(step)
  state = parallel.replicate(small_state(objective, synchronized=True))
  for index in range(3):
    state, sums = step(state, parallel.shard(small_batch(index)))
  return parallel.unreplicate(sums)["loss"][0], parallel.unreplicate(state)


@pytest.mark.slow
def test_the_number_of_devices_changes_nothing():
  augmentation = {
    "mixing": Mixing(mixup=0.4, cutmix=1.0, probability=0.9),
    "erase_probability": 0.5,
  }
  plain, _ = _run("pmap", 1)
  one, one_state = _run("pmap", 1, **augmentation)
  assert abs(one - plain) > 1e-3
  for form in ("pmap", "shard_map"):
    eight, eight_state = _run(form, 8, **augmentation)
    np.testing.assert_allclose(eight, one, rtol=1e-5)
    np.testing.assert_allclose(
      flat(eight_state.params), flat(one_state.params), rtol=1e-3, atol=1e-4
    )


def test_erasing_puts_noise_into_a_rectangle_of_some_images():
  images = 100 + _images(count=400, height=20, width=20)
  erased = np.asarray(erase(images, 0.4, key=_KEY))
  changed = (erased != np.asarray(images)).all(axis=-1)
  some = changed.any(axis=(1, 2))
  assert 0.3 < some.mean() < 0.5
  for mask in changed[some]:
    rows, columns = mask.any(axis=1), mask.any(axis=0)
    np.testing.assert_array_equal(mask, rows[:, None] & columns)
  areas = changed[some].mean(axis=(1, 2))
  assert 0.01 < areas.min() < 0.06
  assert 0.25 < areas.max() < 0.4
  noise = erased[changed]
  assert abs(noise.mean()) < 0.05
  assert noise.std() == pytest.approx(1, abs=0.05)


def _middles(inside):
  """Row and column of the middle of each image's rectangle, in parts of the sides."""
  rows, columns = inside.any(axis=2), inside.any(axis=1)
  return np.array(
    [
      [np.flatnonzero(line).mean() / (len(line) - 1) for line in of_image]
      for of_image in zip(rows, columns, strict=True)
    ]
  )


@pytest.mark.parametrize("shape", [(12, 30), (30, 12)])
@pytest.mark.parametrize("kind", ["cutmix", "erasing"])
def test_rectangles_lie_anywhere_in_an_image_of_any_shape(shape, kind):
  images = _images(400, *shape)
  if kind == "cutmix":
    changed, _ = mix(images, jnp.arange(400), Mixing(cutmix=1.0), key=_KEY)
    inside = np.asarray(changed != images).any(axis=-1)[::2]  # both of a pair have it
  else:
    changed = erase(images, 1.0, key=_KEY)
    inside = np.asarray(changed != images).any(axis=-1)
  inside = inside[inside.any(axis=(1, 2))]
  assert len(inside) > 180
  assert inside.mean(axis=0).min() > 0.005  # every position, now and then
  middles = _middles(inside)
  np.testing.assert_allclose(middles.mean(axis=0), 0.5, atol=0.05)
  assert abs(np.corrcoef(middles.T)[0, 1]) < 0.2


@pytest.mark.slow
def test_erasing_depends_on_the_place_in_the_whole_batch():
  images = jnp.zeros((8, *IMAGE_SHAPE))
  whole = erase(images, 0.8, key=_KEY)
  np.testing.assert_array_equal(whole[4:], erase(images[4:], 0.8, key=_KEY, first=4))
  np.testing.assert_array_equal(erase(images, 0, key=_KEY), images)
