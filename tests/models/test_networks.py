"""All networks: published counts, PyTorch's names, taps, training, small images."""

import functools
import hashlib

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.tree_util import DictKey

from hue_jax.errors import InputError
from hue_jax.models import checked_options, create_model, model_names, tap_shapes
from hue_jax.models.registry import _MODELS
from hue_jax.models.torch_names import names_of
from hue_jax.models.torch_weights import export_state_dict, import_state_dict
from hue_jax.settings import fields_of
from tests.helpers.wrong_values import wrong_values

_SIZES = {"inception_v3": 299}

# Of the papers' authors or, where they did not give it, of torchvision and timm.
_PARAMETERS = {
  "vgg11": 132_863_336,
  "vgg13": 133_047_848,
  "vgg16": 138_357_544,
  "vgg19": 143_667_240,
  "vgg11_bn": 132_868_840,
  "vgg13_bn": 133_053_736,
  "vgg16_bn": 138_365_992,
  "vgg19_bn": 143_678_248,
  "densenet121": 7_978_856,
  "densenet169": 14_149_480,
  "inception_v3": 23_834_568,
  "efficientnet_b0": 5_288_548,
  "efficientnet_b1": 7_794_184,
  "efficientnet_b2": 9_109_994,
  "efficientnet_b3": 12_233_232,
  "vit_ti16": 5_717_416,
  "vit_s16": 22_050_664,
  "vit_b16": 86_567_656,
  "convnext_t": 28_589_128,
}

# Of the names and shapes of torchvision 0.28's and timm 1.0.31's state dicts: how many,
# and SHA-256 of the sorted lines "name shape", without counters and auxiliary heads.
_STATE_DICTS = {
  ("vgg11", "torchvision"): (22, "b11acd4f90d9643f"),
  ("vgg13", "torchvision"): (26, "79ca8fd7a1480aa7"),
  ("vgg16", "torchvision"): (32, "ba63c2556d912509"),
  ("vgg19", "torchvision"): (38, "393fac8b08b63fbe"),
  ("vgg11_bn", "torchvision"): (54, "eb52f2d89ad478d4"),
  ("vgg13_bn", "torchvision"): (66, "e71996a6a29bacd7"),
  ("vgg16_bn", "torchvision"): (84, "d8308b804a50efac"),
  ("vgg19_bn", "torchvision"): (102, "8f342fea647d72df"),
  ("densenet121", "torchvision"): (606, "222a58d1fd8d2818"),
  ("densenet169", "torchvision"): (846, "a9eb5c1c253d9342"),
  ("inception_v3", "torchvision"): (472, "5beceaea5a4204b9"),
  ("efficientnet_b0", "torchvision"): (311, "b5ec7b4b5e4fedbb"),
  ("efficientnet_b0", "timm"): (311, "f62a5c98a74c6670"),
  ("efficientnet_b1", "torchvision"): (439, "1f5cde5a1ed036f9"),
  ("efficientnet_b1", "timm"): (439, "48ab6dffb99449a5"),
  ("efficientnet_b2", "torchvision"): (439, "0dbc4ac8a0f40c25"),
  ("efficientnet_b2", "timm"): (439, "3b229e39c3847545"),
  ("efficientnet_b3", "torchvision"): (496, "a78a6fe55721a28c"),
  ("efficientnet_b3", "timm"): (496, "20981c52ac4dbfc0"),
  ("vit_ti16", "timm"): (152, "e1821155d0eba217"),
  ("vit_s16", "timm"): (152, "02ef580c167435d6"),
  ("vit_b16", "timm"): (152, "6e116342a243f50b"),
  ("vit_b16", "torchvision"): (152, "2c2360f6707280a8"),
  ("convnext_t", "torchvision"): (182, "ddd0f74f783edf2b"),
  ("convnext_t", "timm"): (182, "b07384a3160b01d8"),
}


@functools.cache
def _shapes(name):
  model = create_model(name, num_classes=1000)
  side = _SIZES.get(name, 224)
  variables = jax.eval_shape(
    lambda: model.init(jax.random.key(0), jnp.zeros((1, side, side, 3)), train=False)
  )
  return model, variables


@pytest.mark.slow
@pytest.mark.parametrize(("name", "count"), _PARAMETERS.items())
def test_parameter_counts_are_the_published_ones(name, count):
  _, variables = _shapes(name)
  assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == count
  assert name in model_names()


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({name for name, _ in _STATE_DICTS}))
def test_names_and_shapes_are_those_of_pytorchs_libraries(name):
  model, shapes = _shapes(name)
  # One number everywhere: what is compared are names and shapes.
  variables = {
    part: jax.tree.map(lambda x: np.broadcast_to(np.float32(1), x.shape), shapes[part])
    for part in ("params", "batch_stats")
    if part in shapes
  }
  libraries = [library for network, library in _STATE_DICTS if network == name]
  assert set(libraries) <= set(names_of(model).LIBRARIES)
  for library in libraries:
    exported = export_state_dict(model, variables, library=library)
    lines = sorted(f"{key} {array.shape}" for key, array in exported.items())
    digest = hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]
    assert (len(lines), digest) == _STATE_DICTS[name, library]


# --- Small ones, that compute ------------------------------------------------------

_SMALL = {
  "resnet18": (8, {"stem": "small", "width": 4}),
  "vgg11": (32, {"width": 4, "hidden": 24}),
  "vgg11_bn": (32, {"width": 4, "hidden": 0}),
  "densenet121": (
    16,
    {"stem": "small", "growth_rate": 4, "stage_sizes": (2, 1, 3, 1)},
  ),
  "efficientnet_b0": (16, {"width": 0.25, "depth": 0.3, "stem_strides": 1}),
  "vit_ti16": (16, {"patch_size": 4, "width": 24, "depth": 5, "num_heads": 3}),
  "convnext_t": (
    16,
    {"patch_size": 1, "width": 8, "stage_sizes": (1, 1, 2, 1), "layer_scale": 1.0},
  ),
}
_WITHOUT_BATCH_NORM = ("vgg11", "vit_ti16", "convnext_t")


def _small(name, num_classes=5, **options):
  """A narrow form, by the class itself, whose fields create_model has fixed."""
  side, fields = _SMALL[name]
  whole = create_model(name, num_classes=num_classes)
  return side, whole.clone(**{**fields, **options})


def _init(model, images):
  @jax.jit
  def init():
    variables = model.init(jax.random.key(0), images, train=False)
    return {name: variables[name] for name in variables if name != "taps"}

  return init()


def _awake(variables):
  """Branches that start at zero, as those of ResNet do, at one."""

  def awake(path, leaf):
    asleep = path[-1] == DictKey("scale") and not np.any(leaf)
    return jnp.ones_like(leaf) if asleep else leaf

  return jax.tree_util.tree_map_with_path(awake, variables)


def _images(side, channels=3, count=2):
  return jax.random.normal(jax.random.key(1), (count, side, side, channels))


@pytest.mark.slow
@pytest.mark.parametrize("name", _SMALL)
def test_weights_survive_the_way_to_pytorch_and_back(name):
  side, model = _small(name)
  variables = _init(model, _images(side))
  rng = np.random.default_rng(0)
  variables = jax.tree.map(lambda x: rng.random(x.shape, np.float32), variables)
  for library in names_of(model).LIBRARIES:
    exported = export_state_dict(model, variables, library=library)
    again = import_state_dict(model, exported, image_size=side)
    jax.tree.map(np.testing.assert_array_equal, again, variables)


@pytest.mark.slow
@pytest.mark.parametrize("name", _SMALL)
def test_taps_features_and_head_are_what_the_network_computes(name):
  side, model = _small(name)
  images = _images(side)
  variables = _init(model, images)
  logits, state = jax.jit(
    lambda v, x: model.apply(v, x, train=False, mutable=["taps"])
  )(variables, images)
  taps = state["taps"]
  assert {tap: layer.shape[1:] for tap, layer in taps.items()} == tap_shapes(
    model, (side, side, 3)
  )
  assert [tap for tap in taps if tap.startswith("stage")]
  for tap, layer in taps.items():
    assert layer.ndim == (2 if tap == "features" else 4), tap
    assert np.isfinite(layer).all()
    assert len(np.unique(layer)) > 2, tap
  head = variables["params"]["head"]
  expected = taps["features"] @ head["kernel"] + head["bias"]
  np.testing.assert_allclose(logits, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", _SMALL)
def test_every_parameter_is_trained_and_half_precision_is_near(name):
  side, model = _small(name)
  images = _images(side, count=4)
  variables = _awake(_init(model, images))
  if name == "vit_ti16":  # a class token of zeros is a start like any other
    assert not np.any(variables["params"]["class_token"])

  def loss(params, model):
    logits, updates = model.apply(
      variables | {"params": params},
      images,
      train=True,
      mutable=["batch_stats", "taps"],
      rngs={"dropout": jax.random.key(2)},
    )
    return jnp.sum(logits**2), (logits, updates)

  grad = jax.jit(jax.grad(loss, has_aux=True), static_argnums=1)
  grads, (logits, updates) = grad(variables["params"], model)
  for path, leaf in jax.tree_util.tree_leaves_with_path(grads):
    assert np.isfinite(leaf).all(), path
    shifted = path[-1] == DictKey("bias") and _is_normalized_away(path, name)
    assert shifted or np.abs(leaf).max() > 0, path
  assert ("batch_stats" in updates) == (name not in _WITHOUT_BATCH_NORM)
  half = model.clone(dtype=jnp.bfloat16)
  _, (half_logits, half_updates) = jax.jit(loss, static_argnums=1)(
    variables["params"], half
  )
  assert half_logits.dtype == jnp.float32
  assert half_updates["taps"]["stage1"].dtype == jnp.bfloat16
  # Batch norm over few images enlarges what rounding changes.
  assert np.corrcoef(np.ravel(half_logits), np.ravel(logits))[0, 1] > 0.9


def _is_normalized_away(path, name):
  """A convolution's bias before batch norm, and the keys' bias in attention."""
  return name == "vgg11_bn" or "qkv" in jax.tree_util.keystr(path)


@pytest.mark.slow
@pytest.mark.parametrize(
  "name", ["resnet18", "efficientnet_b0", "vit_ti16", "convnext_t"]
)
def test_blocks_are_left_out_in_training_alone(name):
  side, model = _small(name, drop_path_rate=0.5)
  images = _images(side, count=8)
  variables = _awake(_init(model, images))

  @jax.jit
  def train(key):
    return model.apply(
      variables,
      images,
      train=True,
      mutable=["batch_stats", "taps"],
      rngs={"dropout": key},
    )[0]

  one, same, other = (
    train(jax.random.key(0)),
    train(jax.random.key(0)),
    train(jax.random.key(1)),
  )
  np.testing.assert_array_equal(one, same)
  assert np.abs(one - other).max() > 1e-4
  plain = model.clone(drop_path_rate=0.0)
  evaluated = [
    jax.jit(lambda m=m: m.apply(variables, images, train=False))()
    for m in (model, plain)
  ]
  np.testing.assert_array_equal(*evaluated)


def test_dropout_of_vgg_and_inception_is_in_training_alone():
  side, model = _small("vgg11")
  images = _images(side)
  variables = _init(model, images)

  def apply(train, key):
    return model.apply(
      variables, images, train=train, rngs={"dropout": jax.random.key(key)}
    )

  assert np.abs(apply(True, 0) - apply(True, 1)).max() > 1e-5
  np.testing.assert_array_equal(apply(False, 0), apply(False, 1))


@pytest.mark.slow
def test_taps_at_the_published_sizes():
  def shapes(name, side=224):
    return tap_shapes(create_model(name, num_classes=1000), (side, side, 3))

  assert shapes("vgg16") == {
    "stage1": (224, 224, 64),
    "stage2": (112, 112, 128),
    "stage3": (56, 56, 256),
    "stage4": (28, 28, 512),
    "stage5": (14, 14, 512),
    "features": (4096,),
  }
  assert shapes("densenet121") == {
    "stem": (112, 112, 64),
    "stage1": (56, 56, 256),
    "stage2": (28, 28, 512),
    "stage3": (14, 14, 1024),
    "stage4": (7, 7, 1024),
    "features": (1024,),
  }
  assert shapes("inception_v3", 299) == {
    "stem": (35, 35, 192),
    "stage1": (35, 35, 288),
    "stage2": (17, 17, 768),
    "stage3": (8, 8, 2048),
    "features": (2048,),
  }
  assert shapes("vit_s16") == {
    **{tap: (14, 14, 384) for tap in ("stem", "stage1", "stage2", "stage3", "stage4")},
    "features": (384,),
  }
  assert shapes("convnext_t") == {
    "stem": (56, 56, 96),
    "stage1": (56, 56, 96),
    "stage2": (28, 28, 192),
    "stage3": (14, 14, 384),
    "stage4": (7, 7, 768),
    "features": (768,),
  }
  assert shapes("efficientnet_b1")["top"] == (7, 7, 1280)
  assert shapes("efficientnet_b3")["features"] == (1536,)


def test_vgg_pools_as_pytorch_does():
  from hue_jax.models.vgg import adaptive_average_pool

  torch = pytest.importorskip("torch")
  for height, width in ((7, 7), (14, 3), (5, 9), (1, 2), (16, 23)):
    x = np.random.default_rng(0).random((2, height, width, 3)).astype(np.float32)
    expected = torch.nn.functional.adaptive_avg_pool2d(
      torch.tensor(x.transpose(0, 3, 1, 2)), 7
    )
    np.testing.assert_allclose(
      adaptive_average_pool(jnp.asarray(x), 7),
      expected.numpy().transpose(0, 2, 3, 1),
      rtol=1e-5,
    )


@pytest.mark.slow
def test_a_plain_vit_takes_other_sizes_and_a_learned_embedding_does_not():
  _, plain = _small("vit_ti16", pooling="mean", position_embedding="sincos2d")
  variables = _init(plain, _images(16))
  assert "class_token" not in variables["params"]
  assert "position_embedding" not in variables["params"]
  logits, state = plain.apply(variables, _images(24), train=False, mutable=["taps"])
  assert logits.shape == (2, 5)
  assert state["taps"]["stage4"].shape == (2, 6, 6, 24)
  _, learned = _small("vit_ti16")
  variables = _init(learned, _images(16))
  with pytest.raises(InputError, match=r"6 × 6 patches make 37 tokens.*has 17.*sincos"):
    learned.apply(variables, _images(24), train=False)


def test_position_embedding_is_sines_and_cosines_of_rows_and_columns():
  from hue_jax.models.vit import _sincos2d

  found = _sincos2d(3, 4, 8).reshape(3, 4, 8)
  for row in range(3):
    for column in range(4):
      expected = [
        *(np.sin(column), np.sin(column / 10_000)),
        *(np.cos(column), np.cos(column / 10_000)),
        *(np.sin(row), np.sin(row / 10_000)),
        *(np.cos(row), np.cos(row / 10_000)),
      ]
      np.testing.assert_allclose(found[row, column], expected, atol=1e-12)


@pytest.mark.parametrize(
  ("name", "size", "told"),
  [
    ("vgg16", (28, 28), r"28 × 28 pixels; VGG takes sides of at least 32"),
    ("densenet121", (28, 64), r"28 × 64 pixels; DenseNet .* at least 29"),
    ("inception_v3", (74, 80), r"74 × 80 pixels; inception_v3 .* at least 75"),
    ("vit_s16", (224, 230), r"224 × 230 .* at least 16 and multiples of 16"),
    ("convnext_t", (31, 31), r"31 × 31 pixels; ConvNeXt .* at least 32"),
  ],
)
def test_sizes_that_a_network_cannot_take_are_told(name, size, told):
  model = create_model(name, num_classes=10)
  with pytest.raises(InputError, match=told):
    tap_shapes(model, (*size, 3))


def _options():
  """(network, option, value that it cannot have), of every network."""
  for name in model_names():
    for option, field in fields_of(_MODELS[name][0]).items():
      yield from ((name, option, value) for value in wrong_values(field))


def test_an_option_comes_before_what_a_name_stands_for():
  network = create_model("vit_ti16", num_classes=10, depth=4)
  assert (network.depth, network.width) == (4, 192)
  shapes = jax.eval_shape(
    lambda: network.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
  )
  assert sum("_block" in name for name in shapes["params"]) == 4
  assert create_model("efficientnet_b1", num_classes=10, width=0.5).depth == 1.1


def test_an_option_that_cannot_be_used_is_told_by_every_network():
  tried = set()
  for name, option, value in _options():
    with pytest.raises(InputError) as caught:
      create_model(name, num_classes=10, **{option: value})
    assert str(caught.value).startswith(f"model_options.{option}")
    assert "; it must be " in str(caught.value)
    tried.add(option)
  assert tried >= {"stem", "width", "hidden", "padding", "pooling", "dropout_rate"}


@pytest.mark.parametrize("name", model_names())
@pytest.mark.parametrize("option", ["widht", "num_classes_", "block", "parent"])
def test_an_option_that_a_network_lacks_is_told_with_those_it_has(name, option):
  with pytest.raises(InputError, match=f"model_options.{option} is not a setting; "):
    checked_options(name, {option: 1})


def test_what_does_not_go_together_is_told():
  with pytest.raises(InputError, match=r"stride_in_1x1 is True; .*no bottlenecks"):
    create_model("resnet18", num_classes=10, stride_in_1x1=True)
  with pytest.raises(InputError, match=r"model is 'vit_l16'.*Did you mean vit_"):
    create_model("vit_l16", num_classes=10)


def test_gray_images_and_any_number_of_channels():
  for name in _SMALL:
    side, model = _small(name)
    shapes = tap_shapes(model, (side, side, 1))
    assert shapes["features"]
    assert isinstance(model, nn.Module)
