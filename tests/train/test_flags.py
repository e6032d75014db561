"""What users type: every setting of every command, and one line for what cannot be."""

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
from absl import flags as absl_flags
from ml_collections import ConfigDict

from hue_jax.errors import InputError
from hue_jax.objective import CLASSIFIERS, TERMS
from hue_jax.settings import create, create_kind, fields_of
from hue_jax.train import flags
from hue_jax.train.config import Settings, check_settings

_ROOT = Path(__file__).resolve().parents[2]
_FILES = ("base", "observe_base", "compare_base")


def _parsed(file, *settings):
  """The configuration that the command line gives."""
  arguments = ["command", f"--config={_ROOT / 'configs' / file}", *settings]
  values = absl_flags.FlagValues()
  holder = flags.define_config(flag_values=values, sys_argv=arguments)
  assert flags.parse(arguments, values) == ["command"]
  return holder.value


def _settings(file):
  """Every setting and group of settings of a file, by its name with dots."""
  config = importlib.import_module(f"configs.{file}").get_config()

  def walk(group, prefix):
    for name, value in group.items():
      yield f"{prefix}{name}", group.get_type(name), value
      if isinstance(value, ConfigDict):
        yield from walk(value, f"{prefix}{name}.")

  return list(walk(config, ""))


_WRONG = {
  int: ("x", "64.5", "", "inf"),
  float: ("fast", "", "1,5"),
  bool: ("perhaps", "2"),
  tuple: ("(1,",),
  ConfigDict: ("3", "{", ""),
}
_RIGHT = {
  int: {"64": 64, "64.0": 64, "1e3": 1000},
  float: {"1": 1.0, "1e-3": 1e-3},
  bool: {"true": True, "0": False},
  str: {"3": "3"},
  tuple: {"(0.5, 1)": (0.5, 1), "stage1": ("stage1",)},
  ConfigDict: {"{'a': 1}": ConfigDict({"a": 1})},
}


@pytest.mark.parametrize("file", _FILES)
def test_a_value_of_the_wrong_type_is_named_with_its_setting(file):
  told = 0
  for name, kind, _ in _settings(file):
    for value in _WRONG.get(kind, ()):
      with pytest.raises(InputError) as caught:
        _parsed(f"{file}.py", f"--config.{name}={value}")
      message = str(caught.value)
      assert message.startswith(f"{name} is {value!r}; it must be "), message
      assert message.endswith(".")
      assert "\n" not in message
      told += 1
  assert told > 40


@pytest.mark.parametrize("file", _FILES)
def test_a_value_of_the_right_type_is_taken(file):
  for name, kind, _ in _settings(file):
    for text, value in _RIGHT[kind].items():
      config = _parsed(f"{file}.py", f"--config.{name}={text}")
      *groups, last = name.split(".")
      for group in groups:
        config = config[group]
      assert config[last] == value
      assert type(config[last]) is type(value)


_STRANGE = (
  "",
  "a\nb",
  "{1: 2}",
  "{'a': {2: 'b'}}",
  "(1, 'x')",
  "9" * 30,
  "lambda: 0",
  "(" * 300,
  "x" * 3000,
)


@pytest.mark.slow
@pytest.mark.parametrize("text", _STRANGE)
def test_no_text_ends_in_a_traceback(text):
  """Whatever is typed is taken, or refused in one line that a terminal can show."""
  refused = []
  for name, _, _ in _settings("base"):
    try:
      create(Settings, _parsed("base.py", f"--config.{name}={text}"))
    except InputError as error:
      refused.append(str(error))
  assert refused
  assert all("\n" not in line and len(line) < 1000 for line in refused)


@pytest.mark.parametrize(
  ("name", "message"),
  [
    ("learning_rat", r"learning_rat; did you mean \"learning_rate\""),
    ("hue.term", r"term; did you mean \"terms\""),
    ("seed.x", r"seed.x\."),
  ],
)
def test_a_setting_that_is_not_there_is_named(name, message):
  with pytest.raises(InputError, match=f"^the configuration has no setting {message}"):
    _parsed("base.py", f"--config.{name}=1")


def _flags_of_kinds():
  """Flag and value of every setting of every kind, and what else the file may lack."""
  kinds = {"hue.terms.sectors": TERMS, "terms.new": TERMS, "classifier": CLASSIFIERS}
  for group, of_group in kinds.items():
    for kind, cls in of_group.items():
      for name, field in fields_of(cls).items():
        value = {"tap": "stage2", "class_order": tuple(range(10))}.get(
          name, field.default
        )
        yield group, kind, name, value


@pytest.mark.parametrize(("group", "kind", "name", "value"), list(_flags_of_kinds()))
def test_every_setting_of_every_kind_is_a_flag(group, kind, name, value):
  given = [f"--config.{group}.kind={kind}", f"--config.{group}.{name}={value}"]
  config = _parsed("digits_hue.py", *given)
  found = config
  for part in group.split("."):
    found = found[part]
  kinds = CLASSIFIERS if group == "classifier" else TERMS
  made = create_kind(kinds, found, group)
  assert getattr(made, fields_of(type(made))[name].name) == value
  assert config.is_locked
  # What the file has besides stays.
  if group == "hue.terms.sectors":
    assert found.rings == (value if name == "rings" else 2)


def test_flags_add_nothing_that_is_no_setting():
  config = _parsed("digits_hue.py", "--config.hue.terms.sectors.celsl=grid")
  with pytest.raises(InputError, match=r"sectors.celsl is not a setting; .*mean cells"):
    check_settings(config, num_devices=1)


_CRASHES = """
def get_config(kind=""):
  if kind:
    raise KeyError(kind)
  return undefined
"""


@pytest.mark.parametrize(
  ("arguments", "message"),
  [
    (("none.py",), r"--config is '.*none.py', which cannot be loaded: .*No such file"),
    (("none.py", "--config.seed=1"), r"none.py', which cannot be loaded: .*No such"),
    (("../README.md",), r"README.md', which cannot be loaded: SyntaxError"),
    (("observe_elpv.py:x",), r"observe_elpv.py', which cannot be loaded: TypeError"),
    (("digits_hue.py:color",), r"the hue term, .* is 'color'; it must be one of"),
    (("digits_hue.py", "--config.seed"), r"missing value for flag --config.seed"),
    (("digits_hue.py", "--sead=1"), r"unknown command line flag 'sead'"),
  ],
)
def test_what_cannot_be_loaded_or_set_is_one_line(arguments, message):
  with pytest.raises(InputError, match=message) as caught:
    _parsed(*arguments)
  assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
  ("kind", "message"),
  [("", "NameError, line 5: .*undefined"), (":x", "KeyError, line")],
)
def test_an_error_in_a_users_own_file_says_where(tmp_path, kind, message):
  (tmp_path / "crashes.py").write_text(_CRASHES)
  with pytest.raises(InputError, match=f"which cannot be loaded: {message}"):
    _parsed(f"{tmp_path / 'crashes.py'}{kind}")


_DIGITS = "--config=configs/digits_hue.py"
_PREPARE = ("-m", "hue_jax.data.prepare", "folder", "birds", "--name=birds")


@pytest.mark.slow
@pytest.mark.parametrize(
  ("command", "message"),
  [
    (("main.py", _DIGITS, "--config.flip=perhaps"), "flip is 'perhaps'; it must be"),
    (("main.py", _DIGITS, "--mode=test"), "--mode is 'test'; it must be one of train"),
    (
      ("main.py", _DIGITS, "--workdir=x", f"--config.seed={2**32}"),
      "seed is 4294967296; it must be an integer from 0 to 4294967295",
    ),
    (("main.py", _DIGITS), "--workdir is not given"),
    (("main.py", _DIGITS, "--workdir="), "--workdir is not given"),
    (("main.py", "--workdir=x"), "--config is not given"),
    (("main.py", "--workdir=x", _DIGITS, "y"), "arguments ['y'] are not flags"),
    (
      ("-m", "hue_jax.observe", "--config=configs/observe_elpv.py", "--config.seed=x"),
      "seed is 'x'; it must be an integer",
    ),
    (
      ("-m", "hue_jax.compare", "--workdir=x", "--mode=report"),
      "--studies is empty",
    ),
    (("-m", "hue_jax.color"), "the following arguments are required: IMAGE, --network"),
    (
      ("-m", "hue_jax.color", "a", "--out=b.png", "--network=c", "--plane=hexagon"),
      "--plane is 'hexagon'; it must be one of fourier, principal, class_means.",
    ),
    (
      ("-m", "hue_jax.color", "a", "--out=b", "--network=c"),
      "--out is 'b'; it must end",
    ),
    (("-m", "hue_jax.color", "a", "--paint"), "the following arguments are required"),
    (("-m", "hue_jax.data.prepare"), "the following arguments are required: kind"),
    ((*_PREPARE, "--name=Birds"), "name is 'Birds'; it must be lower-case letters"),
    ((*_PREPARE, "--seed=-1"), "--seed is -1; it must be an integer from 0 to"),
    ((*_PREPARE, "--test_fraction=half"), "--test_fraction is 'half'; it must be a"),
    ((*_PREPARE, "--background=clear"), "--background is 'clear'; it must be a color"),
    ((*_PREPARE, "--birds"), "unrecognized arguments: --birds; see --help."),
  ],
)
def test_a_command_tells_it_before_tensorflow_is_loaded(tmp_path, command, message):
  """A TensorFlow that cannot be imported is not missed."""
  (tmp_path / "tensorflow").mkdir()
  (tmp_path / "tensorflow" / "__init__.py").write_text("raise ImportError")
  done = subprocess.run(
    [sys.executable, *command],
    cwd=_ROOT,
    env=os.environ | {"PYTHONPATH": f"{tmp_path}:{_ROOT}", "JAX_PLATFORMS": "cpu"},
    capture_output=True,
    text=True,
  )
  assert done.returncode == 2
  assert done.stdout == ""
  assert done.stderr.startswith(f"error: {message}"), done.stderr
  assert done.stderr.count("\n") == 1
