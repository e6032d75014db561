"""The documentation: links lead somewhere, code runs, commands name what is there."""

import re
import shlex
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

_ROOT = Path(__file__).resolve().parents[1]
_PAGES = sorted([*_ROOT.glob("*.md"), *_ROOT.glob("docs/*.md")])
_FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)


def _blocks(page, language):
  return [body for found, body in _FENCE.findall(page.read_text()) if found == language]


def _anchors(page):
  """The anchors of a page's headings, as GitHub makes them."""
  headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
  return {
    re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings
  }


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
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


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_every_page_is_reached_from_the_readme(page):
  readme = (_ROOT / "README.md").read_text()
  assert page.name == "README.md" or page.name in readme


@pytest.mark.parametrize("page", _PAGES, ids=lambda page: page.name)
def test_commands_name_files_and_modules_that_are_there(page):
  for block in _blocks(page, "bash"):
    for line in block.replace("\\\n", " ").splitlines():
      words = shlex.split(line, comments=True)
      for word in words:
        name = word.removeprefix("--config=").partition(":")[0]
        if re.fullmatch(r"(configs|benchmarks|launch|tests)/[a-z0-9_]+\.(py|sh)", name):
          assert (_ROOT / name).exists(), line
      if "-m" in words and words[words.index("-m") + 1].startswith("hue_jax"):
        module = _ROOT / words[words.index("-m") + 1].replace(".", "/")
        assert module.with_suffix(".py").exists() or (module / "__main__.py").exists()


def test_the_readme_fits_on_a_few_screens():
  assert len((_ROOT / "README.md").read_text().splitlines()) <= 150


def test_the_contributing_page_is_short():
  assert len((_ROOT / "CONTRIBUTING.md").read_text().splitlines()) <= 45


@pytest.mark.slow
def test_the_loss_of_the_readme_trains():
  (code,) = _blocks(_ROOT / "README.md", "python")
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
