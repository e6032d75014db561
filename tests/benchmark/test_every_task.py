"""Every task of TFDS with two networks, on mocked examples in their features."""

import pytest

from configs import tasks
from hue_jax.models import efficientnet
from tests.helpers.mock_tasks import OF_TFDS, split_names, write_mocked
from tests.helpers.short_run import check_short_run


@pytest.fixture
def shortened(monkeypatch):
  """EfficientNet with one block of each stage: what is long is to compile."""
  stages = tuple(stage._replace(repeats=1) for stage in efficientnet.STAGES)
  monkeypatch.setattr(efficientnet, "STAGES", stages)


@pytest.mark.slow
@pytest.mark.parametrize("network", ["resnet18", "efficientnet_b0"])
@pytest.mark.parametrize("name", OF_TFDS)
def test_every_task_trains_evaluates_and_saves(name, network, tmp_path, request):
  task = tasks.TASKS[name]
  write_mocked(task.dataset, str(tmp_path), split_names(task))
  for dataset, split in task.extra_tests.values():
    write_mocked(dataset, str(tmp_path), {split})
  options = {}
  if name != "imagenet":  # which takes the whole networks
    request.getfixturevalue("shortened")
    options = {"width": 16} if network == "resnet18" else {}
  # Photographs smaller than they are trained.
  names = f"{name},{network},hue,size={min(task.image_size, 32)}"
  check_short_run(names, tmp_path, tmp_path / "run", **options)
