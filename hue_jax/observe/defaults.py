"""Settings of an observation, with their defaults, which the command takes by itself.

Of each class so many images are drawn, and of each layer of each image so many
positions; every one of these vectors is searched for its nearest neighbors among those
of the other images.
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
  """EfficientNet-Lite0, all layers, 50 images a class, 16 positions an image."""
  config = ConfigDict()
  config.seed = 0  # of images, positions, resamples and the untrained network

  # Network: a published one, a file of PyTorch weights, or a workdir of main.py.
  config.network = "efficientnet_lite0"
  config.network_model = ""  # of a file of weights: the model that they are of
  config.network_options = ConfigDict()  # of a file of weights: see load_network
  config.taps = ()  # none: all

  # Images: a data set that TFDS or `python -m hue_jax.data.prepare` has prepared.
  config.dataset = "openclipart"
  config.data_dir = config_dict.placeholder(str)  # none: TFDS's own default
  config.split = "test"
  config.images_per_class = 50
  config.crop = ""  # "": the network's own; "random_resized", "pad" or "none"

  # Capture.
  config.positions_per_image = 16  # of each layer; 0: all
  config.dtype = "float16"  # or "float32"
  config.batch_size = 64

  # Neighbors.
  config.metric = "cosine"  # or "euclidean"
  config.num_neighbors = 10
  config.num_query_images = 0  # images whose vectors are searched for; 0: all
  config.engine = "auto"  # "faiss", "jax"; auto: FAISS on a CPU of one process, or JAX
  config.structure = "flat"  # exact; "ivf", "hnsw": FAISS's, approximate and faster
  config.structure_options = ConfigDict()  # ivf: num_lists, lists_probed
  # hnsw: links, ef_construction, ef_search

  # Statistics. The first of the hue planes decides the verdict and colors the viewer.
  config.planes = ("fourier", "principal")
  config.num_bootstrap = 1000  # draws of images, for the intervals
  config.num_permutations = 500  # of labels, for the control

  # The viewer in the report.
  config.viewer = ConfigDict()
  config.viewer.num_images = 24
  config.viewer.grid = 14  # rows and columns of a layer that can be picked, at most
  config.viewer.num_neighbors = 8
  config.viewer.thumbnail_size = 96
  return config
