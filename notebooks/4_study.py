# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# [![Open in Colab](https://colab.research.google.com/assets/colab-badge.svg)](https://colab.research.google.com/github/OWNER_NOT_NAMED_YET/hue_jax/blob/main/notebooks/4_study.ipynb)

# %%
# Installs hue_jax where it is not, from its repository. What is here keeps its version.
import importlib.util


class NotInstalled(Exception):
  def _render_traceback_(self):  # a line, in place of IPython's pages
    return [str(self)]


def install(repository, checkout="hue_jax_checkout"):
  import os
  import subprocess
  import sys

  def run(*command):
    variables = {**os.environ, "GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(
      command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=variables
    )
    if done.returncode:
      why = (done.stderr.strip() or command[0]).splitlines()[-1]
      raise NotInstalled(f"hue_jax was not installed from {repository}: {why}")
    return done.stdout

  print("Installing hue_jax: a minute or two.")
  if not os.path.isdir(checkout):
    run("git", "clone", "-q", "--depth=1", repository, checkout)
  pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
  with open("installed.txt", "w") as file:
    file.write(run(*pip, "list", "--format=freeze"))
  run(*pip, "install", "-q", "-c", "installed.txt", "-e", f"./{checkout}[notebooks]")
  sys.path.insert(0, os.path.abspath(checkout))
  # Colab's protobuf is older than what its tensorflow-metadata was made with.
  os.environ.setdefault("TEMPORARILY_DISABLE_PROTOBUF_VERSION_CHECK", "true")


if importlib.util.find_spec("hue_jax") is None:
  install("https://github.com/OWNER_NOT_NAMED_YET/hue_jax")

# %% [markdown]
# # 4. A small paired study, and how to read it
#
# One training with a loss and one without say nothing: another seed moves the accuracy
# by more than most losses do. A *paired study* trains every objective with the same
# seeds. Of one seed all objectives start from the same weights and see the same
# training images in the same order, augmented alike, so that the difference of a pair
# is the objective's own, and a few pairs give an interval.
#
# Here: ten handwritten digits of each class, a ResNet-8 of width 8, twelve seeds, three
# objectives. It is kept small to take a minute or two; the studies that this project
# answers by have more seeds, images and objectives.

# %%
import sys
from pathlib import Path

import jax
import matplotlib.pyplot as plt
import numpy as np
from sklearn.datasets import load_digits

import hue_jax
from hue_jax.compare.analysis import analyze
from hue_jax.compare.statistics import t_interval
from hue_jax.compare.study import run_study
from hue_jax.compare.task import ArrayTask, Examples, write_task

checkout = Path(hue_jax.__file__).parents[1]  # configs/ lies there
if not (checkout / "configs").exists():
  raise SystemExit(f"configs/ is not in {checkout}: install hue_jax from a checkout.")
sys.path.insert(0, str(checkout))
from configs import compare_base

print(f"hue_jax {hue_jax.__version__}, JAX {jax.__version__}, {jax.default_backend()}")

# %% [markdown]
# ## The study
#
# Any arrays make a task: training images to draw from, validation images to choose by,
# and test images that are read once. The objectives are fixed before the test images
# are read: cross entropy (`one_hot`), label smoothing, and the hue loss, which
# here asks that activations of one class agree at the same angle of the image plane
# (at `stage3`, the last layer that is a plane, in 8 sectors; the studies' form has two
# rings besides).

# %%
pixels, labels = load_digits(return_X_y=True)
images = np.round(pixels * (255 / 16)).astype(np.uint8).reshape(-1, 8, 8, 1)
order = np.random.default_rng(0).permutation(len(labels))
parts = np.split(order, [1000, 1200])  # train, validation, test
task = ArrayTask(
  "digits", tuple("0123456789"), *(Examples(images[p], labels[p]) for p in parts)
)

config = compare_base.get_config()
config.title = "ten digits a class"
config.dataset, config.image_size, config.padding = "digits", 8, 1
config.flip = False
config.train_per_class, config.batch_size, config.num_epochs = 10, 20, 20.0
config.num_seeds = 12
for name in ("corrupted_images", "attacked_images", "observed_images_per_class"):
  config.measures[name] = 0
settings = config.to_dict()
settings["measures"]["knn"] = False
hue = {
  "kind": "angular_consistency",
  "tap": "stage3",
  "weight": 0.3,
  "sectors": 8,
  "temperature": 0.1,
}
settings["objectives"] = {
  "one_hot": {},
  "smoothing": {"label_smoothing": 0.1},
  "hue": {"terms": {"hue": hue}},
}

write_task(task, settings, "study")
runs = run_study(settings, "study", workers=1)
print(f"{len(runs)} trainings")

# %% [markdown]
# ## Pairs
#
# Each line is a seed. Where lines run alike from left to right, the objective does
# something whatever the seed; where they cross, seeds decide. The spread of the points
# over one objective is what a single training leaves to chance.

# %%
objectives = list(settings["objectives"])
found = {name: [] for name in objectives}
for record in runs:
  found[record["objective"]].append(100 * record["test"]["accuracy"])
accuracy = np.array(list(found.values()))
figure, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
axis.plot(objectives, accuracy, "o-", color="0.6", lw=1, ms=4)
axis.plot(objectives, accuracy.mean(axis=1), "_", color="black", ms=36, mew=3)
axis.set(ylabel="test accuracy, %", xlim=(-0.4, len(objectives) - 0.6))
axis.set_title("twelve seeds; bars: means")
plt.show()
for name, values in zip(objectives, accuracy, strict=True):
  spread = values.std(ddof=1)
  print(f"{name:10} mean {values.mean():.2f} %, standard deviation {spread:.2f} points")

# %% [markdown]
# ## Intervals
#
# The gain of an objective is the mean of its paired differences from `one_hot`. The 95
# % interval says which gains the seeds are compatible with (Student's t over the pairs;
# `analyze` also resamples them). How to read it:
#
# - It lies above 0: the objective helped here. Below: it hurt.
# - It holds 0: the study does not tell. That is not "no effect": look at its width. The
#   *smallest gain* is what a study of this spread and size would have shown with a
#   chance of 80 %; effects below it cannot be expected to show.
# - Two objectives are looked at, so that one of twenty such pairs of intervals misses 0
#   by chance more often than one alone would: `p` is corrected for that (Holm).


# %%
def verdict(low, high):
  return "helped" if low > 0 else "hurt" if high < 0 else "not settled"


study = analyze("study")
for contrast in study.contrasts:
  gain = contrast.test
  low, high = gain.paired.t_interval
  print(
    f"{contrast.title}: {gain.paired.mean:+.2f} points [{low:+.2f}, {high:+.2f}]: "
    f"{verdict(low, high)}; p {gain.t_p:.2f}; better with {gain.paired.higher} of "
    f"{gain.paired.count} seeds; smallest gain {contrast.errors.smallest_gain:.2f}"
  )

figure, axis = plt.subplots(figsize=(8, 3), layout="constrained")
axis.axvline(0, color="0.7", lw=1)
ticks = []
for row, contrast in enumerate(study.contrasts):
  ours = accuracy[objectives.index(contrast.objective)]
  differences = ours - accuracy[0]
  # What the same numbers say if pairs are torn apart (Welch's standard error).
  reach = 2.07 * np.sqrt((ours.var(ddof=1) + accuracy[0].var(ddof=1)) / len(ours))
  torn = differences.mean() + np.array([-reach, reach])
  paired = contrast.test.paired
  for place, (low, high), color, label in (
    (0.0, paired.t_interval, "black", "95 % interval, paired"),
    (0.25, paired.bootstrap_interval, "tab:blue", "the same, by bootstrap"),
    (0.5, torn, "tab:red", "pairs torn apart"),
  ):
    label = label if row == 0 else None
    axis.plot([low, high], [-row - place] * 2, color=color, lw=2.5, label=label)
  axis.plot(differences, np.full(len(differences), -row + 0.2), "o", color="0.6", ms=4)
  axis.plot(paired.mean, -row, "D", color="black", ms=6)
  ticks.append(contrast.objective)
axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
axis.set_yticks(-np.arange(len(ticks)), ticks)
axis.set(xlabel="gain over one_hot, points of test accuracy (dots: seeds)")
plt.show()

# %% [markdown]
# ## Do not stop when it looks good
#
# The interval after 2, 3, … 12 seeds. Those who stop at the first interval that misses
# 0 find an effect too often; the number of seeds is chosen before the first.

# %%
figure, axes = plt.subplots(
  1, 2, figsize=(9, 3), sharex=True, sharey=True, layout="constrained"
)
counts = np.arange(2, len(study.seeds) + 1)
for axis, contrast in zip(axes, study.contrasts, strict=True):
  differences = accuracy[objectives.index(contrast.objective)] - accuracy[0]
  low, high = np.transpose([t_interval(differences[:count]) for count in counts])
  axis.fill_between(counts, low, high, alpha=0.25)
  axis.plot(counts, [differences[:count].mean() for count in counts], "o-", ms=4)
  axis.axhline(0, color="0.5", lw=1)
  axis.set(title=contrast.title, xlabel="seeds", ylim=(-8, 8))
axes[0].set_ylabel("gain, points")
plt.show()

# %% [markdown]
# What the large studies found, with every objective tuned by the same budget, stands in
# `docs/effect.md`. On 8 × 8 digits the hue loss does not help; at the layer that it
# looks at here it does no harm there either, in trainings of six times this length with
# tuned rates. The same study of your own images takes one command, and its report has
# learning curves, calibration, corruptions and more:
#
# ```bash
# python -m hue_jax.compare --config=configs/compare.py:fashion_50 --workdir=runs/study
# ```
