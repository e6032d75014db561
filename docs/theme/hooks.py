"""What the site does besides MkDocs: formulas, intervals, pages of the top folder.

MkDocs calls these functions by name (`hooks` in mkdocs.yml).
"""

import html
import re
from pathlib import Path

from latex2mathml.converter import convert
from mkdocs.structure.files import File

_ROOT = Path(__file__).resolve().parents[2]

# Page of the site → file of the top folder, where GitHub looks for it.
_OF_THE_TOP = {"contributing.md": "CONTRIBUTING.md", "changelog.md": "CHANGELOG.md"}

# The site loads nothing from elsewhere.
_REMOTE_PICTURE = re.compile(r"!\[([^\]]*)\]\(https?://[^)]*\)")

_NO_BREAK = "\N{NO-BREAK SPACE}"
_INTERVAL = re.compile(r"[+−]?\d+\.\d+ (?:%|\[[+−]?\d+\.\d+, [+−]?\d+\.\d+\])")

_FORMULA = re.compile(
  r'<(span|div) class="arithmatex">\\[(\[](.*?)\\[)\]]</\1>', re.DOTALL
)


def on_files(files, config):
  """Adds the pages of the top folder."""
  for page, file in _OF_THE_TOP.items():
    text = (_ROOT / file).read_text(encoding="utf-8").replace("](docs/", "](")
    files.append(File.generated(config, page, content=text))
  return files


def on_page_markdown(markdown, page, **_):
  """Leads links to files of the top folder to their pages; badges become words."""
  markdown = _REMOTE_PICTURE.sub(r"\1", markdown)
  for target, file in _OF_THE_TOP.items():
    up = "../" * (page.file.src_uri.count("/") + 1)
    markdown = markdown.replace(f"]({up}{file}", f"]({up[3:]}{target}")
  return markdown


def on_page_content(content, **_):
  """Makes formulas MathML, which browsers draw without a script.

  Numbers stay on the line of their interval or percent sign.
  """
  content = _INTERVAL.sub(lambda match: match[0].replace(" ", _NO_BREAK), content)
  return _FORMULA.sub(_mathml, content)


def _mathml(match):
  tag, latex = match.groups()
  display = "block" if tag == "div" else "inline"
  # latex2mathml has no \arg.
  latex = html.unescape(latex).strip().replace(r"\arg", r"\operatorname{arg}")
  formula = convert(latex, display=display)
  return f'<div class="formula">{formula}</div>' if tag == "div" else formula
