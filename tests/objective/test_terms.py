"""Every kind of term and classifier in an objective, and what it keeps."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from jax.sharding import Mesh
from jax.sharding import PartitionSpec as P

from hue_jax import losses
from hue_jax.errors import InputError
from hue_jax.models import tap_shapes
from hue_jax.objective import (
  CLASSIFIERS,
  TERMS,
  Batch,
  Mixed,
  ObjectiveSettings,
  check_terms,
  create_objective,
)
from hue_jax.objective.cells import CellTerm
from hue_jax.settings import create, fields_of
from hue_jax.train.parallel import AXIS, create_parallel
from hue_jax.train.step import make_eval_step, make_train_step
from tests.helpers.small_training import (
  IMAGE_SHAPE,
  NUM_CLASSES,
  PIXELS,
  flat,
  small_batch,
  small_model,
  small_state,
)

_SHAPES = {"stage2": (3, 4, 6), "features": (6,), "narrow": (3, 4, 5)}
_LABELS = jnp.array([0, 1, 2, 3, 4, 1, 1])


@pytest.fixture
def outputs():
  keys = jax.random.split(jax.random.key(0), 5)
  layer = jax.random.normal(keys[1], (7, 3, 4, 6))
  return {
    "logits": jax.random.normal(keys[0], (7, NUM_CLASSES)),
    "taps": {"stage2": layer, "features": layer.mean((1, 2))},
    "labels": _LABELS,
    "mask": jnp.ones(7),
    "head": {
      "kernel": jax.random.normal(keys[3], (6, NUM_CLASSES)),
      "bias": jax.random.normal(keys[4], (NUM_CLASSES,)),
    },
    "step": 0,
  }


def _objective(terms=None, shapes=_SHAPES, seed=3, **settings):
  return create_objective(
    num_classes=NUM_CLASSES,
    terms=terms or {},
    tap_shapes=shapes,
    num_train_steps=100,
    warmup_steps=10,
    seed=seed,
    **settings,
  )


def _of_network(terms, **settings):
  return _objective(terms, tap_shapes(small_model(), IMAGE_SHAPE), **settings)


@pytest.mark.slow
def test_terms_are_the_library_functions(outputs):
  layer, features = outputs["taps"]["stage2"], outputs["taps"]["features"]
  expected = {
    "dense_cross_entropy": losses.dense_cross_entropy(
      layer, _LABELS, **outputs["head"]
    ),
    "activation_l2": losses.activation_l2(layer),
    "confidence_penalty": losses.confidence_penalty(outputs["logits"]),
    "max_suppression": losses.max_suppression(outputs["logits"]),
    "center_loss": 0.5 * jnp.sum(features**2, axis=-1),  # the centers begin at 0
    "ring_loss": jnp.zeros(7),  # until there is a radius
    "supervised_contrast": losses.supervised_contrastive_loss(features, _LABELS),
    "cell_contrast": losses.cell_contrastive_loss(layer, _LABELS),
    "angular_loss": losses.angular_loss(features, _LABELS),
  }
  layers = ("dense_cross_entropy", "activation_l2", "cell_contrast")
  for kind, values in expected.items():
    term = {"kind": kind, "weight": 0.3}
    if kind in layers:
      term["tap"] = "stage2"
    objective = _objective({"t": term})
    memory = objective.empty_memory(_SHAPES)
    found = objective(Batch(**outputs, memory=memory)).measured
    of_term = found[f"{TERMS[kind].family}/t"].values
    np.testing.assert_allclose(of_term, values, rtol=1e-5)
    # The name of the version before, for one release.
    np.testing.assert_array_equal(found["hue/t"].values, of_term)
    np.testing.assert_allclose(
      found["loss"].values, found["cross_entropy"].values + 0.3 * values, rtol=1e-5
    )


def test_class_hues_in_another_order(outputs):
  order = [3, 1, 0, 2, 4]
  term = {"kind": "class_hue", "tap": "features", "class_order": order}
  found = _objective({"t": term})(Batch(**outputs)).measured["hue/t"].values
  hues = 2 * np.pi * np.argsort(order) / NUM_CLASSES
  features = outputs["taps"]["features"]
  np.testing.assert_allclose(
    found, losses.hue_loss(features, hues[_LABELS].astype(np.float32)), rtol=1e-5
  )


@pytest.mark.parametrize("order", [None, [3, 1, 0, 2, 4]])
def test_labels_are_smoothed_by_hue(outputs, order):
  settings = {"label_smoothing": 0.2, "smoothing_concentration": 1.5}
  objective = _objective(class_order=order, **settings)
  found = objective(Batch(**outputs)).measured["loss"].values
  hues = 2 * np.pi * np.argsort(order or range(NUM_CLASSES)) / NUM_CLASSES
  bumps = np.exp(1.5 * np.cos(hues[:, None] - hues))
  bumps /= bumps.sum(axis=1, keepdims=True)
  targets = 0.8 * np.eye(NUM_CLASSES) + 0.2 * bumps
  expected = optax.softmax_cross_entropy(outputs["logits"], targets[_LABELS])
  np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_additive_angular_margin_takes_the_place_of_the_cross_entropy(outputs):
  classifier = {"kind": "additive_angular_margin", "margin": 0.2, "scale": 8}
  found = _objective(classifier=classifier)(Batch(**outputs))
  features, kernel = outputs["taps"]["features"], outputs["head"]["kernel"]
  np.testing.assert_allclose(
    found.measured["loss"].values,
    losses.additive_angular_margin_loss(
      features, _LABELS, kernel=kernel, margin=0.2, scale=8.0
    ),
    rtol=1e-5,
  )
  scores = 8 * losses.cosine_logits(features, kernel)
  np.testing.assert_allclose(found.scores, scores, rtol=1e-5)
  np.testing.assert_array_equal(
    found.measured["top1"].values, scores.argmax(axis=-1) == _LABELS
  )


def test_logit_normalization_is_the_cross_entropy_of_logits_of_one_length(outputs):
  classifier = {"kind": "logit_normalization", "temperature": 0.2}
  found = _objective(classifier=classifier)(Batch(**outputs))
  logits = np.asarray(outputs["logits"], np.float64)
  logits /= 0.2 * np.linalg.norm(logits, axis=1, keepdims=True)
  np.testing.assert_allclose(found.scores, logits, rtol=1e-5)
  expected = np.log(np.exp(logits).sum(axis=1)) - logits[np.arange(7), _LABELS]
  np.testing.assert_allclose(found.measured["loss"].values, expected, rtol=1e-5)


def test_hyperspherical_prototypes_choose_as_the_logits_do(outputs):
  found = _objective(classifier={"kind": "hyperspherical_prototypes"})(Batch(**outputs))
  prototypes = losses.simplex_prototypes(NUM_CLASSES)
  np.testing.assert_allclose(
    found.measured["loss"].values,
    losses.hyperspherical_prototype_loss(outputs["logits"], _LABELS, prototypes),
    rtol=1e-5,
  )
  chosen = found.scores.argmax(axis=-1)
  np.testing.assert_array_equal(chosen, outputs["logits"].argmax(axis=-1))


# --- What is kept from batch to batch -----------------------------------------------

_KEEPING = {
  "prototypes": {
    "kind": "angular_consistency",
    "tap": "stage2",
    "prototypes": "memory",
    "decay": 0.6,
    "sectors": 4,
    "rings": 2,
  },
  "centers": {"kind": "center_loss", "balance": "gradient"},
  "ring": {"kind": "ring_loss"},
}


@pytest.mark.slow
def test_a_step_moves_what_terms_keep_and_evaluation_does_not():
  objective = _of_network(_KEEPING)
  state = small_state(objective)
  assert state.memory["prototypes"].means.shape == (NUM_CLASSES, 8, 8)
  assert state.memory["centers"].shape == (NUM_CLASSES, 16)
  step = jax.jit(make_train_step(objective, seed=0, **PIXELS))
  batch = small_batch(0)
  after, sums = step(state, batch)
  seen = np.isin(np.arange(NUM_CLASSES), batch["label"])
  np.testing.assert_array_equal(after.memory["prototypes"].known, seen)
  assert np.abs(after.memory["centers"][seen]).max() > 1e-4
  assert after.memory["ring"] > 0
  for name in ("prototypes", "ring"):
    assert sums[f"hue/{name}"][0] == 0  # nothing was known before
  _, sums = step(after, batch)
  for name in ("prototypes", "ring"):
    assert sums[f"hue/{name}"][0] > 0
  evaluated = jax.jit(make_eval_step(objective, **PIXELS))(
    after, batch | {"mask": np.ones(16, np.float32)}
  )
  half = jax.jit(make_eval_step(objective, **PIXELS))(
    after, {k: v[:8] for k, v in batch.items()} | {"mask": np.ones(8, np.float32)}
  )
  # With kept prototypes, an example's loss does not depend on its batch.
  total, count = (
    a - b for a, b in zip(evaluated["hue/centers"], half["hue/centers"], strict=True)
  )
  assert count == 8
  assert total > 0


@pytest.mark.slow
@pytest.mark.parametrize("form", ["pmap", "shard_map"])
def test_eight_devices_keep_what_one_keeps(form):
  objective = _of_network(_KEEPING)
  found = []
  for count in (1, 8):
    parallel = create_parallel(form, jax.devices()[:count])
    step = parallel.map(make_train_step(objective, seed=0, axis_name=AXIS, **PIXELS))
    state = parallel.replicate(small_state(objective, synchronized=True))
    for number in range(4):
      state, _ = step(state, parallel.shard(small_batch(number)))
    found.append(jax.device_get(parallel.unreplicate(state.memory)))
  np.testing.assert_allclose(flat(found[1]), flat(found[0]), rtol=1e-3, atol=1e-4)


# --- Balance ------------------------------------------------------------------------

_BALANCED = {
  "sectors": {"kind": "angular_consistency", "tap": "stage2", "sectors": 4},
  "class": {"kind": "class_hue", "tap": "stage2", "weighting": "activation"},
  "contrast": {"kind": "supervised_contrast", "schedule": "linear_decay"},
}


def _loss_by_layer(objective, given, layer, axis_name=None):
  """The sum of the loss as the layer makes it, through features and head."""
  features, head = layer.mean((1, 2)), given["head"]
  batch = Batch(
    **given
    | {
      "logits": features @ head["kernel"] + head["bias"],
      "taps": {"stage2": layer, "features": features},
      "axis_name": axis_name,
    }
  )
  return jnp.sum(objective(batch).measured["loss"].values * given["mask"])


@pytest.mark.slow
@pytest.mark.parametrize("name", _BALANCED)
@pytest.mark.parametrize("classifier", ["softmax", "additive_angular_margin"])
def test_the_gradient_of_a_balanced_term_is_the_share_of_the_classifiers(
  outputs, name, classifier
):
  given = outputs | {"mask": jnp.array([1.0, 1, 1, 0, 1, 1, 1])}
  if name == "class":
    given["mixed"] = Mixed(_LABELS[::-1], jnp.linspace(0.5, 1, 7))
  layer = outputs["taps"]["stage2"]

  def gradient(terms):
    objective = _objective(terms, classifier={"kind": classifier})
    return jax.jit(jax.grad(lambda layer: _loss_by_layer(objective, given, layer)))(
      layer
    )

  alone = gradient({})
  balanced = gradient({"t": {**_BALANCED[name], "balance": "gradient", "weight": 0.3}})
  weighted = gradient({"t": {**_BALANCED[name], "weight": 1.0}})
  added, own = np.asarray(balanced - alone), np.asarray(weighted - alone)
  if _BALANCED[name].get("tap"):
    share = np.linalg.norm(added) / np.linalg.norm(alone)
  else:  # of the features, not of the layer
    share = np.linalg.norm(added.sum((1, 2))) / np.linalg.norm(alone.sum((1, 2)))
  assert share == pytest.approx(0.3, rel=1e-4)
  cosine = np.sum(added * own) / np.linalg.norm(added) / np.linalg.norm(own)
  assert cosine == pytest.approx(1, abs=1e-5)


def test_a_balance_is_that_of_the_whole_batch_over_devices(outputs):
  objective = _objective({"t": {**_BALANCED["sectors"], "balance": "gradient"}})
  rng = np.random.default_rng(0)
  layer = jnp.asarray(rng.normal(size=(16, 3, 4, 6)), jnp.float32)
  head = outputs["head"]
  labels, mask = jnp.arange(16) % 5, jnp.asarray(np.arange(16) % 3 > 0, jnp.float32)

  def gradient(layer, labels, mask, axis_name=None):
    given = {"labels": labels, "mask": mask, "head": head, "step": 0}
    return jax.grad(lambda a: _loss_by_layer(objective, given, a, axis_name))(layer)

  spread = jax.shard_map(
    lambda *arrays: gradient(*arrays, AXIS),
    mesh=Mesh(np.array(jax.devices()), (AXIS,)),
    in_specs=P(AXIS),
    out_specs=P(AXIS),
    check_vma=False,
  )
  found, expected = (jax.jit(f)(layer, labels, mask) for f in (spread, gradient))
  np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_kept_prototypes_are_told():
  term = {"kind": "angular_consistency", "tap": "stage2", "weight": 0.3}
  told = {
    prototypes: _objective({"t": {**term, "prototypes": prototypes}}).describe()
    for prototypes in ("batch", "memory")
  }
  assert told == {
    "batch": "cross_entropy + 0.3 angular_consistency(stage2)",
    "memory": "cross_entropy + 0.3 angular_consistency(stage2, memory)",
  }


def test_balanced_terms_have_no_part_in_the_loss_of_evaluation(outputs):
  terms = {"t": {**_BALANCED["class"], "balance": "gradient"}}
  found = _objective(terms)(Batch(**outputs, train=False)).measured
  plain = _objective()(Batch(**outputs, train=False)).measured
  np.testing.assert_array_equal(found["loss"].values, plain["loss"].values)
  assert found["hue/t"].values.min() > 0
  described = _objective(terms).describe()
  assert described == "cross_entropy + 0.1 of the gradient class_hue(stage2)"


@pytest.mark.slow
def test_a_term_without_a_gradient_is_not_made_larger(outputs):
  terms = {"t": {**_BALANCED["sectors"], "balance": "gradient"}}
  alone = outputs | {"labels": jnp.arange(7)}  # no image has another of its class
  found = _objective(terms)(Batch(**alone)).measured["loss"].values
  assert np.isfinite(found).all()
  np.testing.assert_array_equal(
    found, _objective()(Batch(**alone)).measured["loss"].values
  )


# --- One compilation ----------------------------------------------------------------


@pytest.mark.slow
def test_objectives_that_differ_in_numbers_share_a_compilation():
  traces = []

  @jax.jit
  def step(objective, state, batch):
    traces.append(objective)
    return make_train_step(objective, seed=0, **PIXELS)(state, batch)

  def sectors(weight, temperature, **settings):
    term = {"kind": "angular_consistency", "tap": "stage2", "weight": weight}
    return {"t": {**term, "temperature": temperature, **settings}}

  first = _of_network(sectors(0.1, 0.1))
  second = _of_network(sectors(0.7, 0.3), label_smoothing=0.2)
  other = _of_network(sectors(0.1, 0.1, sectors=3))
  state = small_state(first)
  results = [step(o, state, small_batch(0)) for o in (first, second)]
  assert len(traces) == 1
  alone, _ = jax.jit(make_train_step(second, seed=0, **PIXELS))(state, small_batch(0))
  np.testing.assert_allclose(flat(results[1][0].params), flat(alone.params), rtol=1e-5)
  assert np.abs(flat(results[0][0].params) - flat(results[1][0].params)).max() > 1e-5
  step(other, state, small_batch(0))
  assert len(traces) == 2


def test_one_hot_and_smoothed_labels_are_one_structure(outputs):
  one_hot, smoothed = _objective(), _objective(label_smoothing=0.1)
  assert jax.tree.structure(one_hot) == jax.tree.structure(smoothed)
  found = smoothed(Batch(**outputs)).measured["loss"].values
  targets = optax.smooth_labels(jax.nn.one_hot(_LABELS, NUM_CLASSES), 0.1)
  expected = optax.softmax_cross_entropy(outputs["logits"], targets)
  np.testing.assert_allclose(found, expected, rtol=1e-5)


# --- Settings -----------------------------------------------------------------------


def test_random_turns_are_a_function_of_the_step(outputs):
  term = {
    "kind": "angular_consistency",
    "tap": "stage2",
    "random_turn": True,
    "sectors": 3,
  }
  objective = jax.jit(
    lambda step: _objective({"t": term})(Batch(**outputs | {"step": step})).measured
  )
  found = [np.asarray(objective(step)["hue/t"].values) for step in (0, 0, 7)]
  np.testing.assert_array_equal(found[0], found[1])
  assert np.abs(found[0] - found[2]).max() > 1e-3


_CELL_KINDS = [kind for kind, term in TERMS.items() if issubclass(term, CellTerm)]


@pytest.mark.parametrize("kind", _CELL_KINDS)
@pytest.mark.parametrize("sectors", [1, 4])
def test_random_turns_are_of_one_sector(kind, sectors):
  term = {"kind": kind, "tap": "stage2", "random_turn": True, "sectors": sectors}
  (built,) = _objective({"t": term}).terms
  steps = jnp.arange(200)
  turns = np.asarray(
    jax.vmap(lambda step: built.cut(_at_step(step))["offset"])(steps)
  ) / (2 * np.pi / sectors)
  assert len(set(turns)) == 200
  assert 0 <= turns.min() < 0.05
  assert 0.95 < turns.max() < 1
  assert abs(turns.mean() - 0.5) < 0.1


def _at_step(step):
  nothing = jnp.zeros(1)
  return Batch(
    logits=nothing[:, None],
    taps={},
    labels=jnp.zeros(1, jnp.int32),
    mask=nothing,
    step=step,
  )


@pytest.mark.parametrize("kind", _CELL_KINDS)
def test_a_seed_determines_how_positions_are_shuffled(kind):
  term = {"kind": kind, "tap": "stage2", "cells": "shuffled"}
  orders = [_objective({"t": term}, seed=s).terms[0].order.tolist() for s in (1, 1, 2)]
  assert orders[0] == orders[1] != orders[2]


@pytest.mark.parametrize("cells", ["polar", "grid", "shuffled"])
@pytest.mark.parametrize("prototypes", ["batch", "memory"])
def test_cells_of_every_kind_are_as_many_as_the_layer_bears(outputs, cells, prototypes):
  term = {
    "kind": "angular_consistency",
    "tap": "stage2",
    "cells": cells,
    "sectors": 8,
    "rings": 3,
    "min_positions": 2,  # of the 12 positions
    "prototypes": prototypes,
  }
  objective = _objective({"t": term})
  cut = {"sectors": 4}
  if cells == "grid":
    cut["cells"] = "grid"
  if cells == "shuffled":
    cut["order"] = objective.terms[0].order
    assert sorted(cut["order"]) == list(range(12))
    assert list(cut["order"]) != list(range(12))
  layer = outputs["taps"]["stage2"]
  known = objective.empty_memory(_SHAPES)
  if prototypes == "memory":
    for _ in range(2):
      found = objective(Batch(**outputs, memory=known))
      before, known = known, found.memory
    moved = losses.update_prototypes(before["t"], layer, _LABELS, **cut)
    assert moved.means.shape == (NUM_CLASSES, 4, 6)
    np.testing.assert_allclose(known["t"].means, moved.means, atol=1e-6)
  expected = losses.angular_consistency_loss(
    layer, _LABELS, num_classes=NUM_CLASSES, prototypes=known.get("t"), **cut
  )
  found = objective(Batch(**outputs, memory=known)).measured["hue/t"].values
  np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"kind": "center_loss", "rate": 0}, "terms.t.rate is 0; .* above 0"),
    (
      {"kind": "class_hue", "tap": "narrow", "balance": "gradient"},
      "terms.t.tap is 'narrow'.*balance 'gradient' needs .* of 6 channels",
    ),
    (
      {"kind": "class_hue", "tap": "stage2", "balance": "x"},
      "terms.t.balance is 'x'.*loss, gradient",
    ),
    ({"kind": "ring_loss", "rate": 2}, "terms.t.rate is 2; .* at most 1"),
    ({"kind": "angular_loss", "angle": 1.2}, "terms.t.angle is 1.2; .* at most 1.04"),
    (
      {"kind": "dense_cross_entropy", "tap": "features"},
      "terms.t.tap is 'features'.*mean over positions is features, of 6 channels",
    ),
    ({"kind": "activation_l2"}, "terms.t.tap is None.*stage2, features, narrow"),
    (
      {"kind": "angular_consistency", "tap": "stage2", "prototypes": "x"},
      "terms.t.prototypes is 'x'.*batch, memory",
    ),
    (
      {"kind": "angular_consistency", "tap": "stage2", "decay": 1.0},
      "terms.t.decay is 1.0.*below 1",
    ),
    (
      {"kind": "angular_consistency", "tap": "stage2", "rings": 0},
      "terms.t.rings is 0",
    ),
    (
      {"kind": "angular_consistency", "tap": "stage2", "cells": "round"},
      "terms.t.cells is 'round'.*polar, grid, shuffled",
    ),
    (
      {"kind": "angular_consistency", "tap": "stage2", "min_positions": -1},
      "terms.t.min_positions is -1.*at least 0",
    ),
    (
      {"kind": "angular_consistency", "tap": "stage2", "decay_of": "step"},
      "terms.t.decay_of is 'step'.*batch, image",
    ),
    (
      {"kind": "class_hue", "tap": "features", "class_order": [0, 1, 1, 2, 3]},
      r"terms.t.class_order is \(0, 1, 1, 2, 3\).*each of the classes 0 to 4 once",
    ),
    ({"kind": "confidence_penalty", "weight": -1}, "terms.t.weight is -1"),
  ],
)
def test_terms_that_cannot_be_used(settings, message):
  with pytest.raises(InputError, match=message):
    check_terms({"t": settings}, _SHAPES, num_classes=NUM_CLASSES, setting="terms")


@pytest.mark.parametrize("kind", [k for k in CLASSIFIERS if k != "softmax"])
@pytest.mark.parametrize("setting", ["label_smoothing", "smoothing_concentration"])
def test_smoothing_with_a_classifier_that_has_none_is_refused(kind, setting):
  message = rf"^{setting} is 0.1; it must be 0, since the classifier {kind} smooths no"
  with pytest.raises(InputError, match=message):
    _objective(classifier={"kind": kind}, **{setting: 0.1})
  assert _objective(classifier={"kind": kind}, **{setting: 0.0}).terms == ()


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    (
      {"kind": "x"},
      "classifier.kind is 'x'.*softmax, sigmoid, additive_angular_margin",
    ),
    ({"kind": "additive_angular_margin", "margin": 4}, "classifier.margin is 4"),
    ({"kind": "additive_angular_margin", "scale": 0}, "classifier.scale is 0"),
    ({"kind": "logit_normalization", "temperature": 0}, "classifier.temperature is 0"),
    ({"sharpness": 1}, "classifier.sharpness is not a setting.*kind, .*margin, scale"),
  ],
)
def test_classifiers_that_cannot_be_used(settings, message):
  with pytest.raises(InputError, match=message):
    create(ObjectiveSettings, {"classifier": settings})


def test_every_kind_describes_itself():
  for kind in TERMS:
    term = {"kind": kind, "tap": "stage2", "weight": 0.25}
    described = _objective({"t": term}).describe()
    where = "stage2" if "tap" in fields_of(TERMS[kind]) else "logits"
    assert described == f"cross_entropy + 0.25 {kind}({where})"
