"""Shows what stands under "Example:" in a docstring as code, as under "Examples:"."""

import re

import griffe

_TITLE = re.compile(r"^(\s*)Example:$", re.MULTILINE)


class Examples(griffe.Extension):
  """Renames the section, which the parser knows in the plural alone."""

  def on_instance(self, *, obj: griffe.Object, **_) -> None:
    """See `griffe.Extension`."""
    if obj.docstring:
      obj.docstring.value = _TITLE.sub(r"\1Examples:", obj.docstring.value)
