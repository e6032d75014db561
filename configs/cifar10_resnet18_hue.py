"""CIFAR-10 with a full-width ResNet-18, 200 epochs.

    tfds build cifar10
    python main.py --config=configs/cifar10_resnet18_hue.py --workdir=runs/cifar10_hue

Not measured here. Without the hue term, ResNet-18 with this recipe is commonly
reported at about 95 %.
"""

from configs import base


def get_config(hue: str = "sectors"):
  """The usual recipe: SGD, pad-crop and flip, cosine."""
  config = base.get_config()
  config.dataset = "cifar10"
  config.train_split = "train[:98%]"
  config.validation_split = "train[98%:]"
  config.image_size = 32
  config.channels = 3
  config.flip = True
  config.pixel_mean = (0.4914, 0.4822, 0.4465)
  config.pixel_std = (0.2470, 0.2435, 0.2616)
  config.model_options.width = 64
  config.hue.terms = base.hue_terms(hue, "stage3")
  config.batch_size = 128
  config.learning_rate = 0.2  # 0.1 at batch size 128
  config.weight_decay = 5e-4
  config.num_epochs = 200.0
  config.eval_every_epochs = 5.0
  return config
