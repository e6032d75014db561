"""Any task with any network, by name.

    python main.py --config=configs/benchmark.py:digits,resnet14,hue --workdir=DIR
    python main.py --config=configs/benchmark.py:pets,resnet18,one_hot,k=10 …
    python main.py --config=configs/benchmark.py:folder=PATH,resnet18 --workdir=DIR
    python main.py --list

After the colon: the task, or folder=PATH for pictures in class folders, the network,
and then in any order an objective (hue, if none is named; label smoothing is the
recipe's, where the objective has none), a recipe (the task's own, if none is named),
k=IMAGES_OF_A_CLASS or fraction=PART of the training images, size=PIXELS in place of the
task's, form=FORM of the hue term (of `base.hue_terms`), and from=SOURCE, weights to
start from, which makes the recipe fine_tune.
"""

from configs import base, recipes, tasks
from hue_jax.errors import InputError, check_name
from hue_jax.models import create_model, model_names, tap_shapes
from hue_jax.models.published import PIXEL_MEAN, PIXEL_STD, published_names
from hue_jax.models.sizes import last_plane, options_for_size
from hue_jax.settings import Integer, Number

OBJECTIVES = ("one_hot", "smoothing", "hue", "hue_smoothing")

_SETTINGS = ("k", "fraction", "size", "form", "from")


def get_config(names: str = ""):
  """The configuration of a task and a network; see above."""
  task_name, network, chosen = _read(names)
  task_name, _, path = task_name.partition("=")
  config = base.get_config()
  task = tasks.set_task(config, task_name)
  if path:
    config.dataset = f"{task_name}={path}"
  config.image_size = _size(chosen, task)
  config.model = network
  config.model_options = options_for_size(network, config.image_size)
  source = chosen.get("from", "")
  default = "fine_tune" if source else task.recipe
  recipes.set_recipe(config, chosen.get("recipe", default))
  if "size" in chosen:  # also where the recipe has its own
    config.image_size, config.eval_image_size = _size(chosen, task), 0
  config.init_from = source
  if source in published_names():
    config.pixel_mean, config.pixel_std = PIXEL_MEAN, PIXEL_STD
    config.channels = 3  # gray is repeated: the network has seen color
  config.train_per_class = Integer(at_least=0)("k", chosen.get("k", 0))
  fraction = Number(above=0, at_most=1)
  config.train_fraction = fraction("fraction", chosen.get("fraction", 1.0))
  objective = chosen.get("objective", "hue")
  if objective.startswith("hue"):
    form = chosen.get("form") or _form(config)
    config.hue.terms = base.hue_terms(form, _hue_tap(config, form))
  if objective.endswith("smoothing"):
    config.label_smoothing = 0.1
  return config


def _hue_tap(config, form):
  """The last layer that is large enough; before it the loss may harm."""
  # Neither number changes the sizes of layers, and either may be left to the data set.
  model = create_model(
    config.model, num_classes=config.num_classes or 1, **config.model_options
  )
  shape = (config.image_size, config.image_size, config.channels or 3)
  # As labels, the angles of more positions than four are wanted.
  part = 2 if form == "position" else 4
  planes = tap_shapes(model, shape)
  return last_plane(config.model, planes, config.image_size, part=part)


def _form(config):
  """Prototypes of the batch, where it holds a few images of each class."""
  # The classes of a folder are counted later: memory serves any number.
  is_known = config.num_classes > 0
  few = is_known and config.batch_size >= 4 * config.num_classes
  return "sectors" if few else "memory"


def _read(names):
  """The task, the network and what else is chosen."""
  task, network, *rest = [*names.split(","), "", ""][: max(2, names.count(",") + 1)]
  kind, _, path = task.partition("=")
  if kind != "folder" or not path:
    known = [name for name in tasks.TASKS if name != "folder"] + ["folder=PATH"]
    check_name("the task, after the colon of --config,", task, known)
  check_name("the network, after the task,", network, model_names())
  chosen = {}
  for word in rest:
    name, equals, value = word.partition("=")
    if equals:
      check_name(f"{word!r}: what is set", name, _SETTINGS)
    elif word in OBJECTIVES:
      name, value = "objective", word
    else:
      check_name(
        "an objective or recipe, after the network,",
        word,
        (*OBJECTIVES, *recipes.RECIPES),
      )
      name, value = "recipe", word
    if name in chosen:
      raise InputError(
        f"{name} is {value!r} and was {chosen[name]!r} before; it must be named once."
      )
    chosen[name] = value
  return task, network, chosen


def _size(chosen, task):
  return Integer(at_least=1)("size", chosen.get("size", task.image_size))


def listing() -> str:
  """The tasks, networks, objectives and recipes as text."""
  rows = [
    f"  {name:14s} {task.title}, {task.num_classes or 'its'} classes, "
    f"{task.image_size} px, {task.recipe}, {task.metric}"
    for name, task in tasks.TASKS.items()
  ]
  gone_rows = [
    f"  {name:14s} {task.gone}" for name, task in tasks.TASKS.items() if task.gone
  ]
  prepare_rows = [
    f"  {name:14s} {task.prepare}" for name, task in tasks.TASKS.items() if task.prepare
  ]
  recipe_rows = [
    f"  {name:22s} {(recipe.__doc__ or '').splitlines()[0]}"
    for name, recipe in recipes.RECIPES.items()
  ]
  return "\n".join(
    [
      "--config=configs/benchmark.py:TASK,NETWORK[,OBJECTIVE][,RECIPE][,k=…]",
      "",
      "Tasks (classes, pixels, usual recipe, metric):",
      *rows,
      "",
      "How their data are prepared (the others: tfds build DATASET):",
      *prepare_rows,
      "",
      "Whose source is known to be gone (`tfds build` alone does not bring them):",
      *gone_rows,
      "",
      "Networks:",
      *(f"  {name}" for name in model_names()),
      "",
      "Objectives:",
      f"  {', '.join(OBJECTIVES)}",
      "",
      "Recipes:",
      *recipe_rows,
    ]
  )
