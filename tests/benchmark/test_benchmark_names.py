"""Benchmark configurations by name: tasks against TFDS, recipes, what is told."""

import inspect
import re
import sys

import pytest

from configs import base, benchmark, digits_hue, recipes, tasks
from hue_jax.data.datasets import open_dataset
from hue_jax.errors import InputError
from hue_jax.models import model_names
from hue_jax.train.config import build_model, check_config, check_settings
from tests.helpers.mock_tasks import OF_TFDS, builder_of, split_names


@pytest.mark.parametrize("name", OF_TFDS)
def test_classes_and_splits_are_those_of_tfds(name, tmp_path):
  task = tasks.TASKS[name]
  builder = builder_of(task.dataset, str(tmp_path))
  label = builder.info.features["label"]
  assert task.num_classes == label.num_classes
  image = builder.info.features["image"]
  assert task.channels == image.shape[-1]
  if image.shape[0] is not None and task.recipe == "small_image":
    assert task.image_size == image.shape[0]
  # What is prepared is not here, nor the numbers of its examples; the names of its
  # splits are in the code that makes them.
  code = inspect.getsource(sys.modules[type(builder).__module__])
  for split in split_names(task):
    constant = rf"tfds\.Split\.{split.upper()}\b"
    assert re.search(rf"""{constant}|['"]{split}['"]|\b{split}=""", code), split
  by_hand = bool(builder.MANUAL_DOWNLOAD_INSTRUCTIONS)
  # Of the others `tfds build` is enough, unless they are told to be gone.
  if not by_hand and not task.gone:
    assert not task.prepare or task.prepare.startswith(f"tfds build {task.dataset}")
  if by_hand or task.gone:
    assert "DATA_DIR/downloads/manual, then: tfds build" in task.prepare
  if task.gone:
    files = {url: info.filename for url, info in builder.url_infos.items()}
    assert files
    for url, file in files.items():
      assert task.gone.split(",")[0] in url
      assert file in task.prepare


def test_train_and_validation_splits_do_not_meet():
  for name, task in tasks.TASKS.items():
    if task.validation.startswith("train"):
      assert task.train.endswith("]"), name
      end = re.search(r":(\d+)%\]", task.train)[1]
      start = re.search(r"\[(\d+)%:", task.validation)[1]
      assert end == start, name
    assert task.test not in (task.train, task.validation)


@pytest.mark.parametrize("form", base.HUE_TERMS)
def test_the_default_names_the_layer_of_every_form_as_its_task_does(form):
  named = benchmark.get_config(f"digits,resnet18,hue,form={form}").hue.terms
  (term,), (theirs,) = digits_hue.get_config(form).hue.terms.values(), named.values()
  assert term.tap == theirs.tap == ("stage2" if form == "position" else "stage3")


@pytest.mark.slow
@pytest.mark.parametrize("network", model_names())
def test_every_network_has_a_hue_tap_at_its_size(network):
  config = benchmark.get_config(f"imagenet,{network},hue")
  (term,) = config.hue.terms.values()
  assert term.tap != "features"
  assert build_model(config).num_classes == 1000


class _Facts:
  """A data set as the checks see it."""

  def __init__(self, task):
    self.name, self.num_classes = task.dataset, task.num_classes

  def num_examples(self, split):
    return 50_000


@pytest.mark.slow
@pytest.mark.parametrize("recipe", recipes.RECIPES)
def test_recipes_pass_the_checks(recipe):
  network = "vit_s16" if "vit" in recipe else "resnet50"
  for name in ("imagenet", "cars196") if recipe != "small_image" else ("cifar10",):
    config = benchmark.get_config(f"{name},{network},hue,{recipe}")
    check_config(config, _Facts(tasks.TASKS[name]))
    plain = base.get_config()
    assert config.to_dict() != plain.to_dict()


def test_recipes_are_what_their_papers_say():
  config = benchmark.get_config("imagenet,resnet50,one_hot,goyal90")
  assert config.learning_rate * config.batch_size / 256 == pytest.approx(0.4)
  assert (config.schedule, config.num_epochs) == ("step", 90)
  config = benchmark.get_config("imagenet,resnet50,one_hot,rsb_a3")
  assert config.learning_rate * config.batch_size / 256 == pytest.approx(8e-3)
  assert (config.image_size, config.eval_image_size) == (160, 224)
  config = benchmark.get_config("imagenet,resnet50,one_hot,rsb_a2")
  assert config.learning_rate * config.batch_size / 256 == pytest.approx(5e-3)
  assert (config.repeats, config.randaugment.magnitude) == (3, 7.0)
  config = benchmark.get_config("imagenet,vit_s16,one_hot,simple_vit_s16_90ep")
  assert config.learning_rate * config.batch_size / 256 == pytest.approx(1e-3)
  assert config.model_options.pooling == "mean"
  assert config.hue.terms.to_dict() == {}


def test_a_folder_is_a_task():
  config = benchmark.get_config("folder=some/My Birds,resnet18,hue")
  assert config.dataset == "folder=some/My Birds"
  assert (config.num_classes, config.channels) == (0, 0)
  assert set(config.hue.terms) == {"memory"}  # Which serves any number of classes.
  check_settings(config)
  for names in ("folder,resnet18", "folder=,resnet18"):
    with pytest.raises(InputError, match=r"folder=PATH"):
      benchmark.get_config(names)


def test_what_is_named_is_set():
  config = benchmark.get_config("imagenet,resnet50,hue,rsb_a3,size=128")
  assert (config.image_size, config.eval_image_size) == (128, 0)
  config = benchmark.get_config("digits,resnet14,hue_smoothing,k=10,form=position")
  assert config.train_per_class == 10
  assert config.label_smoothing == 0.1
  assert set(config.hue.terms) == {"position"}
  assert config.hue.terms.position.tap == "stage2"
  assert benchmark.get_config("digits,resnet14,hue").hue.terms.sectors.tap == "stage3"
  config = benchmark.get_config(
    "elpv,efficientnet_lite0,from=efficientnet_lite0,fraction=0.5"
  )
  assert config.init_from == "efficientnet_lite0"
  assert config.channels == 3
  assert config.layer_decay < 1
  assert config.train_fraction == 0.5
  assert config.metric == "mean_per_class"


@pytest.mark.parametrize(
  ("names", "told"),
  [
    ("", r"the task, after the colon of --config, is ''; it must be one of imagenet"),
    ("digit,resnet8", r"is 'digit'.*Did you mean digits\?"),
    ("digits,resnet9", r"the network, after the task, is 'resnet9'.*Did you mean"),
    ("digits,resnet8,hues", r"an objective or recipe.*'hues'.*Did you mean hue"),
    ("digits,resnet8,k=ten", r"k is 'ten'; it must be an integer of at least 0"),
    ("digits,resnet8,size=0", r"size is 0; it must be an integer of at least 1"),
    ("digits,resnet8,fraction=2", r"fraction is '?2.*'?; it must be a finite number"),
    ("digits,resnet8,n=10", r"'n=10': what is set is 'n'; it must be one of k, frac"),
    (
      "digits,resnet8,hue,one_hot",
      r"objective is 'one_hot' and was 'hue' before",
    ),
    ("digits,vgg16,hue", r"8 × 8 pixels; VGG takes sides of at least 32"),
    ("digits,resnet8,form=sector", r"hue term.*'sector'.*sectors, memory, position"),
  ],
)
def test_names_that_cannot_be_used_are_told(names, told):
  with pytest.raises(InputError, match=told):
    benchmark.get_config(names)


def test_data_that_are_fetched_by_hand_are_told_with_the_steps(tmp_path):
  for name, archive in (
    ("imagenet", "ILSVRC2012_img_train.tar"),
    ("resisc45", "extract it to the manual_dir"),
  ):
    with pytest.raises(InputError, match="is not prepared in") as error:
      open_dataset(tasks.TASKS[name].dataset, str(tmp_path))
    assert archive in str(error.value)
    assert "tfds build" in str(error.value)


def test_the_list_names_everything():
  text = benchmark.listing()
  for name in (*tasks.TASKS, *model_names(), *recipes.RECIPES, *benchmark.OBJECTIVES):
    assert re.search(rf"(^|\s){name}\b", text), name
  for task in tasks.TASKS.values():
    assert task.gone in text
    assert task.prepare in text


def test_a_recipe_is_added_in_one_place(monkeypatch):
  monkeypatch.setattr(recipes, "RECIPES", dict(recipes.RECIPES))

  @recipes.recipe
  def gentle(config):
    """A small learning rate."""
    config.learning_rate = 0.001

  config = benchmark.get_config("digits,resnet8,hue,gentle")
  assert config.learning_rate == 0.001
  assert re.search(r"\n  gentle +A small learning rate\.", benchmark.listing())


def test_a_task_is_added_in_one_place(monkeypatch):
  task = tasks.Task(
    "Letters",
    "emnist/letters",
    train="train[:90%]",
    validation="train[90%:]",
    test="test",
    num_classes=37,
    image_size=28,
    channels=1,
    pixel_mean=(0.17,),
    pixel_std=(0.33,),
    metric="mean_per_class",
  )
  monkeypatch.setitem(tasks.TASKS, "letters", task)
  config = benchmark.get_config("letters,resnet18,hue")
  check_config(config, _Facts(task))
  assert (config.dataset, config.metric) == ("emnist/letters", "mean_per_class")
  assert re.search(r"\n  letters +Letters, 37 classes, 28 px", benchmark.listing())
