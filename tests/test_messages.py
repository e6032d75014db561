"""What the errors say, read from the code: one pattern, a full stop at the end."""

import ast
import re
from pathlib import Path

import pytest

from hue_jax.errors import InputError

_ROOT = Path(__file__).resolve().parents[1]
_FILES = [
  *sorted((_ROOT / "hue_jax").rglob("*.py")),
  *sorted((_ROOT / "configs").glob("*.py")),
  _ROOT / "main.py",
]
# What users see; and what programs see that call the library. Other ValueErrors become
# the {error} of a sentence.
_TOLD = ("InputError", "NotPreparedError", "Stopped")
_OF_THE_LIBRARY = ("ValueError", "TypeError")


def _template(node):
  """A message with {} in place of its values; None of one that is made elsewhere."""
  match node:
    case ast.Constant(value=str(text)):
      return text
    case ast.JoinedStr():
      return "".join(_template(value) for value in node.values)
    case ast.FormattedValue():
      return "{}"
    case ast.BinOp(op=ast.Add()):
      parts = [_template(node.left), _template(node.right)]
      return "".join("{}" if part is None else part for part in parts)
  return None


def _messages():
  """(place, message) of every error that is told."""
  for path in _FILES:
    folder = path.relative_to(_ROOT).parent.as_posix()
    is_library = folder in ("hue_jax", "hue_jax/losses")
    told = (*_TOLD, *_OF_THE_LIBRARY) if is_library else _TOLD
    for node in ast.walk(ast.parse(path.read_text())):
      if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
        kind = ast.unparse(node.exc.func).rpartition(".")[2]
        text = _template(node.exc.args[0]) if node.exc.args else None
        if kind in told and text is not None:
          yield f"{path.relative_to(_ROOT)}:{node.lineno}", text


_MESSAGES = dict(_messages())


def test_they_are_found():
  assert len(_MESSAGES) > 150


@pytest.mark.parametrize("text", _MESSAGES.values(), ids=_MESSAGES)
def test_a_message_is_a_sentence(text):
  # What ends with another library's words is ended by the InputError itself.
  assert text.endswith((".", "?", "{}")), text
  assert "\n" not in text
  assert not re.search(r"[ (][.,;:?](?![a-z])|  |\.\.|\(s\)|^\s|\s$", text), text
  # It names the thing first, as users write it; nothing is called for or blamed.
  assert not re.match(r"[A-Z][a-z]+ (?!×)", text), text
  assert not re.search(r"[Pp]lease|invalid|illegal|[Ee]rror:|!", text), text


@pytest.mark.parametrize(
  ("message", "line"),
  [
    ("a\n  b: c\n", "a b: c."),
    ("it was:\n\n\tno such file", "it was: no such file."),
    ("ends.", "ends."),
    ("Did you mean x?", "Did you mean x?"),
  ],
)
def test_an_input_error_is_one_line_with_a_full_stop(message, line):
  assert str(InputError(message)) == line
  with pytest.raises(ValueError, match=re.escape(line)):
    raise InputError(message)
