"""The embedded digits, written once."""

import pytest

from hue_jax.data.datasets import open_dataset


@pytest.fixture(scope="session")
def digits_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def digits(digits_dir):
  return open_dataset("digits", digits_dir)
