"""Where numbers come from: hardware and versions, in words."""

import datetime
import importlib.metadata
import os
import platform

import jax

import hue_jax


def today() -> str:
  """Returns the date and time, in UTC."""
  return datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")


def hardware() -> str:
  """Returns the devices and CPU cores."""
  devices = jax.devices()
  return (
    f"{len(devices)} × {devices[0].device_kind} ({devices[0].platform}), "
    f"{os.cpu_count()} CPU cores ({platform.machine()})"
  )


def versions(*packages: str) -> str:
  """Returns the versions of hue_jax, Python and packages."""
  return ", ".join(
    [
      f"hue_jax {hue_jax.__version__}",
      f"Python {platform.python_version()}",
      *(f"{package} {_version(package)}" for package in packages),
    ]
  )


def _version(package: str) -> str:
  try:
    return importlib.metadata.version(package)
  except importlib.metadata.PackageNotFoundError:
    return "not installed"
