"""Colors the layers of a network by their activation hue.

  python -m hue_jax.color cat.jpg holiday/ --network=efficientnet_lite0 --out=sheet.png
  python -m hue_jax.color *.png --network=runs/fashion_hue --taps=stage2,stage3 \\
    --out=sheet.png

Writes a sheet: each image as the network sees it, and beside it every layer, colored.
Hue is the activation hue, saturation the saturation, and brightness the magnitude,
full at its 99th percentile over all images.
"""

import argparse
import math
import os
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import jax
import numpy as np
from jaxtyping import Array, Float, Int

from hue_jax.color.coloring import PLANES, color_layer, plane_of
from hue_jax.command import Parser, add_setting, packages, run
from hue_jax.compiled import keep_compiled
from hue_jax.errors import InputError
from hue_jax.files import readable, replacing
from hue_jax.picture_arguments import (
  add_network,
  add_pictures,
  add_taps,
  check_writable,
  names,
)
from hue_jax.settings import Choice

with packages():
  from PIL import Image

  from hue_jax.color.contact_sheet import contact_sheet
  from hue_jax.picture_files import find_pictures, read_image_files
  from hue_jax.pictures import ground_color

if TYPE_CHECKING:
  from hue_jax.train.networks import Network

_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_MOST_IMAGES = 64


def main(arguments: Sequence[str] | None = None) -> int:
  """Runs the command line; returns the exit status."""
  return run(lambda: _color(_parser().parse_args(arguments)))


def _color(args: argparse.Namespace) -> None:
  out = os.path.expanduser(args.out)
  _check_out(out)
  paths = find_pictures(args.images)
  _check_number(len(paths))
  background = ground_color(args.background)
  labels = _classes(paths) if args.plane == "class_means" else None
  keep_compiled()
  # It takes longer to import than what a user may have mistaken takes to tell.
  from hue_jax.train.networks import load_network

  network = load_network(
    args.network, model=args.model, setting="--network", model_setting="--model"
  )
  taps = network.check_taps(names(args.taps))
  _check_plane(args.plane, network, taps, len(paths))
  images = read_image_files(
    paths,
    image_size=network.image_size,
    crop=network.crop,
    crop_ratio=network.crop_ratio,
    channels=network.channels,
    background=background,
  )
  layers = network.layers(images)
  colored = color_layers({tap: layers[tap] for tap in taps}, args.plane, labels)
  shapes = {tap: "x".join(map(str, network.tap_shapes[tap])) for tap in taps}
  _save(contact_sheet(images, colored, _titles(paths), captions=shapes), out)
  told = f"{len(images)} image(s), {', '.join(taps)} of {network.name}"
  print(readable(f"Wrote {out}: {told}"))


def color_layers(
  layers: Mapping[str, Float[Array, "images ..."]],
  plane: str,
  labels: Int[np.ndarray, " images"] | None = None,
) -> dict[str, Float[Array, "images ..."]]:
  """Returns colors of every layer, each in its own plane and scale.

  Args:
    layers: Tap → layer of all images.
    plane: The name of the hue plane, as `plane_of` takes it.
    labels: The class of every image, for class means.

  Returns:
    Tap → colors.

  Raises:
    InputError: If a layer has too few channels, or spans no plane.
  """
  num_classes = None if labels is None else int(labels.max()) + 1
  colored = {}
  for tap, layer in layers.items():
    try:
      colored[tap] = jax.jit(color_layer)(
        layer, plane_of(plane, layer, labels, num_classes)
      )
    except ValueError as error:
      raise InputError(f"tap {tap!r} cannot be colored: {error}") from None
  return colored


def _parser() -> Parser:
  parser = Parser.of("hue_jax.color", __doc__)
  add_pictures(parser)
  add_network(parser)
  parser.add_argument(
    "--out", required=True, help=f"the sheet: a file {', '.join(_SUFFIXES)}"
  )
  add_setting(
    parser,
    "--plane",
    Choice(PLANES),
    default="fourier",
    metavar=f"{{{','.join(PLANES)}}}",
    help="the hue plane; class_means takes an image's folder as its class",
  )
  add_taps(parser)
  return parser


# --- Checks, before anything is computed ----------------------------------------


def _check_out(out: str) -> None:
  if not out.lower().endswith(_SUFFIXES):
    raise InputError(f"--out is {out!r}; it must end in {', '.join(_SUFFIXES)}.")
  check_writable("--out", out)


def _check_number(count: int) -> None:
  if count > _MOST_IMAGES:
    raise InputError(f"{count} images are given; a sheet holds at most {_MOST_IMAGES}.")


def _classes(paths: Sequence[str]) -> np.ndarray:
  """Returns the class of each image, which is that of its folder."""
  folders = [os.path.dirname(os.path.abspath(path)) for path in paths]
  names, labels = np.unique(folders, return_inverse=True)
  if len(names) < 3:
    raise InputError(
      f"the number of folders that the images are in is {len(names)}; it must be at "
      "least 3 for --plane=class_means, which takes a folder as a class."
    )
  return labels


def _check_plane(
  plane: str, network: "Network", taps: Sequence[str], num_images: int
) -> None:
  for tap in taps:
    *positions, channels = network.tap_shapes[tap]
    if channels < 3:
      raise InputError(
        f"tap {tap!r} has {channels} channels; a hue plane needs at least 3. Choose "
        "others by --taps."
      )
    vectors = num_images * math.prod(positions)
    if plane == "principal" and vectors < 3:
      raise InputError(
        f"the number of vectors of tap {tap!r} in the images is {vectors}; it must be "
        "at least 3 for --plane=principal. Give more images, or choose other taps by "
        "--taps."
      )


# --- The sheet ------------------------------------------------------------------


def _titles(paths: Sequence[str]) -> list[str]:
  return [os.path.splitext(os.path.basename(path))[0] for path in paths]


def _save(sheet: Image.Image, out: str) -> None:
  suffix = os.path.splitext(out)[1].lower()
  try:
    with replacing(out) as file:
      sheet.save(file, Image.registered_extensions()[suffix])
  except (OSError, ValueError) as error:
    raise InputError(f"--out is {out!r}, which cannot be written: {error}") from None


if __name__ == "__main__":
  sys.exit(main())
