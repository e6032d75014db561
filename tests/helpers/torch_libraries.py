"""torchvision and timm, also beside a PyTorch whose C++ they were not built for."""

import torch

_OPERATORS = (
  "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
  "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_kept = []


def torchvision():
  """The package, whose operators for boxes are declared where it cannot load them."""
  _declare_operators()
  import torchvision

  return torchvision


def timm():
  """The package, which imports torchvision."""
  _declare_operators()
  import timm

  return timm


def _declare_operators():
  """Of PyTorch for CPUs, PyPI has no torchvision: its library does not load there."""
  if torch.version.cuda is None and not _kept:
    library = torch.library.Library("torchvision", "DEF")
    for operator in _OPERATORS:
      library.define(operator)
    _kept.append(library)


def small_module(name, num_classes=5):
  """A network of `small_networks.SMALL`, built by torchvision's and timm's classes.

  Those that `hue_jax.export.snippets` can build itself are not among them.
  """
  return _SMALL[name](num_classes)


def _efficientnet(name, build):
  def module(num_classes):
    timm()
    from timm.models import efficientnet

    usual = {"channel_multiplier": 1.0, "depth_multiplier": 0.3, "bn_eps": 1e-3}
    build_it = getattr(efficientnet, build)
    return build_it(name, pad_type="same", num_classes=num_classes, **usual)

  return module


_VGG11 = (4, "M", 8, "M", 16, 16, "M", 32, 32, "M", 32, 32, "M")


def _vgg11(num_classes):
  models = torchvision().models
  with torch.device("meta"):  # Its own head has a hundred million numbers.
    module = models.VGG(torch.nn.Sequential(), init_weights=False)
  module.features = models.vgg.make_layers(_VGG11)
  module.classifier = torch.nn.Sequential(
    *(torch.nn.Linear(32 * 49, 16), torch.nn.ReLU(), torch.nn.Dropout()),
    *(torch.nn.Linear(16, 16), torch.nn.ReLU(), torch.nn.Dropout()),
    torch.nn.Linear(16, num_classes),
  )
  return module


class _PooledVGG(torch.nn.Module):
  """A VGG without hidden layers behind its convolutions."""

  def __init__(self, num_classes):
    super().__init__()
    make_layers = torchvision().models.vgg.make_layers
    self.features = make_layers(_VGG11, batch_norm=True)
    self.classifier = torch.nn.Linear(32, num_classes)

  def forward(self, images):
    """Returns the logits."""
    return self.classifier(self.features(images).mean(dim=(2, 3)))


def _densenet(num_classes):
  options = {"growth_rate": 4, "block_config": (2, 1, 2, 1), "num_init_features": 8}
  return torchvision().models.DenseNet(num_classes=num_classes, **options)


def _inception(num_classes):
  usual = {"aux_logits": False, "transform_input": False, "init_weights": False}
  return torchvision().models.inception_v3(num_classes=num_classes, **usual)


def _vit(num_classes):
  shape = {"img_size": 16, "patch_size": 4, "embed_dim": 24, "depth": 2, "num_heads": 3}
  return timm().models.VisionTransformer(num_classes=num_classes, **shape)


def _convnext(num_classes):
  models = torchvision().models
  sizes = ((8, 16, 1), (16, 32, 1), (32, 64, 2), (64, None, 1))
  blocks = [models.convnext.CNBlockConfig(*size) for size in sizes]
  return models.ConvNeXt(blocks, layer_scale=1.0, num_classes=num_classes)


_SMALL = {
  "efficientnet_b0": _efficientnet("tf_efficientnet_b0", "_gen_efficientnet"),
  "efficientnet_lite0": _efficientnet(
    "tf_efficientnet_lite0", "_gen_efficientnet_lite"
  ),
  "vgg11": _vgg11,
  "vgg11_bn": _PooledVGG,
  "densenet121": _densenet,
  "inception_v3": _inception,
  "vit_ti16": _vit,
  "convnext_t": _convnext,
}
