"""Package files, each as its tool makes it, and pictures to fill them."""

import io
import os
import tarfile
import zipfile

import numpy as np
from PIL import Image


def drawing(seed: int, size=(90, 60), mode: str = "RGBA") -> Image.Image:
  """A few random rectangles on a transparent ground."""
  rng = np.random.default_rng(seed)
  pixels = np.zeros((size[1], size[0], 4), np.uint8)
  for _ in range(5):
    x, y = rng.integers(0, size[0] - 20), rng.integers(0, size[1] - 20)
    width, height = rng.integers(10, 60, 2)
    pixels[y : y + height, x : x + width] = (*rng.integers(0, 200, 3), 255)
  return Image.fromarray(pixels).convert(mode)


def encoded(picture: Image.Image, path: str) -> bytes:
  """The contents of a file of that name."""
  file = io.BytesIO()
  kinds = {".png": "PNG", ".jpeg": "JPEG", ".pgm": "PPM"}
  picture.save(file, kinds[os.path.splitext(path)[1]])
  return file.getvalue()


def write_folder(root, files) -> str:
  """Path → contents, as an install writes them."""
  for path, contents in files.items():
    place = os.path.join(root, path)
    os.makedirs(os.path.dirname(place), exist_ok=True)
    with open(place, "wb") as file:
      file.write(contents)
  return str(root)


def write_zip(path, files) -> str:
  """A wheel."""
  with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
    for name, contents in files.items():
      archive.writestr(name, contents)
  return str(path)


def write_tar(path, files, links=(), kind: str = "gz", folder: str = "package/") -> str:
  """A package of npm; links are (name, target, type of tarfile)."""
  with tarfile.open(path, f"w:{kind}") as archive:
    for name, contents in files.items():
      member = tarfile.TarInfo(folder + name)
      member.size = len(contents)
      archive.addfile(member, io.BytesIO(contents))
    for name, target, link in links:
      member = tarfile.TarInfo(folder + name)
      member.type, member.linkname = link, folder + target
      archive.addfile(member)
  return str(path)


def write_deb(path, files, links=()) -> str:
  """A package of Debian: three members, of which an odd one is padded."""
  data = f"{path}.data"
  write_tar(data, files, links, kind="xz", folder="./")
  members = {"debian-binary": b"2.0\n", "control.tar.xz": b"odd"}
  with open(data, "rb") as file:
    members["data.tar.xz"] = file.read()
  os.remove(data)
  with open(path, "wb") as file:
    file.write(b"!<arch>\n")
    for name, contents in members.items():
      header = f"{name:<16}{0:<12}{0:<6}{0:<6}{100644:<8}{len(contents):<10}`\n"
      file.write(header.encode() + contents + b"\n" * (len(contents) % 2))
  return str(path)
