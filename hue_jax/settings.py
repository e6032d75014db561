"""Settings that check themselves where they are defined.

A group of settings is a dataclass. Each field is declared by what it accepts, beside
its default:

    @dataclasses.dataclass(frozen=True)
    class Mixing:
      mixup: float = number(0.0, at_least=0)
      probability: float = number(1.0, at_least=0, at_most=1)

`create(Mixing, {"mixup": -1}, "mixing")` raises the InputError "mixing.mixup is -1; it
must be a finite number of at least 0.", and "mixing.mixups is not a setting; …" for a
name that no field has. A field that is declared otherwise is no setting.

The declarations are metadata and cost nothing when an object is made, so that a
dataclass that is a JAX tree may hold tracers. Numbers are its leaves; whatever else is
declared here is `static`: its structure.
"""

import dataclasses
import numbers
import os
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import numpy as np

from hue_jax.errors import (
  InputError,
  bounded,
  check_integer,
  check_number,
  nearest,
  one_of,
  refuse,
  shown,
)

T = TypeVar("T")

# The default of a setting that has none.
REQUIRED = dataclasses.MISSING

# JAX's keys keep 32 bits of a seed: greater ones would repeat the numbers of others.
MAX_SEED = 2**32 - 1


class Accepts:
  """What a setting accepts; to accept something else is to write another subclass."""

  static = True

  def __call__(self, name: str, value: Any) -> Any:
    """Returns the value of the setting, of the right type.

    Args:
      name: The name of the setting, in the user's words.
      value: The value that the user gives.

    Raises:
      InputError: If the value is not accepted.
    """
    raise NotImplementedError

  def __str__(self) -> str:
    """Returns the end of the sentence "it must be …"."""
    raise NotImplementedError


@dataclasses.dataclass(frozen=True)
class Number(Accepts):
  """A finite number within bounds; a string that reads as one is taken for it."""

  at_least: int | float | None = None
  above: int | float | None = None
  below: int | float | None = None
  at_most: int | float | None = None

  static = False

  def __call__(self, name, value):
    """Returns a float."""
    number = _read_number(value)
    if number is None:
      refuse(name, value, str(self))
    check_number(name, number, **dataclasses.asdict(self))
    return float(number)

  def __str__(self):
    """Returns words such as "a finite number above 0"."""
    return bounded("a finite number", **dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True)
class Integer(Accepts):
  """An integer within bounds; a whole float or a string that reads as one is taken."""

  at_least: int | None = None
  at_most: int | None = None

  def __call__(self, name, value):
    """Returns an int."""
    number = _read_number(value)
    if isinstance(number, float) and number.is_integer():
      number = int(number)
    if not isinstance(number, int):
      refuse(name, value, str(self))
    check_integer(name, number, **dataclasses.asdict(self))
    return number

  def __str__(self):
    """Returns words such as "an integer of at least 1"."""
    return bounded("an integer", **dataclasses.asdict(self))


@dataclasses.dataclass(frozen=True)
class Choice(Accepts):
  """One of some values, or of what a function returns when it is asked."""

  accepted: Iterable[Any] | Callable[[], Iterable[Any]]

  def __call__(self, name, value):
    """Returns the value as it is among those accepted."""
    for one in self._values():
      if isinstance(one, str) or one is None:
        same = isinstance(value, str | None) and value == one
      elif isinstance(one, bool):
        same = isinstance(value, bool) and value is one
      else:
        same = _read_number(value) == one
      if same:
        return one
    near = nearest(value, (one for one in self._values() if isinstance(one, str)))
    raise InputError(f"{name} is {shown(value)}; it must be {self}.{near}")

  def __str__(self):
    """Returns words such as "one of pmap, shard_map"."""
    return one_of(self._values())

  def _values(self):
    return tuple(self.accepted() if callable(self.accepted) else self.accepted)


class Flag(Accepts):
  """True or false; the words are taken, too."""

  def __call__(self, name, value):
    """Returns a bool."""
    if isinstance(value, str) and value.lower() in ("true", "false"):
      return value.lower() == "true"
    if not isinstance(value, bool | np.bool_):
      refuse(name, value, str(self))
    return bool(value)

  def __str__(self):
    """Returns the words as they are typed."""
    return "true or false"


@dataclasses.dataclass(frozen=True)
class Text(Accepts):
  """A string, or a path."""

  empty: bool = True

  def __call__(self, name, value):
    """Returns a str."""
    text = os.fspath(value) if isinstance(value, os.PathLike) else value
    if not isinstance(text, str) or not (text or self.empty):
      refuse(name, value, str(self))
    return text

  def __str__(self):
    """Returns the words for a text, with the exception."""
    return "a text" if self.empty else "a text that is not empty"


@dataclasses.dataclass(frozen=True)
class Several(Accepts):
  """A sequence, of which each member is accepted."""

  member: Accepts
  at_least: int = 0
  lengths: Sequence[int] | None = None

  def __call__(self, name, value):
    """Returns a tuple."""
    is_group = isinstance(value, str) or hasattr(value, "items")
    if is_group or not isinstance(value, Iterable):
      refuse(name, value, str(self))
    members = tuple(value)
    if len(members) < self.at_least or (
      self.lengths is not None and len(members) not in self.lengths
    ):
      raise InputError(
        f"{name} is {shown(members)}, which has {_count(len(members))}; it must be "
        f"{self}."
      )
    return tuple(self.member(f"{name}[{i}]", one) for i, one in enumerate(members))

  def __str__(self):
    """Returns words such as "a sequence of 1 or 3 values, each a finite number"."""
    count = ""
    if self.lengths is not None:
      lengths = sorted(set(self.lengths))
      count = f" of {' or '.join(map(str, lengths))} value{'s' * (lengths != [1])}"
    elif self.at_least:
      count = f" of at least {_count(self.at_least)}"
    return f"a sequence{count}, each {self.member}"


class Options(Accepts):
  """Settings by name, which that checks for which they are, as a network's options."""

  def __call__(self, name, value):
    """Returns a dictionary."""
    return _named(name, value, str(self))

  def __str__(self):
    """Returns words without the names, which depend on other settings."""
    return "settings by name"


@dataclasses.dataclass(frozen=True)
class Group(Accepts):
  """A group of settings within another."""

  cls: type

  def __call__(self, name, value):
    """Returns an object of the class."""
    return value if isinstance(value, self.cls) else create(self.cls, value, name)

  def __str__(self):
    """Returns the names of the group's settings."""
    return f"a group of settings ({', '.join(fields_of(self.cls))})"


@dataclasses.dataclass(frozen=True)
class Kind(Accepts):
  """A group of settings of one of several kinds, which its member `kind` names.

  Where the class of the kind has a field `name` that is no setting, it takes the last
  part of the setting's name: the name of "terms.sectors" is "sectors".
  """

  kinds: Mapping[str, type]
  default: str | None = None

  def __call__(self, name, value):
    """Returns an object of the class of the kind."""
    if isinstance(value, tuple(self.kinds.values())):
      return value
    return create_kind(self.kinds, value, name, default=self.default)

  def __str__(self):
    """Returns the names of the kinds."""
    return f"a group of settings whose kind is {one_of(self.kinds)}"


@dataclasses.dataclass(frozen=True)
class Named(Accepts):
  """Any number of members by names that the user gives, of which each is accepted."""

  member: Accepts

  def __call__(self, name, value):
    """Returns name → member."""
    values = _named(name, value, str(self))
    return {key: self.member(f"{name}.{key}", one) for key, one in values.items()}

  def __str__(self):
    """Returns words that say what members are accepted."""
    return f"names, and for each {self.member}"


# --- Declarations -------------------------------------------------------------------


def setting(default: Any, accepts: Accepts, *, named: str | None = None) -> Any:
  """Declares a field of a dataclass as a setting.

  Args:
    default: The default, which is not checked; where it is None, None is accepted.
      `REQUIRED` for none.
    accepts: What the setting accepts.
    named: The name that users type, where it is not the field's.

  Returns:
    The field.
  """
  metadata = {"accepts": accepts, "named": named, "static": accepts.static}
  if default is REQUIRED:
    return dataclasses.field(metadata=metadata, kw_only=True)
  if isinstance(default, dict | list) or dataclasses.is_dataclass(default):
    return dataclasses.field(default_factory=lambda: default, metadata=metadata)
  return dataclasses.field(default=default, metadata=metadata)


def number(default: Any = REQUIRED, *, named: str | None = None, **bounds) -> Any:
  """Declares a number; bounds are `at_least`, `above`, `below` and `at_most`."""
  return setting(default, Number(**bounds), named=named)


def integer(default: Any = REQUIRED, *, named: str | None = None, **bounds) -> Any:
  """Declares an integer; bounds are `at_least` and `at_most`."""
  return setting(default, Integer(**bounds), named=named)


def seed(default: Any = REQUIRED, *, named: str | None = None) -> Any:
  """Declares the seed of random numbers."""
  return integer(default, at_least=0, at_most=MAX_SEED, named=named)


def choice(
  default: Any,
  accepted: Iterable[Any] | Callable[[], Iterable[Any]],
  *,
  named: str | None = None,
) -> Any:
  """Declares one of several values."""
  return setting(default, Choice(accepted), named=named)


def flag(default: Any = REQUIRED, *, named: str | None = None) -> Any:
  """Declares what is true or false."""
  return setting(default, Flag(), named=named)


def text(
  default: Any = REQUIRED, *, empty: bool = True, named: str | None = None
) -> Any:
  """Declares a text."""
  return setting(default, Text(empty), named=named)


def several(
  default: Any,
  member: Accepts,
  *,
  at_least: int = 0,
  lengths: Sequence[int] | None = None,
  named: str | None = None,
) -> Any:
  """Declares a sequence, as in `several((0.5,), Number(), lengths=(1, 3))`."""
  return setting(default, Several(member, at_least, lengths), named=named)


def options(default: Any = REQUIRED, *, named: str | None = None) -> Any:
  """Declares settings that are checked elsewhere."""
  return setting(default, Options(), named=named)


def group(cls: type, *, named: str | None = None) -> Any:
  """Declares a group of settings within this one, whose default is that of its class.

  The class must be frozen: its default is shared.
  """
  return setting(cls(), Group(cls), named=named)


# --- From what a user gives ---------------------------------------------------------


def create(cls: type[T], values: Any, name: str = "") -> T:
  """Makes an object of what a user gives.

  Args:
    cls: A dataclass of settings.
    values: Setting → value, a mapping or a `ConfigDict`; what is not among them has
      its default.
    name: The name of the group in errors, before the setting: "mixing" makes
      "mixing.mixup".

  Returns:
    The object, every value checked and of the right type.

  Raises:
    InputError: If a name is no setting, a value is not accepted, or a setting without
      a default is not there. It names the setting and its value, and says what is
      accepted.
  """
  made = checked(cls, values, name)
  for field in dataclasses.fields(cls):
    required = field.default is field.default_factory is REQUIRED
    if required and field.init and _is_setting(field) and field.name not in made:
      raise InputError(
        f"{_join(name, _name_of(field))} is not set; it must be "
        f"{field.metadata['accepts']}."
      )
  return cls(**made)


def checked(
  cls: type,
  values: Any,
  name: str = "",
  *,
  without: Iterable[str] = (),
  beside: Iterable[str] = (),
  also: Iterable[type] = (),
) -> dict[str, Any]:
  """Returns what a user gives, checked, by the names of a dataclass's fields.

  It serves where the object needs other arguments besides; see `create`.

  Args:
    cls: A dataclass of settings.
    values: Setting → value.
    name: The name of the group in errors.
    without: Settings that are not the user's to give.
    beside: Settings that the caller reads; the errors name them, too.
    also: Other kinds, whose settings may be there: they are checked and left out.

  Returns:
    Field → value, of those that are given.

  Raises:
    InputError: If a name is no setting, or a value is not accepted.
  """
  own = {key: one for key, one in fields_of(cls).items() if key not in set(without)}
  others = {key: one for other in also for key, one in fields_of(other).items()}
  made = {}
  for key, value in _mapping(name, values, str(Group(cls))).items():
    field = own.get(key, others.get(key))
    if field is None:
      known = list(dict.fromkeys([*beside, *own, *others]))
      raise InputError(
        f"{_join(name, key)} is not a setting; {name or 'the configuration'} takes "
        f"{', '.join(known) or 'none'}.{nearest(key, known)}"
      )
    value = _accepted(field, _join(name, key), value)
    if key in own:
      made[field.name] = value
  return made


def create_kind(
  kinds: Mapping[str, type], values: Any, name: str, *, default: str | None = None
) -> Any:
  """Makes an object of the kind that a user names under `kind`; see `Kind`.

  The settings of other kinds may be there, too, since a kind is often changed alone;
  they are checked and have no part.

  Args:
    kinds: Name → dataclass of settings.
    values: The mapping of `kind`, and of the settings of that kind.
    name: The name of the group in errors.
    default: The kind where none is named.

  Returns:
    The object.

  Raises:
    InputError: If the kind is unknown, or `create` refuses its settings.
  """
  values = _mapping(name, values, str(Kind(kinds)))
  kind = Choice(kinds)(_join(name, "kind"), values.pop("kind", default))
  cls = kinds[kind]
  made = checked(cls, values, name, beside=("kind",), also=kinds.values())
  if "name" in {field.name for field in dataclasses.fields(cls)} - {*fields_of(cls)}:
    made["name"] = name.rpartition(".")[2]
  return cls(**made)


def check(settings: Any, name: str = "") -> None:
  """Raises an InputError for the first field of an object that is not accepted.

  It serves objects that a program makes by their class, as in `Mixing(mixup=-1)`:
  their `__post_init__` calls it. A JAX tree must not, whose fields may be tracers.

  Args:
    settings: An object of a dataclass of settings.
    name: The name of the object in errors.
  """
  for key, field in fields_of(type(settings)).items():
    _accepted(field, _join(name, key), getattr(settings, field.name))


def fields_of(cls: type) -> Mapping[str, dataclasses.Field]:
  """Returns the settings of a dataclass: the name that users type → field."""
  fields = {_name_of(field): field for field in dataclasses.fields(cls) if field.init}
  return types.MappingProxyType(
    {name: field for name, field in fields.items() if _is_setting(field)}
  )


def _accepted(field, name, value):
  if value is None and field.default is None:
    return None
  return field.metadata["accepts"](name, value)


def _is_setting(field):
  return "accepts" in field.metadata


def _name_of(field):
  return field.metadata.get("named") or field.name


def _join(group, name):
  return f"{group}.{name}" if group else str(name)


def _mapping(name, value, wanted):
  if not hasattr(value, "items"):
    refuse(name or "what is given", value, wanted)
  return dict(value.items())


def _named(name, value, wanted):
  values = _mapping(name, value, wanted)
  for key in values:
    if not isinstance(key, str) or not key:
      refuse(f"a name in {name}", key, "a text that is not empty")
  return values


def _count(number):
  return f"{number} value{'s' * (number != 1)}"


def _read_number(value):
  """Returns a Python number, also of one written as text; None if it is no number."""
  if isinstance(value, str):
    for read in (int, float):
      try:
        return read(value)
      except ValueError:
        pass
    return None
  if isinstance(value, bool) or not isinstance(value, numbers.Real):
    return None
  if isinstance(value, numbers.Integral):
    return int(value)
  return float(value)
