"""Settings that every run has, with their defaults. Files beside it state what differs.

Names follow flax's ImageNet example where it has the setting. What each accepts is
declared where it is used; `hue_jax/train/config.py` has them all.
"""

from ml_collections import ConfigDict, config_dict

from hue_jax.errors import check_one_of


def get_config() -> ConfigDict:
  """The defaults: the embedded digits, a narrow ResNet-18, no hue term yet."""
  config = ConfigDict()
  config.seed = 0

  # Data. A split is in TFDS's language ("train[:90%]"). Checkpoints are chosen on
  # the validation split, if there is one; the test split is read once, at the end.
  config.dataset = "digits"
  config.data_dir = config_dict.placeholder(str)  # none: TFDS's own default
  config.num_classes = 10  # 0: as the data set has
  config.train_split = "train"
  config.train_per_class = 0  # images of a class, drawn by the seed; 0: all
  config.train_fraction = 1.0  # likewise, a part of all images
  config.shuffle = "full"  # or "blocks", for slow storage: docs/bucket.md
  config.shuffle_block_bytes = 4_000_000  # read at once; at most
  config.shuffle_window = 16_384  # images that are mixed after that; at least
  config.validation_split = ""
  config.test_split = "test"
  config.image_size = 8
  config.channels = 1  # 0: as the data set has
  config.crop = "pad"  # "random_resized" for large images, "pad" for small, "none"
  config.antialias = True  # in training, of "random_resized"; False is a little faster
  config.padding = 4  # pixels on each side, for "pad"
  config.flip = False
  config.repeats = 1  # times that an image stands in the stream, augmented anew
  config.randaugment = ConfigDict({"num_ops": 0, "magnitude": 0.0})
  config.randaugment.magnitude_std = 0.0
  config.erase_probability = 0.0  # of random erasing
  # Mixup's and CutMix's α; 0: none. Both: a coin decides for each pair of images.
  config.mixing = ConfigDict({"mixup": 0.0, "cutmix": 0.0, "probability": 1.0})
  config.eval_image_size = 0  # 0: image_size
  config.eval_crop_ratio = 0.875  # of "random_resized": central crop over shorter side
  config.pixel_mean = (0.5,)  # of pixels in [0, 1]: one value a channel, or one
  config.pixel_std = (0.25,)

  config.metric = "top1"  # chooses the best checkpoint; or "mean_per_class"
  # What else the best checkpoint is tested on: name → dataset and split.
  config.extra_tests = ConfigDict()

  # Network.
  config.model = "resnet18"
  config.model_options = ConfigDict({"stem": "small", "width": 16})
  config.init_from = ""  # a published network, a file of PyTorch weights, a workdir
  config.half_precision = False  # bfloat16 computation, float32 parameters
  config.sync_batch_norm = True  # statistics over all devices: numbers do not
  # depend on how many there are

  # Objective: the classifier's loss + Σ weight · term, over hue.terms and terms.
  config.classifier = ConfigDict({"kind": "softmax"})  # cross entropy; or "sigmoid",
  # "additive_angular_margin" (with margin, scale), "hyperspherical_prototypes"
  config.label_smoothing = 0.0  # of softmax
  config.terms = ConfigDict()  # others: kinds and settings in docs/objective.md
  config.hue = ConfigDict({"enabled": True, "terms": {}})

  # Optimization. As in flax's example the learning rate is that of batch size 256,
  # and is scaled by batch_size / 256.
  config.optimizer = "sgd"  # "sgd" (Nesterov), "adamw" or "lamb"
  config.learning_rate = 0.1
  config.momentum = 0.9
  config.weight_decay = 1e-4  # kernels only
  config.gradient_clip_norm = 0.0  # 0: no bound
  config.layer_decay = 1.0  # learning rate of each block over that of the next one
  config.schedule = "cosine"  # or "linear", "step" (at 1/3, 2/3, 8/9 of the run: / 10)
  config.warmup_epochs = 5.0
  config.num_epochs = 90.0
  config.num_train_steps = -1  # −1: num_epochs over the train split
  config.batch_size = 128  # over all devices
  config.eval_batch_size = 0  # 0: batch_size
  config.ema_decay = 0.0  # 0: no moving average

  # The run.
  config.parallel = "pmap"  # "pmap" or "shard_map"
  config.log_every_steps = 100
  config.eval_every_epochs = 1.0
  # What TensorBoard shows beside curves; 0: none. Images whose layers are colored;
  # classes up to which there is a confusion matrix; test images in the projector, by
  # the hue of their features; steps whose profile is recorded, after the tenth.
  config.num_colored_images = 8
  config.num_confused_classes = 100
  config.num_projected_images = 0
  config.num_profiled_steps = 0
  config.checkpoint_every_steps = 1000  # besides one at each evaluation
  config.keep_checkpoints = 2  # the last ones; the best is kept besides
  return config


def hue_terms(kind: str, tap: str) -> ConfigDict:
  """The hue term of a configuration, under its name.

  Args:
    kind: "sectors" is the form that the studies chose (docs/effect.md): activations of
      one class agree in each of 16 cells about the center of the image plane. "memory"
      is the same against prototypes of earlier batches, for many classes of which a
      batch has few images each. "position" makes the hue of each position its polar
      angle.
    tap: the layer.

  Returns:
    Name → settings of the term.
  """
  check_one_of("the hue term, after the colon of --config,", kind, HUE_TERMS)
  return ConfigDict({kind: {"tap": tap, "schedule": "constant", **HUE_TERMS[kind]}})


_SECTORS = {
  "kind": "angular_consistency",
  "weight": 0.3,
  "sectors": 8,
  "rings": 2,
  "temperature": 0.1,
}
HUE_TERMS = {
  "sectors": _SECTORS,
  "memory": {**_SECTORS, "prototypes": "memory", "decay": 0.9},
  "position": {
    "kind": "position_hue",
    "weight": 0.1,
    "plane": "fourier",  # or "random", "learned", or an .npy file
    "weighting": "activation",  # or "uniform", "chroma"
  },
}
