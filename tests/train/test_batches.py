"""The settings of a run, as its batches are made by them."""

import jax
import pytest

from configs import base
from hue_jax.data.datasets import Dataset
from hue_jax.preprocessing import Augmentation, Order, RandAugment
from hue_jax.settings import fields_of
from hue_jax.train import batches
from hue_jax.train.batches import RunData

_CHANGES = {
  "crop": "none",
  "antialias": False,
  "padding": 3,
  "flip": True,
  "randaugment": {"num_ops": 2, "magnitude": 5.0, "magnitude_std": 0.5},
  "shuffle": "blocks",
  "shuffle_block_bytes": 77,
  "shuffle_window": 78,
  "repeats": 3,
  "batch_size": 64,
  "image_size": 12,
  "seed": 9,
  "channels": 3,
}


def _arguments(monkeypatch, **changes):
  """What `train_batches` and `eval_batches` are given."""
  config = base.get_config()
  config.update(changes)
  found = {}

  def keep(name):
    return lambda dataset, split, **given: found.update({name: given}) or iter(())

  for name in ("train_batches", "eval_batches"):
    monkeypatch.setattr(batches, name, keep(name))
  data = RunData(config, object.__new__(Dataset), {})  # which is not read
  data.train_batches(5)
  data.eval_batches("test")
  return found["train_batches"], found["eval_batches"]


@pytest.mark.parametrize(("name", "value"), _CHANGES.items())
def test_each_reaches_the_training_batches(monkeypatch, name, value):
  assert set(fields_of(Augmentation)) | set(fields_of(Order)) < set(_CHANGES)
  plain, _ = _arguments(monkeypatch)
  changed, _ = _arguments(monkeypatch, **{name: value})
  expected = RandAugment(**value) if name == "randaugment" else value
  for group in (Augmentation, Order):
    if name in fields_of(group):
      key = group.__name__.lower()
      plain[name], changed[name] = (
        getattr(arguments.pop(key), name) for arguments in (plain, changed)
      )
  assert changed.pop(name) == expected != plain.pop(name)
  assert changed == plain
  assert plain["start_step"] == 5


def test_each_process_has_its_own_share(monkeypatch):
  monkeypatch.setattr(jax, "process_index", lambda: 2)
  monkeypatch.setattr(jax, "process_count", lambda: 4)
  for arguments in _arguments(monkeypatch):
    share = arguments["share"]
    assert (share.process_index, share.process_count) == (2, 4)
