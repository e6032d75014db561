"""The terms that come with hue_jax: one class a file, each of which is found here."""

import importlib
import pkgutil

from hue_jax.objective.term import TERMS

for _module in pkgutil.iter_modules(__path__, f"{__name__}."):
  importlib.import_module(_module.name)

__all__ = ["TERMS"]
