"""Runs the notebooks and writes them with what they show.

  python notebooks/build.py             # all
  python notebooks/build.py 1_hue       # some
  python notebooks/build.py --text      # what is no code; nothing is run

A notebook is a pair: `NAME.py`, in jupytext's percent format, is edited; `NAME.ipynb`
is made of it, with outputs, so that it can be read where nothing is run. Both begin
with a badge and an installation. These, and the badges of the documentation, have the
repository's address from `setup.cfg`, and are written here.
"""

import argparse
import configparser
import os
import re
import sys
import tempfile
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER.parent
NAMES = tuple(sorted(path.stem for path in FOLDER.glob("[0-9]*.py")))

# Cells whose output is for those who run the notebook: pages of scripts, which a reader
# of the stored notebook would not see.
NOT_STORED = "not-stored"

_ADDRESS = re.compile(r"https://github\.com/[^/\s\"]+/hue_jax")
_COLAB = re.compile(r"https://colab\.research\.google\.com/github/[^/\s\"]+/hue_jax")

_INSTALL = """\
# Installs hue_jax where it is not, from its repository. What is here keeps its version.
import importlib.util


class NotInstalled(Exception):
  def _render_traceback_(self):  # a line, in place of IPython's pages
    return [str(self)]


def install(repository, checkout="hue_jax_checkout"):
  import os
  import subprocess
  import sys

  def run(*command):
    variables = {{**os.environ, "GIT_TERMINAL_PROMPT": "0"}}
    done = subprocess.run(
      command, capture_output=True, text=True, stdin=subprocess.DEVNULL, env=variables
    )
    if done.returncode:
      why = (done.stderr.strip() or command[0]).splitlines()[-1]
      raise NotInstalled(f"hue_jax was not installed from {{repository}}: {{why}}")
    return done.stdout

  print("Installing hue_jax: a minute or two.")
  if not os.path.isdir(checkout):
    run("git", "clone", "-q", "--depth=1", repository, checkout)
  pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
  with open("installed.txt", "w") as file:
    file.write(run(*pip, "list", "--format=freeze"))
  run(*pip, "install", "-q", "-c", "installed.txt", "-e", f"./{{checkout}}[notebooks]")
  sys.path.insert(0, os.path.abspath(checkout))
  # Colab's protobuf is older than what its tensorflow-metadata was made with.
  os.environ.setdefault("TEMPORARILY_DISABLE_PROTOBUF_VERSION_CHECK", "true")


if importlib.util.find_spec("hue_jax") is None:
  install("{address}")
"""


def main() -> None:
  """Writes the notebooks named, or all."""
  parser = argparse.ArgumentParser(
    description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
  )
  parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(NAMES))
  parser.add_argument("--text", action="store_true", help="run no code")
  args = parser.parse_args()
  if unknown := set(args.names) - set(NAMES):
    parser.error(f"NAME is {unknown.pop()!r}; it must be one of {', '.join(NAMES)}.")
  write_addresses()
  for name in args.names or NAMES:
    if args.text:
      notebook = with_stored_outputs(name)
    else:
      print(f"{name} …", file=sys.stderr)
      notebook = read_text(name)
      with tempfile.TemporaryDirectory() as folder:
        execute(notebook, folder)
    nbformat.write(for_readers(notebook), FOLDER / f"{name}.ipynb")


def address() -> str:
  """Returns the repository's address."""
  config = configparser.ConfigParser()
  config.read(ROOT / "setup.cfg", encoding="utf-8")
  return config["metadata"]["url"]


def pages() -> list[Path]:
  """Returns the files that have badges or the address."""
  texts = [FOLDER / f"{name}.py" for name in NAMES]
  return [*texts, *sorted(ROOT.glob("docs/**/*.md")), *sorted(ROOT.glob("*.md"))]


def write_addresses() -> None:
  """Writes the address, and the first cells of notebooks, where they differ."""
  for path in pages():
    text = path.read_text(encoding="utf-8")
    new = with_address(path, text)
    if new != text:
      path.write_text(new, encoding="utf-8")


def with_address(path: Path, text: str) -> str:
  """Returns a file's text with the address of today, and a notebook's first cells."""
  colab = address().replace("github.com", "colab.research.google.com/github")
  new = _COLAB.sub(colab, _ADDRESS.sub(address(), text))
  return with_first_cells(path.stem, new) if path.parent == FOLDER else new


def with_first_cells(name: str, text: str) -> str:
  """Returns a notebook's text with the badge and the installation of today."""
  colab = address().replace("github.com", "colab.research.google.com/github")
  badge = "https://colab.research.google.com/assets/colab-badge.svg"
  link = f"{colab}/blob/main/notebooks/{name}.ipynb"
  first = f"# %% [markdown]\n# [![Open in Colab]({badge})]({link})\n\n"
  first += f"# %%\n{_INSTALL.format(address=address())}\n"
  header, _, cells = text.partition("\n# %% [markdown]\n")
  # All that comes before the cell with the title.
  cells = "# %% [markdown]\n" + cells
  start = cells.index("# %% [markdown]\n# # ")
  return f"{header}\n{first}{cells[start:]}"


def read_text(name: str) -> nbformat.NotebookNode:
  """Returns the notebook of a text, without outputs."""
  return jupytext.read(FOLDER / f"{name}.py")


def execute(notebook: nbformat.NotebookNode, folder: str) -> None:
  """Runs a notebook in a folder, with this checkout's package."""
  variables = {**os.environ, "PYTHONPATH": str(ROOT)}
  # Another backend than the notebook's own would keep the figures out of it.
  variables.pop("MPLBACKEND", None)
  NotebookClient(
    notebook,
    timeout=900,
    kernel_name="python3",
    coalesce_streams=True,
    resources={"metadata": {"path": folder}},
  ).execute(env=variables)


def with_stored_outputs(name: str) -> nbformat.NotebookNode:
  """Returns a notebook of which text alone has changed, with the outputs it had."""
  notebook = read_text(name)
  stored = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
  new, old = (
    [cell for cell in of.cells if cell.cell_type == "code"] for of in (notebook, stored)
  )
  # The first cell installs, and shows nothing.
  if [cell.source for cell in new[1:]] != [cell.source for cell in old[1:]]:
    sys.exit(f"{name} has other code than what was run: leave out --text.")
  for cell, had in zip(new, old, strict=True):
    cell.outputs, cell.execution_count = had.outputs, had.execution_count
  return notebook


def for_readers(notebook: nbformat.NotebookNode) -> nbformat.NotebookNode:
  """Returns the notebook as it is kept: the same from run to run but for outputs."""
  kernel = notebook.metadata["kernelspec"]
  notebook.metadata = {"kernelspec": kernel, "language_info": {"name": "python"}}
  for number, cell in enumerate(notebook.cells):
    cell["id"] = f"cell-{number}"
    tags = cell.metadata.get("tags", [])
    cell.metadata = {"tags": tags} if tags else {}
    if cell.cell_type != "code":
      continue
    # Progress, as on standard error, is of the run and not of the notebook.
    shown = [] if NOT_STORED in tags else cell.outputs
    cell.outputs = [out for out in shown if out.get("name") != "stderr"]
  return notebook


if __name__ == "__main__":
  main()
