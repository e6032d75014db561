"""EfficientNet-Lite0 on Fashion-MNIST, enlarged from 28 to 224 pixels.

    sudo apt-get install dataset-fashion-mnist
    python -m hue_jax.data.prepare idx --name=fashion_mnist \
      /usr/share/datasets/fashion-mnist
    python -m hue_jax.observe --config=configs/observe_fashion_mnist.py --workdir=DIR
"""

from configs import observe_base


def get_config():
  """500 test images of 10 classes."""
  config = observe_base.get_config()
  config.dataset = "fashion_mnist"
  config.crop = "none"  # the whole image: its frame is narrow
  return config
