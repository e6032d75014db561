"""Training batches by settings of one name each, whatever group they are of."""

from hue_jax.data import input_pipeline
from hue_jax.data.input_pipeline import Share, Work
from hue_jax.preprocessing import Augmentation, Order
from hue_jax.settings import fields_of

_DEFAULTS = {
  "crop": "random_resized",
  "antialias": True,
  "padding": 4,
  "flip": True,
  "shuffle": "full",
  "shuffle_block_bytes": 4_000_000,
  "shuffle_window": 16_384,
  "repeats": 1,
}
_GROUPS = {"augmentation": Augmentation, "order": Order, "share": Share, "work": Work}


def train_batches(dataset, split, **settings):
  """Returns `input_pipeline.train_batches` of these settings and usual ones."""
  settings = _DEFAULTS | settings
  for name, group in _GROUPS.items():
    own = {key: settings.pop(key) for key in fields_of(group) if key in settings}
    settings[name] = group(**own)
  return input_pipeline.train_batches(dataset, split, **settings)


def eval_batches(dataset, split, **settings):
  """Returns `input_pipeline.eval_batches` of these settings."""
  own = {key: settings.pop(key) for key in fields_of(Share) if key in settings}
  return input_pipeline.eval_batches(dataset, split, share=Share(**own), **settings)
