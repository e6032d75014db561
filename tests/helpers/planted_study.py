"""Studies whose runs are made up, with gains that are known."""

import json

import numpy as np

from hue_jax.compare import run_records
from hue_jax.compare.run_records import Job

OBSERVED = {"knn_accuracy": ("stage1", "features")}
# What networks have on the test split beyond the validation split: which of them was
# read can be told.
TEST_GAIN = 0.02
CORRUPTIONS = ("noise", "blur", "contrast", "brightness", "pixelation", "translation")


def settings_of(objectives, *, title="planted", read_test=True, num_seeds=6, **others):
  """Settings of a study, with what analysis and report ask for."""
  return {
    "title": title,
    "dataset": "fashion_mnist",
    "image_size": 28,
    "batch_size": 50,
    "num_epochs": 30.0,
    "train_per_class": 50,
    "model": "resnet8",
    "model_options": {"stem": "small", "width": 8},
    "read_test": read_test,
    "baseline": "one_hot",
    "contrasts": [],
    "first_seed": 3,
    "num_seeds": num_seeds,
    "objectives": {"one_hot": {}, **objectives},
    **others,
  }


def write_study(folder, settings, gains, *, spread=0.002, full=True):
  """A workdir whose objectives gain so much over the baseline, up to a spread.

  Args:
    folder: of the study.
    settings: of `settings_of`.
    gains: objective → gain in accuracy; 0 of those that are not named.
    spread: standard deviation of the gain of one seed.
    full: whether corruptions, attacks and observations were measured, of all seeds
      but the last.
  """
  folder.mkdir(parents=True, exist_ok=True)
  (folder / "study.json").write_text(json.dumps(settings))
  rng = np.random.default_rng(0)
  for seed in range(
    settings["first_seed"], settings["first_seed"] + settings["num_seeds"]
  ):
    level = 0.75 + 0.01 * rng.normal()
    for name, objective in settings["objectives"].items():
      noise = spread * rng.normal() if name != settings["baseline"] else 0
      of_validation = level + gains.get(name, 0) + noise
      validation = _of_predictions(of_validation)
      accuracy = of_validation + TEST_GAIN
      test = {
        **_of_predictions(accuracy),
        "mistake_distance": 0.6,
        "knn_accuracy": accuracy - 0.01,
      }
      if full and seed < settings["first_seed"] + settings["num_seeds"] - 1:
        test["corruption_accuracy"] = {
          kind: [accuracy - 0.02 * severity for severity in range(1, 6)]
          for kind in CORRUPTIONS
        }
        test["attack_accuracy"] = {
          kind: {"1/255": accuracy - 0.1, "2/255": accuracy - 0.2}
          for kind in ("fgsm", "pgd")
        }
        test["observations"] = {
          statistic: {tap: accuracy / 2 for tap in taps}
          for statistic, taps in OBSERVED.items()
        }
      if name == "cosines":
        for measured in (validation, test):
          del measured["nll"], measured["ece"]
      job = Job(name, objective, seed)
      run_records.append(
        folder / run_records.FILE,
        {
          "objective": name,
          "describe": f"cross_entropy of {name}",
          "seed": seed,
          "fingerprint": run_records.fingerprint(settings, job),
          "code": "0.1.0+abc",
          "device": "cpu",
          "settings": {},
          "steps": 300,
          "curve": {
            "step": [100, 200, 300],
            "accuracy": [of_validation - behind for behind in (0.1, 0.05, 0)],
            "train_loss": [1.0, 0.5, 0.3],
          },
          "validation": validation,
          **({"test": test} if settings["read_test"] else {}),
          "train_seconds": 10.0,
          "seconds": 12.0,
          "ended": 1.8e9,
        },
      )
  return folder


def _of_predictions(accuracy):
  return {"accuracy": accuracy, "nll": 1.5 - accuracy, "ece": 0.05}
