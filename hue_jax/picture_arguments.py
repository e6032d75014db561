"""Arguments of the commands that show pictures to a network."""

import os

from hue_jax.command import Parser
from hue_jax.errors import InputError
from hue_jax.files import local_path


def add_pictures(parser: Parser) -> None:
  """Adds the pictures: what `picture_files.find_pictures` takes."""
  parser.add_argument(
    "images", nargs="+", metavar="IMAGE", help="image files, and folders of them"
  )
  parser.add_argument(
    "--background",
    default="white",
    help="what transparent parts show: a color, as white or #ffffff",
  )


def add_network(parser: Parser, name: str = "--network") -> None:
  """Adds the network, as a flag or by its place, and --model."""
  options = {"required": True} if name.startswith("-") else {"metavar": name.upper()}
  parser.add_argument(
    name,
    help="a workdir of main.py, a published network, or a file of PyTorch weights",
    **options,
  )
  parser.add_argument("--model", default="", help="of a file of weights: its network")


def add_taps(parser: Parser) -> None:
  """Adds the layers."""
  parser.add_argument("--taps", default="", help="some layers, as NAME,NAME")


def names(text: str) -> list[str]:
  """Returns the names of a list, as --taps has it."""
  return [name.strip() for name in text.split(",") if name.strip()]


def check_writable(name: str, path: str) -> None:
  """Refuses a file that cannot be written, before anything is computed.

  Args:
    name: The flag that names the file.
    path: The file.

  Raises:
    InputError: If its folder does not exist, it cannot be written there, or a pipe,
      device or the like has its place.
  """
  local_path(name, path)
  folder = os.path.dirname(path) or "."
  if not os.path.isdir(folder):
    raise InputError(f"{name} is {path!r}, whose folder does not exist.")
  target = path if os.path.exists(path) else folder
  if os.path.isdir(path) or not os.access(target, os.W_OK):
    raise InputError(f"{name} is {path!r}, which cannot be written.")
  if os.path.exists(path) and not os.path.isfile(path):  # It would be replaced.
    raise InputError(f"{name} is {path!r}, which is no regular file; name another.")
