"""The tasks on which objectives are compared, by name.

Of the first seven, the recipe (learning rate, epochs) was chosen for the one-hot
objective on the validation split. Of the others nothing was chosen but by
`compare_tuning.py`.
"""

from configs import compare_base, tasks
from hue_jax.errors import check_one_of

_FASHION_HIERARCHY = {
  "tops": ["T-shirt/top", "Pullover", "Dress", "Coat", "Shirt"],
  "bottoms": ["Trouser"],
  "shoes": ["Sandal", "Sneaker", "Ankle boot"],
  "bags": ["Bag"],
}

_OPENCLIPART_HIERARCHY = {
  "living": ["animals", "people"],
  "things": {
    "made": ["computer", "office", "tools", "transportation"],
    "leisure": ["food", "recreation"],
  },
  "marks": ["shapes", "signs_and_symbols", "geography", "special"],
}


def get_config(task: str = ""):
  """A study of a task, with the one-hot objective alone."""
  check_one_of("the task, after the colon of --config,", task, _TASKS)
  config = compare_base.get_config()
  config.title = task
  _TASKS[task](config)
  return config


def _fashion(config):
  config.dataset = "fashion_mnist"
  config.train_split = "train[:50000]"
  config.validation_split = "train[50000:]"
  config.pixel_mean = (0.286,)
  config.pixel_std = (0.353,)
  config.hierarchy = _FASHION_HIERARCHY


def _fashion_50(config):
  """500 images, 50 of a class."""
  _fashion(config)
  config.train_per_class = 50


def _fashion_500(config):
  """5,000 images, 500 of a class."""
  _fashion(config)
  config.train_per_class = 500
  config.num_epochs = 10.0


def _fashion_full(config):
  """50,000 images."""
  _fashion(config)
  config.num_epochs = 3.0
  config.warmup_epochs = 0.3


def _digits(config):
  """1,150 images of 8 × 8 pixels."""
  config.dataset = "digits"
  config.train_split = "train[:80%]"
  config.validation_split = "train[80%:]"
  config.image_size = 8
  config.padding = 1
  config.flip = False


def _digits_10(config):
  """100 images, 10 of a class."""
  _digits(config)
  config.train_per_class = 10
  config.batch_size = 20
  config.num_epochs = 60.0


def _openclipart(config):
  """Drawings in color, 12 categories, from scratch."""
  config.dataset = "openclipart"
  config.train_split = "train[:80%]"
  config.validation_split = "train[80%:]"
  config.image_size = 32
  config.channels = 3
  config.padding = 3
  config.hierarchy = _OPENCLIPART_HIERARCHY


def _elpv(config):
  """Photographs of solar cells, four degrees of defect, from scratch."""
  config.dataset = "elpv"
  config.train_split = "train[:80%]"
  config.validation_split = "train[80%:]"
  config.image_size = 40
  config.padding = 3


def _cifar10_50(config):
  """500 images, 50 of a class; not run, for the data could not be had."""
  _of_table(config, "cifar10", 32)
  config.train_split = "train[:45000]"
  config.validation_split = "train[45000:]"
  config.train_per_class = 50


def _eurosat_50(config):
  """500 images, 50 of a class; not run, for the data could not be had."""
  _of_table(config, "eurosat", 32)
  config.train_per_class = 50


def _mnist_50(config):
  """500 images, 50 of a class."""
  _of_table(config, "mnist_5k", 28)
  config.train_per_class = 50


def _oxygen(config):
  """671 icons in color, 7 contexts."""
  _of_table(config, "oxygen", 32)


def _tuxpaint(config):
  """426 photographs and drawings, 8 subjects."""
  _of_table(config, "tuxpaint", 32)


def _foods(config):
  """235 photographs, 9 groups of foods."""
  _of_table(config, "foods", 32)


def _faces(config):
  """240 photographs in gray, 6 of each of 40 persons."""
  _of_table(config, "faces", 28)


def _faces_2(config):
  """80 photographs in gray, 2 of each of 40 persons."""
  _faces(config)
  config.train_per_class = 2


def _of_table(config, name, image_size):
  """A task as main.py has it, of smaller images."""
  task = tasks.TASKS[name]
  config.dataset = task.dataset
  config.train_split = task.train
  config.validation_split = task.validation
  config.test_split = task.test
  config.image_size = image_size
  config.padding = 2 if image_size == 28 else 3
  config.channels = task.channels
  config.flip = task.flip
  config.pixel_mean = task.pixel_mean
  config.pixel_std = task.pixel_std


def tap(task: str) -> str:
  """The last layer of which an image has more than a few positions."""
  return "stage2" if task.startswith("digits") else "stage3"


_TASKS = {
  "fashion_50": _fashion_50,
  "fashion_500": _fashion_500,
  "fashion_full": _fashion_full,
  "digits": _digits,
  "digits_10": _digits_10,
  "openclipart": _openclipart,
  "elpv": _elpv,
  "mnist_50": _mnist_50,
  "oxygen": _oxygen,
  "tuxpaint": _tuxpaint,
  "foods": _foods,
  "faces": _faces,
  "faces_2": _faces_2,
  "cifar10_50": _cifar10_50,
  "eurosat_50": _eurosat_50,
}
