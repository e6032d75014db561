"""Jinja templates of reports, and the style that their pages share."""

from collections.abc import Callable
from importlib import resources

import jinja2
from markupsafe import Markup


def environment(
  package: str, *, autoescape: bool = True, **filters: Callable
) -> jinja2.Environment:
  """Opens the templates in a package's folder `report_page`.

  Args:
    package: The name of the package.
    autoescape: Whether text is kept from becoming markup, as a page needs it.
    **filters: Name → filter.

  Returns:
    The environment; a name that a template lacks is an error.
  """
  found = jinja2.Environment(
    loader=jinja2.PackageLoader(package, "report_page"),
    autoescape=autoescape,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
  )
  found.filters |= filters
  return found


def style() -> Markup:
  """Returns the style sheet of all pages."""
  path = resources.files("hue_jax.pages") / "style.css"
  return Markup(path.read_text("utf-8"))
