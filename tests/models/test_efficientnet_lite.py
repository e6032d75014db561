"""EfficientNet-Lite against the published layout; its taps, training and options.

Its numbers are compared with a reference in `test_published.py`.
"""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from hue_jax.errors import InputError
from hue_jax.models import create_model, model_names, tap_shapes
from hue_jax.models.efficientnet import EfficientNet, InvertedBottleneck

_PARAMETERS = {
  "efficientnet_lite0": 4_652_008,
  "efficientnet_lite1": 5_416_680,
  "efficientnet_lite2": 6_092_072,
}


def _small(**options):
  """Ten blocks, three of them with a shortcut."""
  return EfficientNet(lite=True, num_classes=10, width=0.25, depth=0.5, **options)


def _init(model, images):
  @jax.jit
  def init():
    variables = model.init(jax.random.key(0), images, train=False)
    return {name: variables[name] for name in ("params", "batch_stats")}

  return init()


def _apply(model, variables, images, *, train, key=0):
  """Logits and updated collections; a key for dropout as in the training step."""

  @jax.jit
  def apply(variables, images, key):
    return model.apply(
      variables,
      images,
      train=train,
      mutable=["taps", "batch_stats"],
      rngs={"dropout": key},
    )

  return apply(variables, images, jax.random.key(key))


@pytest.fixture(scope="module")
def images():
  return jax.random.normal(jax.random.key(1), (16, 32, 32, 3))


@pytest.fixture(scope="module")
def variables(images):
  return _init(_small(), images)


@pytest.mark.parametrize(("name", "count"), _PARAMETERS.items())
def test_parameter_counts_are_the_published_ones(name, count):
  model = create_model(name, num_classes=1000)
  variables = jax.eval_shape(
    lambda: model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)), train=False)
  )
  assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count
  assert name in model_names()


def test_taps_of_lite0_at_224_pixels():
  model = create_model("efficientnet_lite0", num_classes=1000)
  shapes = tap_shapes(model, (224, 224, 3))
  assert list(shapes.items()) == [
    ("stem", (112, 112, 32)),
    ("stage1", (112, 112, 16)),
    ("stage2", (56, 56, 24)),
    ("stage3", (28, 28, 40)),
    ("stage4", (14, 14, 80)),
    ("stage5", (14, 14, 112)),
    ("stage6", (7, 7, 192)),
    ("stage7", (7, 7, 320)),
    ("top", (7, 7, 1280)),
    ("features", (1280,)),
  ]


def test_lite2_is_wider_and_deeper_but_for_its_ends():
  model = create_model("efficientnet_lite2", num_classes=1000)
  assert model.stage_sizes == (1, 3, 3, 4, 4, 5, 1)
  shapes = tap_shapes(model, (260, 260, 3))
  assert shapes["stem"] == (130, 130, 32)
  assert shapes["stage3"] == (33, 33, 48)
  assert shapes["stage6"] == (9, 9, 208)
  assert shapes["top"] == (9, 9, 1280)


@pytest.mark.slow
def test_taps_are_what_the_network_computes(images, variables):
  model = _small()
  logits, state = _apply(model, variables, images, train=False)
  taps = state["taps"]
  np.testing.assert_allclose(
    taps["features"], taps["top"].mean(axis=(1, 2)), rtol=1e-5, atol=1e-7
  )
  head = variables["params"]["head"]
  np.testing.assert_allclose(
    logits, taps["features"] @ head["kernel"] + head["bias"], rtol=1e-4, atol=1e-5
  )
  assert taps["stem"].min() == 0  # rectified
  assert taps["stage1"].min() < 0  # as the end of a linear bottleneck is not


def test_activations_keep_their_scale_at_the_start():
  # Depthwise kernels have fan-in and fan-out k², whatever the number of channels.
  block = InvertedBottleneck(
    features=64,
    kernel_size=5,
    strides=1,
    expansion=6,
    drop_path_rate=0.0,
    squeezes=False,
    activation=nn.relu6,
    conv=partial(nn.Conv, use_bias=False),
    norm=partial(nn.BatchNorm, use_running_average=False),
  )
  params = block.init(jax.random.key(0), jnp.ones((1, 8, 8, 64)), train=False)["params"]
  kernel = np.asarray(params["depthwise_conv"]["kernel"])
  np.testing.assert_allclose(kernel.std(), np.sqrt(2 / 25), rtol=0.05)


@pytest.mark.slow
def test_it_learns(images, variables):
  model = _small()
  images, labels = images[:8], jnp.arange(8)
  optimizer = optax.adam(3e-3)

  def loss_fn(params, batch_stats):
    logits, updates = model.apply(
      {"params": params, "batch_stats": batch_stats},
      images,
      train=True,
      mutable=["batch_stats"],
    )
    loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()
    return loss, updates["batch_stats"]

  @jax.jit
  def step(params, batch_stats, optimizer_state):
    (loss, batch_stats), grads = jax.value_and_grad(loss_fn, has_aux=True)(
      params, batch_stats
    )
    updates, optimizer_state = optimizer.update(grads, optimizer_state)
    params = optax.apply_updates(params, updates)
    return params, batch_stats, optimizer_state, loss, grads

  params, batch_stats = variables["params"], variables["batch_stats"]
  optimizer_state = optimizer.init(params)
  losses = []
  for number in range(8):
    params, batch_stats, optimizer_state, loss, grads = step(
      params, batch_stats, optimizer_state
    )
    losses.append(float(loss))
    if number == 0:
      norms = [float(jnp.linalg.norm(leaf)) for leaf in jax.tree.leaves(grads)]
      assert np.isfinite(norms).all()
      assert min(norms) > 0
  assert losses[0] == pytest.approx(np.log(10), rel=0.5)
  assert losses[-1] < 0.2


def test_running_statistics_move_by_a_hundredth(images, variables):
  _, updates = _apply(_small(), variables, images, train=True)
  conv = jax.lax.conv_general_dilated(
    images,
    variables["params"]["stem_conv"]["kernel"],
    (2, 2),
    [(0, 1), (0, 1)],  # TensorFlow's "SAME" for an even size and stride 2
    dimension_numbers=("NHWC", "HWIO", "NHWC"),
  )
  stem = updates["batch_stats"]["stem_norm"]
  axes = (0, 1, 2)
  np.testing.assert_allclose(stem["mean"], 0.01 * conv.mean(axes), rtol=1e-3, atol=1e-6)
  np.testing.assert_allclose(stem["var"], 0.99 + 0.01 * conv.var(axes), rtol=1e-5)


@pytest.mark.slow
def test_dropout_acts_on_the_features_in_training_alone(images, variables):
  model = _small(dropout_rate=0.5)

  def apply(key, train):
    logits, updates = _apply(model, variables, images, train=train, key=key)
    return logits, updates["taps"]["features"]

  (one, one_features), (other, other_features) = apply(0, True), apply(1, True)
  assert np.abs(one - other).max() > 1e-2
  np.testing.assert_array_equal(one_features, other_features)
  np.testing.assert_array_equal(apply(0, False)[0], apply(1, False)[0])


def test_stochastic_depth_leaves_a_block_out_or_makes_up_for_it():
  images = jax.random.normal(jax.random.key(1), (64, 4, 4, 8))

  def apply(rate):
    block = InvertedBottleneck(
      features=8,
      kernel_size=3,
      strides=1,
      expansion=2,
      drop_path_rate=rate,
      squeezes=False,
      activation=nn.relu6,
      conv=partial(nn.Conv, use_bias=False),
      norm=partial(nn.BatchNorm, use_running_average=True),
    )
    variables = block.init(jax.random.key(0), images, train=False)
    rngs = {"dropout": jax.random.key(2)}
    return np.asarray(block.apply(variables, images, train=True, rngs=rngs) - images)

  always, often = apply(0.0), apply(0.25)
  left_out = np.abs(often).max(axis=(1, 2, 3)) == 0
  assert 4 <= left_out.sum() <= 28  # of 64; 16 are expected
  np.testing.assert_allclose(often[~left_out], always[~left_out] / 0.75, atol=1e-5)


def test_rates_of_stochastic_depth_rise_over_the_blocks(images):
  rates = []

  def keep(call, args, kwargs, context):
    if isinstance(context.module, InvertedBottleneck):
      rates.append(context.module.drop_path_rate)
    return call(*args, **kwargs)

  with nn.intercept_methods(keep):
    jax.eval_shape(lambda: _init(_small(drop_path_rate=0.2), images))
  np.testing.assert_allclose(rates, 0.2 * np.arange(10) / 10)


@pytest.mark.slow
def test_half_precision_computes_in_bfloat16_and_keeps_float32(images, variables):
  half = _small(dtype=jnp.bfloat16)
  initial = jax.eval_shape(lambda: _init(half, images))
  assert {leaf.dtype for leaf in jax.tree.leaves(initial)} == {jnp.dtype("float32")}
  logits, state = _apply(half, variables, images, train=True)
  assert logits.dtype == jnp.float32
  assert state["taps"]["stage2"].dtype == jnp.bfloat16
  for leaf in jax.tree.leaves(state["batch_stats"]):
    assert leaf.dtype == jnp.float32
  expected, _ = _apply(_small(), variables, images, train=True)
  assert np.linalg.norm(logits - expected) < 0.15 * np.linalg.norm(expected)


@pytest.mark.slow
def test_statistics_over_the_axis_are_those_of_the_whole_batch(images, variables):
  synchronized = _small(axis_name="devices")
  whole, updates = _apply(_small(), variables, images, train=True)
  parts, part_updates = jax.pmap(
    lambda part: synchronized.apply(
      variables, part, train=True, mutable=["batch_stats"]
    ),
    axis_name="devices",
  )(images.reshape(8, 2, 32, 32, 3))
  scale = float(np.abs(whole).max())
  np.testing.assert_allclose(parts.reshape(16, 10), whole, atol=1e-3 * scale)
  for one, other in zip(
    jax.tree.leaves(part_updates["batch_stats"]),
    jax.tree.leaves(updates["batch_stats"]),
    strict=True,
  ):
    np.testing.assert_allclose(one[3], other, rtol=1e-3, atol=1e-5)
  alone, _ = _apply(_small(), variables, images[:2], train=True)
  assert np.abs(alone - whole[:2]).max() > 1e-2 * scale


def test_bad_options_are_told():
  with pytest.raises(
    InputError, match=r"model_options\.stem is not a setting; .*dropout_rate, drop_path"
  ):
    create_model("efficientnet_lite0", num_classes=10, stem="small")
  with pytest.raises(InputError, match=r"dropout_rate is 1.*of at least 0 and below 1"):
    create_model("efficientnet_lite0", num_classes=10, dropout_rate=1.0)
  with pytest.raises(InputError, match=r"drop_path_rate is -0\.1"):
    create_model("efficientnet_lite0", num_classes=10, drop_path_rate=-0.1)
  with pytest.raises(InputError, match=r"width is 0.*above 0"):
    EfficientNet(lite=True, num_classes=10, width=0.0)
