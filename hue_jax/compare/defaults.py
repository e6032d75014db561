"""Settings of a study of objectives, with their defaults.

Of one seed, every objective starts from the same weights and sees the same images in
the same order, augmented alike; another seed draws all of these anew, the training
images too where `train_per_class` bounds them.
"""

from ml_collections import ConfigDict, config_dict


def get_config() -> ConfigDict:
  """A narrow ResNet-8, one-hot and nothing to compare it with."""
  config = ConfigDict()
  config.title = ""

  # Data, held in memory. Choices are made on the validation split. The test split is
  # read where read_test says so: by the study that comes after all choices.
  config.dataset = ""
  config.data_dir = config_dict.placeholder(str)  # none: TFDS's own default
  config.train_split = "train"
  config.validation_split = ""
  config.test_split = "test"
  config.read_test = True
  config.train_per_class = 0  # training images of a class, drawn by the seed; 0: all
  config.image_size = 28
  config.channels = 1
  config.padding = 2  # pixels by which images are shifted at most
  config.flip = True
  config.pixel_mean = (0.5,)
  config.pixel_std = (0.25,)
  config.hierarchy = ConfigDict()  # name → subtree or list of classes; empty: none

  # Network.
  config.model = "resnet8"
  config.model_options = ConfigDict({"stem": "small", "width": 8})

  # Optimization, the same for all objectives.
  config.optimizer = "adamw"
  config.learning_rate = 0.12  # of batch size 256, as in base.py
  config.momentum = 0.9  # of sgd
  config.weight_decay = 0.05
  config.gradient_clip_norm = 0.0
  config.warmup_epochs = 2.0
  config.num_epochs = 30.0
  config.batch_size = 50
  config.num_evaluations = 5  # during a training, for learning curves
  config.curve_images = 1000  # validation images that these look at, the first ones

  # Objectives: label_smoothing, smoothing_concentration, class_order, classifier and
  # terms, as of main.py. Those that differ in numbers alone share a compilation.
  config.objectives = ConfigDict({"one_hot": {}})
  config.baseline = "one_hot"

  # Tuning (--mode=tune): of each objective, all points with num_seeds, and the best of
  # them, the finalists, with more_seeds besides. What is tuned are settings of the
  # objective: of all objectives (shared), or of one by its name (own).
  config.tuning = ConfigDict()
  config.tuning.points = 16
  config.tuning.num_seeds = 1
  config.tuning.finalists = 4
  config.tuning.more_seeds = 4
  config.tuning.first_seed = 3000
  config.tuning.shared = ConfigDict()  # setting → (low, high), in subtrees
  config.tuning.own = ConfigDict()  # objective → the same

  # The tuned.json that a tuning wrote: an objective is then {"tuned": NAME}, or takes
  # the rates of another, {"optimization": {"tuned": NAME}}, beside its own settings.
  config.tuned = ""
  config.contrasts = ()  # further pairs (objective, reference) that are compared
  config.first_seed = 0
  config.num_seeds = 20

  # What is measured of the test split beside accuracy, calibration and the distance
  # of mistakes, of the networks of the first seeds; 0: not.
  config.measures = ConfigDict()
  config.measures.num_seeds = 8
  config.measures.knn = True
  config.measures.corrupted_images = 300
  config.measures.attacked_images = 100
  config.measures.attack_epsilons = (2.0, 4.0)  # of 255
  config.measures.observed_images_per_class = 15
  config.measures.transfer_to = ()  # workdirs of studies whose tasks features are for

  # Network and batch on which --mode=cost times a step of every objective.
  config.cost = ConfigDict()
  config.cost.model = "resnet18"
  config.cost.model_options = ConfigDict()
  config.cost.num_classes = 1000
  config.cost.image_size = 64
  config.cost.batch_size = 64
  config.cost.repeats = 25

  # Seeds that are trained in one program, which an accelerator needs to be busy; 0: as
  # many as its memory holds, and one on a CPU or a cluster.
  config.seeds_at_once = 0
  config.workers = 0  # processes; 0: one a core of a CPU, one for all accelerators
  return config
