"""Does the hue loss help larger networks? A study in blocks of minutes, for a GPU.

    python benchmarks/gpu_study.py --arrays=FILE.npz --workdir=DIR [--network=resnet50]
      [--minutes=9] [--seeds=10] [--seeds_at_once=5] [--epochs=100] [--batch_size=128]

FILE.npz holds uint8 images and integer labels: train_images, train_labels,
validation_images, validation_labels, test_images, test_labels; the `data.npz` of a
study's workdir is one. The objectives are one-hot, label smoothing, MaxSup, the hue
loss, and the hue loss with label smoothing; the network is as wide as it was published,
and its stem or patches are those of the images' size.

It needs JAX 0.6.2, Flax 0.10.6, or newer ones, Optax, NumPy, SciPy, jaxtyping and tqdm,
and no TensorFlow, clu or ml_collections. It ends after the minutes, whatever it does;
the same command goes on with the runs that are missing. What is in `runs.jsonl` is
reported by `python -m hue_jax.compare --mode=report --studies=DIR --workdir=REPORT`.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import jax
import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks import common
from hue_jax import command
from hue_jax.compare import run_records
from hue_jax.compare.study import run_study
from hue_jax.compare.task import FILE, SPLITS, ArrayTask, Examples, write_task
from hue_jax.compiled import keep_compiled
from hue_jax.errors import check_name
from hue_jax.models import create_model, model_names, tap_shapes
from hue_jax.models.sizes import last_plane, options_for_size

# The angular consistency loss that the first studies chose (docs/effect.md).
_HUE = {
  "kind": "angular_consistency",
  "weight": 0.3,
  "sectors": 8,
  "rings": 2,
  "temperature": 0.1,
}


def main(argv=None):
  """Prints how many runs are there, and how many are missing."""
  arguments = _arguments(argv)
  keep_compiled()
  task = read_arrays(arguments.arrays)
  settings = settings_of(arguments, task)
  if not (Path(arguments.workdir) / FILE).exists():
    write_task(task, settings, arguments.workdir)
  with common.within(arguments.minutes):  # finished runs are on the disk
    run_study(settings, arguments.workdir, workers=1)
  path = Path(arguments.workdir) / run_records.STUDY_FILE
  found = run_records.read(path.with_name(run_records.FILE))
  left = len(settings["objectives"]) * arguments.seeds  # unless the study began
  if path.exists():
    left = len(run_records.missing(json.loads(path.read_text()), found))
  result = {
    "network": arguments.network,
    "device": jax.devices()[0].device_kind,
    "runs": len(found),
    "missing": left,
  }
  print(json.dumps(result))
  return result


def read_arrays(path: str) -> ArrayTask:
  """Returns the task that an .npz file holds, named by what it holds.

  The name is that of the data set, of a study's file, or of the file, with a digest of
  the arrays: files of one name are not one data set.
  """
  with np.load(path, allow_pickle=False) as arrays:
    wanted = [f"{split}_{of}" for split in SPLITS for of in ("images", "labels")]
    if absent := [name for name in wanted if name not in arrays.files]:
      sys.exit(f"error: {path} lacks {', '.join(absent)}.")
    splits, digest = {}, hashlib.sha256()
    for split in SPLITS:
      images = arrays[f"{split}_images"]
      if images.dtype != np.uint8 or images.ndim not in (3, 4):
        sys.exit(
          f"error: {split}_images of {path} is {images.dtype}{list(images.shape)}; "
          "uint8 [examples, height, width, channels] is needed."
        )
      images = images[..., None] if images.ndim == 3 else images
      labels = arrays[f"{split}_labels"].ravel().astype(int)
      splits[split] = Examples(images, labels)
      digest.update(images.tobytes() + labels.tobytes())
    count = 1 + max(int(one.labels.max()) for one in splits.values())
    names = [str(c) for c in range(count)]
    if "class_names" in arrays.files:
      names = [str(name) for name in arrays["class_names"]]
    name = str(arrays["identity"][0]) if "identity" in arrays.files else Path(path).stem
  return ArrayTask(f"{name}_{digest.hexdigest()[:8]}", tuple(names), **splits)


def settings_of(arguments: argparse.Namespace, task: ArrayTask) -> dict:
  """Returns the settings of the study."""
  size, _, channels = task.image_shape
  pixels = task.train.images / 255
  check_name("--network", arguments.network, model_names())
  options = options_for_size(arguments.network, size)
  if arguments.width:
    options["width"] = arguments.width
  else:
    options.pop("width", None)
  model = create_model(arguments.network, num_classes=task.num_classes, **options)
  tap = last_plane(arguments.network, tap_shapes(model, task.image_shape), size)
  hue = {"hue": {**_HUE, "tap": tap}}
  return {
    "title": f"{task.name}, {arguments.network}",
    "dataset": task.name,
    "train_split": "train",
    "validation_split": "validation",
    "test_split": "test",
    "read_test": True,
    "train_per_class": 0,
    "image_size": size,
    "channels": channels,
    "padding": max(size // 8, 1),
    "flip": arguments.flip,
    "pixel_mean": tuple(np.round(pixels.mean((0, 1, 2)), 4).tolist()),
    "pixel_std": tuple(np.round(pixels.std((0, 1, 2)), 4).tolist()),
    "hierarchy": {},
    "model": arguments.network,
    "model_options": options,
    "optimizer": "sgd",
    "learning_rate": 0.1,
    "momentum": 0.9,
    "weight_decay": 5e-4,
    "gradient_clip_norm": 0.0,
    "warmup_epochs": min(5.0, arguments.epochs / 10),
    "num_epochs": arguments.epochs,
    "batch_size": arguments.batch_size,
    "num_evaluations": 5,
    "curve_images": 1000,
    "objectives": {
      "one_hot": {},
      "smoothing": {"label_smoothing": 0.1},
      "max_suppression": {
        "terms": {"largest": {"kind": "max_suppression", "weight": 0.1}}
      },
      "hue": {"terms": hue},
      "hue_smoothing": {"terms": hue, "label_smoothing": 0.1},
    },
    "baseline": "one_hot",
    "contrasts": (
      ("hue", "smoothing"),
      ("hue", "max_suppression"),
      ("hue_smoothing", "smoothing"),
    ),
    "first_seed": 0,
    "num_seeds": arguments.seeds,
    "seeds_at_once": arguments.seeds_at_once,
    "measures": {
      "num_seeds": 0,
      "knn": False,
      "corrupted_images": 0,
      "attacked_images": 0,
      "attack_epsilons": (2.0,),
      "observed_images_per_class": 0,
    },
    "cost": {
      "model": arguments.network,
      "model_options": {},
      "num_classes": task.num_classes,
      "image_size": size,
      "batch_size": arguments.batch_size,
      "repeats": 25,
    },
    "workers": 1,
  }


def _arguments(argv):
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("--arrays", required=True, help="the .npz file")
  parser.add_argument("--workdir", required=True, help="the folder of the study")
  parser.add_argument("--network", default="resnet18", help="the name of a network")
  parser.add_argument("--width", type=int, default=0, help="0: as published")
  parser.add_argument("--minutes", type=float, default=9, help="after which it ends")
  parser.add_argument("--seeds", type=int, default=10, help="of each objective")
  parser.add_argument("--seeds_at_once", type=int, default=5, help="in one program")
  parser.add_argument("--epochs", type=float, default=100.0, help="of a training")
  parser.add_argument("--batch_size", type=int, default=128, help="of a step")
  parser.add_argument(
    "--flip", action=argparse.BooleanOptionalAction, default=True, help="mirror images"
  )
  return parser.parse_args(argv)


if __name__ == "__main__":
  sys.exit(command.run(main))
