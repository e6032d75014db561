"""Every kind of network on one task."""

import pytest

from tests.helpers.short_run import check_short_run


@pytest.mark.slow
@pytest.mark.parametrize(
  ("network", "size", "options"),
  [
    ("resnet8", 8, {}),
    ("resnet50", 8, {"width": 16}),
    ("efficientnet_lite0", 8, {}),
    ("vgg11_bn", 32, {"width": 8}),
    pytest.param("densenet121", 16, {"growth_rate": 8}, marks=pytest.mark.longest),
    pytest.param("inception_v3", 75, {}, marks=pytest.mark.longest),
    ("vit_ti16", 8, {}),
    pytest.param("convnext_t", 16, {}, marks=pytest.mark.longest),
  ],
)
def test_every_kind_of_network_trains_evaluates_and_saves(
  network, size, options, tmp_path
):
  names = f"digits,{network},hue,size={size}"
  check_short_run(names, tmp_path, tmp_path / "run", **options)
