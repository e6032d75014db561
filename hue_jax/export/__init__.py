"""Trained networks for other programs: weights, whole functions, and a model card.

`python -m hue_jax.export` is the command.
"""

from hue_jax.export.export import export
from hue_jax.export.formats import FORMATS

__all__ = ["FORMATS", "export"]
