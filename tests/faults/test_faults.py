"""The short form of `python -m tests.faults`: some faults of the cheaper kinds."""

import pytest

from tests.faults.kinds import FAULTS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
  return tmp_path_factory.mktemp("faults")


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Pillow's, of damaged headers.
@pytest.mark.parametrize("name", [name for name, (_, _, few) in FAULTS.items() if few])
def test_every_run_ends_as_it_must(name, folder):
  throw, _, few = FAULTS[name]
  count = throw(folder, few, seed=few)
  assert count.tried == few
  assert not count.lost, count.lost
