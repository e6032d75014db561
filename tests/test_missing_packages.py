"""A package of an extra that is not installed: one line, and before any work is done.

Every command with every package that its own code imports. The others are imported by
these, and say themselves what they lack.
"""

import ast
import configparser
import json
import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from hue_jax.command import EXTRAS

_ROOT = Path(__file__).resolve().parents[1]
_KNOWN = {name: extra for extra, names in EXTRAS.items() for name in names}


def _setup():
  setup = configparser.ConfigParser()
  setup.read(_ROOT / "setup.cfg")
  return setup


def _distributions(requirements):
  lines = [line for line in requirements.splitlines() if line and line[0] != "#"]
  return {re.match(r"[\w-]+", line)[0].replace("_", "-").lower() for line in lines}


def _imported_by_the_package():
  for path in [*(_ROOT / "hue_jax").rglob("*.py"), *(_ROOT / "configs").glob("*.py")]:
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Import):
        yield from (alias.name.partition(".")[0] for alias in node.names)
      elif isinstance(node, ast.ImportFrom):
        yield node.module.partition(".")[0]


def test_every_package_that_is_imported_has_its_extra():
  core = {"jax", "jaxtyping", "numpy"}
  assert core == _distributions(_setup()["options"]["install_requires"])
  others = set(_imported_by_the_package()) - set(sys.stdlib_module_names) - core
  assert others - {"hue_jax", "configs"} <= set(_KNOWN)


@pytest.mark.parametrize("extra", EXTRAS)
def test_an_extra_brings_what_is_told_of_it(extra):
  """By itself or by what it requires, as Jinja2 does MarkupSafe."""
  required = _distributions(_setup()["options.extras_require"][extra])
  owners = metadata.packages_distributions()
  if extra == "tpu" and "libtpu" not in owners:
    pytest.skip("libtpu is not installed")
  installed = {name.lower() for names in owners.values() for name in names}
  for name in EXTRAS[extra]:
    of_name = {owner.replace("_", "-").lower() for owner in owners[name]}
    by_others = {
      required_by
      for required_by in required & installed
      for line in metadata.requires(required_by) or []
      if _distributions(line) & of_name
    }
    assert of_name & required or by_others, name


# Each ends at once where nothing is missing, for it asks for what is not there.
_COMMANDS = {
  "main": (
    "main.py",
    "--config=configs/digits_hue.py",
    "--workdir={folder}/run",
    "--config.data_dir={folder}",
    "--config.model_options.width=4",
    "--config.num_epochs=1e-6",
  ),
  "observe": (
    "-m",
    "hue_jax.observe",
    "--config=configs/observe_fashion_mnist.py",
    "--workdir={folder}/observed",
    "--config.network=/nowhere",
  ),
  "compare": (
    "-m",
    "hue_jax.compare",
    "--config=configs/compare.py:fashion_50",
    "--workdir={folder}/study",
    "--config.data_dir={folder}",
  ),
  "report": (
    "-m",
    "hue_jax.compare",
    "--mode=report",
    "--studies={folder}/none",
    "--workdir={folder}/report",
  ),
  "color": (
    "-m",
    "hue_jax.color",
    "{root}/docs/images/layer_colors.png",
    "--network=/nowhere",
    "--out={folder}/sheet.png",
  ),
  "export": (
    "-m",
    "hue_jax.export",
    "/nowhere",
    "--to=torch",
    "--output={folder}/exported",
  ),
  "predict": (
    "-m",
    "hue_jax.predict",
    "{root}/docs/images/layer_colors.png",
    "--network=/nowhere",
  ),
  "runs": ("-m", "hue_jax.runs", "{folder}", "--output={folder}/runs.html"),
  "prepare": (
    "-m",
    "hue_jax.data.prepare",
    "folder",
    "/nowhere",
    "--name=some",
    "--data_dir={folder}",
  ),
  "check": (
    "-m",
    "hue_jax.data.check",
    "--dataset=digits",
    "--data_dir=ftp://host/folder",
  ),
}

# What a command needs before its work begins; each needs more.
_NEEDED = {
  "main": {"absl", "clu", "flax", "ml_collections", "optax", "orbax", "PIL", "sklearn"},
  "observe": {"absl", "flax", "jinja2", "markupsafe", "matplotlib", "tensorflow"},
  "compare": {"absl", "flax", "jinja2", "matplotlib", "scipy", "tensorflow"},
  "report": {"absl", "jinja2", "matplotlib"},
  "color": {"flax", "orbax", "PIL"},
  "export": {"flax", "orbax", "safetensors", "scipy", "yaml"},
  "predict": {"flax", "orbax", "PIL"},
  "runs": {"flax", "google_crc32c", "jinja2", "scipy", "tensorboard"},
  "prepare": {"PIL", "tensorflow", "tensorflow_datasets"},
  "check": {"fsspec", "PIL", "tensorflow", "tensorflow_datasets"},
}

# Runs each command once with nothing missing, and then once without each of the
# packages that the project's own files imported; each in a fork of one process that has
# imported all that others have written.
_ALL_OF_THEM = """
import builtins, importlib, json, os, runpy, shutil, sys, traceback

root, folder, known, commands = json.loads(sys.argv[1])
for name in known:
  importlib.import_module(name)
for name in ("orbax.checkpoint", "clu.metric_writers", "sklearn.datasets", "scipy.fft",
             "flax.training.train_state", "matplotlib.figure", "scipy.stats"):
  importlib.import_module(name)

def run(arguments, missing, path):
  with open(path, "w") as file:
    os.dup2(file.fileno(), 2)
  imported, usual = set(), builtins.__import__
  def recording(name, globals=None, *rest, **named):
    file = (globals or {}).get("__file__") or ""
    if file.startswith(root):
      imported.add(name.partition(".")[0])
    return usual(name, globals, *rest, **named)
  builtins.__import__ = recording
  if missing:
    for name in [name for name in sys.modules if name.partition(".")[0] == missing]:
      del sys.modules[name]
    sys.modules[missing] = None
  status = None
  try:
    if arguments[0] == "-m":
      sys.argv = arguments[1:]
      runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
      sys.argv = arguments
      runpy.run_path(arguments[0], run_name="__main__")
  except SystemExit as stopped:
    status = stopped.code
  except BaseException:
    traceback.print_exc()
  sys.stderr.flush()
  with open(path + ".json", "w") as file:
    json.dump([status, sorted(imported)], file)

def outcome(arguments, missing):
  path = os.path.join(folder, "outcome")
  shutil.rmtree(os.path.join(folder, "digits"), ignore_errors=True)
  child = os.fork()
  if not child:
    run(arguments, missing, path)
    os._exit(0)
  os.waitpid(child, 0)
  status, imported = json.load(open(path + ".json"))
  return [status, open(path).read(), imported]

found = {}
for name, arguments in commands.items():
  usual = outcome(arguments, None)
  found[name] = {"": usual[:2]}
  for missing in known:
    if missing in usual[2]:
      found[name][missing] = outcome(arguments, missing)[:2]
json.dump(found, sys.stdout)
"""


@pytest.mark.slow
def test_every_command_tells_every_package_that_it_lacks(tmp_path):
  commands = {
    name: [one.format(folder=tmp_path, root=_ROOT) for one in arguments]
    for name, arguments in _COMMANDS.items()
  }
  asked = json.dumps([str(_ROOT), str(tmp_path), list(_KNOWN), commands])
  done = subprocess.run(
    [sys.executable, "-c", _ALL_OF_THEM, asked],
    cwd=_ROOT,
    env=os.environ | {"PYTHONPATH": str(_ROOT), "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 0, done.stderr
  for command, outcomes in json.loads(done.stdout).items():
    usual = outcomes.pop("")
    assert usual[0] == 2, usual
    assert "is not installed" not in usual[1]
    told = set()
    for package, (status, stderr) in outcomes.items():
      line = (
        f"error: package {package} is not installed: "
        f"pip install 'hue_jax[{_KNOWN[package]}]'.\n"
      )
      assert [status, stderr] in ([2, line], usual), (command, package, stderr)
      told |= {package} if stderr == line else set()
    assert _NEEDED[command] <= told, (command, told)
