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
from hue_jax.train.state import TrainState, create_state, moving_average_decay
from hue_jax.train.step import make_eval_step, make_train_step, normalize
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


def _applied(apply_fn):
  """A state of five biases that stay, and of a function in place of a network."""
  return TrainState.create(
    apply_fn=apply_fn,
    params={"network": {"bias": jnp.arange(5.0)}, "planes": {}},
    tx=optax.set_to_zero(),
    batch_stats={},
    ema={},
    memory={},
  ).replace(step=jnp.zeros((), jnp.int32))


def test_padding_may_be_no_number():
  def apply_fn(variables, images, *, train, mutable):
    del variables, train, mutable
    rows = images.reshape(len(images), -1)
    rows = jnp.where(rows.max(axis=1, keepdims=True) > -2, rows, jnp.nan)
    return rows[:, :NUM_CLASSES], {"taps": {"features": rows[:, :16]}}

  objective = small_objective({"class": {"tap": "features", "kind": "class_hue"}})
  step = jax.jit(make_eval_step(objective, most_confused=NUM_CLASSES, **PIXELS))
  state, batch = _applied(apply_fn), small_batch(0, size=11)
  whole = step(state, batch | {"mask": np.ones(11, np.float32)})
  padded = {
    name: np.concatenate([value, np.zeros_like(value[:5])])
    for name, value in batch.items()
  } | {"mask": np.float32([1] * 11 + [0] * 5)}
  found = step(state, padded)
  assert found.keys() == whole.keys()
  for name, (total, count) in found.items():
    np.testing.assert_allclose(total, whole[name][0], rtol=1e-5, err_msg=name)
    np.testing.assert_array_equal(count, whole[name][1], err_msg=name)


def test_images_of_several_right_classes_are_counted_by_all_of_them():
  rng = np.random.default_rng(0)
  logits = jnp.asarray(rng.normal(size=(8, NUM_CLASSES)), jnp.float32)

  def apply_fn(variables, images, *, train, mutable):
    del variables, images, train, mutable
    return logits, {"taps": {}}

  sets = rng.integers(0, 2, (8, NUM_CLASSES)).astype(np.uint8)
  sets[2] = 0  # no class is right: the image does not count
  batch = small_batch(0, size=8)
  batch |= {"mask": np.float32([1] * 7 + [0]), "label_set": sets}
  step = jax.jit(make_eval_step(small_objective({}), **PIXELS))
  sums = step(_applied(apply_fn), batch)
  told = np.asarray(logits).argmax(axis=1)
  right = {i: int(sets[i, told[i]]) for i in range(7) if sets[i].any()}
  assert 0 < sum(right.values()) < len(right) == 6
  assert [float(x) for x in sums["top1"]] == [sum(right.values()), len(right)]
  for label in range(NUM_CLASSES):
    of_class = [right[i] for i in right if batch["label"][i] == label]
    found = [float(x[label]) for x in sums["mean_per_class"]]
    assert found == [sum(of_class), len(of_class)]


@pytest.mark.parametrize("form", ["pmap", "shard_map"])
def test_each_step_and_each_device_draws_anew(form):
  def apply_fn(variables, images, *, train, mutable, rngs):
    del train, mutable
    noise = jax.random.normal(rngs["dropout"], (len(images), NUM_CLASSES))
    return noise + variables["params"]["bias"], {"taps": {}}

  losses, batch = {}, small_batch(0, size=4)
  for count in (1, 2):
    parallel = create_parallel(form, jax.devices()[:count])
    step = parallel.map(
      make_train_step(small_objective({}), seed=0, axis_name=AXIS, **PIXELS)
    )
    state = parallel.replicate(_applied(apply_fn))
    # Every device has the same images.
    same = {name: np.concatenate([part] * count) for name, part in batch.items()}
    for number in range(2):
      state, sums = step(state, parallel.shard(same))
      losses[count, number] = float(parallel.unreplicate(sums)["loss"][0])
  assert abs(losses[1, 0] - losses[1, 1]) > 0.1
  assert abs(losses[2, 0] - 2 * losses[1, 0]) > 0.1


@pytest.mark.parametrize("form", ["pmap", "shard_map"])
@pytest.mark.parametrize("devices", [1, 8])
def test_the_gradient_norm_is_that_of_the_whole_batch(form, devices):
  def apply_fn(variables, images, *, train, mutable, rngs):
    del train, mutable, rngs
    logits = jnp.zeros((len(images), 1)) + variables["params"]["bias"]
    return logits, {"taps": {}}

  parallel = create_parallel(form, jax.devices()[:devices])
  step = parallel.map(
    make_train_step(small_objective({}), seed=0, axis_name=AXIS, **PIXELS)
  )
  batch = small_batch(0)
  state = parallel.replicate(_applied(apply_fn))
  _, sums = step(state, parallel.shard(batch))
  total, count = parallel.unreplicate(sums)["gradient_norm"]
  p = np.exp(np.arange(5.0)) / np.exp(np.arange(5.0)).sum()
  gradient = p - np.eye(5)[batch["label"]].mean(axis=0)
  np.testing.assert_allclose(total / count, np.linalg.norm(gradient), rtol=1e-5)


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


@pytest.mark.parametrize(
  ("name", "rates"),
  [
    ("linear", {5: 0.2, 10: 0.4, 50: 0.2, 90: 0}),
    ("step", {5: 0.2, 29: 0.4, 30: 0.04, 59: 0.04, 60: 4e-3, 79: 4e-3, 80: 4e-4}),
  ],
)
def test_learning_rate_falls_in_a_line_or_in_steps(name, rates):
  schedule = learning_rate_schedule(name, peak=0.4, num_train_steps=90, warmup_steps=10)
  found = {step: float(schedule(step)) for step in rates}
  assert found == pytest.approx(rates, rel=1e-5, abs=1e-8)


@pytest.mark.parametrize("name", ["sgd", "adamw", "lamb"])
def test_layer_decay_makes_the_updates_of_earlier_blocks_smaller(name):
  state = create_state(
    small_model(),
    small_objective(
      {"t": {"kind": "class_hue", "tap": "features", "plane": "learned"}}
    ),
    optax.identity(),
    image_shape=IMAGE_SHAPE,
    seed=0,
    abstract=True,
  )
  params = jax.tree.map(lambda leaf: jnp.ones(leaf.shape), state.params)
  found = []
  for layer_decay in (1.0, 0.5):
    optimizer = create_optimizer(
      name, 1.0, weight_decay=0.0, momentum=0.0, layer_decay=layer_decay
    )
    updates, _ = optimizer.update(params, optimizer.init(params), params)
    found.append(updates)
  whole, smaller = found
  blocks_after = {"stem": 4, "stage1": 3, "stage2": 2, "stage3": 1, "head": 0}
  modules = whole["network"]
  assert {module.split("_")[0] for module in modules} == set(blocks_after)
  for module in modules:
    share = 0.5 ** blocks_after[module.split("_")[0]]
    np.testing.assert_allclose(
      flat(smaller["network"][module]), share * flat(modules[module]), rtol=1e-5
    )
  np.testing.assert_array_equal(flat(smaller["planes"]), flat(whole["planes"]))


def test_the_initial_state_depends_on_the_seed_alone():
  objective = small_objective()
  one, same = (small_state(objective, seed=1) for _ in range(2))
  np.testing.assert_array_equal(flat(one.params), flat(same.params))
  assert np.abs(flat(one.params) - flat(small_state(objective).params)).max() > 0.1
