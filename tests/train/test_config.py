"""Settings that cannot be used are named before anything is computed."""

import importlib
import math
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from configs import base
from hue_jax.errors import InputError
from hue_jax.settings import (
  Choice,
  Flag,
  Group,
  Integer,
  Named,
  Number,
  Options,
  Several,
  Text,
  create,
  fields_of,
)
from hue_jax.train.config import (
  Settings,
  build_model,
  check_config,
  eval_steps,
  hue_terms,
  num_train_steps,
)
from hue_jax.train.optimizer import warmup_remark

_CONFIGS = ("digits_hue", "fashion_mnist_hue", "cifar10_resnet18_hue", "resnet50_hue")


@dataclass(frozen=True)
class _Facts:
  """A data set as the checks see it."""

  num_classes: int = 10
  name: str = "digits"
  examples: int = 1437

  def num_examples(self, split):
    if split not in ("train", "test", "train[:90%]", "train[90%:]", "none"):
      raise InputError(f"{self.name} has no split {split!r}; it has 'train', 'test'")
    return 0 if split == "none" else self.examples


def _config(name="digits_hue", hue="position"):
  return importlib.import_module(f"configs.{name}").get_config(hue)


def test_the_defaults_pass():
  config = _config()
  check_config(config, _Facts())
  assert num_train_steps(config, _Facts(examples=6400)) == int(
    config.num_epochs * 6400 / config.batch_size
  )


def test_evaluations_fall_on_epochs_and_on_the_end():
  config = _config()  # 1437 / 64 = 22.45 steps an epoch
  config.num_epochs, config.eval_every_epochs = 4.0, 1.0
  assert _evaluated(config) == [22, 44, 67, 89]
  config.eval_every_epochs = 3.0
  assert _evaluated(config) == [67, 89]
  config.eval_every_epochs = 0.01
  assert _evaluated(config) == list(range(1, 90))
  config.num_train_steps = 10
  config.eval_every_epochs = 3.0
  assert _evaluated(config) == [10]
  config.validation_split = ""
  assert _evaluated(config) == []


@pytest.mark.parametrize("every", [0.1, 1 / 3, 0.7, 1.0, 2.9, 17.3])
def test_the_steps_of_evaluations_are_those_of_so_many_epochs(every):
  config = _config()
  config.num_epochs, config.eval_every_epochs = 60.0, every
  last = num_train_steps(config, _Facts())
  count = math.floor(last / (1437 / 64 * every))
  listed = {math.floor(every * i * (1437 / 64)) for i in range(1, count + 1)}
  assert _evaluated(config) == sorted(listed | {last})


def test_a_run_may_be_of_any_length():
  config = _config()
  config.num_epochs, config.eval_every_epochs = 9e7, 0.5
  check_config(config, _Facts())
  steps, last = eval_steps(config, _Facts()), num_train_steps(config, _Facts())
  assert last == math.floor(9e7 * 1437 / 64)
  assert last in steps
  assert last - 1 not in steps
  assert math.floor(1437 / 64 * 10**6) in steps


def _evaluated(config):
  steps = eval_steps(config, _Facts())
  assert not [step for step in (-1, 0, 10**6) if step in steps]
  return [step for step in range(1, 2000) if step in steps]


@pytest.mark.parametrize("name", _CONFIGS)
@pytest.mark.parametrize("hue", ["sectors", "memory", "position"])
def test_every_config_passes_and_has_its_one_hot_twin(name, hue):
  config = _config(name, hue)

  @dataclass(frozen=True)
  class Facts(_Facts):
    def num_examples(self, split):
      return 50_000

  check_config(config, Facts(num_classes=config.num_classes))
  assert hue_terms(config)
  config.hue.enabled = False
  check_config(config, Facts(num_classes=config.num_classes))
  assert hue_terms(config) == {}


def test_resnet50_is_the_literatures_recipe():
  config = _config("resnet50_hue")
  assert build_model(config).stage_sizes == (3, 4, 6, 3)
  assert (config.num_epochs, config.weight_decay, config.momentum) == (90, 1e-4, 0.9)
  # 0.1 for 256 images, warm-up of 5 epochs.
  assert (config.learning_rate, config.warmup_epochs) == (0.1, 5)


@pytest.mark.parametrize(
  ("settings", "message"),
  [
    ({"model": "resnet19"}, r"model is 'resnet19'.*resnet18, resnet34.*Did you mean"),
    ({"model_options.stem": "large"}, r"stem is 'large'.*imagenet, small"),
    ({"optimizer": "adam"}, r"optimizer is 'adam'; .*sgd, adamw, lamb"),
    ({"crop": "center"}, r"crop is 'center'; .*random_resized, pad, none"),
    ({"parallel": "jit"}, r"parallel is 'jit'; .*pmap, shard_map"),
    ({"channels": 4}, r"channels is 4; .*1, 3"),
    ({"num_classes": 12}, r"num_classes is 12; it must be 10, .*'digits'"),
    ({"train_split": "training"}, r"no split 'training'.*'train', 'test'"),
    ({"test_split": ""}, r"test_split is ''; it must be a text that is not empty"),
    ({"train_split": "none"}, r"train_split is 'none', which holds no example"),
    ({"batch_size": 60}, r"batch_size is 60, which 8 devices do not.*multiple of 8"),
    ({"eval_batch_size": 12}, r"eval_batch_size is 12, which 8 devices do not"),
    ({"batch_size": 0}, r"batch_size is 0; .*integer of at least 1"),
    ({"learning_rate": 0.0}, r"learning_rate is 0.0; .*above 0"),
    ({"learning_rate": float("nan")}, r"learning_rate is nan"),
    ({"weight_decay": -1.0}, r"weight_decay is -1.0; .*at least 0"),
    ({"ema_decay": 1.0}, r"ema_decay is 1.0; .*below 1"),
    ({"label_smoothing": 1.0}, r"label_smoothing is 1.0"),
    ({"mixing": {"mixup": 0.2}, "batch_size": 8}, r"batch_size is 8, .*even number"),
    ({"train_per_class": 5, "train_fraction": 0.5}, r"train_fraction is 0.5; only one"),
    ({"num_colored_images": -1}, r"num_colored_images is -1; .*integer from 0 to 64"),
    ({"num_colored_images": 65}, r"num_colored_images is 65; .*integer from 0 to 64"),
    ({"num_train_steps": 0}, r"num_train_steps is 0; .*at least 1, or -1"),
    ({"num_epochs": 0.001}, r"num_epochs is 0.001, which makes no step"),
    ({"num_epochs": 1e9}, r"num_epochs is 1e\+09, which makes more than 2147483647"),
    ({"num_epochs": 1e308}, r"num_epochs is 1e\+308, which makes more than 2147483647"),
    ({"num_train_steps": 2**31}, r"num_train_steps is 2147483648; .* to 2147483647"),
    ({"pixel_mean": (0.1, 0.2)}, r"pixel_mean is \(0.1, 0.2\); it must be 1 value"),
    ({"pixel_std": (0.0,)}, r"pixel_std\[0\] is 0.0; .*above 0"),
    *(
      (
        {"extra_tests": {name: {"dataset": "digits", "split": "test"}}},
        rf"name of a test in extra_tests is '{name}'; .* train, validation, test\.",
      )
      for name in ("train", "validation", "test")
    ),
    *(
      (
        {"terms": {"position": {"kind": "ring_loss"}}, "hue.enabled": enabled},
        r"the name of a term in terms is 'position'; .* hue\.terms has\.",
      )
      for enabled in (True, False)
    ),
    ({"hue.terms.position.weight": -1.0}, r"hue.terms.position.weight is -1.0"),
    ({"hue.terms.position.tap": "stage5"}, r"tap is 'stage5'; .*stem, stage1, stage2"),
    ({"hue.terms.position.tap": "stage4"}, r"'stage4'.*more than one position"),
  ],
)
def test_settings_that_cannot_be_used(settings, message):
  config = _config()
  config.update_from_flattened_dict(settings)
  with pytest.raises(InputError, match=message) as caught:
    check_config(config, _Facts())
  assert "\n" not in str(caught.value)


def test_every_setting_is_declared_once():
  names = set(base.get_config())
  assert set(fields_of(Settings)) == names
  declared = [set(vars(cls).get("__annotations__", ())) for cls in Settings.__mro__]
  assert sum(map(len, declared)) == len(names)


def _refused(accepts):
  """Values that a declaration does not accept."""
  match accepts:
    case Number():
      yield from (math.nan, math.inf, "fast", None, True, (1.0,))
      yield from (accepts.at_least - 1,) if accepts.at_least is not None else ()
      yield from (accepts.at_most + 1,) if accepts.at_most is not None else ()
      yield from filter(lambda bound: bound is not None, (accepts.above, accepts.below))
    case Integer():
      yield from (0.5, "x", None, False, (1,), accepts.at_least - 1)
      yield from (accepts.at_most + 1,) if accepts.at_most is not None else ()
    case Choice():
      yield from ("nonsense", "", None, 7, ("top1",))
    case Flag():
      yield from ("perhaps", 1, None)
    case Text():
      yield from (3, ("train",), *([] if accepts.empty else [""]))
    case Several():
      yield from (0.5, "fast", (math.nan,), ("x",), None)
    case Group() | Options() | Named():
      yield from (3, "x", None, (1,))
    case _:
      raise NotImplementedError(accepts)


def _declared(cls, values, prefix=""):
  """Every setting with its declaration, and the dictionary in which it stands."""
  for name, field in fields_of(cls).items():
    accepts = field.metadata["accepts"]
    yield f"{prefix}{name}", accepts, values, name
    if isinstance(accepts, Group):
      yield from _declared(accepts.cls, values[name], f"{prefix}{name}.")


def test_every_setting_refuses_what_it_does_not_accept():
  values = _config().to_dict()
  told = 0
  for name, accepts, here, key in _declared(Settings, values):
    kept = here[key]
    for wrong in _refused(accepts):
      here[key] = wrong
      with pytest.raises(InputError) as caught:
        create(Settings, values)
      message = str(caught.value)
      assert re.match(rf"{re.escape(name)}(\[0\])? is .*; it must be .*[.?]$", message)
      told += 1
    here[key] = kept
  assert told > 200


def test_a_warm_up_of_the_whole_run_is_told():
  assert warmup_remark(0, 1) == warmup_remark(9, 10) == ""
  assert "makes 10 steps, and the run has 10" in warmup_remark(10, 10)


def test_a_plane_needs_three_channels():
  config = _config()
  config.model_options.width = 2
  config.hue.terms = base.hue_terms("position", "stem")
  with pytest.raises(InputError, match=r"'stem', which has 2 channels.*at least 3"):
    check_config(config, _Facts())


def test_an_unknown_hue_term_is_named():
  with pytest.raises(InputError, match=r"is 'color'; .* sectors, memory, position"):
    _config(hue="color")


def _in_words(default):
  if default is None or default == {}:
    return "none"
  if isinstance(default, dict):
    return ", ".join(f"{name}={value}" for name, value in default.items())
  return "empty" if default == "" else str(default)


def test_every_setting_has_its_row_with_its_default_and_what_it_accepts():
  values = base.get_config().to_dict()
  declared = {
    (name, _in_words(here[key]), str(accepts))
    for name, accepts, here, key in _declared(Settings, values)
    if not isinstance(accepts, Group)
  }
  page = Path(__file__).parents[2] / "docs" / "settings.md"
  rows = re.findall(r"^\| `(.*)` \| (.*) \| (.*) \| (.+) \|$", page.read_text(), re.M)
  told = {(name, default.strip("`"), accepts) for name, default, accepts, _ in rows}
  assert told == declared
  assert len(rows) == len(declared)
