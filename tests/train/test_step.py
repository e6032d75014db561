"""The training step: against flax's public example, and over devices."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from benchmarks.peers import flax_example_step
from hue_jax.train.optimizer import (
  create_optimizer,
  kernels,
  learning_rate_schedule,
)
from hue_jax.train.parallel import AXIS, create_parallel
from hue_jax.train.state import moving_average_decay
from hue_jax.train.step import make_eval_step, make_train_step, normalize
from tests.helpers.small_training import (
  NUM_CLASSES,
  PIXELS,
  flat,
  small_batch,
  small_model,
  small_objective,
  small_state,
)


def _run(form, devices, num_steps, objective, *, synchronized=True):
  """Losses of the steps and the last state, over so many devices."""
  parallel = create_parallel(form, jax.devices()[:devices])
  step = parallel.map(
    make_train_step(objective, seed=0, axis_name=AXIS, **PIXELS), donate_state=True
  )
  state = parallel.replicate(small_state(objective, synchronized=synchronized))
  losses = []
  for index in range(num_steps):
    state, sums = step(state, parallel.shard(small_batch(index)))
    sums = parallel.unreplicate(sums)
    losses.append({name: float(total / count) for name, (total, count) in sums.items()})
  return losses, parallel.unreplicate(state)


@pytest.mark.slow
def test_eight_devices_give_the_losses_of_one_in_both_forms():
  objective = small_objective()
  one, one_state = _run("pmap", 1, 12, objective)
  assert one[-1]["loss"] != one[0]["loss"]
  for form in ("pmap", "shard_map"):
    eight, eight_state = _run(form, 8, 12, objective)
    for name in ("loss", "cross_entropy", "hue/sectors", "hue/position"):
      np.testing.assert_allclose(
        [losses[name] for losses in eight],
        [losses[name] for losses in one],
        rtol=1e-5,
        err_msg=f"{form} {name}",
      )
    np.testing.assert_allclose(
      flat(eight_state.params), flat(one_state.params), rtol=1e-3, atol=1e-4
    )


@pytest.mark.slow
def test_without_an_axis_the_step_is_an_ordinary_function():
  objective = small_objective()
  step = jax.jit(make_train_step(objective, seed=0, **PIXELS))
  state, sums = step(small_state(objective), small_batch(0))
  mapped, mapped_state = _run("pmap", 1, 1, objective)
  np.testing.assert_allclose(sums["loss"][0] / sums["loss"][1], mapped[0]["loss"], 1e-6)
  np.testing.assert_allclose(
    flat(state.params), flat(mapped_state.params), rtol=1e-4, atol=1e-6
  )


@pytest.mark.slow
def test_each_devices_own_statistics_are_averaged_into_the_state():
  _, state = _run("pmap", 8, 1, small_objective({}), synchronized=False)
  batch = small_batch(0)
  model = small_model()
  initial = small_state(small_objective({}))
  expected = []
  for part in range(8):
    images = normalize(
      jnp.asarray(batch["image"])[2 * part : 2 * part + 2], (0.5,), (0.25,)
    )
    _, updates = model.apply(
      {"params": initial.params["network"], "batch_stats": initial.batch_stats},
      images,
      train=True,
      mutable=["batch_stats"],
    )
    expected.append(flat(updates["batch_stats"]))
  np.testing.assert_allclose(
    flat(state.batch_stats), np.mean(expected, axis=0), rtol=1e-4, atol=1e-6
  )


@pytest.mark.slow
def test_with_hue_off_it_is_the_step_of_flaxs_imagenet_example():
  objective = small_objective({})
  state = small_state(
    objective, optimizer=create_optimizer("sgd", 0.1, weight_decay=1e-4)
  )
  step = jax.jit(make_train_step(objective, seed=0, **PIXELS))
  theirs = jax.jit(flax_example_step(small_model(), 0.1))
  params = state.params["network"]
  their_state = (params, jax.tree.map(jnp.zeros_like, params), state.batch_stats)
  for index in range(3):
    batch = small_batch(index)
    images = (batch["image"].astype(np.float32) / 255 - 0.5) / 0.25
    their_state, measured = theirs(their_state, images, batch["label"])
    state, sums = step(state, batch)
    for ours, name in (("loss", "loss"), ("top1", "accuracy")):
      total, count = sums[ours]
      np.testing.assert_allclose(total / count, measured[name], rtol=1e-5)
    np.testing.assert_allclose(
      flat(state.params["network"]), flat(their_state[0]), rtol=1e-4, atol=1e-6
    )
    np.testing.assert_allclose(
      flat(state.batch_stats), flat(their_state[2]), rtol=1e-4, atol=1e-6
    )


@pytest.mark.slow
def test_metrics_against_a_plain_count():
  objective = small_objective({"class": {"tap": "features", "kind": "class_hue"}})
  state = small_state(objective)
  batch = small_batch(0) | {"mask": np.float32([1] * 11 + [0] * 5)}
  sums = jax.jit(make_eval_step(objective, **PIXELS))(state, batch)
  images = normalize(jnp.asarray(batch["image"]), (0.5,), (0.25,))
  logits, updates = small_model().apply(
    {"params": state.params["network"], "batch_stats": state.batch_stats},
    images,
    train=False,
    mutable=["taps"],
  )
  features = np.asarray(updates["taps"]["features"], np.float64)
  angles = 2 * np.pi * np.arange(features.shape[1]) / features.shape[1]
  top1 = top5 = nats = degrees = 0
  for example in range(11):
    label = batch["label"][example]
    order = np.argsort(-np.asarray(logits[example]), kind="stable")
    top1 += order[0] == label
    top5 += label in order[:5]
    p = np.exp(np.float64(logits[example]))
    nats -= np.log(p[label] / p.sum())
    hue = np.angle(np.sum(features[example] * np.exp(1j * angles)))
    turned = np.angle(np.exp(1j * (hue - 2 * np.pi * label / NUM_CLASSES)))
    degrees += abs(np.degrees(turned))
  assert float(sums["top1"][0]) == top1
  assert float(sums["top5"][0]) == top5
  assert float(sums["top1"][1]) == 11
  np.testing.assert_allclose(sums["cross_entropy"][0], nats, rtol=1e-5)
  np.testing.assert_allclose(sums["hue_error_degrees/class"][0], degrees, rtol=1e-4)


@pytest.mark.slow
def test_padding_changes_nothing_whatever_it_holds():
  objective = small_objective()
  state = small_state(objective)
  step = jax.jit(make_eval_step(objective, **PIXELS))
  batch = small_batch(0, size=8)
  whole = step(state, batch | {"mask": np.ones(8, np.float32)})
  padded = {
    name: np.concatenate([value, np.zeros_like(value)]) for name, value in batch.items()
  } | {"mask": np.float32([1] * 8 + [0] * 8)}
  for name, (total, count) in step(state, padded).items():
    np.testing.assert_allclose(total, whole[name][0], rtol=1e-4, err_msg=name)
    np.testing.assert_array_equal(count, whole[name][1], err_msg=name)


@pytest.mark.slow
def test_moving_average_is_the_recursion_and_is_what_is_evaluated():
  objective = small_objective()
  step = jax.jit(make_train_step(objective, seed=0, ema_decay=0.15, **PIXELS))
  state = small_state(objective, ema=True)
  average = flat(state.params), flat(state.batch_stats)
  for index in range(3):
    state, _ = step(state, small_batch(index))
    current = flat(state.params), flat(state.batch_stats)
    decay = min(0.15, (1 + index) / (10 + index))
    average = [
      decay * a + (1 - decay) * c for a, c in zip(average, current, strict=True)
    ]
  params, batch_stats = state.evaluated()
  np.testing.assert_allclose(flat(params), average[0], rtol=1e-4, atol=1e-6)
  np.testing.assert_allclose(flat(batch_stats), average[1], rtol=1e-4, atol=1e-6)
  assert np.abs(flat(params) - flat(state.params)).max() > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("decay", [0.0, 0.5, 0.9, 0.99, 0.999, 0.9999, 1 - 1e-7])
def test_no_moving_average_is_mostly_of_the_beginning(decay):
  # The weights at step t are the vector e_t: the average has the share of each.
  last = 200
  state = small_state(small_objective({}), ema=True).replace(
    params=jnp.eye(last + 1)[0], batch_stats={}
  )
  state = state.replace(ema=state.weights())
  average = jax.jit(lambda state: state.averaged(decay))
  for step in range(1, last + 1):
    state = average(
      state.replace(step=jnp.asarray(step), params=jnp.eye(last + 1)[step])
    )
    shares = np.asarray(state.ema["params"], np.float64)
    np.testing.assert_allclose(shares.sum(), 1, rtol=1e-5)
    assert shares[0] <= max(decay**step, 1 / math.comb(step + 9, 9)) * 1.001
    assert shares[0] <= 0.101
    age = shares @ (step - np.arange(last + 1))
    assert age <= step / 10 + 1
  # In the long run it is of the decay that was asked for.
  assert moving_average_decay(decay, 10**9) == np.float32(decay)


def test_weight_decay_touches_kernels_alone():
  params = small_state(small_objective()).params
  decayed = {
    jax.tree_util.keystr(path)
    for path, keep in jax.tree_util.tree_leaves_with_path(kernels(params))
    if keep
  }
  assert "['network']['head']['kernel']" in decayed
  assert all(path.endswith("['kernel']") for path in decayed)
  assert len(decayed) == 10  # 7 convolutions, 2 shortcuts and the head
  assert not any("planes" in path for path in decayed)


@pytest.mark.parametrize("name", ["sgd", "adamw", "lamb"])
def test_optimizers_decay_and_clip(name):
  params = {"kernel": jnp.ones((2, 2)), "bias": jnp.ones(2)}
  zero = jax.tree.map(jnp.zeros_like, params)
  optimizer = create_optimizer(name, 0.1, weight_decay=0.5)
  updates, _ = optimizer.update(zero, optimizer.init(params), params)
  assert np.all(updates["kernel"] < 0)
  np.testing.assert_array_equal(updates["bias"], 0)

  clipped = create_optimizer("sgd", 1.0, weight_decay=0.0, gradient_clip_norm=1.0)
  large = jax.tree.map(lambda p: 100 * p, params)
  updates, _ = clipped.update(large, clipped.init(params), params)
  # Nesterov's first step is 1.9 times the gradient.
  np.testing.assert_allclose(optax.tree.norm(updates), 1.9, rtol=1e-5)


def test_learning_rate_rises_linearly_and_falls_as_a_cosine():
  schedule = learning_rate_schedule(peak=0.4, num_train_steps=110, warmup_steps=10)
  np.testing.assert_allclose(schedule(0), 0)
  np.testing.assert_allclose(schedule(5), 0.2, rtol=1e-6)
  np.testing.assert_allclose(schedule(10), 0.4, rtol=1e-6)
  np.testing.assert_allclose(schedule(60), 0.2, rtol=1e-5)
  np.testing.assert_allclose(schedule(110), 0, atol=1e-8)
  np.testing.assert_allclose(
    learning_rate_schedule(peak=0.4, num_train_steps=10, warmup_steps=0)(0), 0.4
  )


def test_the_initial_state_depends_on_the_seed_alone():
  objective = small_objective()
  one, same = (small_state(objective, seed=1) for _ in range(2))
  np.testing.assert_array_equal(flat(one.params), flat(same.params))
  assert np.abs(flat(one.params) - flat(small_state(objective).params)).max() > 0.1
