"""PyTorch's weights in and out, against networks written in PyTorch."""

import pickle
import re
import sys
from collections import OrderedDict

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.torch
import torch
from efficientnet_lite_pytorch import EfficientNet
from torch.nn import functional as F

from hue_jax.errors import InputError
from hue_jax.models import create_model
from hue_jax.models.torch_weights import (
  export_state_dict,
  import_state_dict,
  read_state_dict,
)

# --- ResNet in PyTorch, by torchvision's names ------------------------------------


class _Block(torch.nn.Module):
  """A basic block (two 3×3) or a bottleneck (1×1, 3×3, 1×1)."""

  def __init__(self, channels, width, stride, bottleneck):
    super().__init__()
    out = 4 * width if bottleneck else width
    if bottleneck:
      layers = [(channels, width, 1, 1), (width, width, 3, stride), (width, out, 1, 1)]
    else:
      layers = [(channels, width, 3, stride), (width, out, 3, 1)]
    for number, (before, after, size, step) in enumerate(layers, start=1):
      conv = torch.nn.Conv2d(before, after, size, step, size // 2, bias=False)
      self.add_module(f"conv{number}", conv)
      self.add_module(f"bn{number}", torch.nn.BatchNorm2d(after))
    self.num_layers = len(layers)
    self.downsample = None
    if stride > 1 or channels != out:
      self.downsample = torch.nn.Sequential(
        torch.nn.Conv2d(channels, out, 1, stride, bias=False),
        torch.nn.BatchNorm2d(out),
      )

  def forward(self, x):
    residual = x if self.downsample is None else self.downsample(x)
    for number in range(1, self.num_layers + 1):
      x = getattr(self, f"bn{number}")(getattr(self, f"conv{number}")(x))
      x = F.relu(x) if number < self.num_layers else x
    return F.relu(x + residual)


class _ResNet(torch.nn.Module):
  def __init__(self, sizes, bottleneck, num_classes):
    super().__init__()
    self.conv1 = torch.nn.Conv2d(3, 64, 7, 2, 3, bias=False)
    self.bn1 = torch.nn.BatchNorm2d(64)
    channels = 64
    for stage, size in enumerate(sizes):
      width = 64 * 2**stage
      blocks = []
      for index in range(size):
        stride = 2 if stage > 0 and index == 0 else 1
        blocks.append(_Block(channels, width, stride, bottleneck))
        channels = 4 * width if bottleneck else width
      self.add_module(f"layer{stage + 1}", torch.nn.Sequential(*blocks))
    self.fc = torch.nn.Linear(channels, num_classes)

  def forward(self, x):
    x = F.relu(self.bn1(self.conv1(x)))
    x = F.max_pool2d(x, 3, 2, 1)
    for stage in range(1, 5):
      x = getattr(self, f"layer{stage}")(x)
    return self.fc(x.mean(dim=(2, 3)))


_RESNETS = {"resnet18": ((2, 2, 2, 2), False), "resnet50": ((3, 4, 6, 3), True)}


def _resnet_reference(name, num_classes=1000):
  """With random numbers for everything, the running statistics included."""
  reference = _ResNet(*_RESNETS[name], num_classes)
  generator = torch.Generator().manual_seed(0)
  for module in reference.modules():
    if isinstance(module, torch.nn.BatchNorm2d):
      module.weight.data.uniform_(0.5, 1.0, generator=generator)
      module.bias.data.normal_(0, 0.2, generator=generator)
      module.running_mean.normal_(0, 0.2, generator=generator)
      module.running_var.uniform_(0.5, 2.0, generator=generator)
    elif isinstance(module, torch.nn.Conv2d):
      std = (2 / module.weight[0].numel()) ** 0.5
      module.weight.data.normal_(0, std, generator=generator)
  return reference.eval()


def _numpy(state_dict):
  return {name: tensor.numpy() for name, tensor in state_dict.items()}


def _without_counters(state_dict):
  return {
    name: array
    for name, array in state_dict.items()
    if not name.endswith("num_batches_tracked")
  }


@pytest.fixture(scope="module")
def small():
  """A small network and its weights as PyTorch has them."""
  model = create_model("resnet18", num_classes=10, width=4)
  variables = jax.jit(
    lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 32, 3)), train=False)
  )()
  variables = {name: variables[name] for name in ("params", "batch_stats")}
  # No two arrays alike, so that none can stand for another.
  leaves, tree = jax.tree.flatten(variables)
  rng = np.random.default_rng(0)
  leaves = [rng.random(leaf.shape, np.float32) for leaf in leaves]
  variables = jax.tree.unflatten(tree, leaves)
  return model, variables, export_state_dict(model, variables)


# --- The numbers ------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("name", "num_arrays"), [("resnet18", 122), ("resnet50", 320)])
def test_a_resnet_computes_what_pytorch_computes(name, num_arrays):
  reference = _resnet_reference(name)
  state_dict = _numpy(reference.state_dict())
  assert len(state_dict) == num_arrays  # as torchvision's has
  model = create_model(name, num_classes=1000)
  variables = import_state_dict(model, state_dict)
  # Sides that are no multiple of the strides, and differ.
  images = np.random.default_rng(1).normal(size=(2, 75, 90, 3)).astype(np.float32)
  logits = jax.jit(lambda v, x: model.apply(v, x, train=False))(variables, images)
  with torch.no_grad():
    expected = reference(torch.tensor(images.transpose(0, 3, 1, 2))).numpy()
  assert expected.std() > 0.01
  scale = np.abs(expected).max()
  np.testing.assert_allclose(logits, expected, rtol=0, atol=1e-4 * scale)


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_what_is_exported_pytorch_loads(name):
  reference = _resnet_reference(name)
  expected = _without_counters(_numpy(reference.state_dict()))
  model = create_model(name, num_classes=1000)
  exported = export_state_dict(model, import_state_dict(model, expected))
  assert set(exported) == set(expected)
  for key, array in expected.items():
    np.testing.assert_array_equal(exported[key], array, err_msg=key)
    assert exported[key].flags.c_contiguous
  tensors = {key: torch.tensor(array) for key, array in exported.items()}
  # PyTorch itself forgives the lack of its counters only when not strict.
  misfits = _ResNet(*_RESNETS[name], 1000).load_state_dict(tensors, strict=False)
  assert not misfits.unexpected_keys
  assert not _without_counters(dict.fromkeys(misfits.missing_keys))


def test_there_and_back_keeps_every_number_and_the_tree(small):
  model, variables, state_dict = small
  again = import_state_dict(model, state_dict)
  assert jax.tree.structure(again) == jax.tree.structure(variables)
  jax.tree.map(np.testing.assert_array_equal, again, variables)


@pytest.mark.slow
@pytest.mark.parametrize(
  ("name", "blocks"),
  [("efficientnet_lite0", 16), ("efficientnet_lite1", 21), ("efficientnet_lite2", 21)],
)
def test_names_and_shapes_of_efficientnet_lite_are_the_references(name, blocks):
  reference = EfficientNet.from_name(name.replace("_", "-"))
  expected = _without_counters(_numpy(reference.state_dict()))
  model = create_model(name, num_classes=1000)
  exported = export_state_dict(model, import_state_dict(model, expected))
  assert {key: array.shape for key, array in exported.items()} == {
    key: array.shape for key, array in expected.items()
  }
  assert f"_blocks.{blocks - 1}._project_conv.weight" in exported
  assert f"_blocks.{blocks}._project_conv.weight" not in exported


def test_half_precision_becomes_float32(small):
  model, variables, state_dict = small
  halves = {name: array.astype(np.float16) for name, array in state_dict.items()}
  imported = import_state_dict(model, halves)
  assert {leaf.dtype for leaf in jax.tree.leaves(imported)} == {np.dtype("float32")}
  jax.tree.map(
    lambda one, other: np.testing.assert_allclose(one, other, atol=1e-3),
    imported,
    variables,
  )


# --- What does not fit ------------------------------------------------------------


def test_all_misfits_are_told_at_once(small):
  model, _, state_dict = small
  broken = dict(state_dict)
  del broken["layer2.0.downsample.1.running_var"]
  del broken["bn1.weight"]
  broken["layer5.0.conv1.weight"] = np.zeros(3)
  broken["conv1.weight"] = broken["conv1.weight"].transpose(2, 3, 1, 0)
  with pytest.raises(InputError) as error:
    import_state_dict(model, broken)
  message = str(error.value)
  assert message.startswith("weights do not fit ResNet with 10 classes: 2 missing (")
  missing = re.search(r"2 missing \((.*?)\)", message).group(1)
  assert set(missing.split(", ")) == {"layer2.0.downsample.1.running_var", "bn1.weight"}
  assert "1 left over (layer5.0.conv1.weight)" in message
  assert (
    "1 of another shape (conv1.weight is (7, 7, 3, 4), not (4, 3, 7, 7))" in message
  )
  assert "\n" not in message


def test_a_head_of_another_size_is_told(small):
  _, _, state_dict = small
  model = create_model("resnet18", num_classes=7, width=4)
  with pytest.raises(
    InputError,
    match=r"ResNet with 7 classes: 2 of another shape "
    r"\(fc.* is \(10.*\), not \(7.*\), fc.* is \(10.*\), not \(7.*\)\)\.$",
  ):
    import_state_dict(model, state_dict)


def test_another_network_is_told_in_one_line_of_bounded_length(small):
  _, _, state_dict = small
  model = create_model("efficientnet_lite0", num_classes=1000)
  with pytest.raises(
    InputError,
    # Both have a `bn1`.
    match=r"EfficientNet .*243 missing \(.* and 235 more\); "
    r"98 left over \(.* and 90 more\); 4 of another shape \(bn1\..*\)\.$",
  ) as error:
    import_state_dict(model, state_dict)
  assert len(str(error.value)) < 1000


def test_counters_of_batches_are_ignored(small):
  model, variables, state_dict = small
  counters = {"bn1.num_batches_tracked": np.asarray(7)}
  jax.tree.map(
    np.testing.assert_array_equal,
    import_state_dict(model, state_dict | counters),
    variables,
  )


def test_networks_without_names_in_pytorch_are_told():
  with pytest.raises(InputError, match=r"networks of Dense have no PyTorch names"):
    import_state_dict(nn.Dense(3), {})


# --- Files ------------------------------------------------------------------------

_TENSORS = {
  "conv.weight": torch.arange(6.0).reshape(2, 3),
  "bn.num_batches_tracked": torch.tensor(3),
}


def _check(read):
  assert list(read) == list(_TENSORS)
  for name, tensor in _TENSORS.items():
    np.testing.assert_array_equal(read[name], tensor.numpy())


def _prefixed(tensors):
  return {f"module.{name}": tensor for name, tensor in tensors.items()}


@pytest.mark.parametrize(
  "saved",
  [
    _TENSORS,
    OrderedDict(_TENSORS),
    _prefixed(_TENSORS),
    {"state_dict": _TENSORS, "epoch": 3, "best": 0.5},
    {"model": _prefixed(_TENSORS), "optimizer": {"lr": 0.1}},
    {name: torch.nn.Parameter(t.float()) for name, t in _TENSORS.items()},
  ],
)
def test_pytorch_files_are_read_and_unwrapped(tmp_path, saved):
  path = tmp_path / "weights.pth"
  torch.save(saved, path)
  _check(read_state_dict(path))


def test_safetensors_are_read_without_pytorch(tmp_path, monkeypatch):
  path = tmp_path / "weights.safetensors"
  safetensors.torch.save_file(_prefixed(_TENSORS), path)
  monkeypatch.setitem(sys.modules, "torch", None)
  read = read_state_dict(str(path))
  _check(dict(sorted(read.items(), reverse=True)))


@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_bfloat16_is_read(tmp_path, small, suffix):
  model, variables, state_dict = small
  halves = {key: torch.tensor(array).bfloat16() for key, array in state_dict.items()}
  path = tmp_path / f"weights.{suffix}"
  (torch.save if suffix == "pth" else safetensors.torch.save_file)(halves, path)
  jax.tree.map(
    lambda one, other: np.testing.assert_allclose(one, other, atol=4e-3),
    import_state_dict(model, read_state_dict(path)),
    variables,
  )


def test_pytorch_missing_is_told_with_the_extra(tmp_path, monkeypatch):
  path = tmp_path / "weights.pth"
  torch.save(_TENSORS, path)
  monkeypatch.setitem(sys.modules, "torch", None)
  with pytest.raises(
    InputError, match=r"weights\.pth' need PyTorch .*'hue_jax\[pretrained\]'"
  ):
    read_state_dict(path)


class _Command:
  """What a pickle may do when it is read by `pickle.load`."""

  ran = False

  def __reduce__(self):
    return (_run, ())


def _run():
  _Command.ran = True


def test_code_in_a_file_is_not_run(tmp_path):
  path = tmp_path / "weights.pth"
  torch.save({"conv.weight": _Command()}, path)
  with pytest.raises(InputError, match=r"cannot be read as a state dict, .*alone"):
    read_state_dict(path)
  path.write_bytes(pickle.dumps({"conv.weight": _Command()}, protocol=2))
  with pytest.raises(InputError, match=r"cannot be read as a state dict, .*alone"):
    read_state_dict(path)
  assert not _Command.ran
