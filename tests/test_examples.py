"""Every public function has an example in its docstring, and it runs."""

import doctest
import inspect
import re

import pytest

import hue_jax
from hue_jax import circular, color, losses
from tests.helpers.everywhere_finite import unchecked

_FUNCTIONS = {
  f"{module.__name__}.{name}": unchecked(getattr(module, name))
  for module in (hue_jax, losses, circular, color)
  for name in module.__all__
  if inspect.isfunction(getattr(module, name))
}


class _Numbers(doctest.OutputChecker):
  """Numbers agree to the digits that are written, whatever blanks are about them."""

  _NUMBER = re.compile(r"[+-]?\d+(?:\.\d*)?(?:e[+-]?\d+)?")

  def check_output(self, want, got, optionflags):
    """See `doctest.OutputChecker`."""
    if [self._text(want)] != [self._text(got)]:
      return False
    pairs = zip(self._NUMBER.findall(want), self._NUMBER.findall(got), strict=True)
    return all(
      abs(float(one) - float(other)) <= 0.51 * 10.0 ** -self._digits(one)
      for one, other in pairs
    )

  def _text(self, output):
    return "".join(self._NUMBER.sub(" # ", output).split())

  @staticmethod
  def _digits(number):
    """Digits after the point; a whole number is meant to the last bit."""
    return len(number.partition(".")[2]) if "." in number else 9


def _examples(name):
  function = _FUNCTIONS[name]
  return doctest.DocTestParser().get_doctest(
    inspect.getdoc(function), {}, name, inspect.getsourcefile(function), 0
  )


@pytest.mark.slow
@pytest.mark.parametrize("name", _FUNCTIONS)
def test_the_example_runs_and_gives_what_it_says(name):
  examples = _examples(name)
  assert any(example.want for example in examples.examples), "no example"
  said = []
  runner = doctest.DocTestRunner(_Numbers(), optionflags=doctest.NORMALIZE_WHITESPACE)
  runner.run(examples, out=said.append)
  assert not runner.failures, "".join(said)


def test_a_wrong_number_is_told():
  check = _Numbers().check_output
  assert check("[1.50 0.]", "[1.5000001 0.0 ]", 0)
  assert not check("[1.50 0.0]", "[1.52 0.0]", 0)
  assert not check("[1.5 0.0]", "[1.5 0.0 0.0]", 0)
  assert not check("(2, 3)", "(2, 4)", 0)
