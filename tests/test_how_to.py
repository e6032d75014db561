"""The site's pages: their code runs, and what their commands configure is accepted."""

import re

import jax.numpy as jnp
import pytest
from absl import flags as absl_flags

from hue_jax.color import __main__ as color
from hue_jax.compare.settings import checked_settings
from hue_jax.data import prepare
from hue_jax.models import checked_options, registry
from hue_jax.objective import TERMS
from hue_jax.observe.settings import Settings
from hue_jax.settings import create
from hue_jax.train import flags
from hue_jax.train.config import check_settings, hue_terms, terms
from tests.test_docs import _PAGES, _ROOT, _blocks, _commands, _config_of, _name

_PLACEHOLDER = re.compile(r"\b(NAMES?|TASK)\b")
_WITH_CODE = [page for page in _PAGES if page.name != "README.md"]
_CHECKS = {
  "main.py": check_settings,
  "hue_jax.compare": lambda config: checked_settings(config.to_dict()),
  "hue_jax.observe": lambda config: create(Settings, config),
}
_PARSERS = {"hue_jax.color": color._parser, "hue_jax.data.prepare": prepare._parser}


@pytest.fixture
def folder(tmp_path, monkeypatch):
  """An empty working folder; what is registered in a test is forgotten after it."""
  monkeypatch.chdir(tmp_path)
  monkeypatch.setattr(registry, "_MODELS", dict(registry._MODELS))
  kinds = dict(TERMS)
  yield tmp_path
  TERMS.clear()
  TERMS.update(kinds)


def _write_files(page, folder):
  for title, body in _blocks(page, "python"):
    if title:
      (folder / title).write_text(body)


@pytest.mark.slow
@pytest.mark.parametrize(
  "page", [page for page in _WITH_CODE if _blocks(page, "python")], ids=_name
)
def test_the_code_of_a_page_runs_from_top_to_bottom(page, folder):
  names = {"__name__": "page"}
  for title, body in _blocks(page, "python"):
    if not title:
      exec(body, names)


def _configured():
  """Page, command and arguments of every command that can be checked as it stands."""
  for page in _PAGES:
    for words in _commands(page):
      command = next((word for word in words if word in (*_CHECKS, *_PARSERS)), None)
      config = _config_of(words)
      if command in _CHECKS and (config is None or _PLACEHOLDER.search(config[1])):
        continue
      if command:
        # A loop of the shell gives its variables some number.
        rest = words[words.index(command) + 1 :]
        yield page, command, [re.sub(r"\$\{?\w+\}?", "1", word) for word in rest]


@pytest.mark.parametrize(
  ("page", "command", "arguments"),
  list(_configured()),
  ids=lambda value: _name(value) if hasattr(value, "name") else str(value)[:60],
)
def test_what_a_command_sets_is_accepted(page, command, arguments, folder):
  if command in _PARSERS:
    _PARSERS[command]().parse_args(arguments)
    return
  config = _config(page, arguments, folder)
  _CHECKS[command](config)
  if command == "main.py":
    checked_options(config.model, config.model_options)
    for term in (hue_terms(config) | terms(config)).values():
      assert term["kind"] in TERMS


def _config(page, arguments, folder):
  """The configuration of a command line, whose file may be one of the page."""
  _write_files(page, folder)
  parsed = ["command"]
  for word in arguments:
    name, equals, value = word.partition("=")
    if name == "--config" and not (folder / value).exists():
      value = str(_ROOT / value)
    if name.startswith("--config"):
      parsed.append(name + equals + value)
  values = absl_flags.FlagValues()
  holder = flags.define_config(flag_values=values, sys_argv=parsed)
  flags.parse(parsed, values)
  return holder.value


def test_commands_are_found():
  found = [command for _, command, _ in _configured()]
  assert {*_CHECKS, *_PARSERS} == set(found)
  assert len(found) > 40


@pytest.mark.slow
@pytest.mark.parametrize(
  ("page", "file", "metric"),
  [
    ("own_network", "thin.py", "sectors"),
    ("own_term", "corner.py", "corner"),
  ],
)
def test_a_configuration_of_a_page_trains(page, file, metric, folder, capsys):
  # TensorFlow takes longer to import than the other tests take.
  from hue_jax.train import loop

  page = _ROOT / "docs" / "how_to" / f"{page}.md"
  config = _config(page, [f"--config={file}"], folder)
  config.data_dir = str(folder)
  config.num_train_steps = 2
  config.batch_size = 16
  config.warmup_epochs = 0.0
  config.num_colored_images = 0
  result = loop.train(config, str(folder / "run"))
  assert result["step"] == 2
  assert jnp.isfinite(result["test_loss"])
  assert metric in capsys.readouterr().err
