"""Every kind of term with every choice of what it carries."""

import dataclasses
import itertools
from typing import Any

import flax.linen as nn
from ml_collections import ConfigDict

from hue_jax.models import tap_shapes
from hue_jax.objective import TERMS, check_terms
from hue_jax.train import config as settings

# What changes of what a term carries: parameters, and memory.
_CHOICES = {"plane": ("fourier", "learned"), "prototypes": ("batch", "memory")}


def every_term(model: nn.Module, config: ConfigDict) -> dict[str, dict[str, Any]]:
  """Returns every kind of term with every choice, each at the last layer it takes.

  Args:
    model: The network.
    config: The configuration, for the images and the classes.
  """
  shapes = tap_shapes(model, settings.image_shape(config))
  terms = {}
  for kind, term in TERMS.items():
    fields = {field.name for field in dataclasses.fields(term)}
    names = [name for name in _CHOICES if name in fields]
    for values in itertools.product(*(_CHOICES[name] for name in names)):
      chosen = {"kind": kind, **dict(zip(names, values, strict=True))}
      taps = [{"tap": tap} for tap in reversed(shapes)] if "tap" in fields else [{}]
      terms["_".join([kind, *values])] = next(
        {**chosen, **tap}
        for tap in taps
        if _is_taken({**chosen, **tap}, shapes, config.num_classes)
      )
  return terms


def _is_taken(term, shapes, num_classes):
  try:
    check_terms({"any": term}, shapes, num_classes=num_classes)
  except ValueError:
    return False
  return True
