"""Hue terms against direct calls of the losses, and their settings."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import hue_jax
from hue_jax.errors import InputError
from hue_jax.objective import Batch, check_terms, create_objective
from hue_jax.objective.schedules import relative_weight
from hue_jax.train.step import make_train_step
from tests.helpers.small_training import (
  NUM_CLASSES,
  PIXELS,
  small_batch,
  small_objective,
  small_state,
)

_SHAPES = {
  "stage2": (3, 4, 6),
  "point": (1, 1, 6),
  "narrow": (3, 4, 2),
  "features": (6,),
  "odd": (3, 5, 6),
}


@pytest.fixture
def outputs():
  keys = jax.random.split(jax.random.key(0), 3)
  return {
    "logits": jax.random.normal(keys[0], (7, NUM_CLASSES)),
    "taps": {
      "stage2": jax.random.normal(keys[1], (7, 3, 4, 6)),
      "features": jax.random.normal(keys[2], (7, 6)),
      "odd": jax.random.normal(jax.random.key(1), (7, 3, 5, 6)),
    },
    "labels": jnp.array([0, 1, 2, 3, 4, 1, 1]),
    "mask": jnp.ones(7),
  }


def _objective(term, **kwargs):
  return create_objective(
    num_classes=NUM_CLASSES,
    label_smoothing=kwargs.pop("label_smoothing", 0.0),
    terms={"term": term},
    tap_shapes=_SHAPES,
    num_train_steps=100,
    warmup_steps=10,
    seed=3,
  )


def _weights(weighting, layer):
  return {
    "uniform": jnp.ones(layer.shape[:-1]),
    "activation": jnp.linalg.norm(layer, axis=-1),
    "chroma": hue_jax.chroma(layer),
  }[weighting]


@pytest.mark.parametrize("weighting", ["uniform", "activation", "chroma"])
@pytest.mark.parametrize("tap", ["stage2", "odd"])
def test_position_hue_is_the_weighted_hue_loss_of_every_position(
  outputs, weighting, tap
):
  term = {"tap": tap, "kind": "position_hue", "weighting": weighting}
  measured = _objective(term)(Batch(**outputs, step=0)).measured
  layer, shape = outputs["taps"][tap], _SHAPES[tap][:2]
  target = hue_jax.position_hue(*shape)
  weights = np.array(_weights(weighting, layer))
  if tap == "odd":  # its middle is the exact center, which has no angle
    weights[:, 1, 2] = 0
  values = np.asarray(hue_jax.hue_loss(layer, target))
  expected = (weights * values).sum((1, 2)) / weights.sum((1, 2))
  np.testing.assert_allclose(measured["hue/term"].values, expected, rtol=1e-5)
  turned = np.angle(np.exp(1j * np.asarray(hue_jax.hue_angle(layer) - target)))
  degrees = (weights * np.abs(np.degrees(turned))).sum((1, 2)) / weights.sum((1, 2))
  error = measured["hue_error_degrees/term"]
  np.testing.assert_allclose(error.values, degrees, rtol=1e-4)


def test_class_hue_of_features_and_of_a_layer(outputs):
  target = hue_jax.hue_labels(outputs["labels"], NUM_CLASSES)
  measured = _objective({"tap": "features", "kind": "class_hue"})(
    Batch(**outputs, step=0)
  ).measured
  np.testing.assert_allclose(
    measured["hue/term"].values,
    hue_jax.hue_loss(outputs["taps"]["features"], target),
    rtol=1e-5,
  )
  measured = _objective({"tap": "stage2", "kind": "class_hue"})(
    Batch(**outputs, step=0)
  ).measured
  layer = outputs["taps"]["stage2"]
  np.testing.assert_allclose(
    measured["hue/term"].values,
    hue_jax.hue_loss(layer, target[:, None, None]).mean((1, 2)),
    rtol=1e-5,
  )


def test_angular_consistency_is_the_library_function(outputs):
  term = {"tap": "stage2", "kind": "angular_consistency", "sectors": 4}
  measured = _objective(term)(Batch(**outputs, step=0)).measured
  np.testing.assert_allclose(
    measured["hue/term"].values,
    hue_jax.angular_consistency_loss(
      outputs["taps"]["stage2"], outputs["labels"], num_classes=NUM_CLASSES, sectors=4
    ),
    rtol=1e-5,
  )
  assert "hue_error_degrees/term" not in measured


def test_loss_is_cross_entropy_plus_weighted_terms(outputs):
  term = {"tap": "features", "kind": "class_hue", "weight": 0.7}
  measured = _objective(term, label_smoothing=0.1)(Batch(**outputs, step=0)).measured
  smooth = np.full((7, NUM_CLASSES), 0.1 / NUM_CLASSES)
  smooth[np.arange(7), outputs["labels"]] += 0.9
  smoothed = optax.softmax_cross_entropy(outputs["logits"], smooth)
  np.testing.assert_allclose(
    measured["loss"].values, smoothed + 0.7 * measured["hue/term"].values, rtol=1e-5
  )
  hard = optax.softmax_cross_entropy_with_integer_labels(
    outputs["logits"], outputs["labels"]
  )
  np.testing.assert_allclose(measured["cross_entropy"].values, hard, rtol=1e-5)


def test_no_gradient_flows_through_the_weights(outputs):
  term = {"tap": "stage2", "kind": "position_hue", "weighting": "activation"}

  def total(layer):
    given = outputs | {"taps": {"stage2": layer}}
    return _objective(term)(Batch(**given, step=0)).measured["hue/term"].values.sum()

  layer = outputs["taps"]["stage2"]
  gradient = jax.grad(total)(layer)
  # The hue loss does not change with the length of an activation, so that with fixed
  # weights its gradient is orthogonal to the activation.
  along = jnp.sum(gradient * layer, axis=-1)
  assert np.abs(along).max() < 1e-5
  assert np.abs(gradient).max() > 1e-3


def test_gray_positions_do_not_count_in_the_error(outputs):
  layer = outputs["taps"]["stage2"].at[0].set(0.0)
  term = {"tap": "stage2", "kind": "position_hue", "weighting": "activation"}
  measured = _objective(term)(
    Batch(**outputs | {"taps": {"stage2": layer}}, step=0)
  ).measured
  np.testing.assert_array_equal(
    measured["hue_error_degrees/term"].weights, [0, 1, 1, 1, 1, 1, 1]
  )


@pytest.mark.parametrize(
  ("schedule", "weights"),
  [
    ("constant", (0.4, 0.4, 0.4)),
    ("linear_warmup", (0.0, 0.4, 0.4)),
    ("linear_decay", (0.4, 0.2, 0.0)),
    ("cosine_decay", (0.4, 0.2, 0.0)),
  ],
)
def test_schedules(outputs, schedule, weights):
  term = {"tap": "features", "kind": "class_hue", "weight": 0.4, "schedule": schedule}
  objective = _objective(term)
  (built,) = objective.terms
  assert built.weight == 0.4
  lengths = {"num_train_steps": 100, "warmup_steps": 10}
  found = [0.4 * relative_weight(schedule, step, **lengths) for step in (0, 50, 100)]
  np.testing.assert_allclose(found, weights, atol=1e-6)
  for step, weight in zip((0, 50, 100), weights, strict=True):
    measured = objective(Batch(**outputs, step=step)).measured
    added = measured["loss"].values - measured["cross_entropy"].values
    np.testing.assert_allclose(added, weight * measured["hue/term"].values, atol=1e-6)
  assert objective.describe() == "cross_entropy + 0.4 class_hue(features)"


def test_planes_by_name_and_from_a_file(tmp_path, outputs):
  vectors = np.random.default_rng(0).normal(size=(6, 2)).astype(np.float32)
  np.save(tmp_path / "plane.npy", vectors)
  planes = {
    "fourier": hue_jax.fourier_plane(6),
    "random": hue_jax.random_plane(jax.random.key(3), 6),
    str(tmp_path / "plane.npy"): hue_jax.hue_plane(vectors),
  }
  for name, plane in planes.items():
    term = {"tap": "features", "kind": "class_hue", "plane": name}
    np.testing.assert_allclose(_objective(term).terms[0].plane, plane, atol=1e-6)


@pytest.mark.slow
def test_a_learned_plane_is_a_parameter_that_learns():
  objective = small_objective()
  state = small_state(objective)
  assert set(state.params["planes"]) == {"learned"}
  assert state.params["planes"]["learned"].shape == (16, 2)
  step = jax.jit(make_train_step(objective, seed=0, **PIXELS))
  after, _ = step(state, small_batch(0))
  moved = after.params["planes"]["learned"] - state.params["planes"]["learned"]
  assert np.abs(moved).max() > 1e-6
  assert small_state(small_objective({})).params["planes"] == {}


def test_learned_planes_begin_apart():
  term = {"kind": "class_hue", "tap": "features", "plane": "learned"}
  planes = small_state(small_objective({"one": term, "other": term})).params["planes"]
  assert np.abs(planes["one"] - planes["other"]).max() > 0.1


def test_right_is_the_first_of_equals_and_never_what_is_no_number(outputs):
  nan, logits = np.nan, np.zeros((7, NUM_CLASSES), np.float32)
  logits[:4] = [[1, 1, 0, 0, 0], [0, 1, 1, 0, 0], [0, 0, nan, 0, 0], [nan, 0, 0, 1, 0]]
  given = outputs | {"logits": jnp.asarray(logits)}
  measured = _objective({"tap": "features", "kind": "class_hue"})(
    Batch(**given | {"labels": jnp.array([1, 1, 2, 3, 0, 4, 1])}, step=0)
  ).measured
  np.testing.assert_array_equal(measured["top1"].values, [0, 1, 0, 1, 1, 0, 0])
  np.testing.assert_array_equal(measured["top5"].values, [1, 1, 0, 1, 1, 1, 1])


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    (
      {"tap": "stage9"},
      r"hue.terms.t.tap is 'stage9'.*stage2, point, narrow, features",
    ),
    ({"kind": "color"}, r"hue.terms.t.kind is 'color'.*class_hue, .*position_hue"),
    ({"weight": -0.1}, r"hue.terms.t.weight is -0.1; .*finite number of at least 0"),
    ({"weight": float("nan")}, r"hue.terms.t.weight is nan"),
    ({"weight": float("inf")}, r"hue.terms.t.weight is inf"),
    ({"weighting": "x"}, r"hue.terms.t.weighting is 'x'.*uniform, activation, chroma"),
    ({"schedule": "x"}, r"hue.terms.t.schedule is 'x'.*constant"),
    ({"sectors": 0}, r"hue.terms.t.sectors is 0"),
    ({"temperature": 0.0}, r"hue.terms.t.temperature is 0.0.*above 0"),
    ({"tap": "narrow"}, r"'narrow', which has 2 channels.*at least 3"),
    ({"tap": "point", "kind": "position_hue"}, r"'point'.*more than one position"),
    ({"tap": "features", "kind": "angular_consistency"}, r"more than one position"),
    ({"plane": "flat"}, r"plane is 'flat'.*fourier, random, learned, or the path"),
    ({"plane": "none.npy"}, r"plane is 'none.npy', which cannot be used"),
    (
      {"lambda": 1.0},
      r"hue.terms.t.lambda is not a setting; hue.terms.t takes kind, tap, balance, wei",
    ),
  ],
)
def test_settings_that_cannot_be_used(settings, message):
  terms = {"t": {"tap": "features", "kind": "class_hue", **settings}}
  with pytest.raises(InputError, match=message):
    check_terms(terms, _SHAPES, num_classes=NUM_CLASSES)


def test_a_plane_file_of_another_shape_is_named(tmp_path):
  np.save(tmp_path / "p.npy", np.ones((5, 2), np.float32))
  terms = {
    "t": {"tap": "features", "kind": "class_hue", "plane": str(tmp_path / "p.npy")}
  }
  with pytest.raises(InputError, match=r"shape is \(5, 2\).*shape \(6, 2\)"):
    check_terms(terms, _SHAPES, num_classes=NUM_CLASSES)
