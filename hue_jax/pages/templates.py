"""Jinja templates of reports, and what their pages share: `page.html`, `style.css`."""

import base64
import hashlib
from collections.abc import Callable
from importlib import resources
from typing import Any

import jinja2
from markupsafe import Markup

from hue_jax.pages.files import json_text


def environment(
  package: str, *, autoescape: bool = True, **filters: Callable
) -> jinja2.Environment:
  """Opens the templates in a package's folder `report_page`.

  A page extends "pages/page.html". Where the folder has a script.js, the page holds it,
  and beside it the `data` with which it is rendered; no other script may run.

  Args:
    package: The name of the package.
    autoescape: Whether text is kept from becoming markup, as a page needs it.
    **filters: Name → filter.

  Returns:
    The environment; a name that a template lacks is an error.
  """
  found = jinja2.Environment(
    loader=jinja2.ChoiceLoader(
      [
        jinja2.PackageLoader(package, "report_page"),
        jinja2.PrefixLoader({"pages": jinja2.PackageLoader("hue_jax", "pages")}),
      ]
    ),
    autoescape=autoescape,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  found.filters |= {"hash": _hash, "json": _json} | filters
  script = resources.files(package) / "report_page" / "script.js"
  found.globals |= {
    "style": _text(resources.files("hue_jax.pages") / "style.css"),
    "script": _text(script) if script.is_file() else "",
  }
  return found


def _text(path):
  return Markup(path.read_text("utf-8"))


def _hash(script: str) -> str:
  """Returns a script's hash, as a content security policy has it."""
  digest = hashlib.sha256(script.encode()).digest()
  return f"sha256-{base64.b64encode(digest).decode()}"


def _json(value: Any) -> Markup:
  """Returns JSON that no text in it can turn into markup."""
  text = json_text(value, separators=(",", ":"))
  for character in "<>&\u2028\u2029":
    text = text.replace(character, f"\\u{ord(character):04x}")
  return Markup(text)
