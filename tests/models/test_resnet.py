"""ResNets against the published layout, and their taps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from hue_jax.errors import InputError
from hue_jax.models import create_model, model_names, tap_shapes

_PARAMETERS = {
  "resnet18": 11_689_512,
  "resnet34": 21_797_672,
  "resnet50": 25_557_032,
  "resnet101": 44_549_160,
  "resnet152": 60_192_808,
}


def _small(**options):
  return create_model("resnet18", num_classes=10, stem="small", width=4, **options)


@pytest.mark.parametrize(("name", "count"), _PARAMETERS.items())
def test_parameter_counts_are_the_published_ones(name, count):
  model = create_model(name, num_classes=1000)
  variables = jax.eval_shape(
    lambda: model.init(jax.random.key(0), jnp.zeros((1, 64, 64, 3)), train=False)
  )
  assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count
  assert name in model_names()


@pytest.mark.slow
def test_the_3x3_convolution_of_a_bottleneck_carries_the_stride():
  # v1.5: the 1×1 convolution before it still sees the larger layer. In a layer that
  # is 0 but for one odd position, a strided 1×1 convolution would lose that position.
  model = create_model("resnet50", num_classes=10, width=4)
  images = jnp.zeros((1, 64, 64, 3))
  variables = model.init(jax.random.key(0), images, train=False)
  _, state = model.apply(
    variables, images, train=False, capture_intermediates=True, mutable=True
  )
  block = state["intermediates"]["stage2_block1"]
  assert block["conv1"]["__call__"][0].shape == (1, 16, 16, 8)
  assert block["conv2"]["__call__"][0].shape == (1, 8, 8, 8)


def test_taps_of_resnet50_at_224_pixels():
  model = create_model("resnet50", num_classes=1000)
  assert tap_shapes(model, (224, 224, 3)) == {
    "stem": (112, 112, 64),
    "stage1": (56, 56, 256),
    "stage2": (28, 28, 512),
    "stage3": (14, 14, 1024),
    "stage4": (7, 7, 2048),
    "features": (2048,),
  }


def test_small_stem_keeps_the_resolution():
  shapes = tap_shapes(_small(), (28, 28, 1))
  assert shapes["stem"] == (28, 28, 4)
  assert shapes["stage3"] == (7, 7, 16)


def test_taps_are_what_the_network_computes():
  images = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
  model = _small()
  variables = model.init(jax.random.key(0), images, train=False)
  logits, state = model.apply(variables, images, train=False, mutable=["taps"])
  taps = state["taps"]
  np.testing.assert_allclose(
    taps["features"], taps["stage4"].mean(axis=(1, 2)), rtol=1e-6
  )
  head = variables["params"]["head"]
  np.testing.assert_allclose(
    logits, taps["features"] @ head["kernel"] + head["bias"], rtol=1e-5, atol=1e-6
  )
  np.testing.assert_array_equal(logits, model.apply(variables, images, train=False))


def test_a_block_starts_as_the_identity():
  images = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
  model = _small()
  variables = model.init(jax.random.key(0), images, train=False)
  _, state = model.apply(variables, images, train=False, mutable=["taps"])
  np.testing.assert_array_equal(state["taps"]["stage1"], state["taps"]["stem"])


@pytest.mark.slow
def test_half_precision_computes_in_bfloat16_and_keeps_float32():
  images = jax.random.normal(jax.random.key(1), (4, 8, 8, 1))
  half, full = _small(dtype=jnp.bfloat16), _small()
  variables = half.init(jax.random.key(0), images, train=False)
  assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {
    jnp.dtype("float32")
  }
  logits, state = half.apply(
    variables, images, train=True, mutable=["taps", "batch_stats"]
  )
  assert logits.dtype == jnp.float32
  assert state["taps"]["stage2"].dtype == jnp.bfloat16
  for leaf in jax.tree.leaves(state["batch_stats"]):
    assert leaf.dtype == jnp.float32
  expected, _ = full.apply(variables, images, train=True, mutable=["batch_stats"])
  np.testing.assert_allclose(logits, expected, atol=0.1)


@pytest.mark.slow
def test_statistics_over_the_axis_are_those_of_the_whole_batch():
  images = jax.random.normal(jax.random.key(1), (16, 8, 8, 1))
  variables = _small().init(jax.random.key(0), images, train=False)
  whole, updates = _small().apply(
    variables, images, train=True, mutable=["batch_stats"]
  )

  def apply(model):
    return jax.pmap(
      lambda part: model.apply(variables, part, train=True, mutable=["batch_stats"]),
      axis_name="devices",
    )(images.reshape(8, 2, 8, 8, 1))

  parts, part_updates = apply(_small(axis_name="devices"))
  np.testing.assert_allclose(parts.reshape(16, 10), whole, atol=1e-4)
  for one, other in zip(
    jax.tree.leaves(part_updates), jax.tree.leaves(updates), strict=True
  ):
    np.testing.assert_allclose(one[3], other, rtol=1e-4, atol=1e-6)
  alone, _ = apply(_small())
  assert np.abs(alone.reshape(16, 10) - whole).max() > 1e-2


def test_unknown_names_are_answered_with_the_known():
  with pytest.raises(InputError, match=r"'resnet5'.*resnet18, .*mean resnet50"):
    create_model("resnet5", num_classes=10)
  with pytest.raises(
    InputError,
    match=r"model_options\.depth is not a setting; .*stem, .*drop_path_rate, width",
  ):
    create_model("resnet18", num_classes=10, depth=3)
  with pytest.raises(InputError, match=r"num_classes is 0"):
    create_model("resnet18", num_classes=0)
  with pytest.raises(InputError, match=r"stem is 'tiny'.*imagenet, small"):
    create_model("resnet18", num_classes=10, stem="tiny")
  with pytest.raises(InputError, match=r"width is 0"):
    create_model("resnet18", num_classes=10, width=0)
