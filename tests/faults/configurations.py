"""Configurations of which some settings are others: two steps, or one clear error."""

import json
import math
import random
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from configs import digits_hue
from hue_jax.errors import Stopped
from hue_jax.objective import CLASSIFIERS, TERMS
from hue_jax.train.optimizer import LEARNING_RATE_SCHEDULES, OPTIMIZERS
from tests.faults.runs import Count
from tests.helpers import processes

# Configurations that one process tries: what it compiled is of use to the next.
_AT_ONCE = 25

_ANYTHING = (
  *("", "much", "é", None, True, -1, 0, 1, 1.5, 1e300, math.nan, math.inf, -math.inf),
  *((), (1,), ("a",), {}, {"x": 1}, [0.5]),
)
_TAPS = ("stem", "stage1", "stage2", "stage3", "features", "stage9")

# What a user may mean, some of it in vain. Sizes are small: time is spent on them.
_PLAUSIBLE = {
  "seed": (7, 2**32 - 1, 2**32),
  "train_per_class": (1, 3, 10**6),
  "train_fraction": (0.01, 0.5),
  "train_split": ("train[:20]", "test", "training", "train[50%:"),
  "validation_split": ("", "test", "train[:1]", "dev"),
  "test_split": ("train[:3]", "test[:0]"),
  "num_classes": (0, 3, 10, 11),
  "image_size": (1, 3, 16, 17),
  "channels": (0, 1, 2, 3),
  "crop": ("pad", "random_resized", "none", "center"),
  "padding": (0, 1, 8, 9),
  "flip": (True,),
  "repeats": (2, 5),
  "randaugment.num_ops": (1, 2),
  "randaugment.magnitude": (0.5, 9.0),
  "erase_probability": (0.25, 1.0),
  "mixing.mixup": (0.2, 1.0),
  "mixing.cutmix": (1.0,),
  "mixing.probability": (0.0, 0.5),
  "eval_image_size": (4, 9),
  "eval_crop_ratio": (0.1, 1.0),
  "pixel_mean": ((0.1, 0.2, 0.3), (0.0,), ()),
  "pixel_std": ((0.0,), (1e-3,), (1.0, 1.0)),
  "metric": ("mean_per_class", "top5"),
  "model": ("resnet8", "resnet14", "resnet9"),
  "model_options.width": (1, 2, 8),
  "model_options.stem": ("imagenet", "small", "none"),
  "init_from": ("nowhere.pth", "efficientnet_lite0"),
  "half_precision": (True,),
  "sync_batch_norm": (False,),
  "classifier.kind": (*CLASSIFIERS, "none"),
  "label_smoothing": (0.1, 1.0),
  "hue.enabled": (False,),
  "hue.terms.sectors.tap": _TAPS,
  "hue.terms.sectors.kind": (*TERMS, "hue"),
  "hue.terms.sectors.weight": (0, 1e-9, 100.0, -1),
  "hue.terms.sectors.sectors": (1, 3, 64),
  "hue.terms.sectors.temperature": (0.001, 10),
  "optimizer": OPTIMIZERS,
  "learning_rate": (0.0, 1e-6, 10.0, 1e9),
  "momentum": (0.0, 0.999),
  "weight_decay": (0.0, 0.5),
  "gradient_clip_norm": (1e-3, 1.0),
  "layer_decay": (0.5,),
  "schedule": LEARNING_RATE_SCHEDULES,
  "warmup_epochs": (0.0, 1e6),
  "batch_size": (1, 2, 7, 32, 500),
  "eval_batch_size": (1, 5),
  "ema_decay": (0.5, 0.9999),
  "parallel": ("pmap", "shard_map", "none"),
  "log_every_steps": (1, 2),
  "eval_every_epochs": (0.001, 0.5),
  "num_colored_images": (1, 5, 64),
  "checkpoint_every_steps": (1, 2),
  "keep_checkpoints": (1, 5),
}


def fuzzed(folder: Path, number: int, seed: int) -> Count:
  """Trains fuzzed configurations for two steps.

  Args:
    folder: A folder for data and workdirs.
    number: How many to try.
    seed: The seed of what is changed.
  """
  count = Count("fuzzed configuration")
  for first in range(0, number, _AT_ONCE):
    seeds = [seed + each for each in range(first, min(number, first + _AT_ONCE))]
    run = processes.start(folder / f"fuzzed_{first}", [], call=_Trials(folder, seeds))
    status = run.status()
    outcomes = run.outcomes()
    for outcome in outcomes:
      wrong = f"{outcome['changed']}: {outcome['line']}"
      count.threw(outcome["word"], wrong if outcome["word"] == "lost" else "")
    if len(outcomes) < len(seeds):
      changed = changes(random.Random(seeds[len(outcomes)]))
      count.threw("lost", f"{changed}: the process ended with {status}")
  return count


def changes(rng: random.Random) -> dict[str, Any]:
  """Returns some settings with other values, by their names."""
  names = rng.sample(sorted(_PLAUSIBLE), rng.randint(1, 4))
  return {
    name: rng.choice(_ANYTHING if rng.random() < 0.25 else _PLAUSIBLE[name])
    for name in names
  }


class _Trials:
  """Trains configurations one after the other, and prints what became of each."""

  def __init__(self, folder: Path, seeds: Sequence[int]):
    self._folder, self._seeds = folder, seeds

  def __call__(self):
    for seed in self._seeds:
      changed = changes(random.Random(seed))
      word, line = self._tried(changed, self._folder / f"fuzzed_run_{seed}")
      told = {"word": word, "line": line, "changed": repr(changed)}
      print(json.dumps(told), flush=True)

  def _tried(self, changed, workdir):
    # It takes long to import, and the process in which this is has done so.
    from hue_jax.train import loop

    config = _config(self._folder / "data", changed)
    try:
      result = loop.train(config, str(workdir))
    except Stopped as stopped:
      line = str(stopped)
      return ("refused", line) if len(line) < 2000 else ("lost", f"too long: {line}")
    except Exception as error:
      return "lost", f"{type(error).__name__}: {str(error)[:300]}"
    finally:
      shutil.rmtree(workdir, ignore_errors=True)
    return ("trained", "") if result["step"] == 2 else ("lost", "it has no two steps")


def _config(data_dir: Path, changed: Mapping[str, Any]):
  config = digits_hue.get_config()
  config.data_dir = str(data_dir)
  config.model = "resnet8"
  config.model_options.width = 2
  config.train_split, config.validation_split = "train[:64]", "train[64:80]"
  config.test_split = "test[:16]"
  config.batch_size = 8
  config.num_train_steps = 2
  config.num_colored_images = 0
  config.log_every_steps = 1
  with config.unlocked(), config.ignore_type():
    for name, value in changed.items():
      *groups, last = name.split(".")
      place = config
      for group in groups:
        place = place[group]
      place[last] = value
  return config
