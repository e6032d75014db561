"""Settings that check themselves: every declaration, what it takes and what it says."""

import dataclasses
import fractions
import pathlib

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from hue_jax import errors, settings
from hue_jax.errors import InputError


@dataclasses.dataclass(frozen=True)
class _Inner:
  rate: float = settings.number(0.5, above=0, below=1)


@dataclasses.dataclass(frozen=True)
class _Outer:
  size: int = settings.integer(at_least=1)
  weight: float = settings.number(0.1, at_least=0)
  share: float = settings.number(1.0, above=0, at_most=1)
  free: float = settings.number(0.0)
  seed: int = settings.integer(0, at_least=0, at_most=2**64 - 1)
  schedule: str = settings.choice("constant", ("constant", "linear_decay"))
  channels: int = settings.choice(3, lambda: (1, 3))
  flip: bool = settings.flag(False)
  folder: str | None = settings.text(None)
  split: str = settings.text("train", empty=False)
  mean: tuple = settings.several((0.5,), settings.Number(), lengths=(1, 3))
  steps: tuple = settings.several((), settings.Integer(at_least=1))
  inner: _Inner = settings.group(_Inner)
  others: dict = settings.setting({}, settings.Named(settings.Group(_Inner)))
  hues: object = settings.several((), settings.Integer(), named="order")
  memory: object = None


def _made(**values):
  return settings.create(_Outer, {"size": 1} | values, "here")


def test_what_is_not_given_has_its_default():
  assert _made() == _Outer(size=1)
  assert _made(folder=None).folder is None


@pytest.mark.parametrize(
  ("name", "given", "value"),
  [
    ("size", 64.0, 64),
    ("size", "1e3", 1000),
    ("size", np.uint8(7), 7),
    ("seed", str(2**64 - 1), 2**64 - 1),
    ("weight", 2, 2.0),
    ("weight", "1e-3", 1e-3),
    ("weight", np.float32(0.5), 0.5),
    ("weight", fractions.Fraction(1, 4), 0.25),
    ("channels", 1.0, 1),
    ("flip", "True", True),
    ("flip", np.bool_(True), True),
    ("folder", pathlib.PurePath("a", "b"), str(pathlib.PurePath("a", "b"))),
    ("mean", np.array([1.0, 2.0, 3.0]), (1.0, 2.0, 3.0)),
    ("steps", [1.0, "2"], (1, 2)),
    ("inner", {"rate": "0.25"}, _Inner(0.25)),
    ("inner", _Inner(0.25), _Inner(0.25)),
    ("others", {"a": {"rate": 0.25}, "b": {}}, {"a": _Inner(0.25), "b": _Inner()}),
  ],
)
def test_what_is_taken(name, given, value):
  made = _made(**{name: given})
  found = getattr(made, name)
  assert found == value
  assert type(found) is type(value)
  assert settings.create(_Outer, ConfigDict({"size": 1, name: given})) == made


@pytest.mark.parametrize(
  ("values", "message"),
  [
    ({"size": 0}, "here.size is 0; it must be an integer of at least 1."),
    ({"size": 1.5}, "here.size is 1.5; it must be an integer of at least 1."),
    ({"size": True}, "here.size is True; it must be an integer of at least 1."),
    ({"size": "many"}, "here.size is 'many'; it must be an integer of at least 1."),
    ({"size": None}, "here.size is None; it must be an integer of at least 1."),
    ({"size": float("inf")}, "here.size is inf; it must be an integer of at least 1."),
    ({"seed": 2**64}, f"here.seed is {2**64}; it must be an integer from 0 to "),
    ({"weight": -1}, "here.weight is -1; it must be a finite number of at least 0."),
    ({"weight": "nan"}, "here.weight is nan; it must be a finite number of at least"),
    ({"weight": "fast"}, "here.weight is 'fast'; it must be a finite number of at le"),
    ({"weight": True}, "here.weight is True; it must be a finite number of at least"),
    ({"weight": [1]}, "here.weight is [1]; it must be a finite number of at least 0."),
    ({"weight": 10**400}, "here.weight is 1000"),
    (
      {"share": 0},
      "here.share is 0; it must be a finite number above 0 and at most 1.",
    ),
    ({"free": float("inf")}, "here.free is inf; it must be a finite number."),
    (
      {"schedule": "constnat"},
      "here.schedule is 'constnat'; it must be one of constant, linear_decay. Did you "
      "mean constant?",
    ),
    ({"schedule": ["constant"]}, "here.schedule is ['constant']; it must be one of "),
    ({"channels": 2}, "here.channels is 2; it must be one of 1, 3."),
    ({"channels": True}, "here.channels is True; it must be one of 1, 3."),
    ({"flip": "perhaps"}, "here.flip is 'perhaps'; it must be true or false."),
    ({"flip": 1}, "here.flip is 1; it must be true or false."),
    ({"folder": 3}, "here.folder is 3; it must be a text."),
    ({"split": ""}, "here.split is ''; it must be a text that is not empty."),
    (
      {"mean": (1, 2)},
      "here.mean is (1, 2), which has 2 values; it must be a sequence of 1 or 3 "
      "values, each a finite number.",
    ),
    ({"mean": 0.5}, "here.mean is 0.5; it must be a sequence of 1 or 3 values, each"),
    ({"mean": "0.5"}, "here.mean is '0.5'; it must be a sequence of 1 or 3 values"),
    ({"mean": ["x"]}, "here.mean[0] is 'x'; it must be a finite number."),
    ({"steps": [1, 0]}, "here.steps[1] is 0; it must be an integer of at least 1."),
    (
      {"inner": {"rate": 1}},
      "here.inner.rate is 1; it must be a finite number above 0 and below 1.",
    ),
    ({"inner": 3}, "here.inner is 3; it must be a group of settings (rate)."),
    ({"others": {"a": {"rate": 0}}}, "here.others.a.rate is 0; it must be a finite "),
    ({"others": {1: {}}}, "a name in here.others is 1; it must be a text that is not"),
    (
      {"wieght": 1},
      "here.wieght is not a setting; here takes size, weight, share, free, ",
    ),
    ({"wieght": 1}, "Did you mean weight?"),
    ({"memory": 1}, "here.memory is not a setting;"),
    ({"hues": ()}, "here.hues is not a setting;"),
    ({"order": "ab"}, "here.order is 'ab'; it must be a sequence, each an integer."),
  ],
)
def test_what_is_refused_is_named_with_its_value_and_what_is_wanted(values, message):
  with pytest.raises(InputError) as caught:
    _made(**values)
  found = str(caught.value)
  assert message in found
  assert "\n" not in found
  assert len(found) < 600
  assert found[-1] in ".?"
  assert " ." not in found


def test_a_setting_without_a_default_must_be_there():
  with pytest.raises(
    InputError, match=r"^size is not set; .* integer of at least 1\.$"
  ):
    settings.create(_Outer, {})


def test_a_group_that_is_none_is_refused():
  with pytest.raises(InputError, match="here is 3; it must be a group of settings"):
    settings.create(_Outer, 3, "here")


def test_a_sentence_for_every_combination_of_bounds():
  bounds = {"at_least": 0, "above": 0, "below": 1, "at_most": 1}
  found = {
    (low, high): errors.bounded(
      "n", **{key: bounds[key] for key in (low, high) if key is not None}
    )
    for low in (None, "at_least", "above")
    for high in (None, "below", "at_most")
  }
  assert found == {
    (None, None): "n",
    (None, "below"): "n below 1",
    (None, "at_most"): "n of at most 1",
    ("at_least", None): "n of at least 0",
    ("at_least", "below"): "n of at least 0 and below 1",
    ("at_least", "at_most"): "n from 0 to 1",
    ("above", None): "n above 0",
    ("above", "below"): "n above 0 and below 1",
    ("above", "at_most"): "n above 0 and at most 1",
  }


def test_a_value_of_a_page_is_shown_in_a_line():
  shown = errors.shown(np.arange(10_000).reshape(100, 100))
  assert len(shown) == 200
  assert "\n" not in shown


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class _Tree:
  weight: float = settings.number(0.1, at_least=0)
  schedule: str = settings.choice("constant", ("constant", "linear_decay"))
  sectors: int = settings.integer(8, at_least=1)


def test_a_tree_has_its_numbers_as_leaves_and_may_hold_tracers():
  tree = settings.create(_Tree, {"weight": 0.3})
  assert jax.tree.leaves(tree) == [0.3]
  assert jax.jit(lambda tree: tree.weight * tree.sectors)(tree) == pytest.approx(2.4)
  gradient = jax.grad(lambda tree: tree.weight * tree.sectors)(tree)
  assert gradient == _Tree(weight=8.0)


def test_an_object_made_by_its_class_is_checked_where_it_is_asked():
  settings.check(_Tree(), "tree")
  with pytest.raises(InputError, match=r"^tree.sectors is 0; "):
    settings.check(_Tree(sectors=0), "tree")


@dataclasses.dataclass(frozen=True)
class _Square:
  name: str
  side: float = settings.number(1.0, above=0)


@dataclasses.dataclass(frozen=True)
class _Circle:
  name: str
  radius: float = settings.number(1.0, above=0)


_KINDS = {"square": _Square, "circle": _Circle}


def test_a_kind_takes_its_settings_and_checks_those_of_others():
  def make(**values):
    return settings.Kind(_KINDS, default="square")("shape", values)

  assert make(kind="circle", radius=2, side=3) == _Circle("shape", 2.0)
  assert make(side=2) == _Square("shape", 2.0)
  accepts = settings.Named(settings.Kind(_KINDS))
  found = accepts("shapes", {"a": {"kind": "circle"}, "b": _Square("c")})
  assert found == {"a": _Circle("a"), "b": _Square("c")}
  with pytest.raises(InputError, match=r"shapes.a.kind is None; it must be one of squ"):
    accepts("shapes", {"a": {}})
  with pytest.raises(InputError, match=r"shape.side is 0;"):
    make(kind="circle", side=0)
  with pytest.raises(InputError, match=r"shape.kind is 'cirle'; .*Did you mean circle"):
    make(kind="cirle")
  with pytest.raises(InputError, match=r"not a setting; shape takes kind, side, radi"):
    make(size=2)
  with pytest.raises(InputError, match=r"shape.name is not a setting"):
    make(name="t")
