"""The page of tasks and networks says what the code says, and the counts are right."""

import importlib.util
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from configs import recipes, tasks
from hue_jax.models import model_names

_ROOT = Path(__file__).resolve().parents[2]
_PAGE = (_ROOT / "docs" / "tasks_and_networks.md").read_text(encoding="utf-8")


def _load_command():
  path = _ROOT / "benchmarks" / "networks.py"
  spec = importlib.util.spec_from_file_location("networks_command", path)
  module = importlib.util.module_from_spec(spec)
  spec.loader.exec_module(module)
  return module


networks = _load_command()


def _rows(section):
  """First cell of each row of a section's first table → all cells."""
  text = re.search(rf"^## {section}\n(.*?)(?=^## |\Z)", _PAGE, re.M | re.S)[1]
  table = re.search(r"(?:^\|.*\n)+", text, re.M)[0].splitlines()[2:]
  rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in table]
  return {cells[0].strip("`"): cells for cells in rows}


# --- Counting ---------------------------------------------------------------------


def test_multiply_adds_of_convolutions_and_products_by_hand():
  def convolve(groups):
    return lambda x, kernel: jax.lax.conv_general_dilated(
      x,
      kernel,
      (2, 2),
      "SAME",
      dimension_numbers=("NHWC", "HWIO", "NHWC"),
      feature_group_count=groups,
    )

  def counted(function, *shapes):
    arrays = [jax.ShapeDtypeStruct(shape, jnp.float32) for shape in shapes]
    return networks.multiply_adds(jax.make_jaxpr(function)(*arrays).jaxpr)

  # 4 × 3 positions, kernels of 3 × 5, from 6 channels to 10.
  image = (1, 8, 6, 6)
  assert counted(convolve(1), image, (3, 5, 6, 10)) == 4 * 3 * 3 * 5 * 6 * 10
  assert counted(convolve(2), image, (3, 5, 3, 10)) == 4 * 3 * 3 * 5 * 3 * 10
  assert counted(convolve(6), image, (3, 5, 1, 6)) == 4 * 3 * 3 * 5 * 6
  assert counted(jax.jit(jnp.matmul), (7, 2, 3), (7, 3, 5)) == 7 * 2 * 3 * 5

  def on_some_platform(x, y):
    return jax.lax.platform_dependent(x, y, cpu=jnp.matmul, default=lambda x, y: x @ y)

  assert counted(on_some_platform, (7, 2, 3), (7, 3, 5)) == 7 * 2 * 3 * 5


# As torchvision publishes them.
@pytest.mark.slow
@pytest.mark.parametrize(
  ("name", "size", "expected"),
  [
    ("resnet50", None, 4.089),
    ("efficientnet_b0", None, 0.386),
    ("inception_v3", None, 5.713),
  ],
)
def test_multiply_adds_are_the_published_ones(name, size, expected):
  assert round(networks.count(name, size).multiply_adds / 1e9, 3) == expected


def test_flops_of_xla_are_two_a_multiply_add_but_for_padding_and_elements():
  counted = networks.count("resnet20")
  assert counted.parameters == 272_474
  # Of 32 positions a 3 × 3 convolution leaves out 2 of 96 rows, and of 8, 2 of 24.
  assert 0.85 < counted.flops / (2 * counted.multiply_adds) < 0.95
  plain = networks.count("vit_ti16")  # no padding: the elements are added
  assert 1.0 < plain.flops / (2 * plain.multiply_adds) < 1.1


def test_taps_of_one_shape_share_it():
  taps = {"stem": (8, 8, 4), "stage1": (8, 8, 4), "stage2": (4, 4, 8), "features": (8,)}
  assert networks.described_taps(taps) == "stem, stage1 8×8×4; stage2 4×4×8; features 8"


# --- The page ----------------------------------------------------------------------


def test_the_page_names_every_network_and_recipe():
  assert networks.HEADER in _PAGE
  assert tuple(_rows("Networks")) == model_names()
  assert tuple(_rows("Recipes")) == tuple(recipes.RECIPES)


@pytest.mark.parametrize(
  "name",
  ["resnet8", "resnet18", "efficientnet_lite0", "vgg16", "vit_s16"],
)
def test_the_page_has_what_the_command_prints(name):
  printed = [cell.strip() for cell in _printed(name).strip("|").split("|")]
  written = _rows("Networks")[name]
  flops = networks.HEADER.split("|")[1:-1].index(" FLOPs, 10⁹ ")
  # Another version of XLA may count single elements otherwise.
  assert float(written.pop(flops)) == pytest.approx(float(printed.pop(flops)), rel=0.02)
  assert written == printed


def _printed(name):
  return networks.table_row(networks.count(name))


def test_the_page_has_the_tasks_of_the_code():
  rows = _rows("Tasks")
  assert tuple(rows) == tuple(tasks.TASKS)
  for name, task in tasks.TASKS.items():
    assert rows[name] == [
      f"`{name}`",
      task.title,
      f"`{task.dataset}`",
      *(f"`{split}`" for split in (task.train, task.validation, task.test)),
      str(task.num_classes or "its"),
      f"{task.image_size}{' gray' if task.channels == 1 else ''}",
      task.metric,
      f"`{task.recipe}`",
      "yes" if task.flip else "no",
      _where_from(task),
    ]


def _where_from(task):
  if task.dataset == "digits":
    return "embedded"
  if "hue_jax.data.prepare" in task.prepare:
    return "prepare"
  return "by hand" if task.prepare else "tfds build"
