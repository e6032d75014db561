"""EfficientNet-Lite0 on ELPV: photographs of solar cells, by probability of a defect.

pip install elpv-dataset
python -m hue_jax.data.prepare elpv
python -m hue_jax.observe --config=configs/observe_elpv.py --workdir=DIR
"""

from configs import observe_base


def get_config():
  """400 photographs of 4 classes."""
  config = observe_base.get_config()
  config.dataset = "elpv"
  config.split = "train+test"  # the network has seen none of them
  config.images_per_class = 100
  config.crop = "none"
  return config
