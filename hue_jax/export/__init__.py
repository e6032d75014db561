"""Trained networks for other programs: weights, whole functions, and a model card.

`python -m hue_jax.export` is the command.
"""
