"""Every task of TFDS, on mocked examples in their features, with the source's networks.

A task says what the images and classes are, a network what is made of them: each task
is tried with a narrow ResNet-18, and EfficientNet-B0 on one task in gray and ImageNet,
both with one block a stage: what is long is to compile.
"""

import pytest

from configs import tasks
from hue_jax.models import efficientnet, registry
from tests.helpers.mock_tasks import OF_TFDS, split_names, write_mocked
from tests.helpers.short_run import check_short_run

_CASES = [
  *((name, "resnet18") for name in OF_TFDS),
  *((name, "efficientnet_b0") for name in ("mnist", "imagenet")),
]


@pytest.fixture
def shortened(monkeypatch):
  """ResNet-18 and EfficientNet with one block of each stage."""
  module, options = registry._MODELS["resnet18"]
  one_each = (module, options | {"stage_sizes": (1, 1, 1, 1)})
  monkeypatch.setitem(registry._MODELS, "resnet18", one_each)
  stages = tuple(stage._replace(repeats=1) for stage in efficientnet.STAGES)
  monkeypatch.setattr(efficientnet, "STAGES", stages)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "network"), _CASES)
def test_every_task_trains_evaluates_and_saves(name, network, tmp_path, shortened):
  task = tasks.TASKS[name]
  write_mocked(task.dataset, str(tmp_path), split_names(task))
  for dataset, split in task.extra_tests.values():
    write_mocked(dataset, str(tmp_path), {split})
  options = {"width": 16} if network == "resnet18" else {}
  # Photographs smaller than they are trained.
  names = f"{name},{network},hue,size={min(task.image_size, 32)}"
  check_short_run(names, tmp_path, tmp_path / "run", **options)
