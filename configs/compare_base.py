"""Settings of a study and their defaults; files beside it state what differs."""

from hue_jax.compare.defaults import get_config

__all__ = ["get_config"]
