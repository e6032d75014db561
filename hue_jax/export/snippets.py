"""The Python that loads an exported network: what a model card shows, and tests run.

Each snippet reads `image.png` as evaluation would, and leaves `scores`, [1, classes].
None of them needs hue_jax, but for that of the weights by this project's own names.
"""

from hue_jax.export.formats import FORMATS, library_of
from hue_jax.models.inception import InceptionV3
from hue_jax.models.resnet import Bottleneck, ResNet
from hue_jax.models.torch_names import names_of
from hue_jax.train.predictor import Predictor

# Options that change nothing once a network is trained.
_OF_TRAINING = ("dropout_rate", "drop_path_rate")

_TORCH_NAMES = {
  "vit_ti16": "vit_tiny_patch16_224",
  "vit_s16": "vit_small_patch16_224",
  "vit_b16": "vit_base_patch16_224",
  "convnext_t": "convnext_tiny",
}


def snippet(predictor: Predictor, to: str) -> str:
  """Returns the snippet of a format.

  Args:
    predictor: The network that is exported.
    to: The name of the format.

  Returns:
    The code; of a network that neither torchvision nor timm can build, its first lines
    say what is missing, and it ends with the weights.
  """
  parts = {
    "safetensors": _safetensors,
    "torch": _torch,
    "stablehlo": _stablehlo,
    "tf_saved_model": _tf_saved_model,
  }
  return f"{_READ_IMAGE}\n{parts[to](predictor).strip()}\n"


_READ_IMAGE = '''import json

import numpy as np
from PIL import Image, ImageOps

config = json.load(open("config.json"))
size, channels = config["image_size"], config["channels"]


def read(path):
  """Returns a picture as the network was evaluated on: uint8 [size, size, channels]."""
  image = ImageOps.exif_transpose(Image.open(path))
  if image.has_transparency_data:  # Transparent parts are on white.
    color = image.convert("RGBA")
    image = Image.alpha_composite(Image.new("RGBA", color.size, "white"), color)
  image = image.convert("L" if channels == 1 else "RGB")
  if config["crop"] == "random_resized":  # The central square.
    scale = round(size / config["crop_ratio"]) / min(image.size)
    width, height = (max(round(side * scale), size) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    image = image.crop((left, top, left + size, top + size))
  elif image.size != (size, size):
    image = image.resize((size, size), Image.Resampling.BICUBIC)
  return np.asarray(image).reshape(size, size, channels)


images = np.stack([read("image.png")])
'''


# --- Whole functions ----------------------------------------------------------------


def _stablehlo(predictor):
  return f"""
from jax import export

exported = export.deserialize(open("{FORMATS["stablehlo"].file}", "rb").read())
scores = np.asarray(exported.call(images))
"""


def _tf_saved_model(predictor):
  return f"""
import tensorflow as tf

loaded = tf.saved_model.load("{FORMATS["tf_saved_model"].file}")
scores = loaded(tf.constant(images))["scores"].numpy()
"""


# --- Weights ------------------------------------------------------------------------

_NORMALIZE = """
pixels = images.astype(np.float32) / 255
pixels = (pixels - np.float32(config["pixel_mean"])) / np.float32(config["pixel_std"])
"""


def _safetensors(predictor):
  network = predictor.network.model
  options = _call(predictor.options)
  features, kernel = (
    'layers["taps"]["features"]',
    'variables["params"]["head"]["kernel"]',
  )
  return f"""
import jax.numpy as jnp
from flax.traverse_util import unflatten_dict
from safetensors.numpy import load_file

from hue_jax.models import create_model
{_NORMALIZE}
model = create_model(
  "{predictor.architecture}", num_classes={network.num_classes}{options}
)
variables = unflatten_dict(load_file("{FORMATS["safetensors"].file}"), sep="/")
pixels = jnp.asarray(pixels)
logits, layers = model.apply(variables, pixels, train=False, mutable=["taps"])
logits = np.asarray(logits)
{predictor.classifier.scores_in_numpy(features, kernel)}
"""


def _torch(predictor):
  built = _constructor(predictor)
  load = f'weights = load_file("{FORMATS["torch"].file}")'
  if built is None:
    return f"""
from safetensors.torch import load_file

# Neither torchvision nor timm builds this form of the network
# ({predictor.architecture}{_call(predictor.options)}): the weights have the names of
# {library_of(predictor)}, for a module of your own.
{load}
"""
  imported, _, built = built.strip().partition("\n\n")
  head, hook = _head_name(predictor), ""
  if predictor.classifier.needs_head:
    hook = f"""
to_head = []  # The features that come to the head.
model.get_submodule("{head}").register_forward_pre_hook(
  lambda module, inputs: to_head.append(inputs[0].numpy())
)
"""
  return f"""
import torch
from safetensors.torch import load_file
{imported}

{load}
{built}
{hook}{_NORMALIZE}
with torch.no_grad():
  logits = model(torch.from_numpy(pixels.transpose(0, 3, 1, 2).copy())).numpy()
{predictor.classifier.scores_in_numpy("to_head[0]", f'weights["{head}.weight"].T')}
"""


# --- Networks of torchvision and timm -----------------------------------------------


def _constructor(predictor):
  """Returns lines that build a network in PyTorch; None if no library has its form."""
  network, model = predictor.network, predictor.network.model
  options = {k: v for k, v in predictor.options.items() if k not in _OF_TRAINING}
  if isinstance(model, ResNet):
    return _resnet(model, network.channels, options)
  is_usual = not options and network.channels == 3
  if isinstance(model, InceptionV3) and options in ({}, {"count_padding": True}):
    is_usual = network.channels == 3
  if not is_usual:
    return None
  name = _TORCH_NAMES.get(predictor.architecture, predictor.architecture)
  classes = model.num_classes
  if library_of(predictor) == "timm":
    name = f"tf_{name}" if name.startswith("efficientnet") else name
    size = f", img_size={network.image_size}" if name.startswith("vit") else ""
    return f"""
import timm

model = timm.create_model("{name}", num_classes={classes}{size})
model.load_state_dict(weights, strict=False)  # It has counters besides.
model.eval()
"""
  more = ""
  if isinstance(model, InceptionV3):
    more = ", aux_logits=False, transform_input=False, init_weights=False"
  return f"""
import torchvision

model = torchvision.models.{name}(weights=None, num_classes={classes}{more})
model.load_state_dict(weights, strict=False)  # It has counters besides.
model.eval()
"""


def _resnet(model, channels, options):
  """Returns the lines of any ResNet: torchvision's class has no stem for small images.

  Arrays are put in place one by one, for the class knows one width alone.
  """
  if set(options) - {"stem", "width"}:
    return None
  block = "Bottleneck" if model.block is Bottleneck else "BasicBlock"
  sizes = [*model.stage_sizes, 1, 1, 1, 1][:4]
  changes = [
    f"model.layer{i + 1} = torch.nn.Identity()"
    for i in range(len(model.stage_sizes), 4)
  ]
  if model.stem == "small":
    changes += [
      "model.maxpool = torch.nn.Identity()",
      "model.conv1.stride = model.conv1.padding = (1, 1)",
    ]
  load = "model.load_state_dict(weights, strict=False)  # It has counters besides."
  if options or channels != 3 or changes:
    load = _LOAD_OTHER_SHAPES
  return f"""
from torchvision.models.resnet import {block}, ResNet

{_lines(f"model = ResNet({block}, {sizes}, num_classes={model.num_classes})", *changes)}
{load}
model.eval()
"""


_LOAD_OTHER_SHAPES = """
for name, array in weights.items():  # They may have another width than the class.
  path, _, leaf = name.rpartition(".")
  module = model.get_submodule(path)
  if leaf in module._parameters:
    module._parameters[leaf] = torch.nn.Parameter(array)
  else:
    module._buffers[leaf] = array
""".strip()


def _lines(*lines):
  return "\n".join(lines)


def _head_name(predictor):
  """Returns the name of the head's module in PyTorch."""
  naming = names_of(predictor.network.model).LIBRARIES[library_of(predictor)]
  return naming(predictor.network.model)("head")


def _call(options):
  """Returns options as arguments of a call, after others."""
  return "".join(f", {name}={value!r}" for name, value in sorted(options.items()))
