"""EfficientNet-Lite0 on Open Clip Art: ImageNet's features on drawings in color.

sudo apt-get install openclipart-png
python -m hue_jax.data.prepare openclipart
python -m hue_jax.observe --config=configs/observe_openclipart.py --workdir=DIR
"""

from configs import observe_base


def get_config():
  """600 pictures of 12 categories."""
  config = observe_base.get_config()
  config.dataset = "openclipart"
  # The network has seen none of them: both splits may be observed.
  config.split = "train+test"
  return config
