"""How networks are trained, by name: each a short list of what differs from `base.py`.

Learning rates are those of batch size 256, by which `base.py` scales them.
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from hue_jax.errors import check_name

RECIPES: dict[str, Callable[[ConfigDict], None]] = {}


def recipe(function: Callable[[ConfigDict], None]) -> Callable[[ConfigDict], None]:
  """Makes a function a recipe, by its own name; `--list` has its first line.

  Args:
    function: that writes the recipe into a configuration whose task is set.

  Returns:
    The function.
  """
  RECIPES[function.__name__] = function
  return function


def set_recipe(config: ConfigDict, name: str) -> None:
  """Writes a recipe into a configuration whose task is set.

  Args:
    config: of the fields of `base.py`.
    name: one of `RECIPES`.
  """
  check_name("the recipe", name, RECIPES)
  RECIPES[name](config)


# --- Parts ----------------------------------------------------------------------


def _inception_crop(config):
  """A random part of the image, mirrored."""
  config.crop = "random_resized"


def _pad_crop(config, padding):
  """The image, shifted over a frame."""
  config.crop = "pad"
  config.padding = padding


def _sgd(config, learning_rate, weight_decay):
  config.optimizer = "sgd"
  config.momentum = 0.9
  config.learning_rate = learning_rate
  config.weight_decay = weight_decay


def _length(config, *, epochs, warmup, batch_size):
  config.num_epochs = float(epochs)
  config.warmup_epochs = float(warmup)
  config.batch_size = batch_size
  config.eval_every_epochs = max(1.0, epochs / 20)


def _mix(config, *, mixup=0.0, cutmix=0.0, probability=1.0):
  config.mixing = ConfigDict(
    {"mixup": mixup, "cutmix": cutmix, "probability": probability}
  )


def _randaugment(config, num_ops, magnitude, std=0.0):
  config.randaugment = ConfigDict(
    {"num_ops": num_ops, "magnitude": magnitude, "magnitude_std": std}
  )


# --- Recipes --------------------------------------------------------------------


@recipe
def goyal90(config):
  """ImageNet in 90 epochs, ResNet-50 at 76.4 %.

  Goyal et al., "Accurate, Large Minibatch SGD: Training ImageNet in 1 Hour", 2017
  (their color jitter left out).
  """
  _inception_crop(config)
  _sgd(config, learning_rate=0.1, weight_decay=1e-4)
  config.schedule = "step"
  _length(config, epochs=90, warmup=5, batch_size=1024)
  _large_run(config)


@recipe
def rsb_a3(config):
  """ImageNet in 100 epochs at 160 pixels, ResNet-50 at 78.1 % (tested at 224).

  Wightman et al., "ResNet strikes back", 2021, table 2. Of a network with learned
  position embeddings, such as vit_s16, the second size is refused.
  """
  _resnet_strikes_back(config, learning_rate=8e-3, magnitude=6.0)
  config.image_size = 160
  config.eval_image_size = 224
  _length(config, epochs=100, warmup=5, batch_size=2048)


@recipe
def rsb_a2(config):
  """ImageNet in 300 epochs at 224 pixels, ResNet-50 at 79.8 %.

  Wightman et al., "ResNet strikes back", 2021, table 2.
  """
  _resnet_strikes_back(config, learning_rate=5e-3, magnitude=7.0)
  config.image_size = 224
  config.repeats = 3
  config.model_options.drop_path_rate = 0.05
  _length(config, epochs=300, warmup=5, batch_size=2048)


def _resnet_strikes_back(config, *, learning_rate, magnitude):
  """What its three procedures share; learning rate of batch size 2048."""
  _inception_crop(config)
  _large_run(config)
  config.optimizer = "lamb"
  config.learning_rate = learning_rate / 8
  config.weight_decay = 0.02
  config.gradient_clip_norm = 1.0  # as timm's LAMB does
  config.classifier = ConfigDict({"kind": "sigmoid"})
  config.eval_crop_ratio = 0.95
  _mix(config, mixup=0.1, cutmix=1.0)
  _randaugment(config, 2, magnitude, std=0.5)


@recipe
def simple_vit_s16_90ep(config):
  """ImageNet in 90 epochs, ViT-S/16 at 76.5 %.

  Beyer et al., "Better plain ViT baselines for ImageNet-1k", 2022. Its decay of 1e-4
  at a learning rate of 1e-3 is one of 0.1 where the decay is times the learning rate.
  """
  config.model_options.pooling = "mean"
  config.model_options.position_embedding = "sincos2d"
  _inception_crop(config)
  _large_run(config)
  config.optimizer = "adamw"
  config.learning_rate = 1e-3 / 4
  config.weight_decay = 0.1
  config.gradient_clip_norm = 1.0
  _mix(config, mixup=0.2)
  _randaugment(config, 2, 10.0)
  # 10,000 steps of 1,024.
  _length(config, epochs=90, warmup=8, batch_size=1024)


@recipe
def small_image(config):
  """Images of 8 to 96 pixels: pad-crop, mirror, SGD, cosine.

  With ResNet-18 and CIFAR-10 it is commonly reported to reach about 95 %.
  """
  _pad_crop(config, max(1, config.image_size // 8))
  _sgd(config, learning_rate=0.2, weight_decay=5e-4)
  _length(config, epochs=200, warmup=5, batch_size=128)


@recipe
def fine_grained_scratch(config):
  """A few thousand photographs from scratch: long, strongly augmented, averaged."""
  _inception_crop(config)
  _sgd(config, learning_rate=0.1, weight_decay=5e-4)
  config.label_smoothing = 0.1
  config.erase_probability = 0.25
  _randaugment(config, 2, 6.0, std=0.5)
  _mix(config, mixup=0.2, cutmix=1.0, probability=0.5)
  config.ema_decay = 0.999
  _length(config, epochs=300, warmup=10, batch_size=128)


@recipe
def fine_tune(config):
  """From weights of `init_from`: short, and the slower the earlier the layer."""
  if config.image_size >= 64:
    _inception_crop(config)
  else:
    _pad_crop(config, max(1, config.image_size // 8))
  _sgd(config, learning_rate=0.04, weight_decay=1e-4)
  config.layer_decay = 0.9
  config.label_smoothing = 0.1
  _length(config, epochs=30, warmup=2, batch_size=64)


def _large_run(config):
  """Half precision, and each device's own batch statistics."""
  config.half_precision = True
  config.sync_batch_norm = False
  config.checkpoint_every_steps = 2000
