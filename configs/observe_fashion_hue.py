"""A network that the main job trained on Fashion-MNIST, on images that it has not seen.

python main.py --config=configs/fashion_mnist_hue.py:position --workdir=runs/fashion_hue
python -m hue_jax.observe --config=configs/observe_fashion_hue.py --workdir=DIR
"""

from configs import observe_base


def get_config():
  """1,000 test images of 10 classes; --config.network=WORKDIR for another run."""
  config = observe_base.get_config()
  config.network = "runs/fashion_hue"
  config.dataset = "fashion_mnist"
  config.images_per_class = 100
  return config
