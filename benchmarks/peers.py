"""What a user would train with instead: flax's ImageNet example, PyTorch, timm.

Each is restated in this project's words: what it computes, not how it is written.
"""

import functools
import gc
import sys
import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

DECAY, MOMENTUM = 1e-4, 0.9


def flax_example_step(model: Any, learning_rate: float) -> Callable:
  """Returns the training step of flax's ImageNet example.

  It minimizes the mean cross entropy of the logits against one-hot labels, plus
  ½ · 1e-4 · Σ‖w‖² over parameters of more than one axis, by SGD with Nesterov momentum
  0.9, and tells loss and accuracy.

  Args:
    model: A Flax network with batch statistics.
    learning_rate: The learning rate.

  Returns:
    A function ((params, momentum, batch_stats), images, labels) → (the same after the
    step, measured), where images are float32 and normalized.
  """

  def step(state, images, labels):
    params, momentum, batch_stats = state

    def loss_fn(params):
      logits, updates = model.apply(
        {"params": params, "batch_stats": batch_stats},
        images,
        train=True,
        mutable=["batch_stats"],
      )
      log_p = logits - jax.scipy.special.logsumexp(logits, axis=-1, keepdims=True)
      one_hot = jax.nn.one_hot(labels, logits.shape[-1])
      cross_entropy = -jnp.mean(jnp.sum(one_hot * log_p, axis=-1))
      squares = sum(jnp.sum(w**2) for w in jax.tree.leaves(params) if w.ndim > 1)
      return cross_entropy + DECAY * 0.5 * squares, (
        updates["batch_stats"],
        cross_entropy,
        jnp.mean(jnp.argmax(logits, -1) == labels),
      )

    grads, (batch_stats, loss, accuracy) = jax.grad(loss_fn, has_aux=True)(params)
    momentum = jax.tree.map(lambda m, g: MOMENTUM * m + g, momentum, grads)
    params = jax.tree.map(
      lambda p, m, g: p - learning_rate * (MOMENTUM * m + g), params, momentum, grads
    )
    measured = {"loss": loss, "accuracy": accuracy}
    return (params, momentum, batch_stats), measured

  return step


# --- PyTorch ----------------------------------------------------------------------


def torch_network(
  stage_sizes: tuple[int, ...],
  *,
  bottleneck: bool,
  num_classes: int,
  width: int = 64,
  small_stem: bool = False,
) -> Any:
  """Returns the ResNet of `hue_jax.models.resnet` in PyTorch.

  Args:
    stage_sizes: The number of blocks of each stage.
    bottleneck: Whether the blocks are bottlenecks.
    num_classes: The outputs of the head.
    width: The channels of the first stage's 3×3 convolutions.
    small_stem: Whether the stem is a 3×3 convolution alone.

  Returns:
    A `torch.nn.Module`.
  """
  import torch
  from torch import nn

  def conv_norm(inputs, outputs, kernel, stride=1):
    conv = nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, bias=False)
    return [conv, nn.BatchNorm2d(outputs)]

  class Block(nn.Module):
    def __init__(self, inputs, features, stride):
      super().__init__()
      relu = nn.ReLU(inplace=True)
      outputs = features * (4 if bottleneck else 1)
      if bottleneck:
        layers = [
          *conv_norm(inputs, features, 1),
          relu,
          *conv_norm(features, features, 3, stride),
          relu,
          *conv_norm(features, outputs, 1),
        ]
      else:
        layers = [
          *conv_norm(inputs, features, 3, stride),
          relu,
          *conv_norm(features, outputs, 3),
        ]
      self.branch, self.relu = nn.Sequential(*layers), relu
      self.shortcut = nn.Identity()
      if stride > 1 or inputs != outputs:
        self.shortcut = nn.Sequential(*conv_norm(inputs, outputs, 1, stride))

    def forward(self, x):
      return self.relu(self.branch(x) + self.shortcut(x))

  layers = [*conv_norm(3, width, 3 if small_stem else 7, 1 if small_stem else 2)]
  layers.append(nn.ReLU(inplace=True))
  if not small_stem:
    layers.append(nn.MaxPool2d(3, 2, 1))
  channels = width
  for stage, size in enumerate(stage_sizes):
    for block in range(size):
      features = width * 2**stage
      layers.append(Block(channels, features, 2 if stage and not block else 1))
      channels = features * (4 if bottleneck else 1)
  pool = [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, num_classes)]
  network = nn.Sequential(*layers, *pool)
  torch.manual_seed(0)
  return network


class TorchStep:
  """PyTorch's training step: channels-last, bfloat16 by autocast, SGD with Nesterov.

  Attributes:
    device: "cuda", or "cpu" where PyTorch has no GPU.
  """

  def __init__(
    self,
    network: Any,
    images: Any,
    labels: Any,
    *,
    half_precision: bool,
    compiled: bool,
    learning_rate: float,
  ):
    """Moves all to the GPU, where PyTorch has one, and takes the first steps.

    Args:
      network: A `torch.nn.Module`.
      images: The images, uint8 [batch, height, width, 3].
      labels: The class of each.
      half_precision: Whether to compute in bfloat16.
      compiled: Whether to use `torch.compile`.
      learning_rate: The learning rate.
    """
    import torch

    self._torch = torch
    self.device = "cuda" if torch.cuda.is_available() else "cpu"
    others = torch.cuda.memory_allocated() if self.device == "cuda" else 0
    self._network = network.to(self.device, memory_format=torch.channels_last).train()
    pixels = torch.as_tensor(images, device=self.device).permute(0, 3, 1, 2)
    self._images = pixels.contiguous(memory_format=torch.channels_last)
    self._labels = torch.as_tensor(labels, device=self.device).long()
    self._optimizer = torch.optim.SGD(
      self._network.parameters(),
      learning_rate,
      momentum=MOMENTUM,
      weight_decay=DECAY,
      nesterov=True,
    )
    self._autocast = functools.partial(
      torch.autocast, self.device, torch.bfloat16, enabled=half_precision
    )
    forward = self._loss
    self._forward = torch.compile(forward) if compiled else forward
    torch.backends.cudnn.benchmark = True
    self()  # which compiles, and tries algorithms with memory of their own
    self._peak = None
    if self.device == "cuda":
      self._peak = peak_of(self, torch.cuda) - others

  def _loss(self, images):
    with self._autocast():
      logits = self._network((images.float() / 255 - 0.5) / 0.25)
    return self._torch.nn.functional.cross_entropy(logits.float(), self._labels)

  def __call__(self) -> None:
    """Takes a step; on a GPU it may still be at work."""
    self._optimizer.zero_grad(set_to_none=True)
    self._forward(self._images).backward()
    self._optimizer.step()

  def wait(self) -> None:
    """Waits for the steps that were taken."""
    if self.device == "cuda":
      self._torch.cuda.synchronize()

  def peak_memory(self) -> int | None:
    """Returns the most bytes that a step of it alone allocates; None on a CPU."""
    return self._peak


def peak_of(step: Callable[[], None], cuda: Any) -> int:
  """Returns the most bytes that are allocated while a step is taken.

  Args:
    step: The step.
    cuda: The module `torch.cuda`, whose maximum is of the process unless it is reset.
  """
  cuda.synchronize()
  cuda.reset_peak_memory_stats()
  step()
  cuda.synchronize()
  return cuda.max_memory_allocated()


def free_memory() -> None:
  """Gives back what PyTorch keeps of steps that are gone, for JAX cannot use it."""
  gc.collect()
  if "torch" in sys.modules:
    sys.modules["torch"].cuda.empty_cache()


def torch_or_none() -> Any:
  """Returns the module torch; None where it is not installed."""
  try:
    import torch
  except ImportError:
    return None
  return torch


def timm_network(name: str, num_classes: int) -> Any:
  """Returns timm's network of a name; None where timm cannot be imported."""
  try:
    with warnings.catch_warnings():
      warnings.simplefilter("ignore")
      import timm
  except (ImportError, RuntimeError):  # a torchvision of another torch
    return None
  return timm.create_model(name, num_classes=num_classes)
