"""Starting from other weights: what is taken, what is not, and what it says of both."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from hue_jax.errors import InputError
from hue_jax.models import create_model
from hue_jax.models.published import load_published
from hue_jax.models.torch_weights import export_state_dict
from hue_jax.objective import create_objective
from hue_jax.train.optimizer import create_optimizer
from hue_jax.train.state import create_state
from hue_jax.train.step import make_train_step
from hue_jax.train.transfer import transfer
from tests.helpers.small_training import (
  IMAGE_SHAPE,
  PIXELS,
  small_batch,
  small_model,
  small_objective,
  small_state,
)

_SIZE = IMAGE_SHAPE[0]


def _weights_file(tmp_path, num_classes, seed=5):
  """PyTorch's file of a small network with random numbers everywhere."""
  model = small_model().clone(num_classes=num_classes)
  variables = model.init(
    jax.random.key(seed), jnp.zeros((1, *IMAGE_SHAPE)), train=False
  )
  rng = np.random.default_rng(seed)
  variables = {
    name: jax.tree.map(lambda x: rng.random(x.shape, np.float32), variables[name])
    for name in ("params", "batch_stats")
  }
  path = tmp_path / "weights.pth"
  arrays = export_state_dict(model, variables)
  torch.save({name: torch.tensor(array) for name, array in arrays.items()}, path)
  return str(path), variables


def _transfer(source, ema=False, state=None):
  state = state or small_state(small_objective(), ema=ema)
  return state, transfer(
    state, small_model(), source, model_name="resnet8", image_size=_SIZE
  )


@pytest.mark.slow
def test_all_but_the_head_comes_from_a_file_of_other_classes(tmp_path):
  path, theirs = _weights_file(tmp_path, num_classes=11)
  before, found = _transfer(path, ema=True)
  network = found.state.params["network"]
  for name, module in theirs["params"].items():
    if name != "head":
      jax.tree.map(np.testing.assert_array_equal, network[name], module)
  jax.tree.map(
    np.testing.assert_array_equal, found.state.batch_stats, theirs["batch_stats"]
  )
  np.testing.assert_array_equal(
    network["head"]["kernel"], before.params["network"]["head"]["kernel"]
  )
  assert set(found.replaced) == {"params/head/bias", "params/head/kernel"}
  assert (found.new, found.unused) == ((), ())
  assert len(found.loaded) == len(jax.tree.leaves(theirs)) - 2
  text = found.describe(path)
  assert "2 replaced (params/head/" in text
  assert "\n" not in text
  # The moving average starts there too, and learned planes stay.
  jax.tree.map(
    np.testing.assert_array_equal, found.state.ema["params"], found.state.params
  )
  assert set(found.state.params["planes"]) == {"learned"}


def test_the_head_comes_too_where_the_classes_are_as_many(tmp_path):
  path, theirs = _weights_file(tmp_path, num_classes=5)
  _, found = _transfer(path)
  jax.tree.map(
    np.testing.assert_array_equal,
    found.state.params["network"]["head"],
    theirs["params"]["head"],
  )
  assert found.replaced == ()


@pytest.mark.slow
def test_a_transferred_state_is_trained_on(tmp_path):
  path, _ = _weights_file(tmp_path, num_classes=11)
  _, found = _transfer(path)
  step = jax.jit(make_train_step(small_objective(), seed=0, **PIXELS))
  state, sums = step(found.state, small_batch(0))
  assert int(state.step) == 1
  assert np.isfinite(sums["loss"][0])


@pytest.mark.slow
def test_published_weights_name_their_network():
  model = create_model("efficientnet_lite0", num_classes=7)
  objective = create_objective(
    num_classes=7, terms={}, tap_shapes={}, num_train_steps=1, warmup_steps=0, seed=0
  )
  state = create_state(
    model,
    objective,
    create_optimizer("sgd", 0.1, weight_decay=0.0),
    image_shape=(32, 32, 3),
    seed=0,
  )
  found = transfer(
    state, model, "efficientnet_lite0", model_name="efficientnet_lite0", image_size=32
  )
  published = load_published("efficientnet_lite0").variables
  np.testing.assert_array_equal(
    found.state.params["network"]["stem_conv"]["kernel"],
    published["params"]["stem_conv"]["kernel"],
  )
  assert sorted(found.replaced) == ["params/head/bias", "params/head/kernel"]
  with pytest.raises(
    InputError, match=r"'efficientnet_lite0'; it must .* is 'resnet8'"
  ):
    _transfer("efficientnet_lite0")


def test_sources_that_cannot_be_used(tmp_path):
  with pytest.raises(InputError, match=r"init_from is 'nowhere'.*efficientnet_lite0"):
    _transfer("nowhere")
  with pytest.raises(InputError, match=r"holds no run"):
    _transfer(str(tmp_path))
  path = tmp_path / "other.pth"
  torch.save({"a.weight": torch.zeros(3)}, path)
  with pytest.raises(InputError, match=r"weights '.*other\.pth' do not fit ResNet"):
    _transfer(str(path))
