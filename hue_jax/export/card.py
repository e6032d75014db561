"""Model cards: what a network is, how good, of what, and how to load it.

The header is YAML as Hugging Face's hub reads it; the rest is for people.
"""

import math
from typing import Any, NamedTuple

import yaml
from scipy.stats import binomtest

import hue_jax
from hue_jax.data.sources import FOLDER
from hue_jax.export.formats import FORMATS, library_of
from hue_jax.export.snippets import snippet
from hue_jax.objective import Objective
from hue_jax.pages.provenance import today
from hue_jax.train.build import build
from hue_jax.train.predictor import Predictor
from hue_jax.train.workdir import Evaluations, read_data_set, read_result

# Of data sets whose makers state one, by their names here; TFDS knows few.
_LICENSES = {
  "colorectal_histology": "CC BY 4.0",
  "digits": "CC BY 4.0 (UCI's Optical Recognition of Handwritten Digits)",
  "elpv": "CC BY-NC-SA 4.0",
  "fashion_mnist": "MIT",
  "imagenet2012": "ImageNet's terms: research and education, not commercial",
  "openclipart": "public domain (CC0 1.0)",
  "oxford_iiit_pet": "CC BY-SA 4.0",
}
_MOST_CLASSES_SHOWN = 50
_CATALOG = "tensorflow.org/datasets/catalog/"


class Accuracy(NamedTuple):
  """How many images of a split a network has right.

  Attributes:
    split: The split, in TFDS's language.
    chosen: Whether the checkpoint was chosen by this split.
    right: The images that are right.
    count: The images of the split.
  """

  split: str
  chosen: bool
  right: int
  count: int

  @property
  def interval(self) -> tuple[float, float]:
    """Wilson's interval of 95 %, of the accuracy on further images of the kind."""
    found = binomtest(self.right, self.count).proportion_ci(0.95, method="wilson")
    return float(found.low), float(found.high)

  def __str__(self):
    """Returns words with counts."""
    low, high = self.interval
    return (
      f"{100 * self.right / self.count:.2f} % [{100 * low:.2f}, {100 * high:.2f}] "
      f"({self.right:,} of {self.count:,} images of `{self.split}`)"
    )


def accuracy_of(predictor: Predictor) -> Accuracy | None:
  """Returns the test accuracy of a run's checkpoint, or else that of validation.

  Args:
    predictor: The network.

  Returns:
    The accuracy; None where no evaluation of this checkpoint is recorded.
  """
  if predictor.workdir is None:
    return None
  step, config = predictor.network.step, predictor.config
  result = read_result(predictor.workdir)
  if result.get("step") == step and result.get("test_top1") is not None:
    count = result["test_examples"]
    right = round(result["test_top1"] * count)
    return Accuracy(result["test_split"], False, right, count)
  means = Evaluations(predictor.workdir).of_step(step) or {}
  examples = read_data_set(predictor.workdir).get("examples", {})
  count = examples.get(config.validation_split)
  if not count or not math.isfinite(means.get("top1", math.nan)):
    return None
  right = round(means["top1"] * count)
  return Accuracy(config.validation_split, True, right, count)


def model_card(
  predictor: Predictor, to: str, *, license_name: str = "unknown", title: str = ""
) -> str:
  """Returns the model card of an exported network.

  Args:
    predictor: The network.
    to: The name of the format.
    license_name: The license of the weights, as Hugging Face's hub names it.
    title: The title; the network and its data if empty.

  Returns:
    Markdown with a header in YAML.
  """
  title = title or _title(predictor)
  accuracy = accuracy_of(predictor)
  header = _header(predictor, to, accuracy, license_name=license_name, title=title)
  parts = [
    f"---\n{yaml.safe_dump(header, sort_keys=False, allow_unicode=True)}---",
    f"# {title}",
    _what_it_is(predictor, to),
    "## How good it is\n\n" + _how_good(predictor, accuracy),
    "## How to load it\n\n" + _how_to_load(predictor, to),
    "## Images\n\n" + _images(predictor, to),
    "## Classes\n\n" + _classes(predictor),
  ]
  if predictor.config is not None:
    parts += [
      "## Objective\n\n" + _objective(predictor),
      "## Recipe\n\n" + _recipe(predictor.config),
    ]
  parts.append("## Data and license\n\n" + _data(predictor, license_name))
  return "\n\n".join(parts) + "\n"


# --- The header ---------------------------------------------------------------------


def _header(predictor, to, accuracy, *, license_name, title):
  library = library_of(predictor) if to == "torch" else ""
  header: dict[str, Any] = {
    "license": license_name,
    "library_name": FORMATS[to].library,
    "pipeline_tag": "image-classification",
    "tags": [
      *("image-classification", "activation-hue", "hue_jax"),
      *([library] if library else []),
      predictor.architecture,
    ],
    **({"datasets": [_data_name(predictor)]} if _may_be_on_hub(predictor) else {}),
    "metrics": ["accuracy"],
  }
  if accuracy:
    about = read_data_set(predictor.workdir)
    result = {
      "task": {"type": "image-classification", "name": "Image classification"},
      "dataset": {
        "name": about.get("name", predictor.config.dataset),
        "type": _data_name(predictor),
        "split": accuracy.split,
      },
      "metrics": [
        {
          "type": "accuracy",
          "name": "Accuracy",
          "value": round(accuracy.right / accuracy.count, 6),
        }
      ],
    }
    header["model-index"] = [{"name": title, "results": [result]}]
  return header


def _data_name(predictor):
  """Returns the data set as the hub would call it: without version and settings."""
  if predictor.config is None:
    return "imagenet-1k" if predictor.source == "published" else "unknown"
  name = read_data_set(predictor.workdir).get("name") or predictor.config.dataset
  if name.startswith(FOLDER):  # Of an older run; where it was tells others nothing.
    return "folder"
  return name.partition(":")[0].partition("/")[0]


def _may_be_on_hub(predictor):
  """Returns whether the hub may have the data set, which is no folder of pictures."""
  if predictor.config is None:
    return predictor.source == "published"
  return not predictor.config.dataset.startswith(FOLDER)


# --- For people ---------------------------------------------------------------------


def _title(predictor):
  if predictor.config is None:
    return predictor.network.name
  return f"{predictor.architecture} on {_data_name(predictor)}"


def _what_it_is(predictor, to):
  network = predictor.network
  made = f"Exported on {today()} by hue_jax {hue_jax.__version__}"
  file = f"`{FORMATS[to].file}`"
  if to == "torch":
    kind = f"{file} has the weights by the names of {library_of(predictor)}"
  elif FORMATS[to].whole:
    kind = f"{file} is the whole function from images to scores, for any batch size"
  else:
    kind = f"{file} has the weights by the names of hue_jax"
  origin = {
    "published": "with the weights that its authors published",
    "file": f"with the weights of a file ({network.name})",
    "workdir": f"as it was at step {network.step:,} of its training"
    if network.step is not None
    else "",
  }[predictor.source]
  half = ""
  if predictor.config is not None and predictor.config.half_precision:
    half = (
      " It was trained and evaluated in bfloat16 and is exported in float32: scores "
      "differ in the third digit."
    )
  return (
    f"An image classifier of {predictor.num_classes:,} classes, "
    f"`{predictor.architecture}{_options(predictor.options)}`, {origin}. {made}; "
    f"{kind}.{half}"
  )


def _how_good(predictor, accuracy):
  if accuracy is None:
    return "No evaluation of this checkpoint is recorded."
  told = f"Accuracy, with Wilson's 95 % interval over images: {accuracy}."
  if accuracy.chosen:
    return (
      f"{told} The checkpoint was chosen by this split: read it as an upper bound. It "
      "was not evaluated on a test split."
    )
  return f"{told} The interval says nothing of other seeds, which vary more or less."


def _how_to_load(predictor, to):
  library = library_of(predictor) if to == "torch" else ""
  needs = {
    "safetensors": "hue_jax[models], safetensors",
    "torch": f"torch, {library}, safetensors",
    "stablehlo": "jax",
    "tf_saved_model": "tensorflow",
  }[to]
  code = snippet(predictor, to)
  if "scores = " in code:
    code += _BEST
  meaning = predictor.classifier.meaning()
  return f"With {needs}, NumPy and Pillow:\n\n```python\n{code}```\n\n{meaning}"


_BEST = """
best = int(scores[0].argmax())
print(config["class_names"][best] if config["class_names"] else best)
"""


def _images(predictor, to):
  network = predictor.network
  size, color = network.image_size, {1: "gray", 3: "RGB"}[network.channels]
  how = {
    "random_resized": (
      f"the shorter side is resized to {round(size / network.crop_ratio)} pixels "
      f"(bicubic) and the central square of {size} cut out"
    ),
  }.get(network.crop, f"resized to {size} × {size} pixels (bicubic) where it differs")
  mean, std = (list(map(float, x)) for x in (network.pixel_mean, network.pixel_std))
  formula = f"(pixel / 255 − {mean}) / {std}"
  done = "is part of the file" if FORMATS[to].whole else "is for the caller"
  return (
    f"{color}, `uint8` [batch, {size}, {size}, {network.channels}], upright, "
    f"transparent parts on white; {how}. The normalization {formula} {done}."
  )


def _classes(predictor):
  if predictor.class_names is None:
    return f"{predictor.num_classes:,}, whose names are not known."
  names = ", ".join(str(name) for name in predictor.class_names)
  if predictor.num_classes <= _MOST_CLASSES_SHOWN:
    return f"In this order: {names}."
  count = f"{predictor.num_classes:,} classes"
  return f"<details><summary>{count}, in this order</summary>\n\n{names}\n\n</details>"


def _objective(predictor):
  objective = objective_of(predictor)
  rows = [
    "| part | λ | at | what it is |",
    "| --- | --- | --- | --- |",
    f"| classifier | 1 | head | `{objective.classifier.describe()}`: "
    f"{_first_line(objective.classifier)} |",
  ]
  rows += [
    f"| `{term.name}` | {term.weight:g}{_schedule(term)} | "
    f"{getattr(term, 'tap', None) or 'logits'} | `{term.describe()}`: "
    f"{_first_line(term)} |"
    for term in objective.terms
  ]
  described = objective.describe()
  return f"Minimized was `{described}`, where λ is the weight:\n\n" + "\n".join(rows)


def objective_of(predictor: Predictor) -> Objective:
  """Returns the objective that a run minimized; its terms have no arrays."""
  return build(predictor.config, 1, 0, abstract=True).objective


def _first_line(part):
  return " ".join((type(part).__doc__ or "").split("\n\n")[0].split())


def _schedule(term):
  return "" if term.schedule == "constant" else f", {term.schedule}"


def _recipe(config):
  length = (
    f"{config.num_epochs:g} epochs"
    if config.num_train_steps < 0
    else f"{config.num_train_steps:,} steps"
  )
  rate = config.learning_rate * config.batch_size / 256
  smaller = config.train_per_class and f"{config.train_per_class} images a class"
  augmentation = [
    f"crop {config.crop}" + (f" of {config.padding}" if config.crop == "pad" else ""),
    *(["mirror images"] if config.flip else []),
    *(
      [_group("RandAugment", config.randaugment)] if config.randaugment.num_ops else []
    ),
    *([_group("mixing", config.mixing)] if _mixes(config.mixing) else []),
    *([f"erasing {config.erase_probability:g}"] if config.erase_probability else []),
  ]
  rows = {
    "length": f"{length}, batches of {config.batch_size}",
    "training images": f"`{config.train_split}`" + (f", {smaller}" if smaller else ""),
    "optimizer": f"{config.optimizer}, weight decay {config.weight_decay:g}",
    "learning rate": f"{rate:g}, {config.schedule}, warm-up of "
    f"{config.warmup_epochs:g} epochs",
    "augmentation": ", ".join(augmentation),
    "image size": f"{config.image_size} pixels in training",
    "weights at first": config.init_from or "random",
    "moving average": f"{config.ema_decay:g}" if config.ema_decay else "none",
    "seed": config.seed,
  }
  return "| setting | value |\n| --- | --- |\n" + "\n".join(
    f"| {name} | {value} |" for name, value in rows.items()
  )


def _mixes(mixing):
  return bool(mixing.mixup or mixing.cutmix)


def _group(name, values):
  told = ", ".join(f"{key} {value:g}" for key, value in sorted(values.items()))
  return f"{name} ({told})"


def _data(predictor, license_name):
  weights = f"License of the weights: {license_name}."
  if predictor.config is None:
    if predictor.source == "published":
      return f"Trained on ImageNet by its authors. {weights}"
    return f"What it was trained on is not known here. {weights}"
  about, base = read_data_set(predictor.workdir), _data_name(predictor)
  license_ = about.get("license") or _LICENSES.get(base)
  told = [f"Data set `{about.get('name') or predictor.config.dataset}`."]
  told += [about["description"]] if about.get("description") else []
  # TFDS names a page of its catalog for data sets without a home, local ones, too.
  home = about.get("homepage", "")
  told += [f"Home: {home}."] if home and _CATALOG not in home else []
  told.append(f"License of the data: {license_ or 'not known here'}.")
  return " ".join(told) + f"\n\n{weights}"


def _options(options):
  told = ", ".join(f"{name}={value}" for name, value in sorted(options.items()))
  return f"({told})" if told else ""
