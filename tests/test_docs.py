"""The documentation: links lead somewhere, code runs, commands name what is there."""

import re
import shlex
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
import yaml

from configs.recipes import RECIPES
from configs.tasks import TASKS
from hue_jax.models.registry import model_names

_ROOT = Path(__file__).resolve().parents[1]
_PAGES = sorted([*_ROOT.glob("*.md"), *_ROOT.glob("docs/**/*.md")])
_FENCE = re.compile(r"^```(\w+)([^\n]*)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def _name(page):
  return str(page.relative_to(_ROOT))


def _blocks(page, language):
  """Title, or "", and body of each block of a language."""
  return [
    (re.sub(r'.*title="(.*)".*', r"\1", rest.strip()), body)
    for found, rest, body in _FENCE.findall(page.read_text())
    if found == language
  ]


def _anchors(page):
  """The anchors of a page's headings, as GitHub makes them."""
  headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
  return {
    re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings
  }


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_links_lead_to_what_is_there(page):
  text = _FENCE.sub("", page.read_text())
  for target in re.findall(r"\]\(([^)\s]+)\)", text):
    if "://" in target:
      continue
    path, _, anchor = target.partition("#")
    linked = (page.parent / path).resolve() if path else page
    assert linked.exists(), target
    if anchor:
      assert anchor in _anchors(linked), target


def _navigation(node):
  """Pages of the site's navigation."""
  if isinstance(node, str):
    yield node
  else:
    for part in node.values() if isinstance(node, dict) else node:
      yield from _navigation(part)


def test_every_page_is_reached_from_the_navigation():
  site = yaml.load((_ROOT / "mkdocs.yml").read_text(), yaml.BaseLoader)
  pages = {str(p.relative_to(_ROOT / "docs")) for p in _ROOT.glob("docs/**/*.md")}
  of_the_top = {"contributing.md", "changelog.md"}
  assert sorted(_navigation(site["nav"])) == sorted(pages | of_the_top)


@pytest.mark.parametrize(
  "page", ["docs/index.md", "docs/tutorial.md", "docs/glossary.md", "docs/effect.md"]
)
def test_the_readme_leads_into_the_site(page):
  assert f"]({page})" in (_ROOT / "README.md").read_text()


def _commands(page):
  """Commands of a page's shell blocks, by words."""
  for _, block in _blocks(page, "bash"):
    for line in block.replace("\\\n", " ").splitlines():
      yield shlex.split(line, comments=True)


def _config_of(words):
  """Returns what --config names before the colon, and all of it; None without."""
  for word in words:
    if word.startswith("--config="):
      whole = word.removeprefix("--config=")
      return whole.partition(":")[0], whole
  return None


@pytest.mark.parametrize("page", _PAGES, ids=_name)
def test_commands_name_files_and_modules_that_are_there(page):
  written = {title for title, _ in _blocks(page, "python")}
  for words in _commands(page):
    for word in words:
      name = word.removeprefix("--config=").partition(":")[0]
      if re.fullmatch(r"(configs|benchmarks|launch|tests)/[a-z0-9_]+\.(py|sh)", name):
        assert (_ROOT / name).exists(), words
    config = _config_of(words)
    if config and not re.search("[A-Z]", config[0]):
      assert config[0] in written or (_ROOT / config[0]).exists(), words
    if "-m" in words and words[words.index("-m") + 1].startswith("hue_jax"):
      module = _ROOT / words[words.index("-m") + 1].replace(".", "/")
      assert module.with_suffix(".py").exists() or (module / "__main__.py").exists()


def test_the_readme_fits_on_a_few_screens():
  assert len((_ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_contributing_page_is_short():
  assert len((_ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 60


@pytest.mark.slow
def test_the_loss_of_the_readme_trains():
  ((_, code),) = _blocks(_ROOT / "README.md", "python")
  names = {}
  exec(code, names)
  key = jax.random.key(0)
  labels = jnp.arange(12) % 4
  layer = jax.random.normal(key, (12, 6, 6, 16))
  logits = jax.random.normal(key, (12, 4))

  def loss(layer):
    return names["loss_fn"](logits, layer.mean(axis=(1, 2)), layer, labels)

  before, gradient = jax.value_and_grad(loss)(layer)
  after = loss(layer - 0.1 * gradient)
  assert jnp.isfinite(before)
  assert after < before


def test_the_training_page_counts_what_there_is():
  text = (_ROOT / "docs" / "training.md").read_text()
  numbers = re.search(
    r"(\d+) and any folder.*?(\d+) in all.*?one of (\w+) recipes", text, re.S
  )
  tasks, networks, recipes = numbers.groups()
  assert int(tasks) == len(TASKS) - 1  # folder is the last
  assert int(networks) == len(model_names())
  assert ("six", "seven", "eight", "nine").index(recipes) + 6 == len(RECIPES)
