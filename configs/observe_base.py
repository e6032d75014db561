"""Settings of an observation and their defaults; files beside it state what differs."""

from hue_jax.observe.defaults import get_config

__all__ = ["get_config"]
