"""A term is added in one place, and its settings are told in the documentation."""

import importlib
import re
import sys
from pathlib import Path

import jax
import pytest

from hue_jax.errors import InputError
from hue_jax.objective import CLASSIFIERS, TERMS, terms
from hue_jax.settings import fields_of
from hue_jax.train.step import make_train_step
from tests.helpers.small_training import (
  PIXELS,
  small_batch,
  small_objective,
  small_state,
)

_PAGE = (Path(__file__).resolve().parents[2] / "docs/objective.md").read_text()


@pytest.fixture
def written(tmp_path, monkeypatch):
  """The kind of the documentation's example, written as one file beside the others."""
  (source,) = re.findall(r"```python\n(.*?)```", _PAGE, flags=re.DOTALL)
  (tmp_path / "sparse_activations.py").write_text(source)
  monkeypatch.setattr(terms, "__path__", [*terms.__path__, str(tmp_path)])
  # Found as on import: the package looks for its files.
  spec = importlib.util.find_spec("hue_jax.objective.terms")
  exec(Path(spec.origin).read_text(), vars(terms))
  yield "sparse_activations"
  del TERMS["sparse_activations"]
  del sys.modules["hue_jax.objective.terms.sparse_activations"]
  del terms.sparse_activations


@pytest.mark.slow
def test_a_term_in_a_file_of_its_own_trains(written):
  term = {"kind": written, "tap": "stage2", "weight": 20.0, "schedule": "linear_warmup"}
  objective = small_objective({"mine": term})
  assert objective.describe() == "cross_entropy + 20 sparse_activations(stage2)"
  step = jax.jit(make_train_step(objective, seed=0, **PIXELS))
  state, found = small_state(objective), []
  for _ in range(12):
    state, sums = step(state, small_batch(0))
    found.append(float(sums["term/mine"][0]))
  assert found[-1] < 0.8 * found[0]
  with pytest.raises(InputError, match=r"terms.mine.floor is -1; .* of at least 0\.$"):
    small_objective({"mine": {**term, "floor": -1}})
  with pytest.raises(InputError, match=r"terms.mine.tap is 'stage9'"):
    small_objective({"mine": {**term, "tap": "stage9"}})


def _rows(first):
  """The rows of the table whose first column is called so, by cells."""
  lines = _PAGE.partition(f"| {first} |")[2].splitlines()[2:]
  rows = []
  for line in lines:
    if not line.startswith("|"):
      break
    rows.append([cell.strip() for cell in line.strip("|").split("|")])
  return rows


@pytest.mark.parametrize(
  ("first", "kinds"),
  [("`kind` of a term", TERMS), ("`kind` of the classifier", CLASSIFIERS)],
)
def test_every_kind_has_its_row(first, kinds):
  assert sorted(row[0].strip("`") for row in _rows(first)) == sorted(kinds)


def test_the_metric_of_every_term_is_told():
  told = {row[0].strip("`"): row[2] for row in _rows("`kind` of a term")}
  assert told == {kind: f"`{cls.family}/NAME`" for kind, cls in TERMS.items()}


def test_every_setting_has_its_row_with_its_default_and_what_it_accepts():
  declared = {
    (name, str(field.default), str(field.metadata["accepts"]))
    for cls in (*TERMS.values(), *CLASSIFIERS.values())
    for name, field in fields_of(cls).items()
  }
  told = {
    (name.strip("`"), default.strip("`").replace("none", "None"), accepted)
    for name, _, default, accepted, _ in _rows("setting")
  }
  assert told == declared
